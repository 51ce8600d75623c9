//! The page for people without an account: the root, its fingerprint in both spellings, and lines to paste with this
//! server's own names in them.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::Dash;
use super::format::{clean, day};
use crate::error::{Error, Result};
use crate::http::html::page;
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;

/// Where the server's own certificate stands.
use crate::authority::own::OWN_DOMAIN;

#[derive(Template)]
#[template(path = "connect.html")]
struct Connect<'a> {
    url: &'a str,
    host: &'a str,
    /// Without port.
    name: &'a str,
    root: String,
    until: String,
    /// `7f3a91c2 0d4be6a8 …`
    grouped: String,
    /// `7F:3A:…`, as OpenSSL prints it.
    colons: String,
    hex: String,
    others: Vec<(String, String)>,
}

pub async fn show(State(dash): State<Dash>) -> Result<Response> {
    let snapshot = dash.authority.snapshot();
    let none = || Error::not_found("root yet");
    let root = dash.authority.own_root().ok_or_else(none)?;
    let facts =
        CertificateFacts::parse(&root).map_err(|e| Error::inconsistent("the root cannot be read").because(e))?;
    let hex = to_hex(&facts.fingerprint);
    let pairs: Vec<&str> = (0..hex.len()).step_by(2).filter_map(|i| hex.get(i..i + 2)).collect();
    let host = dash.external_url.split_once("://").map_or("", |(_, host)| host);
    let others = snapshot.domains.iter().filter(|d| d.slug != OWN_DOMAIN && !snapshot.roots(&d.slug).is_empty());
    page(&Connect {
        url: &dash.external_url,
        host,
        name: host.rsplit_once(':').map_or(host, |(name, _)| name),
        root: clean(&facts.subject.to_string()),
        until: day(facts.validity.not_after()),
        grouped: (0..hex.len()).step_by(8).filter_map(|i| hex.get(i..i + 8)).collect::<Vec<_>>().join(" "),
        colons: pairs.join(":").to_uppercase(),
        others: others.map(|d| (d.slug.clone(), clean(&d.name))).collect(),
        hex,
    })
}

//! The page for people without an account: the roots, their fingerprints in both spellings, and lines to paste with this
//! server's own names in them.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
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
    /// The ACME directory of the certbot line takes accounts by key only.
    needs_key: bool,
    /// That of the server's own certificate first, then what else stands in its bundle while the root is being replaced.
    roots: Vec<ShownRoot>,
    /// The fingerprint of the first one.
    hex: String,
    others: Vec<(String, String)>,
}

struct ShownRoot {
    name: String,
    until: String,
    /// `7f3a91c2 0d4be6a8 …`
    grouped: String,
    /// `7F:3A:…`, as OpenSSL prints it.
    colons: String,
}

impl ShownRoot {
    fn of(der: &[u8]) -> Result<ShownRoot> {
        let unreadable = |e| Error::inconsistent("the root cannot be read").because(e);
        let facts = CertificateFacts::parse(der).map_err(unreadable)?;
        let hex = to_hex(&facts.fingerprint);
        let (grouped, colons) = (groups(&hex, 8).join(" "), groups(&hex, 2).join(":").to_uppercase());
        let (name, until) = (clean(&facts.subject.to_string()), day(facts.validity.not_after()));
        Ok(ShownRoot { name, until, grouped, colons })
    }
}

fn groups(hex: &str, digits: usize) -> Vec<&str> {
    (0..hex.len()).step_by(digits).filter_map(|i| hex.get(i..i + digits)).collect()
}

pub async fn show(State(dash): State<Dash>) -> Result<Response> {
    let snapshot = dash.authority.snapshot();
    let none = || Error::not_found("root yet");
    let root = dash.authority.own_root().ok_or_else(none)?;
    let more = snapshot.roots(OWN_DOMAIN).into_iter().filter(|der| *der != root.as_slice());
    let roots = std::iter::once(root.as_slice()).chain(more).map(ShownRoot::of).collect::<Result<Vec<_>>>()?;
    let fingerprint = digest(&SHA256, &root);
    let host = dash.external_url.split_once("://").map_or("", |(_, host)| host);
    let others = snapshot.domains.iter().filter(|d| d.slug != OWN_DOMAIN && !snapshot.roots(&d.slug).is_empty());
    page(&Connect {
        url: &dash.external_url,
        host,
        needs_key: dash.registration.directory("default").is_ok_and(|d| d.config.external_account_required),
        roots,
        hex: to_hex(fingerprint.as_ref()),
        others: others.map(|d| (d.slug.clone(), clean(&d.name))).collect(),
    })
}

//! ACME directories: what each offers and requires, and a form that changes it. What the form does not show stays as
//! it is.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::frame::Frame;
use super::visit::{Form, Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::error::{Error, ErrorKind, Result};
use crate::http::html::{Words, page, refused_page, see_other};
use crate::model::identifier::shown;
use crate::registration::directories::{
    CHALLENGES, Directory, DirectoryConfig, caa_mode, hosts, names, networks, servers,
};
use crate::validation::CaaMode;

#[derive(Template)]
#[template(path = "directories.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    may_change: bool,
    slug: String,
    refusal: Option<Words>,
}

struct Row {
    slug: String,
    url: String,
    profiles: String,
    proofs: String,
    names: String,
    binding: bool,
}

pub async fn list(signed: Signed, State(dash): State<Dash>) -> Result<Response, Stop> {
    signed.may(Permission::ReadHierarchy)?;
    Ok(page(&whole(&dash, &signed, "", None))?)
}

fn whole(dash: &Dash, signed: &Signed, slug: &str, refusal: Option<Words>) -> List {
    let row = |d: Directory| Row {
        url: format!("{}/acme/{}/directory", dash.external_url, d.slug),
        profiles: d.config.profiles.join(", "),
        proofs: match d.config.challenges.as_slice() {
            [] => "none: names within a grant".into(),
            some => some.join(", "),
        },
        names: limits(&d.config),
        binding: d.config.external_account_required,
        slug: d.slug,
    };
    List {
        frame: Frame::of(signed, "directories"),
        rows: dash.registration.all_directories().into_iter().map(row).collect(),
        may_change: signed.may(Permission::ManageDirectories).is_ok(),
        slug: shown(slug),
        refusal,
    }
}

fn limits(config: &DirectoryConfig) -> String {
    let list = |rules: &[_]| lines(rules).replace('\n', ", ");
    match (list(&config.allow_names), list(&config.deny_names)) {
        (allow, _) if allow.is_empty() => "none".into(),
        (allow, deny) => {
            let allow = if allow == "*" { "any".to_owned() } else { allow };
            if deny.is_empty() { allow } else { format!("{allow}, not {deny}") }
        }
    }
}

#[derive(Template)]
#[template(path = "directory.html")]
struct One {
    frame: Frame,
    slug: String,
    url: String,
    may_change: bool,
    profiles: Vec<(String, bool)>,
    first: String,
    challenges: Vec<(String, bool)>,
    flags: Vec<(&'static str, &'static str, bool)>,
    lists: Vec<Field>,
    texts: Vec<Field>,
    refusal: Option<Words>,
    may_test: bool,
    /// Of the form that tests a name.
    action: String,
    of_order: bool,
    name: String,
    kinds: Vec<(String, bool)>,
    account: String,
}

/// An input as it stands.
struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    value: String,
}

pub async fn show(signed: Signed, State(dash): State<Dash>, Path(slug): Path<String>) -> Result<Response, Stop> {
    signed.may(Permission::ReadHierarchy)?;
    Ok(page(&one(&dash, &signed, &dash.registration.directory(&slug)?, None, None))?)
}

/// `sent` is a form that was refused: what somebody wrote stands there again.
fn one(dash: &Dash, signed: &Signed, directory: &Directory, sent: Option<&Form>, refusal: Option<Words>) -> One {
    let config = &directory.config;
    let chosen = |list: &[String], name: &str| list.iter().any(|n| n == name);
    let known: Vec<String> = dash.authority.snapshot().profiles.keys().cloned().collect();
    let text = |value: Option<String>| value.unwrap_or_default();
    let field = |name, label, hint, value| {
        let value = sent.map_or(value, |form| form.text(name).to_owned());
        Field { name, label, hint, value }
    };
    One {
        frame: Frame::of(signed, "directories"),
        url: format!("{}/acme/{}/directory", dash.external_url, directory.slug),
        slug: directory.slug.clone(),
        may_change: signed.may(Permission::ManageDirectories).is_ok(),
        profiles: known.into_iter().map(|p| (p.clone(), chosen(&config.profiles, &p))).collect(),
        first: config.profiles.first().cloned().unwrap_or_default(),
        challenges: CHALLENGES.iter().map(|c| ((*c).to_owned(), chosen(&config.challenges, c))).collect(),
        flags: vec![
            ("external_account_required", "New accounts need an EAB key", config.external_account_required),
            ("pre_authorization", "Names may be proved ahead of orders (newAuthz)", config.pre_authorization),
            ("subdomains", "One proof may cover the names below its own (RFC 9444)", config.subdomains),
        ],
        lists: vec![
            field(
                "allow_names",
                "Names that are certified",
                "One rule a line, as in a grant: lab.example, 10.0.0.0/8; * is any. Empty allows nothing.",
                lines(&config.allow_names),
            ),
            field("deny_names", "Names never certified", "One rule a line.", lines(&config.deny_names)),
            field(
                "issuers",
                "Issuers that may sign",
                "One a line; * is any of the profile’s domain.",
                config.issuers.join("\n"),
            ),
            field(
                "resolvers",
                "DNS servers",
                "IP:port, one a line; empty: those of the settings.",
                lines(&config.resolvers),
            ),
            field(
                "allow_networks",
                "Networks that validations may reach",
                "One a line; empty: those of the settings.",
                lines(&config.allow_networks),
            ),
            field(
                "deny_networks",
                "Networks that they never reach",
                "One a line, besides those of the settings.",
                lines(&config.deny_networks),
            ),
            field(
                "caa_identities",
                "Names of this CA in CAA records",
                "One a line; CAA and dns-persist-01 need one.",
                lines(&config.caa_identities),
            ),
        ],
        texts: vec![
            field(
                "http01_port",
                "Port of http-01",
                "80 unless the settings say otherwise",
                text(config.http01_port.map(|p| p.to_string())),
            ),
            field(
                "tls_alpn01_port",
                "Port of tls-alpn-01",
                "443 unless the settings say otherwise",
                text(config.tls_alpn01_port.map(|p| p.to_string())),
            ),
            field("caa", "CAA records", "off, log or enforce", config.caa.name().to_owned()),
            field(
                "reuse_authorizations",
                "Reuse validations for",
                "such as 8h; empty: each order proves anew",
                text(config.reuse_authorizations.clone()),
            ),
            field(
                "terms_of_service",
                "Terms of service",
                "URL that new accounts agree to",
                text(config.terms_of_service.clone()),
            ),
            field("website", "Website", "URL about this CA", text(config.website.clone())),
        ],
        refusal,
        may_test: signed.caller().may_manage_acme().is_ok(),
        action: format!("/directories/{}/test", directory.slug),
        of_order: false,
        name: String::new(),
        kinds: config.challenges.iter().map(|kind| (kind.clone(), false)).collect(),
        account: String::new(),
    }
}

fn lines<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A new directory begins with the defaults; its page changes them.
pub async fn create(State(dash): State<Dash>, Posted { signed, form }: Posted) -> Result<Response, Stop> {
    let may = signed.may(Permission::ManageDirectories);
    refused(&dash, signed.caller(), "directory.refused", "", may).await?;
    let slug = form.text("slug").trim();
    let made = dash.registration.create_directory(signed.caller().actor(), slug, DirectoryConfig::default()).await;
    match made {
        Ok(made) => Ok(see_other(&format!("/directories/{}", made.slug))),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &whole(&dash, &signed, slug, Some(words)))?)
        }
    }
}

pub async fn change(
    State(dash): State<Dash>,
    Path(slug): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    let mut directory = dash.registration.directory(&slug)?;
    let may = signed.may(Permission::ManageDirectories);
    refused(&dash, signed.caller(), "directory.refused", &format!("directory:{slug}"), may).await?;
    let changed = match fill(&mut directory.config, &form) {
        Ok(()) => {
            let config = directory.config.clone();
            dash.registration.change_directory(signed.caller().actor(), &slug, config).await
        }
        Err(error) => Err(error),
    };
    match changed {
        Ok(_) => Ok(see_other(&format!("/directories/{slug}"))),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &one(&dash, &signed, &directory, Some(&form), Some(words)))?)
        }
    }
}

fn fill(config: &mut DirectoryConfig, form: &Form) -> Result<()> {
    let list = |name: &str| -> Vec<String> {
        form.text(name).split(['\n', ',']).map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
    };
    let first = form.text("first");
    config.profiles = form.all("profiles");
    // the first of the list is the one that orders get when they name none
    config.profiles.sort_by_key(|slug| slug != first);
    config.challenges = form.all("challenges");
    config.external_account_required = form.given("external_account_required").is_some();
    config.pre_authorization = form.given("pre_authorization").is_some();
    config.subdomains = form.given("subdomains").is_some();
    config.issuers = list("issuers");
    config.http01_port = port(form, "http01_port")?;
    config.tls_alpn01_port = port(form, "tls_alpn01_port")?;
    config.reuse_authorizations = form.given("reuse_authorizations").map(str::to_owned);
    config.terms_of_service = form.given("terms_of_service").map(str::to_owned);
    config.website = form.given("website").map(str::to_owned);
    config.caa = form.given("caa").map_or(Ok(CaaMode::Off), caa_mode)?;
    config.caa_identities = hosts("caa_identities", &list("caa_identities"))?;
    config.allow_names = names("allow_names", &list("allow_names"))?;
    config.deny_names = names("deny_names", &list("deny_names"))?;
    config.resolvers = servers("resolvers", &list("resolvers"))?;
    config.allow_networks = networks("allow_networks", &list("allow_networks"))?;
    config.deny_networks = networks("deny_networks", &list("deny_networks"))?;
    Ok(())
}

fn port(form: &Form, name: &str) -> Result<Option<u16>> {
    let wrong = |text: &str| {
        let (value, allowed) = (format!("\"{}\"", shown(text)), "a port from 1 to 65535");
        Error::refused(
            ErrorKind::Unprocessable,
            format!("directory.{name}"),
            &value,
            allowed,
            "correct it or leave it empty",
        )
        .explained(format!("{value} is not {allowed}"))
    };
    form.given(name).map(|text| text.parse::<u16>().map_err(|_| wrong(text))).transpose()
}

//! `revoke`: a certificate, or by its slug an issuer with every certificate of its key. What depends on an issuer is shown
//! first, and is revoked only with a yes.

use std::path::Path;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::ca::RootKey;
use super::ca_states;
use super::certificates::{fingerprint_of_file, plain_hex, select};
use super::confirm::confirm;
use super::failure::{Cause, Failure, Result, Trying};
use super::output;
use super::session::Context;
use crate::authority::ca_revocation::root_cannot_be_revoked;
use crate::client::{Client, encode};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::serial::to_hex;
use crate::model::times;
use crate::pki::certificate_facts::CertificateFacts;

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// An id (crt_…), a serial or fingerprint in hex, a certificate file, or the name of an issuer, such as etcd-1
    selector: String,
    /// unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn, or
    /// certificateHold, which `--lift` takes back
    #[arg(long, default_value = "unspecified")]
    reason: String,
    /// Since when the key is known or suspected to be compromised: a date, a time, or how long ago (2d)
    #[arg(long, value_name = "TIME")]
    invalidity_date: Option<String>,
    /// Lift the hold of a certificate that was revoked for certificateHold: it is good again
    #[arg(long, conflicts_with_all = ["reason", "invalidity_date", "dry_run", "yes"])]
    lift: bool,
    /// Check everything, revoke nothing and show what would be revoked
    #[arg(long)]
    dry_run: bool,
    /// Revoke the certificate of an issuer, although everything below it ends with it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    root: RootKey,
}

/// What is to be revoked.
struct Target {
    certificate: Value,
    /// The issuer that the selector names: every certificate of it is revoked.
    issuer: Option<String>,
}

pub async fn revoke(context: &Context, args: RevokeArgs) -> Result<()> {
    let what = || format!("cannot revoke {}", args.selector);
    if args.lift {
        return lift(context, &args).await.trying(|| format!("cannot lift the hold of {}", args.selector));
    }
    let reason = RevocationReason::from_name(&args.reason).trying(what)?;
    let date = args.invalidity_date.as_deref().map(|text| times::moment_ago(text, SystemClock.now()));
    let date = date.transpose().trying(|| "cannot read --invalidity-date".to_owned())?;
    let wanted = NewRevocation::new(reason, date);
    let client = context.client().await?;
    let target = target(&client, &args.selector).await.trying(what)?;
    let preview = preview(&client, &target.certificate, &wanted).await.trying(what)?;
    let below = &preview["dependents"];
    if !below.is_null() {
        ca_states::show(below, "revoked");
    }
    if args.dry_run {
        if !output::document(context.output, &preview, "id")? {
            output::members(&flat(preview))?;
        }
        return Ok(());
    }
    if !below.is_null() {
        let unasked =
            "nothing was revoked: what is listed above ends with this issuer; --yes revokes it all the same";
        confirm(args.yes, unasked).trying(what)?;
    }
    // the keys of roots are loaded for what a root signed alone
    let here = context.target().trying(what)?.url.is_none();
    let client = match here && signed_by_root(&client, &target.certificate).await.trying(what)? {
        true => context.client_with_root(args.root.root_key.as_deref()).await.trying(what)?,
        false => client,
    };
    let mut done = one(&client, context, &target.certificate, &wanted).await.trying(what)?;
    if let Some(issuer) = &target.issuer {
        while let Some(next) = next_of(&client, issuer).await.trying(what)? {
            done = one(&client, context, &next, &wanted).await.trying(what)?;
        }
    }
    if let Some(issuer) = preview["revokes_issuer"].as_str() {
        tell_default(context, &client, issuer).await?;
    }
    in_force(context, &done)
}

/// Whether clients learn of it without anybody doing more.
fn in_force(context: &Context, done: &Value) -> Result<()> {
    let Some(action) = done["action_required"].as_str() else { return Ok(()) };
    let line = format!("NOT YET IN FORCE: {action}");
    output::say(&line);
    if let Some(note) = context.repeated().note_on(&[line]) {
        output::say(&format!("  note   {note}"));
    }
    Err(Failure { what: String::new(), cause: Cause::Check(NOT_IN_FORCE) })
}

async fn lift(context: &Context, args: &RevokeArgs) -> Result<()> {
    let client = context.client().await?;
    let certificate = select(&client, &args.selector).await?;
    let here = context.target()?.url.is_none();
    let client = match here && signed_by_root(&client, &certificate).await? {
        true => context.client_with_root(args.root.root_key.as_deref()).await?,
        false => client,
    };
    let mut done = client.delete(&path_of(&certificate)).await?;
    show(context, &mut done, "lifted   ", "good again")?;
    in_force(context, &done)
}

/// Prints a certificate after its status changed.
fn show(context: &Context, done: &mut Value, verb: &str, how: &str) -> Result<()> {
    if let Some(action) = done["action_required"].as_str() {
        done["action_required"] = context.repeated().in_text(action).into();
    }
    if output::document(context.output, done, "id")? {
        return Ok(());
    }
    let (whose, serial) = (super::certificates::named(done), output::text(done, "serial"));
    output::say(&format!("{verb}{whose}   {how}   serial {serial}"));
    Ok(())
}

const NOT_FOUND: u8 = 4;
const MALFORMED: u8 = 2;

/// A certificate by id, serial, fingerprint or file, else an issuer by its slug.
async fn target(client: &Client, selector: &str) -> Result<Target> {
    let failure = match select(client, selector).await {
        Ok(certificate) => return Ok(Target { certificate, issuer: None }),
        Err(failure) if [NOT_FOUND, MALFORMED].contains(&failure.exit_code()) => failure,
        Err(failure) => return Err(failure),
    };
    let Ok(issuer) = client.get(&format!("/api/v1/issuers/{}", encode(selector))).await else {
        return Err(foreign_issuer(client, selector).await.unwrap_or(failure));
    };
    let pem = output::text(&issuer, "certificate");
    match certificate_of(client, &pem).await {
        Ok(certificate) => Ok(Target { certificate, issuer: Some(selector.to_owned()) }),
        Err(failure) => Err(foreign(&issuer).unwrap_or(failure)),
    }
}

async fn certificate_of(client: &Client, pem: &str) -> Result<Value> {
    let fingerprint = facts_of(pem).map(|facts| to_hex(&facts.fingerprint));
    select(client, &fingerprint.ok_or_else(|| Error::not_found("certificate of this issuer"))?).await
}

/// The next certificate of an issuer that is not revoked; none once the issuer is.
async fn next_of(client: &Client, slug: &str) -> Result<Option<Value>> {
    let issuer = client.get(&format!("/api/v1/issuers/{}", encode(slug))).await?;
    if issuer["state"] == "revoked" {
        return Ok(None);
    }
    let next = certificate_of(client, &output::text(&issuer, "certificate")).await?;
    Ok(Some(next).filter(|next| next["status"] == "valid"))
}

async fn preview(client: &Client, certificate: &Value, wanted: &NewRevocation) -> Result<Value> {
    let path = format!("{}?dry_run=true", path_of(certificate));
    Ok(client.post(&path, &body_of(wanted, false)).await?)
}

fn body_of(wanted: &NewRevocation, confirm: bool) -> Value {
    let mut body = json!({"reason": wanted.reason.name(), "confirm": confirm});
    if let Some(date) = wanted.invalidity_date {
        body["invalidity_date"] = json!(date);
    }
    body
}

async fn one(client: &Client, context: &Context, certificate: &Value, wanted: &NewRevocation) -> Result<Value> {
    let mut done = client.post(&path_of(certificate), &body_of(wanted, true)).await?;
    let (reason, before) = (wanted.reason.name(), &certificate["revocation"]);
    match before["reason"].as_str() {
        None => show(context, &mut done, "revoked  ", reason)?,
        Some(before) => {
            let since = output::text(&done["revocation"], "revoked_at");
            show(context, &mut done, "raised   ", &format!("{reason} (was {before})   revoked since {since}"))?;
        }
    }
    Ok(done)
}

fn path_of(certificate: &Value) -> String {
    format!("/api/v1/certificates/{}/revocation", encode(&output::text(certificate, "id")))
}

/// A preview whose members fit on one line each.
fn flat(mut preview: Value) -> Value {
    if let Some(members) = preview.as_object_mut() {
        let below = members.remove("dependents");
        for (member, value) in below.iter().flat_map(|below| below.as_object()).flatten() {
            members.insert(format!("dependents.{member}"), value.clone());
        }
    }
    preview
}

/// Whether the issuer goes on with another certificate, or who signs now.
async fn tell_default(context: &Context, client: &Client, slug: &str) -> Result<()> {
    let what = || format!("cannot show {slug}");
    let issuer = client.get(&format!("/api/v1/issuers/{}", encode(slug))).await.trying(what)?;
    if issuer["state"] != "revoked" {
        output::say(&format!("goes on   {slug} has another certificate of the same key, which is not revoked"));
    }
    ca_states::default(context, client, &output::text(&issuer, "domain")).await
}

/// Why the certificate of an issuer here that a CA elsewhere signed is not revoked here.
async fn foreign_issuer(client: &Client, selector: &str) -> Option<Failure> {
    let issuers = client.get("/api/v1/issuers").await.ok()?;
    let wanted = match Path::new(selector).is_file() {
        true => fingerprint_of_file(Path::new(selector)).ok()?,
        false => plain_hex(selector)?,
    };
    let is_it = |one: &&Value| {
        let Some(facts) = one["certificate"].as_str().and_then(facts_of) else { return false };
        let serial = to_hex(&facts.serial);
        to_hex(&facts.fingerprint) == wanted || serial.trim_start_matches('0') == wanted.trim_start_matches('0')
    };
    foreign(issuers["items"].as_array()?.iter().find(is_it)?)
}

fn foreign(issuer: &Value) -> Option<Failure> {
    let (slug, domain) = (output::text(issuer, "slug"), output::text(issuer, "domain"));
    if issuer["role"] == "root" {
        return Some(root_cannot_be_revoked(&slug, &domain).into());
    }
    let above = facts_of(issuer["certificate"].as_str()?)?.issuer.to_string();
    let value = format!("{above}, a CA elsewhere, signed the certificate of issuer {slug} and alone can revoke it");
    let fix = format!(
        "have it revoked there; its CRL is fetched within the hour, or taken by `chancery ca crl import FILE`. Until then \
         run `chancery ca retire {slug}`"
    );
    let sentence = format!("{value}; {fix}");
    let allowed = "a certificate that a CA of this installation signed";
    let error = Error::refused(ErrorKind::Unprocessable, "revocation.foreign", value, allowed, fix);
    Some(error.saying(sentence).into())
}

fn facts_of(pem: &str) -> Option<CertificateFacts> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    CertificateFacts::parse(&der).ok()
}

/// The exit code of a revocation that no CRL lists yet: a check that ended with a warning.
const NOT_IN_FORCE: u8 = 10;

async fn signed_by_root(client: &Client, certificate: &Value) -> Result<bool> {
    let path = format!("/api/v1/issuers/{}", encode(&output::text(certificate, "issuer")));
    let issuer = client.get(&path).await?;
    Ok(issuer["role"].as_str() == Some("root"))
}

//! `find` and `revoke`, and the selector that names one certificate: id, serial, fingerprint or file.

use std::path::Path;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::ca::RootKey;
use super::failure::{Cause, Failure, Result, Trying};
use super::listing;
use super::output::{self, Format, Table};
use super::session::Context;
use crate::client::{Client, encode};
use crate::error::{Error, ErrorKind};
use crate::model::reason::RevocationReason;
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// An id (crt_…), a serial or fingerprint in hex, or a certificate file
    selector: String,
    /// unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn
    #[arg(long, default_value = "unspecified")]
    reason: String,
    /// Check everything, revoke nothing and show what would be revoked
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    root: RootKey,
}

pub async fn revoke(context: &Context, args: RevokeArgs) -> Result<()> {
    let what = || format!("cannot revoke {}", args.selector);
    RevocationReason::from_name(&args.reason).trying(what)?;
    let client = context.client().await?;
    let certificate = match select(&client, &args.selector).await {
        Err(failure) if failure.exit_code() == NOT_FOUND => {
            return Err(foreign_issuer(&client, &args.selector).await.unwrap_or(failure)).trying(what);
        }
        selected => selected.trying(what)?,
    };
    let id = output::text(&certificate, "id");
    let path = format!("/api/v1/certificates/{}/revocation", encode(&id));
    if args.dry_run {
        let path = format!("{path}?dry_run=true");
        let told = client.post(&path, &json!({"reason": args.reason})).await.trying(what)?;
        return output::object(context.output, &told);
    }
    // the keys of roots are loaded for what a root signed alone
    let here = context.target().trying(what)?.url.is_none();
    let client = match here && signed_by_root(&client, &certificate).await.trying(what)? {
        true => context.client_with_root(args.root.root_key.as_deref()).await.trying(what)?,
        false => client,
    };
    let done = client.post(&path, &json!({"reason": args.reason})).await.trying(what)?;
    if context.output == Some(Format::Json) {
        output::json(&done)?;
    } else {
        let (names, serial) = (output::text(&certificate, "names"), output::text(&certificate, "serial"));
        output::say(&format!("revoked  {names}   {}   serial {serial}", args.reason));
    }
    match done["action_required"].as_str() {
        None => Ok(()),
        Some(action) => {
            output::say(&format!("NOT YET IN FORCE: {action}"));
            Err(Failure { what: String::new(), cause: Cause::Check(NOT_IN_FORCE) })
        }
    }
}

const NOT_FOUND: u8 = 4;

/// Why the certificate of an issuer here that a CA elsewhere signed is not revoked here.
async fn foreign_issuer(client: &Client, selector: &str) -> Option<Failure> {
    let issuers = client.get("/api/v1/issuers").await.ok()?;
    let wanted = match Path::new(selector).is_file() {
        true => fingerprint_of_file(Path::new(selector)).ok()?,
        false => plain_hex(selector)?,
    };
    let is_it = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let facts = CertificateFacts::parse(&der).ok()?;
        let serial = to_hex(&facts.serial);
        let same =
            to_hex(&facts.fingerprint) == wanted || serial.trim_start_matches('0') == wanted.trim_start_matches('0');
        same.then(|| facts.issuer.to_string())
    };
    let found = issuers["items"].as_array()?.iter().find_map(|one| {
        let above = is_it(one["certificate"].as_str()?)?;
        Some((output::text(one, "slug"), above))
    });
    let (slug, above) = found?;
    let error = Error::refused(
        ErrorKind::Unprocessable,
        "revocation.foreign",
        format!("the certificate of issuer {slug}, which {above} signed"),
        "a certificate that a CA of this installation signed",
        format!(
            "have {above} revoke it; its CRL is fetched within the hour, or taken by `chancery ca crl import FILE`. Until then \
             run `chancery ca retire {slug}`"
        ),
    );
    Some(error.into())
}

/// The exit code of a revocation that no CRL lists yet: a check that ended with a warning.
const NOT_IN_FORCE: u8 = 10;

async fn signed_by_root(client: &Client, certificate: &Value) -> Result<bool> {
    let path = format!("/api/v1/issuers/{}", encode(&output::text(certificate, "issuer")));
    let issuer = client.get(&path).await?;
    Ok(issuer["role"].as_str() == Some("root"))
}

#[derive(Debug, Args)]
pub struct FindArgs {
    /// A name, *.suffix, prefix*, serial, or nothing for the newest
    query: Option<String>,
    /// intended, valid, revoked or expired
    #[arg(long)]
    status: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

pub async fn find(context: &Context, args: FindArgs) -> Result<()> {
    let client = context.client().await?;
    let filters = [("q", args.query.clone()), ("status", args.status.clone())];
    let (found, cursor) = listing::all(&client, "/api/v1/certificates", &filters, args.limit)
        .await
        .trying(|| "cannot list certificates".into())?;
    match context.output {
        Some(Format::Json) => return Ok(output::json(&json!({"items": found, "next_cursor": cursor}))?),
        Some(Format::Pem) => {
            for one in &found {
                output::data(&pem_of(&client, one).await?)?;
            }
            return Ok(());
        }
        Some(Format::Table) | None => {}
    }
    let mut table = Table::new(&["NAMES", "STATUS", "EXPIRES", "ISSUER", "PROFILE", "REQUESTER", "SERIAL"]);
    for one in &found {
        let members = ["names", "status", "not_after", "issuer", "profile", "requester", "serial"];
        table.row(members.iter().map(|m| output::text(one, m)).collect());
    }
    Ok(table.print()?)
}

async fn pem_of(client: &Client, certificate: &Value) -> Result<String> {
    if let Some(pem) = certificate["certificate"].as_str() {
        return Ok(pem.to_owned());
    }
    let path = format!("/api/v1/certificates/{}", encode(&output::text(certificate, "id")));
    let whole = client.get(&path).await?;
    Ok(whole["certificate"].as_str().unwrap_or_default().to_owned())
}

/// The one certificate that a person means.
pub async fn select(client: &Client, selector: &str) -> Result<Value> {
    if selector.starts_with("crt_") {
        return Ok(client.get(&format!("/api/v1/certificates/{}", encode(selector))).await?);
    }
    if Path::new(selector).is_file() {
        let fingerprint = fingerprint_of_file(Path::new(selector))?;
        return only(client, "fingerprint", &fingerprint, selector).await;
    }
    let hex = plain_hex(selector).ok_or_else(|| {
        Error::malformed(format!(
            "\"{selector}\" is neither an id (crt_…), a serial or fingerprint in hex, nor a file"
        ))
    })?;
    let member = if hex.len() == 64 { "fingerprint" } else { "serial" };
    only(client, member, &hex, selector).await
}

async fn only(client: &Client, member: &str, value: &str, selector: &str) -> Result<Value> {
    let page = client.get(&format!("/api/v1/certificates?{member}={}", encode(value))).await?;
    let first = page["items"].get(0).ok_or_else(|| {
        Error::not_found(format!("certificate {selector} here; `chancery find NAME` lists those of a name"))
    })?;
    let id = output::text(first, "id");
    Ok(client.get(&format!("/api/v1/certificates/{}", encode(&id))).await?)
}

/// SHA-256 of the first certificate in a PEM or DER file.
fn fingerprint_of_file(path: &Path) -> Result<String> {
    let content =
        std::fs::read(path).map_err(|e| Error::malformed(format!("cannot read {}: {e}", path.display())))?;
    let der = match CertificateDer::from_pem_slice(&content) {
        Ok(der) => der.to_vec(),
        Err(_) if content.first() == Some(&0x30) => content,
        Err(_) => {
            return Err(Error::malformed(format!("there is no certificate in {}", path.display())).into());
        }
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    Ok(digest.as_ref().iter().map(|b| format!("{b:02x}")).collect())
}

/// Any usual spelling: colons, blanks, upper case, `SHA256:` in front.
fn plain_hex(text: &str) -> Option<String> {
    let text = text.strip_prefix("SHA256:").or_else(|| text.strip_prefix("sha256:")).unwrap_or(text);
    let hex: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect::<String>().to_ascii_lowercase();
    (!hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hex)
}

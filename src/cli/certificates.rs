//! `find`, and the selector that names one certificate: id, serial, fingerprint or file.

use std::path::Path;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::failure::{Result, Trying};
use super::listing::{self, NewestArgs};
use super::output::{self, Column, Format, Table};
use super::repeated::quoted;
use super::session::Context;
use crate::client::{Client, encode};
use crate::error::{Error, ErrorKind};
use crate::model::identifier::shown;

#[derive(Debug, Args)]
pub struct FindArgs {
    /// A name, *.suffix, prefix* or serial in hex (04, 0x04, 4); without it the newest certificates are listed
    query: Option<String>,
    /// Only certificates of this status: intended, valid, revoked or expired. The status is the certificate's own, whatever
    /// its issuer's is
    #[arg(long)]
    status: Option<String>,
    /// Only certificates of this issuer, such as tls-1
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// The authority key identifier in hex: what an earlier version issued under a cross-certificate
    #[arg(long, value_name = "HEX")]
    authority_key_id: Option<String>,
    #[command(flatten)]
    page: NewestArgs,
}

pub async fn find(context: &Context, args: FindArgs) -> Result<()> {
    let client = context.client().await?;
    let key_id = args.authority_key_id.as_deref().map(|text| {
        plain_hex(text).ok_or_else(|| Error::malformed(format!("--authority-key-id \"{text}\" is not hexadecimal")))
    });
    let filters = [
        ("q", args.query.clone()),
        ("status", args.status.clone()),
        ("issuer", args.issuer.clone()),
        ("authority_key_id", key_id.transpose()?),
    ];
    let found = listing::find(&client, "/api/v1/certificates", &filters, &args.page).await;
    let found = found.trying(|| "cannot list certificates".into())?;
    if context.output == Some(Format::Pem) {
        for one in &found.items {
            output::data(&pem_of(&client, one).await?)?;
        }
        found.say_more();
        return Ok(());
    }
    if found.items.is_empty() && !output::is_for_programs(context.output) {
        output::say(&nothing_found(&args));
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Names,
        Column::Status,
        Column::Expires,
        Column::Issuer,
        Column::Profile,
        Column::RequestedBy,
        Column::Serial,
    ]);
    for one in &found.items {
        let members = ["names", "status", "not_after", "issuer", "profile", "requester", "serial"];
        let mut cells: Vec<String> = members.iter().map(|m| output::text(one, m)).collect();
        cells[0] = named(one);
        cells[1] = status(one);
        table.row(cells);
    }
    found.print(context, "id", |_| table)
}

/// What was asked for, so that a slip of the keyboard is seen.
fn nothing_found(args: &FindArgs) -> String {
    let name = args.query.as_ref().map(|query| format!(" for \"{}\"", shown(query)));
    let status = args.status.as_ref().map(|status| format!(" with status {}", shown(status)));
    let issuer = args.issuer.as_ref().map(|issuer| format!(" of issuer {}", shown(issuer)));
    let key = args.authority_key_id.as_ref().map(|id| format!(" with authority key identifier {}", shown(id)));
    let asked: String = [name, status, issuer, key].into_iter().flatten().collect();
    format!("no certificates found{asked}")
}

/// The names of a certificate; one without names is known by its subject.
pub(super) fn named(certificate: &Value) -> String {
    match output::text(certificate, "names").as_str() {
        "-" => output::text(certificate, "subject"),
        names => names.to_owned(),
    }
}

/// The status of a certificate itself, with a note of a revoked CA above it.
fn status(certificate: &Value) -> String {
    let above = &certificate["issuer_revocation"];
    match above["issuer"].as_str() {
        Some(slug) if certificate["status"] == "valid" && above["on_hold"] == true => {
            format!("valid (issuer {slug} is on hold)")
        }
        Some(slug) if certificate["status"] == "valid" => format!("valid (issuer {slug} is revoked)"),
        Some(_) | None if certificate["revocation"]["reason"] == "certificateHold" => "revoked (on hold)".to_owned(),
        Some(_) | None => match certificate["issuer_removed"].as_str() {
            Some(slug) if certificate["status"] == "valid" => format!("valid (below {slug}, which is removed)"),
            Some(_) | None => output::text(certificate, "status"),
        },
    }
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
    let found = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = match found {
        [] => return Err(unknown(selector, client.may_hide()).into()),
        [one] => one,
        several => return Err(ambiguous(selector, several).into()),
    };
    let id = output::text(first, "id");
    Ok(client.get(&format!("/api/v1/certificates/{}", encode(&id))).await?)
}

fn unknown(selector: &str, may_be_hidden: bool) -> Error {
    let hidden = if may_be_hidden { ", or this token may not see it" } else { "" };
    let lost = "one that an issuer here signed before a backup was restored, or elsewhere, comes in with";
    Error::not_found(match Path::new(selector).is_file() {
        true => format!(
            "record of the certificate in {selector} here; {lost} `chancery ca import-certificates {}`{hidden}",
            quoted(selector)
        ),
        false => format!(
            "certificate {selector} here; `chancery find NAME` lists those of a name, and {lost} \
             `chancery ca import-certificates FILE`{hidden}"
        ),
    })
}

/// CAs that were imported may have used one serial number each.
fn ambiguous(selector: &str, found: &[Value]) -> Error {
    let one = |found: &Value| {
        format!("{} ({}, of {})", output::text(found, "id"), named(found), output::text(found, "issuer"))
    };
    let all: Vec<_> = found.iter().map(one).collect();
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{} certificates have the serial {selector}; give the id of one of them: {}",
            all.len(),
            all.join(", ")
        ),
    )
}

/// SHA-256 of the first certificate in a PEM or DER file.
pub(super) fn fingerprint_of_file(path: &Path) -> Result<String> {
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

/// Any usual spelling: colons, blanks, upper case, with `SHA256:`, `serial=` or `0x` before it.
pub(super) fn plain_hex(text: &str) -> Option<String> {
    let before = ["SHA256:", "sha256:", "serial=", "0x", "0X"];
    let text = before.iter().find_map(|before| text.strip_prefix(before)).unwrap_or(text);
    let hex: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect::<String>().to_ascii_lowercase();
    (!hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hex)
}

//! `renew FILE`: a new certificate for the names, the subject and the profile of an old one and as long as that, with a
//! new key unless the old one is to be kept. Both are put in place together (`pair`).

use std::path::{Path, PathBuf};

use clap::Args;
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::failure::{Result, Trying};
use super::output::{self, Format};
use super::pair::{self, Pair};
use super::pkcs12_file::{self, Pkcs12Args};
use super::session::Context;
use super::{certificates, issue, objects};
use crate::client::{Client, encode};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::model::certificate::Certificate;
use crate::model::identifier::Identifier;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::{key_policy, oids};

#[derive(Debug, Args)]
pub struct RenewArgs {
    /// The certificate file that `issue` wrote: NAME.crt, or NAME.pem with the key in it
    file: PathBuf,
    /// Its private key; when not given, FILE itself if it holds one, else FILE with the ending .key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Keep the private key instead of making a new one
    #[arg(long)]
    reuse_key: bool,
    /// Renew although more than a third of its life is left and the CA does not ask for it
    #[arg(long)]
    force: bool,
    /// How long from now, such as 90d, 1h30m or 30s, or until when; as long as the old one when not given
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    #[command(flatten)]
    pkcs12: Pkcs12Args,
}

pub async fn renew(context: &Context, args: RenewArgs) -> Result<()> {
    let what = || format!("cannot renew {}", args.file.display());
    let pair = Pair::find(&args.file, args.key_file.as_deref());
    let _until_both_are_there = pair.lock();
    if pair.recover().trying(what)? {
        output::say(&format!(
            "recovered  {}: an earlier renewal was interrupted; its certificate and key are in place now",
            args.file.display()
        ));
    }
    let old = read(&args.file).trying(what)?;
    let client = context.client().await?;
    let known = certificates::select(&client, &crate::model::serial::to_hex(&old.fingerprint)).await.trying(what)?;
    if !args.force && !is_due(&old) {
        let Some(why) = called_back(&client, &known).await.trying(what)? else {
            output::say(&format!(
                "not due  {} lasts until {}; --force renews now",
                args.file.display(),
                old.validity.not_after()
            ));
            return Ok(());
        };
        output::say(&format!("due now  {}: {why}", args.file.display()));
    }
    if known["profile"] == Certificate::IMPORTED_PROFILE {
        let name = old.names.first().cloned().unwrap_or_default();
        let detail = format!(
            "this certificate was taken in with `chancery ca import-certificates`, and no profile of this CA is known for it; get \
             its successor with `chancery issue {name} --profile PROFILE --force`"
        );
        return Err(Error::new(ErrorKind::Conflict, detail)).trying(what);
    }
    let pkcs12 = args.pkcs12.prepare(&pair, true).trying(what)?;
    let key = key(&args, &pair.key, &old).trying(what)?;
    let body = body(&args, &old, &known, &key).trying(what)?;
    let pem = (!args.reuse_key).then(|| issue::key_pem(&key)).transpose().trying(what)?;
    if let Some(pem) = &pem {
        pair.stage(pem).trying(what)?;
    }
    let mut made = match client.post("/api/v1/certificates", &body).await {
        Ok(made) => made,
        Err(refusal) => {
            pair.discard();
            return Err(refusal).trying(what);
        }
    };
    pair.switch(&issue::chain(&made), pem.as_ref().map(|pem| pem.as_str())).trying(what)?;
    if let Some(file) = &pkcs12 {
        file.write(&issue::chain(&made), &key).trying(what)?;
    }
    let left = pkcs12_file::beside(&args.file);
    if pkcs12.is_none() && left.exists() {
        let (left, file) = (left.display(), args.file.display());
        output::say(&format!(
            "note  {left} still holds the old certificate; `chancery renew {file} --force --pkcs12` writes it anew"
        ));
    }
    if output::is_for_programs(context.output) {
        pkcs12.iter().for_each(|file| file.tell_json(&mut made));
        output::document(context.output, &made, "id")?;
        let told = pkcs12.iter().filter(|_| context.output == Some(Format::Name));
        return Ok({ told }.try_for_each(|file| file.tell(context.output))?);
    }
    let (names, until, serial) =
        (super::certificates::named(&made), output::text(&made, "not_after"), output::text(&made, "serial"));
    output::say(&format!("renewed  {names}   until {until}   serial {serial}"));
    issue::where_it_is(&pair, if args.reuse_key { "kept" } else { "new" });
    Ok(pkcs12.iter().try_for_each(|file| file.tell(context.output))?)
}

fn read(file: &Path) -> Result<CertificateFacts, Error> {
    let content =
        std::fs::read(file).map_err(|e| Error::malformed(format!("cannot read {}: {e}", file.display())))?;
    pkcs12_file::refuse(file, &content)?;
    let leaf = objects::certificates(&content)?.into_iter().next().unwrap_or_default();
    CertificateFacts::parse(&leaf).map_err(|e| Error::malformed(format!("the certificate cannot be read: {e}")))
}

/// In the last third of its life, as ACME clients do.
fn is_due(old: &CertificateFacts) -> bool {
    let validity = old.validity;
    validity.not_after().since(SystemClock.now()) * 3 < validity.not_after().since(validity.not_before())
}

/// Why the CA wants it renewed before its dates do; none while they alone decide.
async fn called_back(client: &Client, known: &Value) -> Result<Option<String>> {
    let path = format!("/api/v1/certificates/{}/renewals", encode(&output::text(known, "id")));
    let told = client.get(&path).await?;
    let start = Timestamp::parse_rfc3339(&output::text(&told, "start"));
    let has_begun = start.is_none_or(|start| start <= SystemClock.now());
    Ok(match told["source"].as_str() {
        Some("life") | None => None,
        Some(_) if !has_begun => None,
        Some("revocation") if known["status"] == "revoked" => Some("it was revoked".to_owned()),
        Some("revocation") => Some("a CA above it was revoked".to_owned()),
        Some("removal") => Some("a CA above it was removed".to_owned()),
        Some("rule") => Some(format!("an operator asks for it: {}", output::text(&told, "reason"))),
        Some("key_identifier") => Some("it names another key identifier than the CRLs of its issuer".to_owned()),
        Some(other) => Some(format!("the CA asks for it ({other})")),
    })
}

/// A new key of the old one's kind, or the old one. The old file must be there in either case: it is what is replaced.
fn key(args: &RenewArgs, file: &Path, old: &CertificateFacts) -> Result<KeyPair, Error> {
    let named = |e: Error| Error::new(e.kind, format!("{}; name it with --key-file", e.detail));
    let pem = Zeroizing::new(pair::key_text(file).map_err(named)?);
    let unreadable = |e| Error::malformed(format!("cannot read the key {}: {e}", file.display()));
    let pair = KeyPair::from_pem(&pem).map_err(|e| named(unreadable(e)))?;
    if key_policy::sha256(&pair.subject_public_key_info()) != old.spki_sha256 {
        let detail = format!(
            "{} is not the key of {}, and renewing would replace it; name the key of this certificate with --key-file, or get a new certificate with `chancery issue`",
            file.display(),
            args.file.display()
        );
        return Err(Error::new(ErrorKind::Conflict, detail));
    }
    if args.reuse_key {
        return Ok(pair);
    }
    issue::generate(&old.key_algorithm)
}

/// The same names, and a subject that says the same: the server refuses what its profile no longer gives.
fn body(args: &RenewArgs, old: &CertificateFacts, known: &Value, key: &KeyPair) -> Result<Value, Error> {
    let names = old.names.iter().map(|name| Identifier::guess(name)).collect::<Result<Vec<_>, _>>()?;
    let mut body = json!({"csr": issue::request(&names, key)?, "profile": known["profile"], "replaces": known["id"]});
    let attributes = [
        ("common_name", oids::COMMON_NAME),
        ("organization", oids::ORGANIZATION),
        ("organizational_unit", oids::ORGANIZATIONAL_UNIT),
        ("country", oids::COUNTRY),
        ("state", oids::STATE),
        ("locality", oids::LOCALITY),
    ];
    for (member, id) in attributes {
        let found =
            old.subject.texts(&id).map_err(|e| Error::malformed(format!("its subject cannot be read: {e}")))?;
        if let Some(text) = found.into_iter().next() {
            body["subject"][member] = text.into();
        }
    }
    if let Some(ttl) = &args.ttl {
        body["ttl"] = ttl.clone().into();
    }
    Ok(body)
}

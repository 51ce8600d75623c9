//! `ca import-certificates`: what a CA issued before it came here. Files are read one after the other and sent in
//! batches, so that a hundred thousand need no more memory than one batch, and an import that broke off is run again.

mod found;
mod index;
mod records;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use serde_json::{Value, json};

use self::found::{Found, Sources};
use super::failure::{Cause, Failure, Result, Trying};
use super::output;
use super::session::Context;
use crate::client::Client;
use crate::pki::pem;

/// The size of a request: a body may have 1 MiB.
const BATCH: usize = 250;
const BATCH_OCTETS: usize = 700_000;
const PROGRESS: u64 = 5_000;

#[derive(Debug, Args)]
pub struct ImportCertificatesArgs {
    /// Certificates in PEM or DER, bundles, folders (OpenSSL with its index.txt, EasyRSA), Vault's JSON of `read
    /// pki/cert/SERIAL`, or the values of step-ca's tables x509_certs and revoked_x509_certs, one
    /// a line in hex or base64 (psql -Atc "SELECT nvalue FROM x509_certs")
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The index.txt of the CA, where it is not in a folder above the certificates
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Check everything, import nothing and show what would be imported, and why the rest is refused
    #[arg(long)]
    dry_run: bool,
}

/// What became of the certificates.
#[derive(Debug, Default)]
struct Counts {
    read: u64,
    imported: u64,
    imported_revoked: u64,
    known: u64,
    revoked: u64,
    /// By rule: how many, and the first one.
    refused: BTreeMap<String, (u64, String)>,
}

/// A refusal keeps nothing else back; the exit code of a check that ended with a warning tells of it.
const SOME_REFUSED: u8 = 10;

pub async fn run(context: &Context, args: ImportCertificatesArgs) -> Result<()> {
    let what = || "cannot import certificates".to_owned();
    let sources = Sources::of(&args.paths, args.index.as_deref()).trying(what)?;
    let client = context.client().await.trying(what)?;
    let (mut counts, mut batch, mut seen) = (Counts::default(), Vec::new(), HashSet::new());
    let (mut octets, mut told, mut files) = (0, 0, sources.files());
    while let Some(certificates) = files.next_file().trying(what)? {
        for found in certificates {
            let fingerprint = digest(&SHA256, &found.der).as_ref().to_vec();
            // certs_by_serial and issued hold the same ones
            if !seen.insert(fingerprint) {
                continue;
            }
            octets += found.der.len() * 3 / 2 + 200;
            batch.push(found);
            if batch.len() >= BATCH || octets >= BATCH_OCTETS {
                send(&client, &mut batch, args.dry_run, &mut counts).await.trying(what)?;
                octets = 0;
                told = progress(context, &counts, told);
            }
        }
    }
    send(&client, &mut batch, args.dry_run, &mut counts).await.trying(what)?;
    let unmatched = files.unmatched();
    if !output::document(context.output, &as_json(&counts, args.dry_run, unmatched), "read")? {
        tell(context, &counts, args.dry_run, unmatched);
    }
    match counts.refused.is_empty() {
        true => Ok(()),
        false => Err(Failure { what: String::new(), cause: Cause::Check(SOME_REFUSED) }),
    }
}

/// Sends what was collected, and empties it.
async fn send(client: &Client, batch: &mut Vec<Found>, dry_run: bool, counts: &mut Counts) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let certificate = |found: &Found| {
        let mut one = json!({"certificate": pem::encode(pem::CERTIFICATE, &found.der)});
        if let Some((at, new)) = &found.revoked {
            one["revocation"] = json!({"revoked_at": at, "reason": new.reason.name()});
            if let Some(date) = new.invalidity_date {
                one["revocation"]["invalidity_date"] = json!(date);
            }
        }
        one
    };
    let body = json!({"certificates": batch.iter().map(certificate).collect::<Vec<_>>(), "dry_run": dry_run});
    let answer = client.post("/api/v1/certificates/imports", &body).await?;
    for (n, found) in batch.drain(..).enumerate() {
        counts.read += 1;
        let item = &answer["items"][n];
        match item["outcome"].as_str().unwrap_or_default() {
            "imported" => counts.imported += 1,
            "imported_revoked" => counts.imported_revoked += 1,
            "known" => counts.known += 1,
            "revoked" => counts.revoked += 1,
            _ => {
                let example = || format!("{}: {}", found.source, output::text(item, "why"));
                counts.refused.entry(output::text(item, "rule")).or_insert_with(|| (0, example())).0 += 1;
            }
        }
    }
    Ok(())
}

fn progress(context: &Context, counts: &Counts, told: u64) -> u64 {
    if counts.read < told + PROGRESS {
        return told;
    }
    if !output::is_for_programs(context.output) {
        output::say(&format!("          {} read, {} refused", counts.read, refused(counts)));
    }
    counts.read
}

fn refused(counts: &Counts) -> u64 {
    counts.refused.values().map(|(count, _)| count).sum()
}

fn tell(context: &Context, counts: &Counts, dry_run: bool, unmatched: usize) {
    let would = if dry_run { "would be imported" } else { "imported" };
    let all = counts.imported + counts.imported_revoked;
    output::say(&format!("{would}  {all} certificates, {} of them revoked", counts.imported_revoked));
    output::say(&format!("known     {} that are here already", counts.known));
    if counts.revoked > 0 {
        output::say(&format!("revoked   {} that were here already and were revoked since", counts.revoked));
    }
    for (count, example) in counts.refused.values() {
        output::say(&format!("refused   {count}, such as {example}"));
    }
    if unmatched > 0 {
        output::say(&format!(
            "missing   {unmatched} revoked serials have no certificate among these files; the last CRL of the CA, which \
             `chancery ca import` takes with --crl, keeps them revoked"
        ));
    }
    if !dry_run && counts.imported_revoked + counts.revoked > 0 {
        let command = context.command("doctor");
        output::say(&format!(
            "next      {command} tells which roots have to sign their CRLs anew; issuers do it by themselves"
        ));
    }
    if dry_run && all + counts.revoked > 0 {
        output::say(&format!("next      {} without --dry-run", context.command("ca import-certificates PATH…")));
    }
}

fn as_json(counts: &Counts, dry_run: bool, unmatched: usize) -> Value {
    let refused: Vec<_> = counts
        .refused
        .iter()
        .map(|(rule, (count, example))| json!({"rule": rule, "count": count, "example": example}))
        .collect();
    json!({"dry_run": dry_run, "read": counts.read, "imported": counts.imported + counts.imported_revoked,
        "imported_revoked": counts.imported_revoked, "known": counts.known, "revoked": counts.revoked,
        "refused": refused, "revoked_without_certificate": unmatched})
}

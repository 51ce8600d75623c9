//! `inspect`: what is in a file, what a TLS server shows, or what the CA knows of an id, serial or fingerprint.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::failure::{Result, Trying};
use super::output::{self, Format};
use super::peer::Peer;
use super::session::Context;
use super::{certificates, inspect_short, objects, pkcs12_file};
use crate::error::Error;
use crate::pki::pem::{self, Block};
use crate::pki::pkcs12;

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A file (certificate, CSR, CRL, OCSP answer, key, PKCS#12), host:port, an id (crt_…), a serial or a fingerprint
    thing: String,
    /// A file with the password of a PKCS#12 file; - reads stdin
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// What people look for first [default on a terminal]
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// Everything [default where no terminal reads]
    #[arg(long)]
    long: bool,
}

impl InspectArgs {
    fn is_short(&self) -> bool {
        self.short || !self.long && output::is_shown()
    }
}

pub async fn inspect(context: &Context, args: InspectArgs) -> Result<()> {
    let what = || format!("cannot inspect {}", args.thing);
    let blocks = match blocks(&args).await.trying(what)? {
        Some(blocks) => blocks,
        None => return known(context, &args).await.trying(what),
    };
    if context.output == Some(Format::Pem) {
        objects::refuse_private(&blocks).trying(what)?;
        return Ok(output::data(&blocks.iter().map(|b| pem::encode(&b.label, &b.der)).collect::<String>())?);
    }
    let described = blocks.iter().map(objects::describe).collect::<Result<Vec<_>, Error>>().trying(what)?;
    let document = match described.as_slice() {
        [one] => one.clone(),
        several => several.into(),
    };
    if output::document(context.output, &document, "fingerprint")? {
        return Ok(());
    }
    if !args.is_short() {
        return Ok(described.iter().try_for_each(output::members)?);
    }
    for (at, sheet) in inspect_short::of_file(&described).iter().enumerate() {
        if at > 0 {
            output::data("\n")?;
        }
        sheet.print()?;
    }
    Ok(())
}

/// The objects of a file or the certificates of a peer; none when it is neither.
async fn blocks(args: &InspectArgs) -> Result<Option<Vec<Block>>, Error> {
    let certificate = |der| Block { label: pem::CERTIFICATE.to_owned(), der };
    let path = Path::new(&args.thing);
    if path.is_file() {
        let content =
            std::fs::read(path).map_err(|e| Error::malformed(format!("cannot read {}: {e}", path.display())))?;
        if pkcs12::looks_like(&content) {
            let password = args.password_file.as_deref().map(pkcs12_file::password).transpose()?;
            let found = pkcs12::certificates(&content, password.as_ref().map(|text| text.as_bytes()))?;
            return Ok(Some(found.into_iter().map(certificate).collect()));
        }
        return objects::read_all(&content).map(Some);
    }
    let Some(peer) = Peer::parse(&args.thing) else { return Ok(None) };
    Ok(Some(peer.certificates().await?.into_iter().map(certificate).collect()))
}

/// What the CA knows, and for people what the certificate says besides.
async fn known(context: &Context, args: &InspectArgs) -> Result<()> {
    let client = context.client().await?;
    let mut found: Value = certificates::select(&client, &args.thing).await?;
    if context.output == Some(Format::Pem) {
        return Ok(output::data(&output::text(&found, "certificate"))?);
    }
    if let Some(leaf) = found["certificate"].as_str() {
        let blocks = objects::read(leaf.as_bytes())?;
        let described = blocks.first().map(objects::describe).transpose()?.unwrap_or_default();
        found["extensions"] = described["extensions"].clone();
    }
    if output::document(context.output, &found, "id")? {
        return Ok(());
    }
    if let Some(slug) = found["issuer_revocation"]["issuer"].as_str() {
        let at = output::text(&found["issuer_revocation"], "revoked_at");
        found["issuer_revocation"] = match found["issuer_revocation"]["on_hold"] == true {
            true => format!("{slug} was put on hold at {at}: what it signed is refused until that is lifted").into(),
            false => format!("{slug} was revoked at {at}: what it signed is refused").into(),
        };
    }
    if let Some(slug) = found["issuer_removed"].as_str() {
        found["issuer_removed"] = format!("{slug} was removed: clients do not trust what stands below it").into();
    }
    match args.is_short() {
        true => Ok(inspect_short::known(&found).print()?),
        false => Ok(output::members(&found)?),
    }
}

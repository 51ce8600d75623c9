//! `key block|list|unblock`: keys that are refused in requests and as ACME account keys, with or without a certificate.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ca_foreign;
use super::failure::{Result, Trying};
use super::listing::{self, WholeArgs};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::encode;
use crate::error::{Error, ErrorKind};
use crate::keys::software;
use crate::model::blocked_key::KeyFingerprint;
use crate::model::identifier::shown;
use crate::pki::{pem, private_key, public_key};

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Block a key: it is refused in CSRs and as ACME account key, and its certificates are revoked
    ///
    /// Of a private key file only the public part is read and sent.
    Block(BlockArgs),
    /// List the blocked keys
    List(WholeArgs),
    /// Let a blocked key be certified again; only one that no certificate here has
    Unblock {
        /// The key's fingerprint, as `chancery key list` shows it
        fingerprint: String,
    },
}

#[derive(Debug, Args)]
pub struct BlockArgs {
    /// A file (public key, private key, CSR or certificate), or the SHA-256 of the public key (SubjectPublicKeyInfo) in hex.
    /// A fingerprint alone is compared with the keys of all ACME accounts, which takes some 6 seconds for each million of them
    key: String,
    /// keyCompromise or cACompromise
    #[arg(long, default_value = "keyCompromise")]
    reason: String,
    /// Why, in words
    #[arg(long)]
    comment: Option<String>,
    /// File with the password of an encrypted private key
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub async fn run(context: &Context, command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Block(args) => block(context, args).await,
        KeyCommand::List(page) => list(context, &page).await,
        KeyCommand::Unblock { fingerprint } => unblock(context, &fingerprint).await,
    }
}

async fn block(context: &Context, args: BlockArgs) -> Result<()> {
    let what = || format!("cannot block the key {}", args.key);
    let mut body = key_of(&args).trying(what)?;
    body["reason"] = args.reason.clone().into();
    if let Some(comment) = &args.comment {
        body["comment"] = comment.clone().into();
    }
    let blocked = context.client().await?.post("/api/v1/keys/blocked", &body).await.trying(what)?;
    if output::document(context.output, &blocked, "fingerprint")? {
        return Ok(());
    }
    output::say(&format!("blocked  {}", output::text(&blocked, "fingerprint")));
    if let Some(count @ 1..) = blocked["certificates"].as_i64() {
        output::say(&format!(
            "         certificates here with this key: {count}; a server revokes them within seconds"
        ));
    }
    Ok(())
}

/// A fingerprint, or the public key of a file.
fn key_of(args: &BlockArgs) -> Result<Value, Error> {
    let path = Path::new(&args.key);
    if !path.is_file() {
        let key: KeyFingerprint = args.key.parse().map_err(|()| {
            let text = shown(&args.key);
            Error::malformed(format!("\"{text}\" is neither a file nor the SHA-256 of a public key in hex"))
        })?;
        return Ok(json!({"fingerprint": key.to_string()}));
    }
    let bytes = std::fs::read(path)
        .map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {}: {e}", path.display())))?;
    let bytes = Zeroizing::new(bytes);
    let is_private = std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("PRIVATE KEY-----"));
    let spki = match (is_private, public_key::read(&bytes)) {
        (false, Ok(spki)) => spki,
        (is_private, outcome) => {
            let password = args.password_file.as_deref().map(ca_foreign::password).transpose()?;
            let key = private_key::read(&bytes, password.as_ref().map(|p| p.as_slice()));
            match (key, outcome) {
                (Ok(key), _) => software::read(&key)?.1.public_key,
                (Err(error), _) if is_private => return Err(error),
                (Err(_), Err(error)) => return Err(error),
                (Err(_), Ok(spki)) => spki,
            }
        }
    };
    Ok(json!({"public_key": pem::encode("PUBLIC KEY", &spki)}))
}

async fn list(context: &Context, page: &WholeArgs) -> Result<()> {
    let client = context.client().await?;
    let found = listing::find(&client, "/api/v1/keys/blocked", &[], page).await;
    let found = found.trying(|| "cannot list blocked keys".into())?;
    let mut table = Table::new(&[
        Column::Fingerprint,
        Column::Reason,
        Column::Blocked,
        Column::BlockedBy,
        Column::Certificates,
        Column::Comment,
    ]);
    for one in &found.items {
        let members = ["fingerprint", "reason", "blocked_at", "blocked_by", "certificates", "comment"];
        table.row(members.iter().map(|member| output::text(one, member)).collect());
    }
    found.print(context, "fingerprint", |_| table)
}

async fn unblock(context: &Context, fingerprint: &str) -> Result<()> {
    let path = format!("/api/v1/keys/blocked/{}", encode(fingerprint));
    let client = context.client().await?;
    let lifted = client.delete(&path).await.trying(|| format!("cannot unblock the key {fingerprint}"))?;
    if output::document(context.output, &lifted, "fingerprint")? {
        return Ok(());
    }
    output::say(&format!("unblocked  {}", output::text(&lifted, "fingerprint")));
    Ok(())
}

//! `ca anchor add|list|remove`: roots of others in the bundle of a trust domain. On the host that holds the database.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::ca_foreign::{certificates_of, read};
use super::confirm::confirm;
use super::failure::{Result, Trying};
use super::output::{self, Column, Table};
use super::session::{Context, host_actor};
use crate::authority::hierarchy::anchors::AnchorDependents;
use crate::authority::hierarchy::import::fingerprint;
use crate::error::{Error, ErrorKind};
use crate::model::identifier::shown;
use crate::model::issuer::Anchor;
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;

#[derive(Debug, Subcommand)]
pub enum AnchorCommand {
    /// Let every client of a trust domain trust a root of others, and whatever that root signs
    Add {
        /// The trust domain, such as tls
        domain: String,
        /// The root in PEM or DER
        file: PathBuf,
    },
    /// List the CA certificates of others that each trust domain knows, and which of them its clients trust
    ///
    /// ORIGIN is `added` (by `ca anchor add`), `home` (the root of a domain without an own one), `kept` (from before such a
    /// choice was recorded) or `chain` (above a cross-certificate: it completes chains, and clients do not trust it).
    List,
    /// Take a root of others out of the bundle of a trust domain; without --yes it shows what depends on it
    Remove {
        /// The trust domain, such as tls
        domain: String,
        /// The root in PEM or DER, or its SHA-256 fingerprint
        #[arg(id = "anchor", value_name = "ROOT")]
        root: String,
        /// Do it: clients that fetch the bundle refuse from then on what only that root vouches for
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(context: &Context, command: AnchorCommand) -> Result<()> {
    let what = || "cannot change the anchors".to_owned();
    let app = context.host_app(None).await.trying(what)?;
    match command {
        AnchorCommand::Add { domain, file } => {
            let der = one(&file).trying(what)?;
            let name = app.authority.add_anchor(&host_actor(), &domain, &der).await.trying(what)?;
            output::say(&format!("added     {name} ({})", to_hex(&fingerprint(&der))));
            output::say(&format!("meaning   clients that fetch /bundles/{domain}.pem trust whatever {name} signs"));
            let print = to_hex(&fingerprint(&der));
            output::say(&format!("undo      {}", context.command(&format!("ca anchor remove {domain} {print}"))));
        }
        AnchorCommand::List => list(context, &app.authority.snapshot().anchors)?,
        AnchorCommand::Remove { domain, root, yes } => {
            let print = print_of(&root).trying(what)?;
            let found = app.authority.anchor_dependents(&domain, &print).await.trying(what)?;
            lines(&found).iter().for_each(|line| output::say(line));
            confirm(
                yes,
                "nothing was changed: what is listed above depends on that root; --yes does it all the same",
            )?;
            let name = app.authority.remove_anchor(&host_actor(), &domain, &print).await.trying(what)?;
            output::say(&format!(
                "removed   {name} from /bundles/{domain}.pem; clients that hold it trust it until they fetch again"
            ));
        }
    }
    Ok(())
}

fn list(context: &Context, anchors: &[Anchor]) -> Result<()> {
    if output::is_for_programs(context.output) {
        let items: Vec<Value> = anchors.iter().map(object).collect();
        output::document(context.output, &json!({ "items": items }), "sha256")?;
        return Ok(());
    }
    if anchors.is_empty() {
        output::say("no trust domain knows a CA certificate of others; `chancery ca anchor add` adds one");
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Domain,
        Column::Subject,
        Column::Origin,
        Column::Bundle,
        Column::Expires,
        Column::Fingerprint,
    ]);
    for anchor in anchors.iter().map(object) {
        let mut cells =
            ["domain", "name", "standing", "trusted", "not_after", "sha256"].map(|m| output::text(&anchor, m));
        cells[3] = if anchor["trusted"] == true { "in the bundle" } else { "for chains alone" }.to_owned();
        table.row(cells.to_vec());
    }
    Ok(table.print()?)
}

/// As the API shows the anchors of a domain, with the domain.
fn object(anchor: &Anchor) -> Value {
    let name = CaCertificate::read(&anchor.der).map_or_else(|_| "(unreadable)".into(), |ca| ca.name());
    json!({
        "domain": anchor.domain, "name": shown(&name), "standing": anchor.standing.name(),
        "trusted": anchor.standing.is_trusted(), "not_after": anchor.not_after,
        "sha256": to_hex(&fingerprint(&anchor.der)),
    })
}

/// What clients of the bundle refuse without that root.
fn lines(found: &AnchorDependents) -> Vec<String> {
    let name = shown(&found.name);
    let listed = |slugs: &[String]| if slugs.is_empty() { "none".to_owned() } else { slugs.join(", ") };
    let mut lines = vec![
        format!("issuers     {} with a way up to {name}", listed(&found.issuers)),
        format!(
            "valid       {} {} of these issuers",
            found.valid_certificates,
            if found.valid_certificates == 1 { "certificate" } else { "certificates" }
        ),
    ];
    if !found.only_here.is_empty() {
        let only = listed(&found.only_here);
        lines
            .push(format!("only here   {only}: no other root of the bundle is above, so nothing is signed any more"));
    }
    lines
        .push(format!("elsewhere   whatever {name} signed outside of this CA is not known here, and is refused too"));
    lines
}

fn one(path: &Path) -> Result<Vec<u8>, Error> {
    match <[Vec<u8>; 1]>::try_from(certificates_of(&read(path)?)?) {
        Ok([der]) => Ok(der),
        Err(found) => Err(Error::new(
            ErrorKind::Malformed,
            match found.len() {
                0 => format!("{} holds no certificate; give the root in PEM or DER", path.display()),
                count => format!("{} holds {count} certificates; give the root alone", path.display()),
            },
        )),
    }
}

/// A fingerprint in any usual spelling, or that of a file.
fn print_of(text: &str) -> Result<[u8; 32], Error> {
    let hex: String = text.chars().filter(|c| *c != ':').collect();
    let octet = |at: usize| hex.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let octets: Option<Vec<u8>> = (0..32).map(octet).collect();
    match octets.filter(|_| hex.len() == 64).map(<[u8; 32]>::try_from) {
        Some(Ok(print)) => Ok(print),
        _ => Ok(fingerprint(&one(Path::new(text))?)),
    }
}

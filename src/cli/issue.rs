//! `issue` and `sign`. `issue` makes the private key here, sends a CSR and writes chain and key as files; the key
//! is never sent.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::certificates::named;
use super::failure::{Result, Trying};
use super::files;
use super::output::{self, Format};
use super::pair::{Layout, Pair};
use super::pkcs12_file::Pkcs12Args;
use super::session::Context;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::model::identifier::Identifier;
use crate::model::key::KeyAlgorithm;
use crate::pki::request::CsrFile;
use crate::pki::{pem, private_key};

#[derive(Debug, Args)]
pub struct IssueArgs {
    /// DNS names, IP addresses, mail addresses or URIs; the first one names the files
    names: Vec<String>,
    #[command(flatten)]
    wish: Wish,
    /// Directory for NAME.crt and NAME.key
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Kind of key: P-256, P-384, P-521, Ed25519
    #[arg(long, value_name = "KIND", default_value = "P-256")]
    key: String,
    /// How chain and key lie on the disk, which `renew` keeps
    #[arg(long, value_enum, value_name = "LAYOUT", default_value_t)]
    layout: Layout,
    #[command(flatten)]
    pkcs12: Pkcs12Args,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub struct SignArgs {
    /// A CSR in PEM, DER or base64; - reads stdin
    csr: String,
    #[command(flatten)]
    wish: Wish,
}

/// What both may ask for.
#[derive(Debug, Args)]
struct Wish {
    /// The rules to issue under, as `chancery profile list` shows them
    #[arg(long, default_value = "tls-server")]
    profile: String,
    /// The issuer that signs, as `chancery ca list` shows it; the default one of the profile's domain when not given
    #[arg(long)]
    issuer: Option<String>,
    /// How long from now, such as 90d, 1h30m or 30s, or until when; the profile's default when not given
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// The subject's common name, where the profile takes one
    #[arg(long, value_name = "TEXT")]
    common_name: Option<String>,
    /// An attribute of the subject where the profile asks for it: O=, OU=, C=, ST= or L=; can be given again
    #[arg(long, value_name = "KEY=TEXT", value_parser = attribute)]
    subject: Vec<(&'static str, String)>,
    /// Check everything, issue nothing and show what would be issued
    #[arg(long)]
    dry_run: bool,
}

fn attribute(text: &str) -> Result<(&'static str, String), String> {
    let keys =
        [("O", "organization"), ("OU", "organizational_unit"), ("C", "country"), ("ST", "state"), ("L", "locality")];
    let found = text.split_once('=').and_then(|(key, value)| {
        let (_, member) = keys.into_iter().find(|(short, _)| short.eq_ignore_ascii_case(key.trim()))?;
        Some((member, value.trim().to_owned()))
    });
    found.ok_or_else(|| "it is one of O=, OU=, C=, ST=, L= with a text behind it".to_owned())
}

impl Wish {
    fn body(&self, csr: &str) -> Value {
        let mut body = json!({"csr": csr, "profile": self.profile});
        let members = [("issuer", &self.issuer), ("ttl", &self.ttl), ("common_name", &self.common_name)];
        for (member, value) in members {
            if let Some(value) = value {
                body[member] = value.clone().into();
            }
        }
        for (member, value) in &self.subject {
            body["subject"][member] = value.clone().into();
        }
        body
    }

    async fn preview(&self, context: &Context, client: &Client, csr: &str) -> Result<()> {
        let told = client.post("/api/v1/certificates?dry_run=true", &self.body(csr)).await?;
        if !output::document(context.output, &told, "id")? {
            output::members(&told)?;
        }
        Ok(())
    }
}

pub async fn issue(context: &Context, args: IssueArgs) -> Result<()> {
    let what = || match (&args.names[..], &args.wish.common_name) {
        ([], None) => format!("cannot issue a certificate by profile {}", args.wish.profile),
        ([], Some(name)) => format!("cannot issue a certificate for {name}"),
        (names, _) => format!("cannot issue a certificate for {}", names.join(", ")),
    };
    let names = args.names.iter().map(|n| Identifier::guess(n)).collect::<Result<Vec<_>, _>>().trying(what)?;
    let first = names.first().map(Identifier::value).or_else(|| args.wish.common_name.clone());
    let stem = files::stem(&first.unwrap_or_else(|| args.wish.profile.clone()));
    let pair = Pair::new(args.layout, &args.out, &stem);
    let key = generate(&args.key).trying(what)?;
    let csr = request(&names, &key).trying(what)?;
    let client = context.client().await?;
    if args.wish.dry_run {
        return args.wish.preview(context, &client, &csr).await.trying(what);
    }
    let _until_both_are_there = pair.lock();
    files::refuse_existing(&[&pair.certificate, &pair.key], args.force).trying(what)?;
    let pkcs12 = args.pkcs12.prepare(&pair, args.force).trying(what)?;
    let pem = key_pem(&key).trying(what)?;
    pair.stage(&pem).map_err(elsewhere).trying(what)?;
    let mut made = match client.post("/api/v1/certificates", &args.wish.body(&csr)).await {
        Ok(made) => made,
        Err(refusal) => {
            pair.discard();
            return Err(refusal).trying(what);
        }
    };
    pair.switch(&chain(&made), Some(&pem)).map_err(elsewhere).trying(what)?;
    if let Some(file) = &pkcs12 {
        file.write(&chain(&made), &key).trying(what)?;
    }
    match (context.output, &pkcs12) {
        (format, file) if output::is_for_programs(format) => {
            file.iter().for_each(|file| file.tell_json(&mut made));
            output::document(format, &made, "id")?;
            file.iter().filter(|_| format == Some(Format::Name)).try_for_each(|file| file.tell(format))?;
        }
        (format, file) => {
            match format {
                Some(Format::Pem) => output::data(&chain(&made))?,
                _ => tell(&made, &pair),
            }
            file.iter().try_for_each(|file| file.tell(format))?;
        }
    }
    Ok(())
}

fn elsewhere(error: Error) -> Error {
    Error::new(error.kind, format!("{}; choose a directory with --out", error.detail))
}

fn tell(made: &Value, pair: &Pair) {
    let of = |member| output::text(made, member);
    let (names, until, serial, profile) = (named(made), of("not_after"), of("serial"), of("profile"));
    output::say(&format!("issued  {names}   until {until}   serial {serial}   profile {profile}"));
    where_it_is(pair, "0600, made here, never sent");
}

pub fn where_it_is(pair: &Pair, key: &str) {
    if pair.is_combined() {
        output::say(&format!("  file   {} (chain and key: {key})", pair.certificate.display()));
        return;
    }
    output::say(&format!("  chain  {}", pair.certificate.display()));
    output::say(&format!("  key    {} ({key})", pair.key.display()));
}

pub async fn sign(context: &Context, args: SignArgs) -> Result<()> {
    let what = || format!("cannot sign {}", if args.csr == "-" { "the CSR from stdin" } else { &args.csr });
    let csr = read_csr(&args.csr).trying(what)?;
    let client = context.client().await?;
    if args.wish.dry_run {
        return args.wish.preview(context, &client, &csr).await.trying(what);
    }
    let made = client.post("/api/v1/certificates", &args.wish.body(&csr)).await.trying(what)?;
    if made["left_out"].is_array() {
        let left_out = output::text(&made, "left_out").replace(",", ", ");
        output::say(&format!("note  profile {} leaves out what the CSR asked for: {left_out}", args.wish.profile));
    }
    match output::document(context.output, &made, "id")? {
        true => Ok(()),
        false => Ok(output::data(&chain(&made))?),
    }
}

/// Leaf, then intermediates: what a server shows.
pub fn chain(made: &Value) -> String {
    let part = |member: &str| match &made[member] {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    part("certificate") + &part("chain")
}

/// What is written beside a certificate.
pub fn key_pem(key: &KeyPair) -> Result<Zeroizing<String>, Error> {
    private_key::to_pem(&Zeroizing::new(key.serialize_der()))
}

pub fn generate(kind: &str) -> Result<KeyPair, Error> {
    let algorithm = match kind.parse()? {
        KeyAlgorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyAlgorithm::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
        KeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
        KeyAlgorithm::Rsa(_) => {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!(
                    "`issue` makes no RSA keys; make one with openssl genrsa and use `chancery sign`, not --key {kind}"
                ),
            ));
        }
    };
    KeyPair::generate_for(algorithm).map_err(|e| Error::internal("cannot make a key", e))
}

/// A CSR that holds the names alone: subject and everything else are the profile's business.
pub fn request(names: &[Identifier], key: &KeyPair) -> Result<String, Error> {
    let bad = |e: rcgen::Error| Error::malformed("the names do not fit into a CSR").because(e);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in names {
        params.subject_alt_names.push(match name {
            Identifier::Dns(dns) => SanType::DnsName(dns.as_str().try_into().map_err(bad)?),
            Identifier::Ip(ip) => SanType::IpAddress(*ip),
            Identifier::Email(text) => SanType::Rfc822Name(text.as_str().try_into().map_err(bad)?),
            Identifier::Uri(text) => SanType::URI(text.as_str().try_into().map_err(bad)?),
        });
    }
    let csr = params.serialize_request(key).map_err(bad)?;
    csr.pem().map_err(bad)
}

fn read_csr(path: &str) -> Result<String, Error> {
    let unreadable = |e: std::io::Error| Error::malformed(format!("cannot read the CSR: {e}"));
    let mut content = Vec::new();
    if path == "-" {
        std::io::stdin().lock().take(128 * 1024).read_to_end(&mut content).map_err(unreadable)?;
    } else {
        content = std::fs::read(path).map_err(unreadable)?;
    }
    let file = CsrFile::read(&content)?;
    if file.has_private_key {
        output::say(&format!(
            "warning  {path} holds a private key beside the CSR; it was not sent: keep it where nobody else reads it"
        ));
    }
    Ok(pem::encode("CERTIFICATE REQUEST", &file.csr))
}

//! `ca import`, `ca csr` and `ca install`: CAs of others, and issuers below them. On the host that holds the keys.

use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::ca::{self, RootKey};
use super::failure::{Result, Trying};
use super::files;
use super::output;
use super::session::{Context, host_actor};
use crate::app::App;
use crate::authority::hierarchy::import::Import;
use crate::authority::hierarchy::plan::Wanted;
use crate::error::{Error, ErrorKind};
use crate::pki::input::{self, Input};
use crate::pki::name::SubjectFields;
use crate::pki::{pem, pkcs12, private_key};

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The CA certificate in PEM or DER, with those above it if they are in the file; or a PKCS#12 file
    file: PathBuf,
    /// The private key in PEM or DER, where it is not in the file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Certificates above it, up to the root; can be given again
    #[arg(long, value_name = "FILE")]
    chain: Vec<PathBuf>,
    /// File with the password of the key or of the PKCS#12 file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The trust domain that the CA is for; it is made if it does not exist
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// The name of the issuer here; the next free name of the domain when not given
    #[arg(long, value_name = "ISSUER")]
    name: Option<String>,
    /// Its last CRL: what is revoked there stays revoked
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    #[command(flatten)]
    root: RootKey,
}

#[derive(Debug, Args)]
pub struct CsrArgs {
    /// The trust domain of a new issuer
    #[arg(required_unless_present = "issuer", conflicts_with = "issuer")]
    domain: Option<String>,
    /// An existing issuer that gets one more certificate for its name and key
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// P-256, P-384, P-521, Ed25519, RSA-2048, RSA-3072 or RSA-4096
    #[arg(long, value_name = "KEY", conflicts_with = "issuer")]
    key: Option<String>,
    /// An extended key usage, such as serverAuth; can be given again
    #[arg(long, value_name = "USAGE", conflicts_with = "issuer")]
    eku: Vec<String>,
    /// The common name (CN) of its subject
    #[arg(long, value_name = "TEXT", conflicts_with = "issuer")]
    common_name: Option<String>,
    /// The organization (O) of its subject
    #[arg(long, value_name = "NAME", conflicts_with = "issuer", requires = "common_name")]
    organization: Option<String>,
    /// The file to write the CSR to, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The certificate in PEM or DER, with those above it if they are in the file
    file: PathBuf,
    /// Certificates above it, up to the root; can be given again
    #[arg(long, value_name = "FILE")]
    chain: Vec<PathBuf>,
}

pub async fn import(context: &Context, args: ImportArgs) -> Result<()> {
    let what = || format!("cannot import {}", args.file.display());
    let app = context.host_app(args.root.root_key.as_deref()).await.trying(what)?;
    let import = read_import(context, &args).trying(what)?;
    let slug = app.authority.import_issuer(&host_actor(), import).await.trying(what)?;
    output::say(&format!("imported  {}", args.file.display()));
    warn_of_collisions(&app, &slug).await.trying(what)?;
    ca::issuer(&context.client().await?, &slug).await?;
    let snapshot = app.authority.snapshot();
    if snapshot.signers(&args.domain, app.clock.now()).is_empty() {
        output::say(&format!(
            "next      {}",
            context.command(&format!("ca create {} --under {slug}{}", args.domain, args.root.repeated()))
        ));
    }
    Ok(())
}

fn read_import(context: &Context, args: &ImportArgs) -> Result<Import> {
    let password = args.password_file.as_deref().map(password).transpose()?;
    let password = password.as_ref().map(|p| p.as_slice());
    let bytes = Zeroizing::new(read(&args.file)?);
    let (mut certificates, key) = if pkcs12::looks_like(&bytes) {
        let opened = pkcs12::read(&bytes, password)?;
        (opened.certificates, opened.key)
    } else {
        let key = match &args.key {
            Some(path) => private_key::read(&Zeroizing::new(read(path)?), password)?,
            None => private_key::read(&bytes, password)?,
        };
        (certificates_of(&bytes)?, key)
    };
    for path in &args.chain {
        certificates.extend(certificates_of(&read(path)?)?);
    }
    let crl = args.crl.as_deref().map(read_crl).transpose()?;
    let status_url = ca::status_url(context)?;
    Ok(Import { domain: args.domain.clone(), name: args.name.clone(), certificates, key, status_url, crl })
}

pub async fn csr(context: &Context, args: CsrArgs) -> Result<()> {
    let what = || "cannot make a CSR".to_owned();
    if let Some(path) = &args.out {
        files::refuse_existing(&[path], false).trying(what)?;
    }
    let app = context.host_app(None).await.trying(what)?;
    let der = match (&args.issuer, &args.domain) {
        (Some(slug), _) => app.authority.request_again(&host_actor(), slug).await.trying(what)?,
        (None, Some(domain)) => {
            let wanted = Wanted {
                domain: domain.clone(),
                key: args.key.as_deref().map(str::parse).transpose().trying(what)?,
                usages: args.eku.clone(),
                status_url: ca::status_url(context)?,
                ..Wanted::default()
            };
            let subject = args.common_name.clone().map(|cn| SubjectFields {
                organization: args.organization.clone().into_iter().collect(),
                ..SubjectFields::common_name(cn)
            });
            let request = app.authority.request_issuer(&host_actor(), &wanted, subject).await.trying(what)?;
            let install = context.command("ca install FILE");
            output::say(&format!("issuer    {} waits for its certificate: {install}", request.slug));
            request.csr
        }
        (None, None) => return Err(Error::malformed("name a trust domain or --issuer").into()),
    };
    let text = pem::encode("CERTIFICATE REQUEST", &der);
    match &args.out {
        Some(path) => Ok(files::write(path, text.as_bytes(), 0o644, false)?),
        None => Ok(output::data(&text)?),
    }
}

pub async fn install(context: &Context, args: InstallArgs) -> Result<()> {
    let what = || format!("cannot install {}", args.file.display());
    let app = context.host_app(None).await.trying(what)?;
    let mut certificates = certificates_of(&read(&args.file).trying(what)?).trying(what)?;
    for path in &args.chain {
        certificates.extend(certificates_of(&read(path).trying(what)?).trying(what)?);
    }
    let slug = app.authority.install_issuer(&host_actor(), &certificates).await.trying(what)?;
    output::say(&format!("installed {}", args.file.display()));
    warn_of_collisions(&app, &slug).await.trying(what)?;
    for text in app.authority.narrower_certificates(&slug) {
        output::say(&format!("warning   {text}"));
    }
    ca::issuer(&context.client().await?, &slug).await
}

/// What the serials that an issuer brought do to programs that compare serials alone.
pub async fn warn_of_collisions(app: &App, slug: &str) -> Result<(), Error> {
    let snapshot = app.authority.snapshot();
    // a CRL of a CA elsewhere has no issuer here
    let Ok(loaded) = snapshot.issuer(slug) else { return Ok(()) };
    for text in app.authority.colliding_serials(Some(&loaded.issuer.domain)).await? {
        output::say(&format!("warning   {text}"));
    }
    Ok(())
}

pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {}: {e}", path.display())))
}

/// Without the line end that editors add.
pub fn password(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(read(path)?);
    while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::Config, format!("the password file {} is empty", path.display())));
    }
    Ok(bytes)
}

pub fn read_crl(path: &Path) -> Result<Vec<u8>, Error> {
    match input::read(&read(path)?)? {
        Input::Der(der) => Ok(der),
        Input::Blocks(blocks) => {
            let block = blocks.into_iter().find(|block| block.label == "X509 CRL");
            Ok(block.ok_or_else(|| Error::malformed("the file holds no block of -----BEGIN X509 CRL-----"))?.der)
        }
    }
}

/// The certificates of a file as programs save them: PEM blocks, one in DER, or a PKCS#7 chain.
pub fn certificates_of(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    match input::read(bytes)? {
        Input::Der(der) => Ok(vec![der]),
        Input::Blocks(blocks) => {
            let found = blocks.into_iter().filter(|block| block.label == pem::CERTIFICATE).map(|block| block.der);
            let found: Vec<_> = found.collect();
            let none = || Error::malformed("the file holds no block of -----BEGIN CERTIFICATE-----");
            (!found.is_empty()).then_some(found).ok_or_else(none)
        }
    }
}

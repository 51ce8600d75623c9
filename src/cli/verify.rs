//! `verify`: is this certificate good, in one sentence and an exit code: 0 good, 20 expired, 21 not yet valid,
//! 22 revoked (it or a CA above it), 23 another name, 24 untrusted chain. The chain is judged as OpenSSL does
//! (`pki::verification`); a CA certificate is one like any other.

use std::path::{Path, PathBuf};

use clap::Args;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use webpki::EndEntityCert;

use super::failure::{Cause, Failure, Result, Trying};
use super::output;
use super::peer::Peer;
use super::session::Context;
use super::verify_revocation::Revocation;
use super::{certificates, objects};
use crate::client::{Client, Refusal};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::Error;
use crate::model::times;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::pem;
use crate::pki::verification::{Trust, outdated_key_id, refused_for_servers};

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A certificate file (with its chain), host:port, an id (crt_…), a serial or a fingerprint
    thing: String,
    /// The TLS server's name that it must have, with serverAuth; that of host:port when not given
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Judge as of this time; a duration such as 30d counts from now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// A CRL to look into, instead of asking the CA
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
}

/// What was found: the word that scripts read, its code, and the rest of the sentence.
struct Verdict {
    word: &'static str,
    code: u8,
    why: String,
}

pub async fn verify(context: &Context, args: VerifyArgs) -> Result<()> {
    let what = || format!("cannot verify {}", args.thing);
    let at = match &args.at {
        Some(text) => times::moment_ahead(text, SystemClock.now()).trying(|| "cannot read --at".to_owned())?,
        None => SystemClock.now(),
    };
    let case = gather(context, &args, at).await.trying(what)?;
    let verdict = case.judge(&args).await.trying(what)?;
    let facts = &case.facts;
    let name = facts.names.first().cloned().unwrap_or_else(|| facts.subject.to_string());
    let sentence = format!("{}: {name} {}", verdict.word, verdict.why);
    let told = json!({"verdict": verdict.word, "sentence": sentence, "code": verdict.code, "certificate": objects::certificate(facts)});
    if !output::document(context.output, &told, "verdict")? {
        output::data(&format!("{sentence}\n"))?;
    }
    match verdict.code {
        0 => Ok(()),
        code => Err(Failure { what: String::new(), cause: Cause::Check(code) }),
    }
}

/// Everything that the verdict is made of.
pub(super) struct Case {
    chain: Vec<Vec<u8>>,
    pub(super) facts: CertificateFacts,
    /// Those that came with the certificate, then those that the CA knows.
    pub(super) intermediates: Vec<Vec<u8>>,
    /// The certificates under which the CA's issuers sign now.
    pub(super) issuers: Vec<Vec<u8>>,
    pub(super) roots: Vec<Vec<u8>>,
    /// Of the CA's issuers those whose every certificate is revoked.
    pub(super) revoked: Vec<Vec<u8>>,
    /// The CRLs of CAs elsewhere that the installation of this host has.
    pub(super) crls: Vec<Vec<u8>>,
    /// The CA, if there is one to ask.
    pub(super) client: Option<Client>,
    host: Option<String>,
    pub(super) at: Timestamp,
}

async fn gather(context: &Context, args: &VerifyArgs, at: Timestamp) -> Result<Case> {
    let path = Path::new(&args.thing);
    let root = context.target()?.root;
    // with a root of their own people need no CA at hand
    let (client, app) = match context.client_and_app().await {
        Ok((client, app)) => (Some(client), app),
        Err(_) if root.is_some() => (None, None),
        Err(error) => return Err(error.into()),
    };
    let (mut host, chain) = (
        args.host.clone(),
        match (path.is_file(), Peer::parse(&args.thing), &client) {
            (true, ..) => objects::certificates(&read(path)?)?,
            (false, Some(peer), _) => peer.certificates().await?,
            (false, None, Some(client)) => {
                let found = certificates::select(client, &args.thing).await?;
                let part = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
                pem::certificates(&(part("certificate") + &part("chain")))?
            }
            (false, None, None) => return Err(Error::malformed("it is no file and no host:port").into()),
        },
    );
    if host.is_none() && !path.is_file() {
        host = Peer::parse(&args.thing).map(|peer| peer.host);
    }
    let leaf = chain.first().cloned().unwrap_or_default();
    let facts = CertificateFacts::parse(&leaf)
        .map_err(|e| Error::malformed(format!("the certificate cannot be read: {e}")))?;
    let mut intermediates: Vec<Vec<u8>> = chain.iter().skip(1).cloned().collect();
    let known = match (&root, &client) {
        (None, Some(client)) => items(client, "/api/v1/issuers").await?,
        (Some(_), _) | (None, None) => Vec::new(),
    };
    let issuers = pem_of_all(&known, "certificate");
    let revoked: Vec<_> = known.iter().filter(|issuer| issuer["state"] == "revoked").cloned().collect();
    let revoked = pem_of_all(&revoked, "certificate");
    intermediates.extend(issuers.iter().cloned());
    // CAs elsewhere between an issuer and its root
    intermediates.extend(pem_of_all(&known, "chain"));
    let roots = match (root, &client) {
        (Some(file), _) => objects::certificates(&read(&file)?)?,
        (None, Some(client)) => pem_of_all(&items(client, "/api/v1/domains").await?, "bundle"),
        (None, None) => Vec::new(),
    };
    let crls = match app {
        Some(app) => app.authority.known_foreign_crls().await?,
        None => Vec::new(),
    };
    Ok(Case { chain, facts, intermediates, issuers, roots, revoked, crls, client, host, at })
}

async fn items(client: &Client, path: &str) -> Result<Vec<Value>, Refusal> {
    Ok(client.get(path).await?["items"].as_array().cloned().unwrap_or_default())
}

fn pem_of_all(items: &[Value], member: &str) -> Vec<Vec<u8>> {
    let texts = items.iter().filter_map(|item| item[member].as_str());
    texts.flat_map(|text| pem::certificates(text).unwrap_or_default()).collect()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error::malformed(format!("cannot read {}: {e}", path.display())))
}

impl Case {
    /// The worst first: who cannot be trusted at all, then what was taken back, then time and name.
    async fn judge(&self, args: &VerifyArgs) -> Result<Verdict> {
        let validity = self.facts.validity;
        let issuer = self.facts.issuer.to_string();
        if let Err(why) = self.trusted() {
            return Ok(Verdict {
                word: "untrusted",
                code: 24,
                why: format!("of {issuer} has no chain to a trusted root: {why}"),
            });
        }
        let revocation = self.revocation(args.crl.as_deref()).await?;
        if let Revocation::Revoked(why) = &revocation {
            return Ok(Verdict { word: "revoked", code: 22, why: why.clone() });
        }
        if validity.not_after() <= self.at {
            return Ok(Verdict { word: "expired", code: 20, why: format!("ended at {}", validity.not_after()) });
        }
        if validity.not_before() > self.at {
            let why = format!("begins at {}", validity.not_before());
            return Ok(Verdict { word: "not yet valid", code: 21, why });
        }
        if let Some((host, why)) = self.refused_as_server() {
            let why = format!("of {issuer} is refused as the certificate of the TLS server {host}: {why}");
            return Ok(Verdict { word: "untrusted", code: 24, why });
        }
        if let Some(host) = self.host.as_ref().filter(|host| !self.is_for(host)) {
            let why = format!("is not for {host} but for {}", self.facts.names.join(", "));
            return Ok(Verdict { word: "another name", code: 23, why });
        }
        if let Some(why) = self.outdated() {
            let why = format!("of {issuer} is refused by verifiers that check CRLs: {why}");
            return Ok(Verdict { word: "untrusted", code: 24, why });
        }
        let told = match revocation {
            Revocation::Good(by) => format!("not revoked ({by})"),
            Revocation::Unknown(why) => format!("revocation not checked: {why}"),
            Revocation::Revoked(why) => why,
        };
        Ok(Verdict { word: "good", code: 0, why: format!("by {issuer} until {}, {told}", validity.not_after()) })
    }

    /// The chain as of a time at which the certificate was valid, so that its end has a verdict of its own.
    fn trusted(&self) -> Result<(), String> {
        if self.is_root() {
            return Ok(());
        }
        self.verify_by(&Trust::read(&self.roots, &self.intermediates))
    }

    /// With the host that it is to serve, why clients of that refuse it.
    fn refused_as_server(&self) -> Option<(&str, String)> {
        let host = self.host.as_deref()?;
        let why = match self.is_root() {
            true => refused_for_servers(self.leaf()),
            false => self.verify_by(&Trust::read(&self.roots, &self.intermediates).for_servers()).err(),
        };
        why.map(|why| (host, why))
    }

    fn verify_by(&self, trust: &Trust) -> Result<(), String> {
        let validity = self.facts.validity;
        let at = self.at.max(validity.not_before()).min(validity.not_after());
        trust.verify(self.leaf(), at).map(drop)
    }

    fn is_root(&self) -> bool {
        self.roots.iter().any(|root| root == self.leaf())
    }

    pub(super) fn leaf(&self) -> &[u8] {
        self.chain.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// What the issuer signs now names another key identifier than this certificate does: its CRL does not count for it.
    fn outdated(&self) -> Option<String> {
        outdated_key_id(self.chain.first()?, &self.issuers)
    }

    fn is_for(&self, host: &str) -> bool {
        let leaf = CertificateDer::from(self.leaf());
        let (Ok(leaf), Ok(name)) = (EndEntityCert::try_from(&leaf), ServerName::try_from(host)) else { return false };
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    }
}

//! The server's own TLS certificate, issued by its own CA: kept in the data directory, used again while it is good,
//! renewed when a third of its life is left, without a restart. One per replica.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::config::Config;
use super::names::{fqdn, host_name};
use super::operator_certificate::OperatorTls;
use super::tls::{self, HotCertificate};
use crate::app::App;
use crate::authority::guard::Guard;
use crate::authority::issue::Issuance;
use crate::authority::snapshot::LoadedIssuer;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::certificate::CertificateStatus;
use crate::model::identifier::Identifier;
use crate::model::validity::RequestedValidity;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::key_policy::KeyPolicy;
use crate::pki::name::SubjectFields;
use crate::pki::pem;
use crate::pki::request::CertificateRequest;

/// Whose certificate the HTTPS listener shows.
#[derive(Debug)]
pub enum Source {
    Issued(OwnTls),
    Operator(OperatorTls),
}

impl Source {
    pub fn of(config: &Config, app: &Arc<App>) -> Self {
        match &config.tls {
            Some(files) => Source::Operator(OperatorTls::new(files.clone())),
            None => Source::Issued(OwnTls::new(app.clone(), config)),
        }
    }

    pub async fn first(&self) -> Result<CertifiedKey> {
        match self {
            Source::Issued(own) => own.first().await,
            Source::Operator(files) => files.first(),
        }
    }

    pub async fn renew_if_due(&self, hot: &HotCertificate) -> Result<()> {
        match self {
            Source::Issued(own) => own.renew_if_due(hot).await,
            Source::Operator(files) => files.reload_if_changed(hot),
        }
    }

    /// How often it is looked at.
    pub fn period(&self) -> Duration {
        match self {
            Source::Issued(_) => Duration::from_secs(5),
            Source::Operator(_) => Duration::from_secs(1),
        }
    }
}

const PROFILE: &str = "tls-server";

/// Where the certificate comes from, and when it is changed.
#[derive(Debug, Clone)]
pub struct OwnTls {
    app: Arc<App>,
    certificate: PathBuf,
    key: PathBuf,
    names: BTreeSet<Identifier>,
}

impl OwnTls {
    pub fn new(app: Arc<App>, config: &Config) -> OwnTls {
        let names = own_names(&app.urls.external);
        OwnTls { app, certificate: config.data.join("server.crt"), key: config.data.join("server.key"), names }
    }

    /// The certificate to start with: the one on the disk while it is good, else a new one. A server that cannot issue
    /// one (it is locked, or no issuer signs) starts all the same: CRLs, OCSP and other domains need it. It shows the
    /// one on the disk, whatever its age, or an ephemeral one.
    pub async fn first(&self) -> Result<CertifiedKey> {
        if let Some((good, not_after)) = self.usable().await? {
            note_end(not_after);
            return Ok(good);
        }
        let why = if self.app.locked {
            "the server is locked".to_owned()
        } else if let Err(error) = self.app.store.check_signing() {
            error.detail
        } else {
            match self.issue().await {
                Ok(issued) => return Ok(issued),
                Err(error) => error.chain(),
            }
        };
        if let Some((old, not_after)) = self.on_disk(Fit::Any) {
            tracing::warn!(%why, "the server's own certificate cannot be renewed: it shows the old one");
            note_end(not_after);
            return Ok(old);
        }
        tracing::warn!(%why, "the server has no certificate of its own: it shows a self-signed one");
        tls::ephemeral(self.names.iter().map(Identifier::value).collect())
    }

    /// Replaces the certificate in `hot` when it is due, or when another issuer signs for the server.
    pub async fn renew_if_due(&self, hot: &HotCertificate) -> Result<()> {
        if self.app.locked {
            return Ok(());
        }
        match self.usable().await? {
            // another process of this data directory may have renewed it
            Some((good, not_after)) if good.cert != hot.current().cert => {
                note_end(not_after);
                hot.replace(good);
            }
            Some(_) => {}
            None => hot.replace(self.issue().await?),
        }
        Ok(())
    }

    /// What is on the disk and still good, unless somebody revoked it.
    async fn usable(&self) -> Result<Option<(CertifiedKey, Timestamp)>> {
        let Some((good, not_after)) = self.on_disk(Fit::Good) else { return Ok(None) };
        let leaf = good.cert.first().map(|der| digest(&SHA256, der));
        let row = match leaf {
            Some(fingerprint) => self.app.authority.certificate_by_fingerprint(fingerprint.as_ref()).await?,
            None => None,
        };
        let revoked = row.is_some_and(|row| matches!(row.status, CertificateStatus::Revoked { .. }));
        Ok((!revoked).then_some((good, not_after)))
    }

    fn on_disk(&self, fit: Fit) -> Option<(CertifiedKey, Timestamp)> {
        let chain = std::fs::read(&self.certificate).ok()?;
        let key = Zeroizing::new(std::fs::read(&self.key).ok()?);
        let certified = tls::certified_key(&chain, &key).ok()?;
        let issuer = certified.cert.get(1)?;
        let snapshot = self.app.authority.snapshot();
        let issued_by = |i: &LoadedIssuer| i.certificates.iter().any(|c| c.der == issuer.as_ref());
        if !snapshot.issuers.values().any(|i| issued_by(i)) {
            return None;
        }
        let leaf = certified.cert.first()?;
        match fit {
            Fit::Any => {
                let end = CertificateFacts::parse(leaf).ok()?.validity.not_after();
                Some((certified, end))
            }
            Fit::Good => {
                let not_after = judge(leaf, &self.names, self.app.clock.now())?;
                // the certificate moves to the issuer that signs for the server now; while none does it stays
                let key_id = CertificateFacts::parse(leaf).ok()?.authority_key_id;
                let moved = self
                    .app
                    .authority
                    .own_signer()
                    .is_some_and(|signer| !issued_by(&signer) || signer.is_outdated(key_id.as_deref()));
                (!moved).then_some((certified, not_after))
            }
        }
    }

    async fn issue(&self) -> Result<CertifiedKey> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|e| Error::internal("cannot make the key of the server's own certificate", e))?;
        let names: Vec<Identifier> = self.names.iter().cloned().collect();
        let public_key = KeyPolicy::default().check(&pair.subject_public_key_info())?;
        let issuance = Issuance {
            profile: PROFILE.into(),
            issuer: None,
            request: CertificateRequest::for_key(public_key, names.clone()),
            names: Some(names),
            common_name: None,
            subject: SubjectFields::default(),
            validity: RequestedValidity::default(),
            guard: Guard::default(),
        };
        let issued = self.app.authority.issue(&Actor::system("own-tls"), issuance).await?;
        note_end(issued.certificate.validity.not_after());
        let chain: String =
            std::iter::once(&issued.der).chain(&issued.chain).map(|der| pem::encode("CERTIFICATE", der)).collect();
        let key = Zeroizing::new(pair.serialize_pem());
        self.keep(chain.as_bytes(), key.as_bytes());
        tls::certified_key(chain.as_bytes(), key.as_bytes())
            .map_err(|why| Error::internal("the server's own certificate cannot be used", why))
    }

    /// The key first: a certificate without its key is found to be no pair and replaced at the next start. On a
    /// read-only disk the server goes on and issues again when it starts again.
    fn keep(&self, chain: &[u8], key: &[u8]) {
        let kept = write(&self.key, key, 0o600).and_then(|()| write(&self.certificate, chain, 0o644));
        if let Err(error) = kept {
            tracing::warn!(%error, "the server's own certificate could not be kept in the data directory");
        }
    }
}

/// What a certificate on the disk must be to be shown.
#[derive(Debug, Clone, Copy)]
enum Fit {
    /// By the issuer that signs for the server now, for exactly its names, with more than a third of its life left.
    Good,
    /// By an issuer of this installation.
    Any,
}

fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let _left_by_a_crash = std::fs::remove_file(&draft);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// The end of a certificate that has exactly these names and more than a third of its life left.
fn judge(der: &[u8], names: &BTreeSet<Identifier>, now: Timestamp) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let left = end - now.secs();
    if left * 3 <= end - start || now.secs() < start {
        return None;
    }
    let san = certificate.subject_alternative_name().ok()??;
    let found: Option<BTreeSet<Identifier>> = san.value.general_names.iter().map(identifier).collect();
    (found.as_ref() == Some(names)).then_some(Timestamp::from_secs(end))
}

fn identifier(name: &GeneralName<'_>) -> Option<Identifier> {
    match name {
        GeneralName::DNSName(text) => Identifier::dns(text).ok(),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|b| IpAddr::V6(Ipv6Addr::from(b))));
            ip.ok().map(Identifier::Ip)
        }
        _ => None,
    }
}

/// FQDN, host name, localhost, 127.0.0.1, ::1 and the host of the external URL.
pub fn own_names(external: &str) -> BTreeSet<Identifier> {
    let host = url::Url::parse(external).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default();
    let host = host.trim_matches(['[', ']']).to_owned();
    let all = [fqdn(), host_name(), "localhost".into(), "127.0.0.1".into(), "::1".into(), host];
    // a host name with an underscore is no DNS name: clients cannot verify it, and the others still serve
    all.iter().filter_map(|name| Identifier::guess(name).ok()).collect()
}

pub fn note_end(not_after: Timestamp) {
    let seconds = not_after.micros() as f64 / 1_000_000.0;
    metrics::gauge!("chancery_server_certificate_not_after_timestamp_seconds").set(seconds);
}

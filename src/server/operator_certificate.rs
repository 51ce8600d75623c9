//! The operator's own TLS certificate (`[tls] certificate`, `key`) in place of one issued here: read at start, and
//! read again when one of the files changes, without a restart. A pair that does not fit leaves the old one in use.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::config::OwnCertificate;
use super::own_certificate::note_end;
use super::settings::config_error;
use super::tls::{self, HotCertificate};
use crate::clock::Timestamp;
use crate::error::Result;

#[derive(Debug)]
pub struct OperatorTls {
    files: OwnCertificate,
    /// Of the content that was looked at last, good or bad: a bad one is told once.
    seen: Mutex<Option<[u8; 32]>>,
}

impl OperatorTls {
    pub fn new(files: OwnCertificate) -> Self {
        OperatorTls { files, seen: Mutex::new(None) }
    }

    pub fn first(&self) -> Result<CertifiedKey> {
        let (chain, key) = self.read()?;
        self.is_new(&chain, &key);
        self.pair(&chain, &key)
    }

    /// Called every few seconds. Replaces the certificate in `hot` when the files hold another good pair.
    pub fn reload_if_changed(&self, hot: &HotCertificate) -> Result<()> {
        let (chain, key) = self.read()?;
        if self.is_new(&chain, &key) {
            hot.replace(self.pair(&chain, &key)?);
            tracing::info!(certificate = %self.files.certificate.display(), "the TLS certificate was read again");
        }
        Ok(())
    }

    fn read(&self) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>)> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|e| {
                config_error(format!("cannot read {}: {e}; check [tls] in the settings", path.display()))
            })
        };
        Ok((read(&self.files.certificate)?, Zeroizing::new(read(&self.files.key)?)))
    }

    fn is_new(&self, chain: &[u8], key: &[u8]) -> bool {
        let mut both = [0; 64];
        both[..32].copy_from_slice(digest(&SHA256, chain).as_ref());
        both[32..].copy_from_slice(digest(&SHA256, key).as_ref());
        let mut now = [0; 32];
        now.copy_from_slice(digest(&SHA256, &both).as_ref());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.replace(now) != Some(now)
    }

    fn pair(&self, chain: &[u8], key: &[u8]) -> Result<CertifiedKey> {
        let certified = tls::certified_key(chain, key).map_err(|why| {
            config_error(format!(
                "{} and {} do not make a TLS certificate: {why}; give a PEM chain and its own key",
                self.files.certificate.display(),
                self.files.key.display()
            ))
        })?;
        if let Some(end) = certified.cert.first().and_then(|leaf| end_of(leaf)) {
            note_end(end);
        }
        Ok(certified)
    }
}

fn end_of(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Timestamp::from_secs(certificate.validity().not_after.timestamp()))
}

//! Reading certificates: what the surfaces ask, without knowing the store.

use std::time::Duration;

use super::Authority;
use crate::error::Result;
use crate::model::audit::ListedEvent;
use crate::model::certificate::{Certificate, CertificateFilter};
use crate::model::id::{CertificateId, EventId, OrderId};
use crate::model::serial::{SerialNumber, parse_hex};
use crate::store::{audit, certificates, revocations};

impl Authority {
    pub async fn certificate(&self, id: CertificateId) -> Result<Option<Certificate>> {
        certificates::find(&self.store, id).await
    }

    /// Newest first: several only where CAs were imported that used the same serial.
    pub async fn certificates_by_serial(&self, serial: &SerialNumber) -> Result<Vec<Certificate>> {
        certificates::all_by_serial(&self.store, serial).await
    }

    pub async fn certificate_by_fingerprint(&self, sha256: &[u8]) -> Result<Option<Certificate>> {
        certificates::find_by_fingerprint(&self.store, sha256).await
    }

    /// The one certificate that a text names: its id, its serial or its SHA-256, with or without colons.
    pub async fn certificate_named_by(&self, text: &str) -> Result<Option<Certificate>> {
        if let Ok(id) = text.parse::<CertificateId>() {
            return self.certificate(id).await;
        }
        let hex = text.len() >= 16 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b' ');
        if !hex {
            return Ok(None);
        }
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        match parse_hex(&digits).filter(|bytes| bytes.len() == 32) {
            Some(sha256) => self.certificate_by_fingerprint(&sha256).await,
            None => match digits.parse::<SerialNumber>() {
                Ok(serial) => Ok(only(self.certificates_by_serial(&serial).await?)),
                Err(_) => Ok(None),
            },
        }
    }

    pub async fn certificate_of_order(&self, order: OrderId) -> Result<Option<Certificate>> {
        certificates::find_by_order(&self.store, order).await
    }

    /// The DER of a certificate that was given out; an intent has none.
    pub async fn certificate_der(&self, id: CertificateId) -> Result<Option<Vec<u8>>> {
        certificates::der(&self.store, id).await
    }

    /// Newest first, at most `limit`, before `before` (exclusive).
    pub async fn certificates(
        &self,
        filter: &CertificateFilter,
        before: Option<CertificateId>,
        limit: u16,
    ) -> Result<Vec<Certificate>> {
        certificates::list(&self.store, filter, before, i64::from(limit), self.store.now()).await
    }

    /// Valid ones that end within `time`, the next to end first.
    pub async fn certificates_ending(&self, time: Duration, limit: u16) -> Result<Vec<Certificate>> {
        let now = self.store.now().truncated();
        certificates::ending(&self.store, now, now + time, i64::from(limit)).await
    }

    /// How many valid ones end within `time`; no count goes past `bound`, so it may stand on a page.
    pub async fn count_ending(&self, time: Duration, bound: u16) -> Result<i64> {
        let now = self.store.now().truncated();
        certificates::count_ending(&self.store, now, now + time, i64::from(bound)).await
    }

    /// How many were asked for within the last `time`, by their ids, which begin with the time.
    pub async fn count_recent(&self, time: Duration, bound: u16) -> Result<i64> {
        let first = CertificateId::first_at(self.store.now() - time);
        certificates::count_since(&self.store, first, i64::from(bound)).await
    }

    /// (issuer, profile, status, count); a full count, so never on a request.
    pub async fn certificate_counts(&self) -> Result<Vec<(String, String, String, i64)>> {
        certificates::counts(&self.store).await
    }

    pub async fn audit_events(&self, before: Option<EventId>, limit: u16) -> Result<Vec<ListedEvent>> {
        audit::page(&self.store, before, i64::from(limit)).await
    }

    /// The history of one object (`certificate:crt_…`), oldest first.
    pub async fn events_of(&self, object: &str) -> Result<Vec<ListedEvent>> {
        audit::of_object(&self.store, object, 500).await
    }

    /// Why a key may not be certified, if so.
    pub async fn key_blocked(&self, spki_sha256: &[u8; 32]) -> Result<Option<String>> {
        revocations::blocked(&self.store, spki_sha256).await
    }
}

/// Returns the certificate if exactly one was found. Of several, none: the search does not say which one is meant.
fn only(mut found: Vec<Certificate>) -> Option<Certificate> {
    let last = found.pop();
    last.filter(|_| found.is_empty())
}

//! Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a key belongs to one request of one caller for
//! 24 hours. The same key with another request is refused, one in flight is a conflict, else the answer is told again.

use std::time::Duration;

use super::{Access, secret};
use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::id::CertificateId;
use crate::store::{Tx, idempotency};

const KEPT: Duration = days(1);

/// A key as a request gave it.
#[derive(Debug, Clone)]
pub struct Key {
    pub text: String,
    /// Of method, path and body.
    pub request_sha256: [u8; 32],
}

/// What is to be done.
#[derive(Debug)]
pub enum Seen {
    /// Never: go on, and claim it until then.
    New { expires_at: Timestamp },
    /// It made or revoked this certificate.
    Certificate(CertificateId),
    /// The request before is making this certificate, or its process has ended.
    InFlight(CertificateId),
    /// It was answered by this body.
    Answer { status: u16, body: String },
}

impl Key {
    /// 1 to 255 printable ASCII characters.
    pub fn new(text: &str, method: &str, path: &str, body: &[u8]) -> Result<Self> {
        if text.is_empty() || text.len() > 255 || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(Error::malformed("Idempotency-Key has 1 to 255 printable ASCII characters"));
        }
        let request = [method.as_bytes(), b" ", path.as_bytes(), b"\n", body].concat();
        Ok(Key { text: text.to_owned(), request_sha256: secret::sha256(&request) })
    }
}

impl Access {
    pub async fn seen(&self, actor: &Actor, key: &Key) -> Result<Seen> {
        let (who, now) = (actor.to_string(), self.store.now());
        let Some(known) = idempotency::find(&self.store, &who, &key.text).await? else {
            return Ok(Seen::New { expires_at: now + KEPT });
        };
        if known.expires_at <= now {
            idempotency::drop_expired(&self.store, &who, &key.text, now).await?;
            return Ok(Seen::New { expires_at: now + KEPT });
        }
        if planted!("key-of-another-request-answers", false, known.request_sha256 != key.request_sha256) {
            let detail = "this Idempotency-Key came before with another request; use a new key for a new request";
            return Err(Error::new(ErrorKind::IdempotencyMismatch, detail));
        }
        match (known.status.map(u16::try_from), known.certificate_id, known.body) {
            (Some(Ok(_)), Some(id), None) => Ok(Seen::Certificate(id)),
            (Some(Ok(status)), _, Some(body)) => Ok(Seen::Answer { status, body }),
            (None, Some(id), _) => Ok(Seen::InFlight(id)),
            (None, ..) => Err(in_flight()),
            _ => Err(Error::inconsistent("an Idempotency-Key has an answer that cannot be read")),
        }
    }
}

/// Key and answer in the transaction of the change itself.
pub async fn claim(tx: &mut Tx, actor: &Actor, key: &Key, status: u16, body: &str) -> Result<()> {
    let (who, now) = (actor.to_string(), tx.now());
    let (place, answer) = ((who.as_str(), key.text.as_str()), (i64::from(status), body));
    match idempotency::record(tx, place, &key.request_sha256, answer, now, now + KEPT).await {
        Err(error) if error.kind == ErrorKind::Conflict => Err(in_flight()),
        other => other,
    }
}

pub fn in_flight() -> Error {
    Error::new(ErrorKind::Conflict, "a request with this Idempotency-Key is under way; repeat it in a moment")
        .retry_after(Duration::from_secs(1))
}

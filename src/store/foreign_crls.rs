//! CRLs of CAs elsewhere that stand above our issuers: fetched from where their certificates point, or given by hand.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;

statements! {
    ALL_OF_THEM = "SELECT ca, url, der, this_update, next_update, tried_at, failure FROM foreign_crls ORDER BY ca";
    STORE = "INSERT INTO foreign_crls (ca, url, der, this_update, next_update, tried_at, failure) VALUES ($1, $2, $3, $4, $5, $6, '') \
             ON CONFLICT (ca) DO UPDATE SET url = $2, der = $3, this_update = $4, next_update = $5, tried_at = $6, failure = '' \
             WHERE foreign_crls.this_update <= $4";
    FAILED = "INSERT INTO foreign_crls (ca, url, der, this_update, next_update, tried_at, failure) VALUES ($1, $2, $3, 0, 0, $4, $5) \
              ON CONFLICT (ca) DO UPDATE SET url = $2, tried_at = $4, failure = $5";
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignCrl {
    /// SHA-256 of the CA's SubjectPublicKeyInfo.
    pub ca: Vec<u8>,
    /// Where it was fetched; empty when it was given by hand.
    pub url: String,
    /// Empty until one was read.
    pub der: Vec<u8>,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub tried_at: Timestamp,
    /// Why the last try failed; empty when it did not.
    pub failure: String,
}

pub async fn list<'a>(on: impl Into<On<'a>>) -> Result<Vec<ForeignCrl>> {
    q(ALL_OF_THEM).fetch_all(on).await?.iter().map(row).collect()
}

/// Stores a CRL unless a newer one is there.
pub async fn store<'a>(on: impl Into<On<'a>>, crl: &ForeignCrl) -> Result<()> {
    q(STORE)
        .bind(crl.ca.clone())
        .bind(&crl.url)
        .bind(crl.der.clone())
        .bind(crl.this_update)
        .bind(crl.next_update)
        .bind(crl.tried_at)
        .execute(on)
        .await
        .map(drop)
}

/// Remembers why a CRL could not be fetched; one that was read before stays.
pub async fn failed<'a>(on: impl Into<On<'a>>, ca: &[u8], url: &str, at: Timestamp, why: &str) -> Result<()> {
    let none: &[u8] = &[];
    q(FAILED).bind(ca.to_vec()).bind(url).bind(none).bind(at).bind(why).execute(on).await.map(drop)
}

fn row(row: &Row) -> Result<ForeignCrl> {
    Ok(ForeignCrl {
        ca: row.get("ca")?,
        url: row.get("url")?,
        der: row.get("der")?,
        this_update: row.time("this_update")?,
        next_update: row.time("next_update")?,
        tried_at: row.time("tried_at")?,
        failure: row.get("failure")?,
    })
}

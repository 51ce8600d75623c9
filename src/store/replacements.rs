//! Which certificate was issued in place of which over REST. A certificate may have been replaced several times, also by
//! one that never came to be: the newest one that was signed counts.

use super::engine::{On, RawTx, q, statements, write_many};
use crate::error::Result;
use crate::model::id::CertificateId;

statements! {
    INSERT = "INSERT INTO certificate_replacements (replaced_id, certificate_id) VALUES ($1, $2)",
        postgres "INSERT INTO certificate_replacements (replaced_id, certificate_id) SELECT * FROM UNNEST($1::bytea[], $2::bytea[])";
    SUCCESSOR = "SELECT r.certificate_id FROM certificate_replacements r JOIN certificates c ON c.id = r.certificate_id \
                 WHERE r.replaced_id = $1 AND c.fingerprint IS NOT NULL ORDER BY r.certificate_id DESC LIMIT 1";
}

/// Pairs of the replaced certificate and the new one.
pub async fn insert(tx: &mut RawTx, pairs: &[(CertificateId, CertificateId)]) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let rows = pairs.iter().map(|(replaced, new)| vec![replaced.to_vec().into(), new.to_vec().into()]);
    write_many(tx, INSERT, rows.collect()).await.map(drop)
}

/// The newest certificate in place of this one.
pub async fn successor<'a>(on: impl Into<On<'a>>, replaced: CertificateId) -> Result<Option<CertificateId>> {
    let found = q(SUCCESSOR).bind(replaced.to_vec()).fetch_optional(on).await?;
    found.map(|row| row.id("certificate_id")).transpose()
}

//! Certificates that a CA issued before it came here: rows like those of our own, without an intent.

use super::certificates;
use super::engine::{RawTx, q, statements, write_many};
use crate::error::Result;
use crate::model::certificate::Certificate;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::serial::SerialNumber;

/// What stands as the way that it came, in the column `via`.
pub const VIA: &str = "import";

statements! {
    /// Two CAs may have used one serial: the first certificate keeps the row.
    RESERVE = "INSERT INTO serials (serial, certificate_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        postgres "INSERT INTO serials (serial, certificate_id) SELECT * FROM UNNEST($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING";
    INSERT = "INSERT INTO certificates (id, serial, issuer_id, issuer, profile, profile_revision, status, subject, names, not_before, \
              not_after, spki_sha256, fingerprint, key_algorithm, via, requester, replica_id, intended_at, issued_at) \
              VALUES ($1, $2, $3, $4, $5, 0, 'valid', $6, $7, $8, $9, $10, $11, $12, 'import', $13, $14, $15, $16)",
        postgres "INSERT INTO certificates (id, serial, issuer_id, issuer, profile, profile_revision, status, subject, names, not_before, \
              not_after, spki_sha256, fingerprint, key_algorithm, via, requester, replica_id, intended_at, issued_at) \
              SELECT a, b, c, d, e, 0, 'valid', f, g, h, i, j, k, l, 'import', m, n, o, p FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[], \
              $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[], $12::text[], \
              $13::text[], $14::bytea[], $15::bigint[], $16::bigint[]) AS u(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)";
    INSERT_BODY = "INSERT INTO certificate_bodies (certificate_id, tbs, der) VALUES ($1, $2, $3)",
        postgres "INSERT INTO certificate_bodies (certificate_id, tbs, der) SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[])";
    CLAIM_REVOCATION = "UPDATE revocations SET certificate_id = $3, not_after = $4 WHERE issuer_id = $1 AND serial = $2";
}

/// A certificate with its to-be-signed bytes and its DER.
#[derive(Debug, Clone)]
pub struct Import {
    pub certificate: Certificate,
    pub tbs: Vec<u8>,
    pub der: Vec<u8>,
}

/// Writes the rows as valid certificates, in the caller's transaction. One that is there already is a conflict.
pub async fn insert(tx: &mut RawTx, imports: &[Import]) -> Result<()> {
    let all = || imports.iter().map(|import| &import.certificate);
    let reserve = all().map(|c| vec![c.serial.octets().into(), c.id.to_vec().into()]);
    write_many(tx, RESERVE, reserve.collect()).await?;
    let rows = all().map(|c| {
        Ok(vec![
            c.id.to_vec().into(),
            c.serial.octets().into(),
            c.issuer_id.to_vec().into(),
            (&c.issuer).into(),
            (&c.profile).into(),
            (&c.subject).into(),
            certificates::json(&c.names)?.into(),
            c.validity.not_before().into(),
            c.validity.not_after().into(),
            c.spki_sha256.to_vec().into(),
            c.fingerprint.map(|hash| hash.to_vec()).into(),
            (&c.key_algorithm).into(),
            (&c.requester).into(),
            c.replica_id.to_vec().into(),
            c.intended_at.into(),
            c.issued_at.into(),
        ])
    });
    write_many(tx, INSERT, rows.collect::<Result<_>>()?).await?;
    let bodies =
        imports.iter().map(|i| vec![i.certificate.id.to_vec().into(), i.tbs.clone().into(), i.der.clone().into()]);
    write_many(tx, INSERT_BODY, bodies.collect()).await?;
    certificates::insert_names(tx, all()).await
}

/// Gives a revocation that a CRL brought without its certificate to that certificate.
pub async fn claim_revocation(
    tx: &mut RawTx,
    issuer: IssuerId,
    serial: &SerialNumber,
    certificate: &Certificate,
) -> Result<()> {
    let id: CertificateId = certificate.id;
    let query = q(CLAIM_REVOCATION).bind(issuer.to_vec()).bind(serial.octets());
    query.bind(id.to_vec()).bind(certificate.validity.not_after()).execute(tx).await.map(drop)
}

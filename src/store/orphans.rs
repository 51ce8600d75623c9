//! Rows that belong to nothing, for fsck: each statement is one snapshot, so that what a server writes beside it is
//! seen whole or not at all. A revocation that came with the CRL of an imported CA names the issuer in place of a
//! certificate, because we never had it.

use super::engine::{On, Sql, q, statements};
use crate::error::Result;
use crate::model::serial::to_hex;

statements! {
    SERIALS = "SELECT s.serial AS found FROM serials s WHERE NOT EXISTS \
               (SELECT 1 FROM certificates c WHERE c.id = s.certificate_id AND c.serial = s.serial) ORDER BY s.serial LIMIT $1";
    REVOCATIONS = "SELECT r.serial AS found FROM revocations r WHERE NOT EXISTS (SELECT 1 FROM certificates c WHERE c.id = r.certificate_id \
                   AND c.serial = r.serial AND c.issuer_id = r.issuer_id AND c.status = 'revoked') \
                   AND NOT (r.certificate_id = r.issuer_id AND NOT EXISTS (SELECT 1 FROM serials s WHERE s.serial = r.serial)) ORDER BY r.serial LIMIT $1";
    BODIES = "SELECT b.certificate_id AS found FROM certificate_bodies b WHERE NOT EXISTS \
              (SELECT 1 FROM certificates c WHERE c.id = b.certificate_id) ORDER BY b.certificate_id LIMIT $1";
    ISSUER_CERTIFICATES = "SELECT i.certificate_id AS found FROM issuer_certificates i JOIN certificate_bodies b \
                           ON b.certificate_id = i.certificate_id WHERE b.der IS NULL OR b.der <> i.der ORDER BY i.id LIMIT $1";
    RESPONDERS = "SELECT r.certificate_id AS found FROM responders r JOIN certificate_bodies b \
                  ON b.certificate_id = r.certificate_id WHERE b.der IS NULL OR b.der <> r.der ORDER BY r.id LIMIT $1";
}

/// More of one kind say nothing new.
const MOST: i64 = 100;

/// One sentence for each.
pub async fn find<'a, D: Copy + Into<On<'a>>>(on: D) -> Result<Vec<String>> {
    let kinds: [(Sql, &str, &str); 5] = [
        (SERIALS, "serial", "is reserved for a certificate that is not there or has another"),
        (REVOCATIONS, "the revocation of serial", "belongs to no revoked certificate of its issuer"),
        (BODIES, "the bytes of certificate", "are there without its row"),
        (ISSUER_CERTIFICATES, "the issuer's copy of certificate", "is not what was issued"),
        (RESPONDERS, "the OCSP responder's copy of certificate", "is not what was issued"),
    ];
    let mut sentences = Vec::new();
    for (sql, what, why) in kinds {
        for row in q(sql).bind(MOST).fetch_all(on).await? {
            sentences.push(format!("{what} {} {why}", to_hex(&row.get::<Vec<u8>>("found")?)));
        }
    }
    Ok(sentences)
}

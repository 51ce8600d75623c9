//! Who writes rows of CRLs, of revocations or of certificates hides no revocation: what was signed and what was served last
//! count, and what was taken off a list is on it again.

use chancery::authority::Authority;
use chancery::authority::guard::Guard;
use chancery::clock::{hours, minutes};
use chancery::error::ErrorKind;
use chancery::model::id::CertificateId;
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::ocsp_facts::OcspFailure;
use chancery::store::engine::q;

use super::ocsp::{Said, asked};
use super::rig::{Rig, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::{At, plain};

async fn issued(rig: &Rig) -> (CertificateId, SerialNumber) {
    let done = rig.issue(issuance(Guard::default())).await.unwrap();
    (done.certificate.id, done.certificate.serial.clone())
}

/// One that was revoked and is on the published CRL.
async fn revoked(rig: &Rig) -> SerialNumber {
    let (id, serial) = issued(rig).await;
    rig.authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
    rig.authority.publish_due().await.unwrap();
    assert!(lists(rig, &serial).await);
    serial
}

async fn lists(rig: &Rig, serial: &SerialNumber) -> bool {
    openssl_lists(rig, &rig.authority.current_crl("tls-1").await.unwrap().der, serial)
}

fn openssl_lists(rig: &Rig, der: &[u8], serial: &SerialNumber) -> bool {
    // the copy is not the one that a verifier gets if its signature does not hold
    let parsed = openssl::x509::X509Crl::from_der(der).unwrap();
    let issuer = rig.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().der.clone();
    let key = openssl::x509::X509::from_der(&issuer).unwrap().public_key().unwrap();
    assert!(parsed.verify(&key).unwrap());
    let listed: Vec<_> =
        parsed.get_revoked().into_iter().flatten().map(|one| one.serial_number().to_bn().unwrap()).collect();
    listed.contains(&openssl::bn::BigNum::from_slice(serial.octets()).unwrap())
}

pub async fn look(rig: &Rig) -> Vec<String> {
    rig.authority.keep_row_macs().await.unwrap();
    rig.authority.look_at_rows().await.unwrap();
    rig.store.row_macs().changed().keys().cloned().collect()
}

/// As long as other processes may not know the key of the MACs, rows have none.
pub async fn rig(at: &At) -> Rig {
    let rig = Rig::on(at).await;
    begin(&rig, at).await;
    rig
}

async fn begin(rig: &Rig, at: &At) {
    rig.authority.keep_row_macs().await.unwrap();
    at.clock.advance(minutes(1));
    rig.authority.keep_row_macs().await.unwrap();
    rig.authority.poll_revocations().await.unwrap();
    // what is served is remembered from here on
    rig.authority.recall().await.unwrap();
}

on_both_engines! {
    async fn a_crl_whose_rows_were_deleted_is_served_on_and_made_anew(at) {
        let rig = rig(at).await;
        let serial = revoked(&rig).await;
        let before = rig.authority.current_crl("tls-1").await.unwrap().number;
        for text in ["DELETE FROM crls WHERE entries > 0", "DELETE FROM crls_ahead", "UPDATE issuers SET crl_dirty = FALSE"] {
            at.sql(text).await;
        }
        assert!(lists(&rig, &serial).await);
        at.clock.advance(minutes(2));
        assert_eq!(look(&rig).await, ["crl:tls-1"]);
        assert_eq!(rig.authority.publish_due().await.unwrap(), 1);
        assert!(lists(&rig, &serial).await);
        assert!(rig.authority.current_crl("tls-1").await.unwrap().number > before);
        assert!(look(&rig).await.is_empty());
    }

    async fn a_crl_of_later_is_not_served_before_its_time(at) {
        let rig = rig(at).await;
        rig.authority.publish_domains_due().await.unwrap();
        let before = rig.authority.current_crl("tls-root").await.unwrap().number;
        let domain = rig.authority.domain_crl("tls").await.unwrap().tag.clone();
        assert!(at.sql("UPDATE crls_ahead SET starts_at = 1").await > 50);
        assert!(at.sql("UPDATE domain_crls_ahead SET starts_at = 1").await > 0);
        at.clock.advance(minutes(1));
        assert_eq!(rig.authority.current_crl("tls-root").await.unwrap().number, before);
        assert_eq!(rig.authority.domain_crl("tls").await.unwrap().tag, domain);
        // a revocation takes them away all the same
        revoked(&rig).await;
        at.sql("UPDATE crls_ahead SET this_update = 1, starts_at = 1").await;
        at.sql("UPDATE domain_crls_ahead SET this_update = 1, starts_at = 1").await;
        at.clock.advance(minutes(1));
        assert_eq!(rig.authority.current_crl("tls-root").await.unwrap().number, before, "the sealed bytes say another time");
        assert!(rig.authority.domain_crl("tls").await.is_err());
    }

    async fn an_older_crl_in_the_row_of_the_newest_is_not_served(at) {
        let rig = rig(at).await;
        at.sql("CREATE TABLE kept_crls AS SELECT * FROM crls").await;
        let serial = revoked(&rig).await;
        at.sql("UPDATE crls SET der = (SELECT k.der FROM kept_crls k WHERE k.issuer_id = crls.issuer_id), \
                entries = 0 WHERE entries > 0").await;
        at.clock.advance(minutes(2));
        assert!(lists(&rig, &serial).await, "it is in memory");
        assert_eq!(look(&rig).await, ["crl:tls-1"]);
        assert_eq!(rig.authority.publish_due().await.unwrap(), 1);
        assert!(lists(&rig, &serial).await);
        assert!(look(&rig).await.is_empty());
    }

    async fn a_row_that_claims_a_million_entries_is_compared_and_made_anew(at) {
        let rig = rig(at).await;
        at.sql("CREATE TABLE kept_crls AS SELECT * FROM crls").await;
        let serial = revoked(&rig).await;
        at.sql("UPDATE crls SET der = (SELECT k.der FROM kept_crls k WHERE k.issuer_id = crls.issuer_id), \
                entries = 1000000000000 WHERE entries > 0").await;
        at.clock.advance(minutes(2));
        assert_eq!(look(&rig).await, ["crl:tls-1"]);
        rig.authority.publish_due().await.unwrap();
        assert!(lists(&rig, &serial).await);
        assert!(look(&rig).await.is_empty());
    }

    async fn a_crl_of_another_key_is_not_served_with_the_row_of_that_key(at) {
        let rig = rig(at).await;
        let serial = revoked(&rig).await;
        // the root stands in for somebody whose key is in the row of the issuer's key
        at.sql("CREATE TABLE other AS SELECT c.* FROM crls c JOIN issuers i ON i.id = c.issuer_id WHERE i.slug = 'tls-root'").await;
        at.sql("UPDATE crls SET der = (SELECT der FROM other), this_update = (SELECT this_update FROM other), \
                next_update = (SELECT next_update FROM other), entries = 0 WHERE entries > 0").await;
        at.sql("UPDATE keys SET public_key = (SELECT k.public_key FROM keys k JOIN issuers i ON i.key_id = k.id WHERE i.slug = 'tls-root') \
                WHERE id = (SELECT key_id FROM issuers WHERE slug = 'tls-1')").await;
        let other = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        if let Ok(crl) = other.current_crl("tls-1").await {
            assert!(openssl_lists(&rig, &crl.der, &serial));
        }
        assert!(lists(&rig, &serial).await, "it is in memory");
    }

    async fn the_list_of_a_domain_is_served_as_an_issuer_of_it_signed_it(at) {
        let rig = rig(at).await;
        let serial = revoked(&rig).await;
        rig.authority.publish_domains_due().await.unwrap();
        let signed = rig.authority.domain_crl("tls").await.unwrap();
        assert!(openssl_lists(&rig, &signed.der, &serial));
        let mut forged = signed.der.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let of_issuer = rig.authority.current_crl("tls-1").await.unwrap().der.to_vec();
        let domains = rig.authority.snapshot().domains.iter().map(|domain| domain.slug.clone()).collect::<Vec<_>>();
        let other_domain = domains.iter().find(|domain| *domain != "tls");
        let of_other = match other_domain {
            Some(other) => rig.authority.domain_crl(other).await.ok().map(|list| list.der.to_vec()),
            None => None,
        };
        for der in [Some(forged), Some(of_issuer), of_other, Some(b"no list".to_vec())].into_iter().flatten() {
            q(plain("UPDATE domain_crls SET der = $1 WHERE domain = 'tls'")).bind(der).execute(&at.store).await.unwrap();
            // one that remembers nothing serves nothing
            let other = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
            assert_eq!(other.domain_crl("tls").await.unwrap_err().kind, ErrorKind::Unavailable);
            assert!(openssl_lists(&rig, &rig.authority.domain_crl("tls").await.unwrap().der, &serial));
            at.clock.advance(minutes(2));
            assert_eq!(look(&rig).await, ["crl:domain:tls"]);
            rig.authority.publish_domains_due().await.unwrap();
            assert!(openssl_lists(&rig, &rig.authority.domain_crl("tls").await.unwrap().der, &serial));
            assert!(look(&rig).await.is_empty());
        }
    }

    async fn the_list_of_a_domain_that_was_deleted_or_set_back_is_noticed_and_served_on(at) {
        let rig = rig(at).await;
        rig.authority.publish_domains_due().await.unwrap();
        at.sql("CREATE TABLE kept_lists AS SELECT * FROM domain_crls").await;
        for _ in 0..3 {
            revoked(&rig).await;
            rig.authority.publish_domains_due().await.unwrap();
            rig.authority.domain_crl("tls").await.unwrap();
        }
        let before = rig.authority.domain_crl("tls").await.unwrap();
        for texts in [&["DELETE FROM domain_crls"][..], &["INSERT INTO domain_crls SELECT * FROM kept_lists"]] {
            for text in texts {
                at.sql(text).await;
            }
            assert_eq!(rig.authority.domain_crl("tls").await.unwrap().tag, before.tag);
            assert!(rig.store.rollback().is_some());
        }
    }

    async fn a_revocation_whose_publication_was_called_off_is_published(at) {
        let rig = rig(at).await;
        let (id, serial) = issued(&rig).await;
        rig.authority.publish_due().await.unwrap();
        rig.authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        at.sql("UPDATE issuers SET crl_dirty = FALSE").await;
        assert_eq!(rig.authority.publish_due().await.unwrap(), 0);
        assert!(!lists(&rig, &serial).await);
        at.clock.advance(minutes(2));
        assert_eq!(look(&rig).await, ["crl:tls-1"]);
        rig.authority.publish_due().await.unwrap();
        assert!(lists(&rig, &serial).await);
    }

    async fn a_revocation_whose_end_was_shortened_is_listed_again(at) {
        // of a time before revocations had a MAC in the audit
        let rig = Rig::on(at).await;
        let serial = revoked(&rig).await;
        begin(&rig, at).await;
        for text in [
            "UPDATE revocations SET not_after = 1",
            "UPDATE revocations SET not_after = 1, certificate_id = issuer_id",
            "DELETE FROM certificate_bodies",
        ] {
            at.sql(text).await;
            at.sql("UPDATE revocations SET not_after = 1").await;
            at.clock.advance(hours(7));
            rig.authority.publish_due().await.unwrap();
            assert!(!lists(&rig, &serial).await, "the list is made of the rows");
            assert!(look(&rig).await.iter().any(|object| object.starts_with("certificate:")));
            rig.authority.publish_due().await.unwrap();
            assert!(lists(&rig, &serial).await, "{text}");
        }
    }

    async fn a_row_that_was_changed_or_copied_makes_no_revoked_certificate_good(at) {
        let rig = rig(at).await;
        let serial = revoked(&rig).await;
        issued(&rig).await;
        at.sql("CREATE TABLE other AS SELECT id FROM certificates WHERE status = 'valid' AND issuer = 'tls-1' LIMIT 1").await;
        at.sql("UPDATE certificates SET status = 'valid', revoked_at = NULL, reason = NULL").await;
        assert!(matches!(asked(&rig.authority, "tls-1", &serial).await, Said::Revoked(..)));
        // its serial is given to another certificate, and nothing else says that it is revoked
        at.sql("DELETE FROM revocations").await;
        let moved = at.sql("UPDATE serials SET certificate_id = (SELECT id FROM other) WHERE certificate_id <> (SELECT id FROM other)").await;
        assert!(moved > 0);
        at.sql("UPDATE versions SET version = version + 1 WHERE topic = 'revocations'").await;
        rig.authority.poll_revocations().await.unwrap();
        assert_eq!(asked(&rig.authority, "tls-1", &serial).await, Said::Failed(OcspFailure::TryLater));
    }
}

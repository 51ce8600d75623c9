//! Who writes rows of CRLs, of revocations or of certificates hides no revocation: what was signed and what was served last
//! count, and what was taken off a list is on it again.

use chancery::authority::guard::Guard;
use chancery::clock::{hours, minutes};
use chancery::model::id::CertificateId;
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::ocsp_facts::OcspFailure;

use super::ocsp::{Said, asked};
use super::rig::{Rig, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::At;

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
    let crl = rig.authority.current_crl("tls-1").await.unwrap();
    // the copy is not the one that a verifier gets if its signature does not hold
    let parsed = openssl::x509::X509Crl::from_der(&crl.der).unwrap();
    let issuer = rig.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().der.clone();
    let key = openssl::x509::X509::from_der(&issuer).unwrap().public_key().unwrap();
    assert!(parsed.verify(&key).unwrap());
    let listed: Vec<_> =
        parsed.get_revoked().into_iter().flatten().map(|one| one.serial_number().to_bn().unwrap()).collect();
    listed.contains(&openssl::bn::BigNum::from_slice(serial.octets()).unwrap())
}

async fn look(rig: &Rig) -> Vec<String> {
    rig.authority.keep_row_macs().await.unwrap();
    rig.authority.look_at_rows().await.unwrap();
    rig.store.row_macs().changed().keys().cloned().collect()
}

/// As long as other processes may not know the key of the MACs, rows have none.
async fn rig(at: &At) -> Rig {
    let rig = Rig::on(at).await;
    rig.authority.keep_row_macs().await.unwrap();
    at.clock.advance(minutes(1));
    rig.authority.keep_row_macs().await.unwrap();
    rig.authority.poll_revocations().await.unwrap();
    // what is served is remembered from here on
    rig.authority.recall().await.unwrap();
    rig
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
        let rig = rig(at).await;
        let serial = revoked(&rig).await;
        for text in [
            "UPDATE revocations SET not_after = 1",
            "UPDATE revocations SET not_after = 1, certificate_id = issuer_id",
        ] {
            at.sql(text).await;
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

//! Who writes rows takes no revocation back and makes none milder: what an event of the audit says under a MAC counts.

use chancery::authority::guard::Guard;
use chancery::clock::minutes;
use chancery::error::ErrorKind;
use chancery::model::blocked_key::KeyFingerprint;
use chancery::model::id::{CertificateId, EventId};
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::store::engine::q;
use openssl::x509::{ReasonCode, X509Crl};

use super::changed_lists::{look, rig};
use super::rig::{Rig, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::{At, plain};

const ON_HOLD: &[&str] = &[
    "UPDATE revocations SET reason = 'certificateHold'",
    "UPDATE certificates SET reason = 'certificateHold' WHERE status = 'revoked'",
];
const GONE: &[&str] = &[
    "DELETE FROM revocations",
    "UPDATE certificates SET status = 'valid', revoked_at = NULL, reason = NULL WHERE status = 'revoked'",
];

async fn issued(rig: &Rig) -> (CertificateId, SerialNumber) {
    let done = rig.issue(issuance(Guard::default())).await.unwrap();
    (done.certificate.id, done.certificate.serial.clone())
}

async fn revoke(rig: &Rig, id: CertificateId, reason: RevocationReason) {
    rig.authority.revoke(&actor(), id, reason).await.unwrap();
}

async fn all(at: &At, texts: &[&'static str]) {
    for text in texts {
        at.sql(text).await;
    }
}

/// Time and reason on the CRL that is published next, as OpenSSL reads them.
async fn published(rig: &Rig, serial: &SerialNumber) -> Option<(String, i64)> {
    rig.authority.publish_due().await.unwrap();
    let crl = rig.authority.current_crl("tls-1").await.unwrap();
    let parsed = X509Crl::from_der(&crl.der).unwrap();
    let wanted = openssl::bn::BigNum::from_slice(serial.octets()).unwrap();
    let listed = parsed.get_revoked()?.into_iter().find(|one| one.serial_number().to_bn().unwrap() == wanted)?;
    let reason = listed.extension::<ReasonCode>().unwrap().map_or(0, |(_, code)| code.get_i64().unwrap());
    Some((listed.revocation_date().to_string(), reason))
}

/// Repeats an event that is there, or one of these values, in a chain of a process that has ended.
async fn forge(rig: &Rig, at: &At, action: &str, object: &str, detail: Option<&str>) {
    let id = EventId::new(rig.store.now(), rig.store.entropy.as_ref()).unwrap();
    let kept = "SELECT detail FROM audit_events WHERE action = $1 AND object = $2 ORDER BY id LIMIT 1";
    let detail = match detail {
        Some(detail) => detail.to_owned(),
        None => {
            let row = q(plain(kept)).bind(action).bind(object).fetch_one(&at.store).await.unwrap();
            row.get("detail").unwrap()
        }
    };
    let text = "INSERT INTO audit_events (writer, lane, seq, id, at, action, outcome, actor, object, request_id, detail, previous, hash) \
                VALUES ($1, 0, 1, $1, $2, $3, 'done', 'host:0', $4, '', $5, $6, $6)";
    let query = q(plain(text)).bind(id.to_vec()).bind(rig.store.now()).bind(action).bind(object).bind(detail);
    query.bind(vec![0u8; 32]).execute(&at.store).await.unwrap();
}

on_both_engines! {
    async fn a_revocation_that_was_changed_or_deleted_is_put_back(at) {
        let rig = rig(at).await;
        let (id, serial) = issued(&rig).await;
        revoke(&rig, id, RevocationReason::Superseded).await;
        let before = published(&rig, &serial).await;
        assert_eq!(before.as_ref().map(|(_, reason)| *reason), Some(4));
        let attacks: [&[&'static str]; 6] = [
            ON_HOLD,
            GONE,
            &["UPDATE revocations SET revoked_at = 4000000000000000"],
            &["UPDATE revocations SET invalidity_date = 1"],
            &["UPDATE revocations SET not_after = 1", "DELETE FROM certificate_bodies"],
            &["UPDATE revocations SET certificate_id = issuer_id, reason = 'nonsense'"],
        ];
        for attack in attacks {
            all(at, attack).await;
            let told = rig.authority.fsck().await.unwrap().findings;
            assert!(told.iter().any(|finding| finding.contains(&format!("certificate:{id} is revoked"))), "{attack:?}: {told:?}");
            at.clock.advance(minutes(2));
            assert_eq!(look(&rig).await, [format!("certificate:{id}")], "{attack:?}");
            assert_eq!(published(&rig, &serial).await, before, "{attack:?}");
            assert!(look(&rig).await.is_empty(), "{attack:?}");
        }
    }

    async fn no_crl_says_less_than_the_one_before(at) {
        let rig = rig(at).await;
        let ((id, serial), (held, free)) = (issued(&rig).await, issued(&rig).await);
        revoke(&rig, id, RevocationReason::Superseded).await;
        revoke(&rig, held, RevocationReason::CertificateHold).await;
        let before = published(&rig, &serial).await;
        rig.authority.lift_hold(&actor(), held).await.unwrap();
        let attacks = [ON_HOLD, GONE, &["UPDATE revocations SET revoked_at = 4000000000000000"]];
        for attack in attacks {
            all(at, attack).await;
            at.sql("UPDATE issuers SET crl_dirty = TRUE").await;
            at.clock.advance(minutes(1));
            assert_eq!(published(&rig, &serial).await, before, "{attack:?}");
            assert_eq!(published(&rig, &free).await, None, "its hold was lifted");
        }
        let told = rig.authority.fsck().await.unwrap().findings;
        assert!(told.is_empty(), "{told:?}");
    }

    async fn a_hold_that_was_made_in_the_database_is_not_lifted(at) {
        let rig = rig(at).await;
        for raised in [false, true] {
            let (id, _) = issued(&rig).await;
            if raised {
                revoke(&rig, id, RevocationReason::CertificateHold).await;
            }
            revoke(&rig, id, RevocationReason::KeyCompromise).await;
            at.sql("DELETE FROM blocked_keys").await;
            all(at, ON_HOLD).await;
            let refused = rig.authority.lift_hold(&actor(), id).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Conflict);
            assert!(refused.detail.contains("was revoked for good"), "{}", refused.detail);
            assert!(look(&rig).await.contains(&format!("certificate:{id}")));
        }
    }

    async fn events_that_somebody_added_take_nothing_back(at) {
        let rig = rig(at).await;
        let (id, serial) = issued(&rig).await;
        let object = format!("certificate:{id}");
        // a lift that was genuine once
        revoke(&rig, id, RevocationReason::CertificateHold).await;
        rig.authority.lift_hold(&actor(), id).await.unwrap();
        revoke(&rig, id, RevocationReason::Superseded).await;
        let before = published(&rig, &serial).await;
        assert!(before.is_some());
        for detail in [None, Some("{}"), Some("{\"rows\":{}}")] {
            all(at, GONE).await;
            at.clock.advance(minutes(2));
            forge(&rig, at, "certificate.hold_lifted", &object, detail).await;
            assert_eq!(look(&rig).await, std::slice::from_ref(&object));
            assert_eq!(published(&rig, &serial).await, before);
            all(at, ON_HOLD).await;
            assert_eq!(rig.authority.lift_hold(&actor(), id).await.unwrap_err().kind, ErrorKind::Conflict);
            look(&rig).await;
        }
        // the first revocation, a hold, is repeated as well
        all(at, ON_HOLD).await;
        forge(&rig, at, "certificate.revoked", &object, None).await;
        assert_eq!(rig.authority.lift_hold(&actor(), id).await.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(look(&rig).await, [object]);
        assert_eq!(published(&rig, &serial).await, before);

        let (key, by) = (KeyFingerprint([7; 32]), actor());
        let block = || rig.authority.block_key(&by, key, RevocationReason::KeyCompromise, "found");
        block().await.unwrap();
        rig.authority.unblock_key(&actor(), key).await.unwrap();
        assert!(look(&rig).await.is_empty());
        block().await.unwrap();
        at.clock.advance(minutes(2));
        at.sql("DELETE FROM blocked_keys").await;
        forge(&rig, at, "key.unblocked", &format!("key:{key}"), None).await;
        assert_eq!(look(&rig).await, [format!("key:{key}")]);
    }

    async fn a_lift_that_was_asked_for_while_the_event_was_away_takes_nothing_back(at) {
        let rig = rig(at).await;
        let (id, serial) = issued(&rig).await;
        revoke(&rig, id, RevocationReason::Superseded).await;
        let before = published(&rig, &serial).await;
        assert!(look(&rig).await.is_empty());
        issued(&rig).await;
        let object = format!("certificate:{id}");
        at.sql("CREATE TABLE kept_events AS SELECT * FROM audit_events WHERE action = 'certificate.revoked'").await;
        at.sql("DELETE FROM audit_events WHERE action = 'certificate.revoked'").await;
        all(at, ON_HOLD).await;
        rig.authority.lift_hold(&actor(), id).await.unwrap();
        at.sql("INSERT INTO audit_events SELECT * FROM kept_events").await;
        assert!(look(&rig).await.contains(&object));
        at.clock.advance(minutes(2));
        assert_eq!(published(&rig, &serial).await, before);
    }

    async fn a_revocation_that_is_deleted_with_its_event_is_missed(at) {
        let rig = rig(at).await;
        let (id, _) = issued(&rig).await;
        revoke(&rig, id, RevocationReason::Superseded).await;
        assert!(look(&rig).await.is_empty());
        // the end of a chain that is gone would be noticed at once
        issued(&rig).await;
        all(at, GONE).await;
        at.sql("DELETE FROM audit_events WHERE action = 'certificate.revoked'").await;
        at.clock.advance(minutes(2));
        let found = look(&rig).await;
        assert!(found.contains(&"revocations".to_owned()), "{found:?}");
    }

    async fn holds_that_come_and_go_are_no_finding(at) {
        let rig = rig(at).await;
        let (id, serial) = issued(&rig).await;
        for _ in 0..3 {
            revoke(&rig, id, RevocationReason::CertificateHold).await;
            assert!(look(&rig).await.is_empty());
            assert_eq!(published(&rig, &serial).await.map(|(_, reason)| reason), Some(6));
            rig.authority.lift_hold(&actor(), id).await.unwrap();
            assert!(look(&rig).await.is_empty());
            assert_eq!(published(&rig, &serial).await, None);
        }
        revoke(&rig, id, RevocationReason::CertificateHold).await;
        revoke(&rig, id, RevocationReason::KeyCompromise).await;
        assert!(look(&rig).await.is_empty());
        assert_eq!(published(&rig, &serial).await.map(|(_, reason)| reason), Some(1));
        let told = rig.authority.fsck().await.unwrap().findings;
        assert!(told.is_empty(), "{told:?}");
    }

    async fn what_was_revoked_and_lifted_before_there_were_macs_stays_so(at) {
        let rig = Rig::on(at).await;
        let ((lifted, free), (kept, serial)) = (issued(&rig).await, issued(&rig).await);
        revoke(&rig, lifted, RevocationReason::CertificateHold).await;
        at.clock.advance(minutes(1));
        rig.authority.lift_hold(&actor(), lifted).await.unwrap();
        revoke(&rig, kept, RevocationReason::Superseded).await;
        rig.authority.keep_row_macs().await.unwrap();
        at.clock.advance(minutes(1));
        rig.authority.keep_row_macs().await.unwrap();
        assert!(rig.store.row_macs().requires_withdrawals());
        assert!(look(&rig).await.is_empty());
        assert_eq!(published(&rig, &free).await, None);
        assert!(published(&rig, &serial).await.is_some());
        all(at, ON_HOLD).await;
        assert_eq!(rig.authority.lift_hold(&actor(), kept).await.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(look(&rig).await, [format!("certificate:{kept}")]);
        all(at, &["UPDATE revocations SET reason = 'superseded', revoked_at = 4000000000000000", "UPDATE certificates SET reason = 'superseded' WHERE status = 'revoked'"]).await;
        assert!(matches!(&look(&rig).await[..], [one] if one.starts_with("revocation:iss")), "{:?}", look(&rig).await);
    }
}

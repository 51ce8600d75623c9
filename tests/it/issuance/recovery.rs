//! Recovery goes on past an intent that it cannot give up.

use std::time::Duration;

use chancery::authority::guard::Guard;
use chancery::authority::recovery::STALE_AFTER;
use chancery::model::certificate::CertificateStatus;
use chancery::store::engine::q;
use chancery::store::faults::CommitFault::Fails;
use chancery::store::{certificates, revocations};

use super::rig::{Rig, SignerState, issuance};
use crate::support::stores::plain;

crate::on_both_engines! {
    async fn an_intent_that_cannot_be_given_up_does_not_hide_the_others(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Unavailable);
        for _ in 0..6 {
            rig.store.commits().plan("certificate.abandoned", Fails);
            rig.issue(issuance(Guard::default())).await.unwrap_err();
        }
        at.clock.advance(STALE_AFTER + Duration::from_secs(1));
        let now = at.store.now();
        let start = chancery::model::id::CertificateId::from_bytes([0; 16]);
        let left = certificates::stale_intents(&at.store, now, start, 100).await.unwrap();
        assert_eq!(left.len(), 6);
        // one row does not parse, the revocation of another is taken already
        let broken = q(plain("UPDATE certificates SET names = '{' WHERE id = $1")).bind(left[0].to_vec());
        assert_eq!(broken.execute(&at.store.db).await.unwrap(), 1);
        let taken = "INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after) \
                     SELECT issuer_id, serial, id, 1, 'unspecified', 1 FROM certificates WHERE id = $1";
        q(plain(taken)).bind(left[1].to_vec()).execute(&at.store.db).await.unwrap();

        assert_eq!(rig.authority.recover().await.unwrap(), 4);
        assert_eq!(rig.authority.recover().await.unwrap(), 0, "and it ends");
        for id in &left[2..] {
            let row = certificates::find(&at.store, *id).await.unwrap().unwrap();
            assert!(matches!(row.status, CertificateStatus::Revoked { .. }));
            assert!(revocations::find(&at.store, row.issuer_id, &row.serial).await.unwrap().is_some());
        }
        // what was mended is given up at the next turn
        q(plain("UPDATE certificates SET names = '[]' WHERE id = $1")).bind(left[0].to_vec()).execute(&at.store.db).await.unwrap();
        assert_eq!(rig.authority.recover().await.unwrap(), 1);
    }
}

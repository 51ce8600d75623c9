//! Checkpoints of the audit: what they saw can be neither cut off nor written anew.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::guard::Guard;
use chancery::clock::hours;
use chancery::keys::store::Keys;
use chancery::model::audit::ChainedEvent;
use chancery::model::id::ReplicaId;
use chancery::store::audit::{self, ChainRow};
use chancery::store::engine::q;

use super::rig::{Rig, issuance};
use crate::support::stores::{At, entropy, plain};

crate::on_both_engines! {
    async fn a_checkpoint_is_made_every_hour_in_which_something_happened(at) {
        let rig = Rig::on(at).await;
        let due = async || rig.authority.checkpoint_due().await.unwrap();
        assert!(due().await, "the founding happened");
        assert!(!due().await);
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(!due().await, "the hour is not over");
        at.clock.advance(hours(1));
        assert!(due().await);
        at.clock.advance(hours(5));
        assert!(!due().await, "nothing happened since");
        rig.issue(issuance(Guard::default())).await.unwrap();
        let other = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        let (here, there) = tokio::join!(rig.authority.checkpoint_due(), other.checkpoint_due());
        assert_ne!(here.unwrap(), there.unwrap(), "one replica makes it");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_checkpoints").await, 3);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM keys WHERE purpose = 'internal'").await, 1);
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        other.store().db.close().await;
    }

    async fn a_chain_that_was_cut_is_a_finding(at) {
        let rig = Rig::on(at).await;
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        let last = newest(at).await;
        let gone = q(plain("DELETE FROM audit_events WHERE id = $1")).bind(last.id.to_vec());
        assert_eq!(gone.execute(&at.store.db).await.unwrap(), 1);
        let found = findings(&rig).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("was cut: the checkpoint of 2026-11-01T00:00:00"), "{found:?}");
    }

    async fn a_chain_that_was_written_anew_is_a_finding(at) {
        let rig = Rig::on(at).await;
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        // its last event is changed and hashed again: the chain is whole
        let mut last = newest(at).await;
        last.actor = "system/nobody".into();
        last.hash = last.compute_hash();
        let write = q(plain("UPDATE audit_events SET actor = $1, hash = $2 WHERE id = $3"));
        let write = write.bind(&last.actor).bind(last.hash.to_vec()).bind(last.id.to_vec());
        assert_eq!(write.execute(&at.store.db).await.unwrap(), 1);
        let found = findings(&rig).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("it is not the event that the checkpoint"), "{found:?}");
    }

    async fn a_checkpoint_that_was_changed_or_is_gone_is_a_finding(at) {
        let rig = Rig::on(at).await;
        for _ in 0..3 {
            rig.issue(issuance(Guard::default())).await.unwrap();
            assert!(rig.authority.checkpoint_due().await.unwrap());
            at.clock.advance(hours(1));
        }
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        at.sql("UPDATE audit_checkpoints SET heads = '{\"previous\":null,\"heads\":[]}' WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id LIMIT 1 OFFSET 1)").await;
        let found = findings(&rig).await;
        assert!(found.iter().any(|f| f.contains("its signature is not that of its key")), "{found:?}");
        at.sql("DELETE FROM audit_checkpoints WHERE heads = '{\"previous\":null,\"heads\":[]}'").await;
        let found = findings(&rig).await;
        assert!(found.iter().any(|f| f.contains("one before it is missing or was changed")), "{found:?}");
    }

    async fn a_locked_server_leaves_it_to_others(at) {
        let rig = Rig::on(at).await;
        let keys = Keys::locked(entropy());
        let other = Authority::open(at.restarted().await, Arc::new(keys), vec![]).await.unwrap();
        assert!(!other.checkpoint_due().await.unwrap());
        assert!(rig.authority.checkpoint_due().await.unwrap());
        other.store().db.close().await;
    }
}

async fn findings(rig: &Rig) -> Vec<String> {
    rig.authority.verify_audit().await.unwrap().findings
}

/// The last event of the chain that moved last.
async fn newest(at: &At) -> ChainedEvent {
    let start = (ReplicaId::from_bytes([0; 16]).to_vec(), -1, -1);
    let rows = audit::chain_rows(&at.store, &start, 1_000).await.unwrap();
    let mut events: Vec<_> = rows.into_iter().map(|ChainRow { event, .. }| event.unwrap()).collect();
    events.sort_by_key(|e| e.id);
    events.pop().unwrap()
}

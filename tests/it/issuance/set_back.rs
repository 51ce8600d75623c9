//! A clock that was set back by more than an hour: honest events look as if they were added later, until an operator confirms
//! them. The word is an event that is signed and shown, and it covers nothing that is added afterwards.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::audit_check::{AuditVerdict, KnownOutside};
use chancery::authority::audit_file;
use chancery::clock::hours;
use chancery::error::ErrorKind;
use chancery::model::actor::Actor;
use chancery::model::audit::AuditEvent;
use serde_json::json;

use super::checkpoints::three_checkpoints;
use super::rig::Rig;
use crate::support::stores::At;

/// A process that starts after the clock was set.
async fn started(at: &At, rig: &Rig) -> Arc<Authority> {
    let store = at.restarted().await;
    if !at.is_postgres() {
        store.trust_clock(&Actor::host(0, "test")).await.unwrap();
    }
    Authority::open(store, rig.keys.clone(), vec![]).await.unwrap()
}

async fn happen(authority: &Authority, times: i64) {
    for n in 0..times {
        let event = AuditEvent::done("test.made", "", json!({"n": n}));
        authority.store().record(&Actor::system("test"), event).await.unwrap();
    }
}

async fn verdict(authority: &Authority) -> AuditVerdict {
    authority.verify_audit(KnownOutside::default()).await.unwrap()
}

crate::on_both_engines! {
    async fn events_after_a_clock_was_set_back_are_confirmed_by_name(at) {
        let rig = Rig::on(at).await;
        three_checkpoints(at, &rig).await;
        at.clock.set(at.store.now() - hours(3));
        let host = started(at, &rig).await;
        happen(&host, 3).await;
        let operator = Actor::host(0, "test");
        let found = verdict(&host).await;
        assert!(found.findings.iter().all(|f| f.contains("it was added later") || f.contains("they were added later")), "{found:?}");
        assert_eq!(found.misplaced.len(), 1, "{found:?}");
        let chain = found.misplaced[0].chain();
        assert!(found.findings[0].contains(&format!("chancery audit confirm {chain} --reason TEXT")), "{found:?}");

        // not before a checkpoint of the present time, which is made at once
        let early = host.confirm_clock(&operator, std::slice::from_ref(&chain), "wrong by 3 hours").await.unwrap_err();
        assert!(early.kind == ErrorKind::Conflict && early.detail.contains("is still to come"), "{early}");
        let before = host.newest_checkpoint().await.unwrap().unwrap();
        assert!(host.checkpoint_due().await.unwrap());
        assert!(!host.checkpoint_due().await.unwrap(), "one is enough");
        let made = host.newest_checkpoint().await.unwrap().unwrap();
        assert!(made.id > before.id && made.at < before.at, "{made:?}");
        happen(&host, 2).await;
        let found = verdict(&host).await;
        assert_eq!(found.misplaced.len(), 1, "what comes after that checkpoint is in its place: {found:?}");

        for (chains, reason, kind) in [
            (chain.as_str(), "", ErrorKind::Unprocessable),
            (chain.as_str(), "a\nb", ErrorKind::Unprocessable),
            (chain.as_str(), &*"x".repeat(201), ErrorKind::Unprocessable),
            ("rep_0/0", "wrong by 3 hours", ErrorKind::NotFound),
            ("", "wrong by 3 hours", ErrorKind::NotFound),
        ] {
            let refused = host.confirm_clock(&operator, &[chains.to_owned()], reason).await.unwrap_err();
            assert_eq!(refused.kind, kind, "{chains} {reason}");
        }
        let confirmed = host.confirm_clock(&operator, std::slice::from_ref(&chain), "wrong by 3 hours").await.unwrap();
        assert_eq!(confirmed, found.misplaced);
        let again = host.confirm_clock(&operator, std::slice::from_ref(&chain), "wrong by 3 hours").await.unwrap_err();
        assert_eq!(again.kind, ErrorKind::NotFound, "nothing is left");

        // no alarm from now on, here and in a file, and everybody reads who said so
        at.clock.advance(hours(2));
        happen(&host, 1).await;
        assert!(host.checkpoint_due().await.unwrap());
        let whole = verdict(&host).await;
        assert_eq!(whole.findings, Vec::<String>::new());
        assert!(matches!(&whole.confirmed[..], [word] if word.contains(&chain) && word.contains("wrong by 3 hours") && word.contains("host")), "{whole:?}");
        let mut lines = Vec::new();
        host.export_audit(|line| { lines.push(serde_json::to_string(line).unwrap()); Ok(()) }).await.unwrap();
        let file = audit_file::verify_file(lines.join("\n").as_bytes(), KnownOutside::default()).unwrap();
        assert_eq!((file.findings, file.confirmed), (vec![], whole.confirmed));

        host.store().db.close().await;
    }

    async fn a_confirmed_event_that_is_changed_is_a_finding(at) {
        let rig = Rig::on(at).await;
        three_checkpoints(at, &rig).await;
        at.clock.set(at.store.now() - hours(3));
        let host = started(at, &rig).await;
        happen(&host, 3).await;
        assert!(host.checkpoint_due().await.unwrap());
        let chains: Vec<_> = verdict(&host).await.misplaced.iter().map(|range| range.chain()).collect();
        host.confirm_clock(&Actor::host(0, "test"), &chains, "wrong by 3 hours").await.unwrap();
        assert_eq!(verdict(&host).await.findings, Vec::<String>::new());
        at.sql("UPDATE audit_events SET actor = 'system/nobody' WHERE action = 'test.made' AND detail = '{\"n\":1}'").await;
        let found = verdict(&host).await;
        assert!(found.findings.iter().any(|f| f.contains("it was changed after it was written")), "{found:?}");
        host.store().db.close().await;
    }
}

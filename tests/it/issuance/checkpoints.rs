//! Checkpoints of the audit: what they saw can be neither cut off nor written anew.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::audit_check::KnownOutside;
use chancery::authority::audit_file;
use chancery::authority::checks::Severity;
use chancery::authority::guard::Guard;
use chancery::clock::{Timestamp, hours, minutes};
use chancery::keys::store::Keys;
use chancery::model::audit::ChainedEvent;
use chancery::model::id::{EventId, ReplicaId};
use chancery::model::serial::to_hex;
use chancery::store::audit::{self, ChainRow};
use chancery::store::engine::q;
use chancery::wire::audit_file::AuditLine;

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
        // the chain is whole
        forge(at).await;
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

    async fn a_forged_history_is_not_signed_after_the_checkpoints_are_removed(at) {
        let rig = Rig::on(at).await;
        let key = three_checkpoints(at, &rig).await;
        rig.issue(issuance(Guard::default())).await.unwrap();
        at.clock.advance(hours(5));
        forge(at).await;
        at.sql("DELETE FROM audit_checkpoints").await;
        let error = rig.authority.checkpoint_due().await.unwrap_err();
        assert!(error.detail.contains("was changed or removed") && error.detail.contains("audit verify"), "{error}");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_checkpoints").await, 0);
        let found = findings(&rig).await;
        assert!(found.iter().any(|f| f.contains("number 3 (ckp_") && f.contains("is not there")), "{found:?}");
        let checks = rig.authority.checks().await;
        let audit = checks.iter().find(|check| check.name == "audit").unwrap();
        assert_eq!(audit.severity, Severity::Critical, "{audit:?}");

        // with the seal gone a new key signs: whoever kept the old fingerprint sees it, and so does whoever counts hours
        at.sql("UPDATE installation SET audit_seal = NULL").await;
        assert!(rig.authority.checkpoint_due().await.unwrap());
        let verdict = rig.authority.verify_audit(KnownOutside { key: Some(key.clone()), ..KnownOutside::default() }).await.unwrap();
        assert!(!verdict.authenticated);
        assert!(verdict.findings.iter().any(|f| f.contains("signed by") && f.contains(&key)), "{verdict:?}");
        assert!(verdict.findings.iter().any(|f| f.contains("earlier checkpoints were removed")), "{verdict:?}");
    }

    async fn a_missing_a_younger_and_a_signed_again_checkpoint_are_findings(at) {
        let rig = Rig::on(at).await;
        three_checkpoints(at, &rig).await;
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        for (change, sentence) in [
            // the newest is gone
            ("DELETE FROM audit_checkpoints WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id DESC LIMIT 1)", "number 3"),
            // the oldest is gone
            ("DELETE FROM audit_checkpoints WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id LIMIT 1)", "one before it is missing"),
            // its note is of another one
            ("UPDATE audit_checkpoints SET note = (SELECT note FROM audit_checkpoints ORDER BY id DESC LIMIT 1) WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id LIMIT 1)", "its note is of another checkpoint"),
            // its note is gone, as if an earlier version had made it
            ("UPDATE audit_checkpoints SET note = '' WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id DESC LIMIT 1)", "number 3"),
            // its time is another
            ("UPDATE audit_checkpoints SET at = at + 1 WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id LIMIT 1)", "its signature is not that of its key"),
            // the key is another one's
            ("UPDATE keys SET public_key = (SELECT public_key FROM keys WHERE purpose = 'issuer' LIMIT 1) WHERE purpose = 'internal'", "its key is not among the keys of this CA"),
        ] {
            at.sql("CREATE TABLE kept AS SELECT * FROM audit_checkpoints").await;
            at.sql("CREATE TABLE kept_keys AS SELECT * FROM keys").await;
            at.sql(change).await;
            let found = findings(&rig).await;
            assert!(found.iter().any(|f| f.contains(sentence)), "{change}: {found:?}");
            at.sql("DELETE FROM audit_checkpoints").await;
            at.sql("INSERT INTO audit_checkpoints SELECT * FROM kept").await;
            at.sql("UPDATE keys SET public_key = (SELECT k.public_key FROM kept_keys k WHERE k.id = keys.id)").await;
            at.sql("DROP TABLE kept").await;
            at.sql("DROP TABLE kept_keys").await;
            assert_eq!(findings(&rig).await, Vec::<String>::new(), "after {change}");
        }
    }

    async fn what_was_published_outside_is_compared(at) {
        let rig = Rig::on(at).await;
        let key = three_checkpoints(at, &rig).await;
        let newest = rig.authority.newest_checkpoint().await.unwrap().unwrap();
        let known = KnownOutside {
            key: Some(key.to_ascii_uppercase()),
            checkpoints: vec![to_hex(&newest.sha256())],
            notes: vec![newest.note.clone()],
        };
        let verdict = rig.authority.verify_audit(known.clone()).await.unwrap();
        assert_eq!((verdict.findings.clone(), verdict.authenticated, verdict.checkpoints), (vec![], true, 3));
        // the same as a verifier key
        let verifier = rig.authority.audit_key().await.unwrap().unwrap();
        let named = KnownOutside { key: Some(verifier.to_string()), ..KnownOutside::default() };
        assert!(rig.authority.verify_audit(named).await.unwrap().authenticated);
        // an older database, whose seal is older too
        at.sql("DELETE FROM audit_checkpoints WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id DESC LIMIT 1)").await;
        let verdict = rig.authority.verify_audit(known).await.unwrap();
        let published = verdict.findings.iter().filter(|f| f.contains("was published") && f.contains("does not have it"));
        assert_eq!(published.count(), 2, "{verdict:?}");
        let foreign = KnownOutside { notes: vec!["other\n1\nAA==\n\n\u{2014} other AAAAAAAA\n".into()], ..KnownOutside::default() };
        let verdict = rig.authority.verify_audit(foreign).await.unwrap();
        assert!(verdict.findings.iter().any(|f| f.contains("is not signed by chancery-audit/")), "{verdict:?}");
    }

    async fn an_exported_audit_is_checked_without_the_database(at) {
        let rig = Rig::on(at).await;
        let key = three_checkpoints(at, &rig).await;
        let mut lines = Vec::new();
        let write = |line: &AuditLine| {
            lines.push(serde_json::to_string(line).unwrap());
            Ok(())
        };
        assert_eq!(rig.authority.export_audit(write).await.unwrap(), Vec::<String>::new());
        let known = || KnownOutside { key: Some(key.clone()), ..KnownOutside::default() };
        let verify = |lines: &[String]| audit_file::verify_file(lines.join("\n").as_bytes(), known());
        let verdict = verify(&lines).unwrap();
        assert_eq!((verdict.findings, verdict.authenticated, verdict.checkpoints), (vec![], true, 3));
        assert_eq!(verdict.events, u64::try_from(at.count("SELECT COUNT(*) AS n FROM audit_events").await).unwrap());
        for gone in 1..lines.len() {
            let mut less = lines.clone();
            let line = less.remove(gone);
            assert!(verify(&less).is_ok_and(|v| !v.findings.is_empty()), "without {line}");
        }
        let changed = lines.iter().position(|l| l.contains("certificate.issued")).unwrap();
        lines[changed] = lines[changed].replace("certificate.issued", "certificate.denied");
        let found = verify(&lines).unwrap().findings;
        assert!(found.iter().any(|f| f.contains("it was changed after it was written")), "{found:?}");
        for (text, why) in [("", "line 1"), ("{}", "line 1"), ("\u{0}", "line 1")] {
            assert!(audit_file::verify_file(text.as_bytes(), known()).unwrap_err().detail.contains(why), "{text:?}");
        }
    }

    async fn an_audit_is_authenticated_up_to_a_signed_checkpoint_alone(at) {
        let rig = Rig::on(at).await;
        let key = three_checkpoints(at, &rig).await;
        let mut lines = Vec::new();
        rig.authority.export_audit(|line| { lines.push(serde_json::to_string(line).unwrap()); Ok(()) }).await.unwrap();
        let known = || KnownOutside { key: Some(key.clone()), ..KnownOutside::default() };
        let verify = |lines: &[String]| audit_file::verify_file(lines.join("\n").as_bytes(), known()).unwrap();
        let is_of = |line: &String, kind: &str| line.starts_with(&format!("{{\"type\":\"{kind}\""));
        let whole = verify(&lines);
        assert_eq!((whole.signed.unwrap().number, whole.unsigned_events), (3, 0));

        // no checkpoint, with one event or none: the file names the key, and nothing is signed by it
        let first = lines.iter().find(|l| is_of(l, "event") && l.contains("\"seq\":1,")).unwrap().clone();
        for events in [vec![first], vec![]] {
            let end = format!("{{\"type\":\"end\",\"checkpoints\":0,\"events\":{}}}", events.len());
            let forged = [vec![lines[0].clone()], events, vec![end]].concat();
            let verdict = verify(&forged);
            assert!(!verdict.authenticated, "{verdict:?}");
            assert!(verdict.findings.iter().any(|f| f.contains("no checkpoint is there")), "{verdict:?}");
        }
        // the first checkpoint alone signs no event that came later
        let mut kept = 0;
        let mut cut: Vec<_> = lines.iter().filter(|l| !is_of(l, "checkpoint") || { kept += 1; kept == 1 }).cloned().collect();
        *cut.last_mut().unwrap() = lines.last().unwrap().replace("\"checkpoints\":3", "\"checkpoints\":1");
        let verdict = verify(&cut);
        assert!(verdict.signed.unwrap().number == 1 && verdict.unsigned_events > 0, "{verdict:?}");

        // lines behind the end, such as a second end
        let twice = [lines.clone(), vec![lines.last().unwrap().clone()]].concat();
        assert!(verify(&twice).findings.iter().any(|f| f.contains("behind the one that ends the file")));

        // a row whose id comes before every other
        let zero = q(plain("INSERT INTO audit_checkpoints (id, at, heads, key_id, signature, note) SELECT $1, at, heads, key_id, signature, note FROM audit_checkpoints ORDER BY id DESC LIMIT 1"));
        assert_eq!(zero.bind(vec![0_u8; 16]).execute(&at.store.db).await.unwrap(), 1);
        assert!(!findings(&rig).await.is_empty());
        at.sql("DELETE FROM audit_checkpoints").await;
        let verdict = rig.authority.verify_audit(known()).await.unwrap();
        assert!(!verdict.authenticated && verdict.findings.iter().any(|f| f.contains("no checkpoint is there")), "{verdict:?}");
    }

    async fn an_event_that_was_added_later_is_a_finding(at) {
        let rig = Rig::on(at).await;
        let founded = newest(at).await;
        let stranger = |seed: u8, when: Timestamp| ChainedEvent {
            writer: ReplicaId::from_bytes([seed; 16]), lane: 0, seq: 1, id: drawn(when, seed), at: when, previous: [0; 32], ..founded.clone()
        };
        let early = stranger(1, at.store.now() - hours(2));
        add(at, early.clone()).await;
        let found = findings(&rig).await;
        assert!(matches!(&found[..], [one] if one.contains("was founded at")), "{found:?}");
        take_away(at, &early).await;
        three_checkpoints(at, &rig).await;
        assert_eq!(findings(&rig).await, Vec::<String>::new());

        // a replica whose clock is behind and whose commit takes long
        let slow = add(at, stranger(2, at.store.now() - minutes(110))).await;
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        assert!(rig.authority.checkpoint_due().await.unwrap());
        assert_eq!(findings(&rig).await, Vec::<String>::new());

        let long_ago = at.store.now() - hours(3);
        let next = |id| ChainedEvent { seq: 2, previous: slow.hash, id, at: long_ago, ..slow.clone() };
        let late = next(drawn(at.store.now(), 5));
        for forged in [stranger(3, long_ago), next(drawn(long_ago, 4)), late.clone()] {
            add(at, forged.clone()).await;
            let found = findings(&rig).await;
            assert!(matches!(&found[..], [one] if one.contains("it was added later")), "{found:?}");
            take_away(at, &forged).await;
        }
        // also where the next checkpoint covers it
        add(at, late).await;
        at.clock.advance(hours(1));
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        let found = findings(&rig).await;
        assert!(matches!(&found[..], [one] if one.contains("it was added later")), "{found:?}");
    }

    async fn an_audit_whose_key_is_gone_is_critical(at) {
        let rig = Rig::on(at).await;
        three_checkpoints(at, &rig).await;
        at.sql("DELETE FROM keys WHERE purpose = 'internal'").await;
        let checks = rig.authority.checks().await;
        let audit = checks.iter().find(|check| check.name == "audit").unwrap();
        assert_eq!(audit.severity, Severity::Critical, "{audit:?}");
        assert!(audit.detail.contains("of the table keys") && audit.detail.contains("from any backup"), "{audit:?}");
    }

    async fn checkpoints_of_an_earlier_version_stay_whole_before_and_beside(at) {
        let rig = Rig::on(at).await;
        // one from before: signed by a key of its own, without note and seal
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        at.sql("UPDATE audit_checkpoints SET note = ''").await;
        at.sql("UPDATE installation SET audit_seal = NULL").await;
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        at.clock.advance(hours(2));
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        let newest = rig.authority.newest_checkpoint().await.unwrap().unwrap();
        assert!(newest.note.contains("\n1\n"), "the first note: {}", newest.note);
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        // one beside: an older replica signs with the key of the newest, and writes no note
        let seal = sealed(at).await;
        at.clock.advance(hours(1));
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        at.sql("UPDATE audit_checkpoints SET note = '' WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id DESC LIMIT 1)").await;
        let write = q(plain("UPDATE installation SET audit_seal = $1")).bind(seal);
        write.execute(&at.store.db).await.unwrap();
        assert_eq!(findings(&rig).await, Vec::<String>::new());
        at.clock.advance(hours(1));
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        assert_eq!(findings(&rig).await, Vec::<String>::new());
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

fn drawn(at: Timestamp, seed: u8) -> EventId {
    let mut bytes = EventId::earliest(at).bytes();
    bytes[15] = seed;
    EventId::from_bytes(bytes)
}

/// Writes an event as somebody would who can write rows.
async fn add(at: &At, mut event: ChainedEvent) -> ChainedEvent {
    event.hash = event.compute_hash();
    let write = q(plain(
        "INSERT INTO audit_events (writer, lane, seq, id, at, action, outcome, actor, object, request_id, detail, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    ));
    let write =
        write.bind(event.writer.to_vec()).bind(event.lane).bind(event.seq).bind(event.id.to_vec()).bind(event.at);
    let write = write.bind(&event.action).bind(&event.outcome).bind(&event.actor).bind(&event.object);
    let write = write.bind(&event.request_id).bind(&event.detail);
    let write = write.bind(event.previous.to_vec()).bind(event.hash.to_vec());
    assert_eq!(write.execute(&at.store.db).await.unwrap(), 1);
    event
}

async fn take_away(at: &At, event: &ChainedEvent) {
    let gone = q(plain("DELETE FROM audit_events WHERE id = $1")).bind(event.id.to_vec());
    assert_eq!(gone.execute(&at.store.db).await.unwrap(), 1);
}

async fn findings(rig: &Rig) -> Vec<String> {
    rig.authority.verify_audit(KnownOutside::default()).await.unwrap().findings
}

/// The last event of the chain that moved last.
async fn newest(at: &At) -> ChainedEvent {
    let start = (ReplicaId::from_bytes([0; 16]).to_vec(), -1, -1);
    let rows = audit::chain_rows(&at.store, &start, 1_000).await.unwrap();
    let mut events: Vec<_> = rows.into_iter().map(|ChainRow { event, .. }| event.unwrap()).collect();
    events.sort_by_key(|e| e.id);
    events.pop().unwrap()
}

/// Three checkpoints an hour apart; the fingerprint of their key.
pub(super) async fn three_checkpoints(at: &At, rig: &Rig) -> String {
    for _ in 0..3 {
        rig.issue(issuance(Guard::default())).await.unwrap();
        assert!(rig.authority.checkpoint_due().await.unwrap());
        at.clock.advance(hours(1));
    }
    rig.authority.audit_key().await.unwrap().unwrap().fingerprint()
}

/// Changes the newest event and hashes it again.
async fn forge(at: &At) {
    let mut last = newest(at).await;
    last.actor = "system/nobody".into();
    last.hash = last.compute_hash();
    let write = q(plain("UPDATE audit_events SET actor = $1, hash = $2 WHERE id = $3"));
    let write = write.bind(&last.actor).bind(last.hash.to_vec()).bind(last.id.to_vec());
    assert_eq!(write.execute(&at.store.db).await.unwrap(), 1);
}

async fn sealed(at: &At) -> Vec<u8> {
    chancery::store::checkpoints::seal(&at.store).await.unwrap().unwrap()
}

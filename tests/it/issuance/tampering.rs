//! Ten kinds of tampering with the audit by SQL alone, each of which `audit verify` finds. What needs more than one statement is
//! in checkpoints.rs: a chain written anew, events added later, checkpoints removed with their seal.

use chancery::authority::audit_check::KnownOutside;

use super::checkpoints::three_checkpoints;
use super::rig::Rig;

/// What is done, the statement, and the words by which it is found.
const KINDS: [(&str, &str, &str); 14] = [
    (
        "the actor is changed",
        "UPDATE audit_events SET actor = 'system/nobody' WHERE lane = 0 AND seq = 2",
        "it was changed after it was written",
    ),
    (
        "the time is changed",
        "UPDATE audit_events SET at = at + 1 WHERE lane = 0 AND seq = 2",
        "it was changed after it was written",
    ),
    (
        "the outcome is changed",
        "UPDATE audit_events SET outcome = 'refused' WHERE lane = 0 AND seq = 1",
        "it was changed after it was written",
    ),
    ("an event is removed", "DELETE FROM audit_events WHERE lane = 0 AND seq = 2", "an event is missing before it"),
    (
        "the first event is removed",
        "DELETE FROM audit_events WHERE lane = 0 AND seq = 1",
        "an event is missing before it",
    ),
    ("the end of a chain is cut off", "DELETE FROM audit_events WHERE lane = 0 AND seq > 1", "was cut"),
    ("a whole chain is removed", "DELETE FROM audit_events WHERE lane = 0", "was cut"),
    (
        "an event moves to another chain",
        "UPDATE audit_events SET lane = 77 WHERE lane = 0 AND seq = 1",
        "audit chain",
    ),
    (
        "a link is changed",
        "UPDATE audit_events SET previous = hash WHERE lane = 0 AND seq = 2",
        "it does not follow from the event before it",
    ),
    (
        "an event moves to the end",
        "UPDATE audit_events SET seq = 1000 WHERE lane = 0 AND seq = 2",
        "an event is missing before it",
    ),
    ("all events are removed", "DELETE FROM audit_events", "was cut"),
    (
        "the newest checkpoint is removed",
        "DELETE FROM audit_checkpoints WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id DESC LIMIT 1)",
        "number 3",
    ),
    ("all checkpoints are removed", "DELETE FROM audit_checkpoints", "checkpoints were removed or changed"),
    (
        "a checkpoint says less",
        "UPDATE audit_checkpoints SET heads = '{\"previous\":null,\"heads\":[]}' WHERE id = (SELECT id FROM audit_checkpoints ORDER BY id LIMIT 1)",
        "its signature is not that of its key",
    ),
];

crate::on_both_engines! {
    async fn each_kind_of_tampering_is_found(at) {
        let rig = Rig::on(at).await;
        three_checkpoints(at, &rig).await;
        let findings = async || rig.authority.verify_audit(KnownOutside::default()).await.unwrap().findings;
        assert_eq!(findings().await, Vec::<String>::new());
        at.sql("CREATE TABLE kept_events AS SELECT * FROM audit_events").await;
        at.sql("CREATE TABLE kept_checkpoints AS SELECT * FROM audit_checkpoints").await;
        for (kind, change, words) in KINDS {
            assert!(at.sql(change).await > 0, "{kind}");
            let found = findings().await;
            assert!(found.iter().any(|finding| finding.contains(words)), "{kind}: {found:?}");
            for restore in [
                "DELETE FROM audit_events",
                "DELETE FROM audit_checkpoints",
                "INSERT INTO audit_events SELECT * FROM kept_events",
                "INSERT INTO audit_checkpoints SELECT * FROM kept_checkpoints",
            ] {
                at.sql(restore).await;
            }
            assert_eq!(findings().await, Vec::<String>::new(), "after that {kind}");
        }
    }
}

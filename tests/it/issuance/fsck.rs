//! fsck finds each column and byte that was changed behind its back, one at a time, and nothing when all agree.

use chancery::authority::guard::Guard;
use chancery::model::reason::RevocationReason;
use chancery::store::engine::{Row, q};

use super::rig::{Rig, actor, issuance};
use crate::support::stores::{At, plain};

/// (table, column, which row). The row is the first in the order of the column named.
const CHANGED: &[(&str, &str, &str)] = &[
    ("certificates", "serial", "status = 'valid' AND via = 'cli'"),
    ("certificates", "issuer_id", "status = 'valid' AND via = 'cli'"),
    ("certificates", "subject", "status = 'valid' AND via = 'cli'"),
    ("certificates", "names", "status = 'valid' AND via = 'cli'"),
    ("certificates", "not_before", "status = 'valid' AND via = 'cli'"),
    ("certificates", "not_after", "status = 'valid' AND via = 'cli'"),
    ("certificates", "spki_sha256", "status = 'valid' AND via = 'cli'"),
    ("certificates", "fingerprint", "status = 'valid' AND via = 'cli'"),
    ("certificates", "key_algorithm", "status = 'valid' AND via = 'cli'"),
    ("certificates", "subject", "profile = 'root'"),
    ("certificates", "spki_sha256", "profile = 'ocsp'"),
    ("certificates", "revoked_at", "status = 'revoked'"),
    ("certificates", "reason", "status = 'revoked'"),
    ("certificate_bodies", "tbs", "request IS NULL"),
    ("certificate_bodies", "der", "request IS NULL"),
    ("certificates", "status", "status = 'valid' AND via = 'cli'"),
    ("certificates", "status", "status = 'revoked'"),
    ("certificate_names", "name", "1 = 1"),
    ("certificate_names", "reversed", "1 = 1"),
    ("certificate_names", "certificate_id", "1 = 1"),
    ("revocations", "not_after", "1 = 1"),
    ("revocations", "issuer_id", "1 = 1"),
    ("issuers", "role", "1 = 1"),
    ("issuer_certificates", "der", "1 = 1"),
    ("serials", "certificate_id", "1 = 1"),
    ("serials", "serial", "1 = 1"),
    ("revocations", "serial", "1 = 1"),
    ("revocations", "certificate_id", "1 = 1"),
    ("revocations", "revoked_at", "1 = 1"),
    ("revocations", "reason", "1 = 1"),
    ("audit_events", "seq", "1 = 1"),
    ("audit_events", "at", "1 = 1"),
    ("audit_events", "action", "1 = 1"),
    ("audit_events", "outcome", "1 = 1"),
    ("audit_events", "actor", "1 = 1"),
    ("audit_events", "object", "1 = 1"),
    ("audit_events", "request_id", "1 = 1"),
    ("audit_events", "detail", "1 = 1"),
    ("audit_events", "previous", "1 = 1"),
    ("audit_events", "hash", "1 = 1"),
    ("audit_events", "id", "1 = 1"),
    ("crls", "this_update", "entries = 1 AND this_update = (SELECT MIN(this_update) FROM crls WHERE entries = 1)"),
    ("crls", "next_update", "entries = 1 AND this_update = (SELECT MIN(this_update) FROM crls WHERE entries = 1)"),
    ("crls", "entries", "entries = 1 AND this_update = (SELECT MIN(this_update) FROM crls WHERE entries = 1)"),
    ("crls", "number", "entries = 1"),
    ("crls", "der", "entries = 1 AND this_update = (SELECT MIN(this_update) FROM crls WHERE entries = 1)"),
];

crate::on_both_engines! {
    async fn fsck_finds_each_change_and_nothing_else(at) {
        let rig = Rig::on(at).await;
        for _ in 0..3 {
            rig.issue(issuance(Guard::default())).await.unwrap();
        }
        let revoked = rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
        rig.authority.revoke(&actor(), revoked, RevocationReason::KeyCompromise).await.unwrap();
        rig.authority.publish_due().await.unwrap();
        let report = rig.authority.fsck().await.unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
        assert!(report.certificates >= 8 && report.events >= 10 && report.crls == 2, "{report:?}");
        for (table, column, which) in CHANGED {
            let original = change(at, table, column, which).await;
            noticed(&rig, &format!("{table}.{column} of {which}")).await;
            restore(at, table, column, original).await;
            let findings = rig.authority.fsck().await.unwrap().findings;
            assert_eq!(findings, Vec::<String>::new(), "{table}.{column} was put back");
        }
    }

    async fn fsck_finds_what_belongs_to_nothing(at) {
        let rig = Rig::on(at).await;
        rig.issue(issuance(Guard::default())).await.unwrap();
        for (table, add, remove) in [
            (
                "certificate_names",
                "INSERT INTO certificate_names (name, certificate_id, reversed) SELECT 'evil.test', id, 'test.evil' FROM certificates WHERE via = 'cli'",
                "DELETE FROM certificate_names WHERE name = 'evil.test'",
            ),
            (
                "serials",
                "INSERT INTO serials (serial, certificate_id) SELECT id, id FROM certificates WHERE via = 'cli'",
                "DELETE FROM serials WHERE serial = certificate_id",
            ),
            (
                "revocations",
                "INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after) \
                 SELECT issuer_id, serial, id, 1, 'unspecified', 1 FROM certificates WHERE via = 'cli'",
                "DELETE FROM revocations",
            ),
            (
                "certificate_bodies",
                "INSERT INTO certificate_bodies (certificate_id, tbs) SELECT serial, serial FROM certificates WHERE via = 'cli'",
                "DELETE FROM certificate_bodies WHERE tbs = certificate_id",
            ),
        ] {
            assert_eq!(at.sql(add).await, 1, "{table}");
            let findings = rig.authority.fsck().await.unwrap().findings;
            assert_eq!(findings.len(), 1, "{table}: {findings:?}");
            at.sql(remove).await;
            assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new(), "{table}");
        }
    }

    async fn a_crl_that_ran_out_is_a_finding_until_the_next_is_published(at) {
        let rig = Rig::on(at).await;
        rig.authority.publish_due().await.unwrap();
        assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new());
        at.clock.advance(chancery::clock::days(60));
        let findings = rig.authority.fsck().await.unwrap().findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("the CRL of tls-1: it ran out at 2026-"), "{findings:?}");
        rig.authority.publish_due().await.unwrap();
        assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_row_that_cannot_be_read_does_not_hide_the_others(at) {
        let rig = Rig::on(at).await;
        for _ in 0..3 {
            rig.issue(issuance(Guard::default())).await.unwrap();
        }
        assert_eq!(at.sql("UPDATE certificates SET not_before = not_after + 5000000 WHERE via = 'cli'").await, 3);
        let findings = rig.authority.fsck().await.unwrap().findings;
        let unreadable = findings.iter().filter(|f| f.starts_with("the row of certificate ")).count();
        assert_eq!(unreadable, 3, "{findings:?}");
    }

    async fn fsck_finds_what_is_gone(at) {
        for (what, gone) in [
            ("a revocation", "DELETE FROM revocations"),
            ("a serial", "DELETE FROM serials"),
            ("an audit event", "DELETE FROM audit_events WHERE seq = 1"),
            ("a DER", "UPDATE certificate_bodies SET der = NULL"),
            ("the bytes", "DELETE FROM certificate_bodies"),
            ("a name", "DELETE FROM certificate_names WHERE name LIKE 'host-%'"),
            ("a certificate", "DELETE FROM certificates WHERE via = 'cli'"),
            ("a CRL", "DELETE FROM crls"),
        ] {
            let fresh = if at.is_postgres() { At::postgres().await } else { At::sqlite().await };
            let rig = Rig::on(&fresh).await;
            let id = rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
            rig.authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
            rig.authority.publish_due().await.unwrap();
            fresh.sql(gone).await;
            noticed(&rig, what).await;
            rig.store.db.close().await;
            fresh.end().await;
        }
    }
}

/// A row that cannot be read at all is a finding, and the check goes on to its end.
async fn noticed(rig: &Rig, what: &str) {
    let report = rig.authority.fsck().await.unwrap_or_else(|e| panic!("{what} ended the check: {}", e.chain()));
    assert!(!report.findings.is_empty(), "{what} was changed and not noticed");
}

enum Value {
    Bytes(Vec<u8>),
    Int(i64),
    Text(String),
}

/// Changes one value of one row; returns what it was.
async fn change(at: &At, table: &str, column: &str, which: &str) -> (Value, Value) {
    let select =
        format!("SELECT {column} AS v FROM {table} WHERE {which} AND {column} IS NOT NULL ORDER BY {column} LIMIT 1");
    let rows = at.rows(select.leak()).await;
    let original = read(&rows[0]);
    let changed = match &original {
        Value::Bytes(bytes) => {
            let mut bytes = bytes.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Value::Bytes(bytes)
        }
        Value::Int(number) => Value::Int(number + 5_000_000),
        Value::Text(text) if text.starts_with('[') => Value::Text(text.replace("example", "exampel")),
        Value::Text(text) if text == "keyCompromise" => Value::Text("superseded".into()),
        Value::Text(text) if text == "P-256" => Value::Text("P-521".into()),
        Value::Text(text) => Value::Text(format!("{text}x")),
    };
    write(at, table, column, which, &original, &changed).await;
    (original, changed)
}

async fn restore(at: &At, table: &str, column: &str, (original, changed): (Value, Value)) {
    write(at, table, column, "1 = 1", &changed, &original).await;
}

/// SQLite reads text as bytes too, so bytes come last.
fn read(row: &Row) -> Value {
    if let Ok(number) = row.get::<i64>("v") {
        return Value::Int(number);
    }
    row.get::<String>("v").map(Value::Text).unwrap_or_else(|_| Value::Bytes(row.get("v").unwrap()))
}

/// By the row's place: values such as `requester` stand in many rows.
async fn write(at: &At, table: &str, column: &str, which: &str, from: &Value, to: &Value) {
    let place = if at.is_postgres() { "ctid" } else { "rowid" };
    let update = format!(
        "UPDATE {table} SET {column} = $1 WHERE {place} = (SELECT {place} FROM {table} WHERE {column} = $2 AND {which} LIMIT 1)"
    );
    let query = q(plain(update.leak()));
    let bind = |query: chancery::store::engine::Query, value: &Value| match value {
        Value::Bytes(v) => query.bind(v.clone()),
        Value::Int(v) => query.bind(*v),
        Value::Text(v) => query.bind(v),
    };
    assert_eq!(bind(bind(query, to), from).execute(&at.store.db).await.unwrap(), 1);
}

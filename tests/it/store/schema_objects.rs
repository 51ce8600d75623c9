//! Views, triggers and rules that somebody put between the server and its tables.

use chancery::store::engine::q;
use chancery::store::{migrate, schema_objects};

use crate::support::server::TestServer;
use crate::support::stores::plain;
use crate::{on_both_engines, on_both_servers};

/// The statements of an attack, those that undo it, and the beginning of what is found.
type Attack = (&'static [&'static str], &'static [&'static str], &'static str);

const ON_BOTH: &[Attack] = &[(
    &["ALTER TABLE users RENAME TO own_users", "CREATE VIEW users AS SELECT * FROM own_users"],
    &["DROP VIEW users", "ALTER TABLE own_users RENAME TO users"],
    "is a view",
)];
const ON_SQLITE: &[Attack] = &[
    (
        &["CREATE TRIGGER kept AFTER DELETE ON users BEGIN SELECT 1; END"],
        &["DROP TRIGGER kept"],
        "has the trigger kept",
    ),
    (
        &["CREATE TRIGGER kept AFTER DELETE ON USERS BEGIN SELECT 1; END"],
        &["DROP TRIGGER kept"],
        "has the trigger kept",
    ),
];
const ON_POSTGRES: &[Attack] = &[
    (
        &["ALTER TABLE users RENAME TO own_users", "CREATE MATERIALIZED VIEW users AS SELECT * FROM own_users"],
        &["DROP MATERIALIZED VIEW users", "ALTER TABLE own_users RENAME TO users"],
        "is a view",
    ),
    (
        &["CREATE RULE kept AS ON DELETE TO users DO INSTEAD NOTHING"],
        &["DROP RULE kept ON users"],
        "has the rule kept",
    ),
    (
        &["ALTER TABLE users ENABLE ROW LEVEL SECURITY"],
        &["ALTER TABLE users DISABLE ROW LEVEL SECURITY"],
        "has row security",
    ),
    (
        &[
            "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER kept BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION kept()",
        ],
        &["DROP TRIGGER kept ON users", "DROP FUNCTION kept"],
        "has the trigger kept",
    ),
    (&["CREATE TABLE more_users () INHERITS (users)"], &["DROP TABLE more_users"], "has the child table more_users"),
    (
        &[
            "ALTER TABLE users RENAME TO own_users",
            "CREATE TABLE users (LIKE own_users INCLUDING DEFAULTS) PARTITION BY HASH (id)",
            "ALTER TABLE users ATTACH PARTITION own_users FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        ],
        &[
            "ALTER TABLE users DETACH PARTITION own_users",
            "DROP TABLE users",
            "ALTER TABLE own_users RENAME TO users",
        ],
        "is split into partitions",
    ),
    (
        &[
            "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER acme_authorizations_linked BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION kept()",
        ],
        &["DROP TRIGGER acme_authorizations_linked ON users", "DROP FUNCTION kept"],
        "has the trigger acme_authorizations_linked",
    ),
    // a schema of the role's name comes first in the search path
    (
        &["CREATE SCHEMA postgres", "CREATE TABLE postgres.users AS SELECT * FROM users"],
        &["DROP SCHEMA postgres CASCADE"],
        "is found in another schema (postgres)",
    ),
];

on_both_engines! {
    async fn what_stands_between_a_server_and_its_tables_is_found(at) {
        assert_eq!(schema_objects::foreign(&at.store).await.unwrap(), []);
        // views of an operator's own are nobody's business
        at.sql("CREATE VIEW names_of_users AS SELECT name FROM users").await;
        assert_eq!(schema_objects::foreign(&at.store).await.unwrap(), []);
        at.sql("DROP VIEW names_of_users").await;
        let own = if at.is_postgres() { ON_POSTGRES } else { ON_SQLITE };
        for (attack, undo, found) in ON_BOTH.iter().chain(own) {
            for text in *attack {
                at.sql(text).await;
            }
            let objects = schema_objects::foreign(&at.restarted().await).await.unwrap();
            assert!(matches!(&objects[..], [one] if one.table == "users" && one.what.starts_with(found)), "{found}: {objects:?}");
            let refused = schema_objects::check(&at.store).await.unwrap_err();
            assert!(refused.detail.contains("table users "), "{}", refused.detail);
            for text in *undo {
                at.sql(text).await;
            }
            assert_eq!(schema_objects::foreign(&at.restarted().await).await.unwrap(), []);
        }
    }

    async fn every_table_of_the_schema_is_looked_at(at) {
        let text = if at.is_postgres() {
            "SELECT CAST(tablename AS text) AS name FROM pg_tables WHERE schemaname = 'public'"
        } else {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        };
        let mut there: Vec<String> = at.rows(text).await.iter().map(|row| row.get("name").unwrap()).collect();
        there.sort_unstable();
        let known: Vec<String> = migrate::tables().into_iter().map(str::to_owned).collect();
        assert_eq!(there, known);
    }
}

async fn sql(server: &TestServer, text: &'static str) {
    q(plain(text)).execute(&server.app().store.db).await.unwrap();
}

on_both_servers! {
    async fn a_view_in_the_place_of_a_table_is_reported_and_refused_at_the_start(server) {
        sql(server, "ALTER TABLE profiles RENAME TO own_profiles").await;
        sql(server, "CREATE VIEW profiles AS SELECT * FROM own_profiles").await;
        server.app().authority.look_at_rows().await.unwrap();
        assert!(server.app().store.row_macs().changed().contains_key("table:profiles"));
        let checks = server.app().authority.checks().await;
        let rows = checks.iter().find(|check| check.name == "rows").unwrap();
        assert!(rows.detail.contains("table:profiles is a view"), "{}", rows.detail);
        let report = server.app().authority.fsck().await.unwrap();
        assert!(report.findings.iter().any(|finding| finding.starts_with("table:profiles is a view")), "{report:?}");
        let copy = server.host().await;
        server.stop().await;
        let refused = server.refused_start().await;
        assert!(refused.detail.contains("table profiles is a view"), "{}", refused.detail);
        for text in ["DROP VIEW profiles", "ALTER TABLE own_profiles RENAME TO profiles"] {
            q(plain(text)).execute(&copy.store.db).await.unwrap();
        }
        copy.store.db.close().await;
        server.start_again().await;
    }
}

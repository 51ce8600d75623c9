//! The rules of the house (src/ARCHITECTURE.md), read from the sources themselves: who may import whom, and what
//! may be named where. Every rule is a function from sources to findings and is first run over small bad
//! examples, so that no rule passes by seeing nothing.

#[path = "house/floors.rs"]
mod floors;
#[path = "house/read.rs"]
mod read;
#[path = "house/rules.rs"]
mod rules;

use std::fs;

use floors::floors;
use read::{Source, root, sources};
use rules::*;

/// Findings, each `path:line: sentence`.
type Rule = fn(&[Source]) -> Vec<String>;

#[test]
fn rooms_use_only_lower_floors() {
    hold(
        floors,
        &[
            ("src/model/order.rs", "use crate::store::orders;"),
            ("src/model/order.rs", "use crate::{clock, error::{Error, Result}, pki::tbs};"),
            ("src/pki/mod.rs", "fn f() { crate::wire::problem(); }"),
            ("src/acme/order.rs", "use super::super::api;"),
            ("src/acme/nonce/pool.rs", "mod inner { use super::super::super::super::api; }"),
            ("src/acme/order.rs", "use crate::store::orders;"),
            ("src/authority/issue.rs", "use crate::keys::Sealed;"),
            ("src/agent/run.rs", "use crate::keys::Sealed;"),
            ("src/client/rest.rs", "use crate::pki::issuer::prepare;"),
            ("src/server/mod.rs", "use crate::agent::run;"),
            ("src/app.rs", "use crate::*;"),
            ("src/app.rs", "use crate::attic::x;"),
            ("src/attic/mod.rs", "fn f() {}"),
            ("src/cli/ca.rs", "use crate::main;"),
        ],
        &[
            (
                "src/model/order.rs",
                "// use crate::store;\nuse crate::error::Error; const S: &str = \"crate::store\";",
            ),
            ("src/acme/order.rs", "use super::account; use crate::{app::App, wire::acme as w};"),
            ("src/acme/nonce.rs", "pub(crate) fn a() {} pub(in crate::acme) fn b() {}"),
            ("src/cli/agent.rs", "use crate::agent; use crate::server;"),
            ("src/main.rs", "fn main() { chancery::cli::run() }"),
            ("src/model/order.rs", "#[cfg(test)] mod tests { use crate::store; }"),
        ],
    );
}

#[test]
fn pure_rooms_name_no_io_crates() {
    hold(
        pure_rooms,
        &[
            ("src/pki/crl.rs", "use tokio::sync::Mutex;"),
            ("src/wire/acme.rs", "impl axum::response::IntoResponse for X {}"),
            ("src/model/id.rs", "impl sqlx::Type<X> for Y {}"),
            ("src/model/id.rs", "fn f() { reqwest::get(u); }"),
        ],
        &[
            ("src/pki/crl.rs", "// no tokio here\nfn tokio_free() {}"),
            ("src/pki/crl.rs", "#[cfg(test)] mod t { #[tokio::test] async fn a() {} }"),
        ],
    );
}

#[test]
fn sqlx_and_the_engines_stay_in_the_store() {
    hold(
        engines,
        &[
            ("src/api/list.rs", "use sqlx::Row;"),
            ("src/store/orders.rs", "fn f(p: &PgPool) {}"),
            ("src/store/orders.rs", "use sqlx::sqlite::SqliteRow;"),
            ("src/store/orders.rs", "fn f() { sqlx::query::<Postgres>(X) }"),
            ("src/authority/issue.rs", "match db { Db::Pg { .. } => 1, Db::Lite { .. } => 2 }"),
        ],
        &[
            ("src/store/engine.rs", "use sqlx::postgres::PgPool; enum Db { Pg(PgPool) }"),
            ("src/store/engine/large.rs", "use sqlx::sqlite::SqliteConnection;"),
            ("src/store/orders.rs", "use sqlx::Row;"),
            ("src/server/config.rs", "enum Database { Postgres(String), Sqlite(String) }"),
        ],
    );
}

#[test]
fn sql_is_written_in_the_store_alone() {
    hold(
        sql_places,
        &[
            ("src/api/list.rs", "const A: &str = \"SELECT id FROM orders\";"),
            ("src/jobs/sweep.rs", "f(\"DELETE FROM nonces\")"),
            ("src/cli/fsck.rs", "f(r#\"\n  select count(*) from certificates\"#)"),
            ("src/app.rs", "f(\"update orders set state = $1\")"),
        ],
        &[
            ("src/store/orders.rs", "const A: &str = \"SELECT id FROM orders\";"),
            ("src/cli/ca.rs", "// SELECT id FROM orders\nf(\"select an issuer, then delete the file\")"),
        ],
    );
}

#[test]
fn no_made_text_reaches_a_query() {
    hold(
        made_queries,
        &[
            ("src/store/orders.rs", "q(&format!(\"SELECT * FROM {t}\"))"),
            ("src/store/orders.rs", "let s = format!(\"{base} LIMIT {n}\"); sqlx::query(AssertSqlSafe(s))"),
            ("src/store/orders.rs", "sqlx::QueryBuilder::new(X)"),
            ("src/store/orders.rs", "let s: &'static str = text.leak();"),
            ("src/store/orders.rs", "text.push_str(\" UPDATE orders SET a = 1\")"),
        ],
        &[
            ("src/store/orders.rs", "Error::inconsistent(format!(\"order {id} has no account\"))"),
            ("src/store/orders.rs", "const A: &str = \"SELECT id FROM orders\";"),
            ("src/store/bulk.rs", "Box::leak(repeated.into_boxed_str())"),
        ],
    );
}

#[test]
fn only_the_problem_table_makes_error_bodies() {
    hold(
        error_bodies,
        &[
            ("src/api/list.rs", "f(\"application/problem+json\")"),
            ("src/acme/order.rs", "f(\"urn:ietf:params:acme:error:malformed\")"),
            ("src/acme/order.rs", "(StatusCode::BAD_REQUEST, \"no\").into_response()"),
            ("src/status/ocsp.rs", "StatusCode::NOT_FOUND.into_response()"),
        ],
        &[
            ("src/acme/headers.rs", "if response.status() == StatusCode::NOT_FOUND { count() }"),
            ("src/http/kinds.rs", "Row { status: StatusCode::NOT_FOUND }"),
            ("src/http/problem.rs", "f(\"application/problem+json\", StatusCode::BAD_REQUEST)"),
            (
                "src/api/list.rs",
                "#[utoipa::path(responses((status = 400, content_type = \"application/problem+json\")))] fn f() {}",
            ),
            ("src/api/list.rs", "(StatusCode::CREATED, body).into_response()"),
        ],
    );
}

#[test]
fn time_and_chance_come_from_two_files() {
    hold(
        time_and_chance,
        &[
            ("src/authority/issue.rs", "let t = SystemTime::now();"),
            ("src/http/layers.rs", "let t = std::time::Instant::now();"),
            ("src/authority/issue.rs", "OffsetDateTime::now_utc()"),
            ("src/acme/nonce.rs", "let r = SystemRandom::new();"),
            ("src/acme/nonce.rs", "aws_lc_rs::rand::fill(&mut b)"),
            ("src/model/id.rs", "Ulid::new()"),
        ],
        &[
            ("src/clock.rs", "let t = SystemTime::now();"),
            ("src/entropy.rs", "let r = SystemRandom::new();"),
            ("src/keys/software.rs", "key.sign(&SystemRandom::new(), m)"),
            ("src/http/layers.rs", "let t = clock::monotonic();"),
        ],
    );
}

#[test]
fn nothing_unfinished_or_panicking_is_shipped() {
    hold(
        unfinished,
        &[
            ("src/app.rs", "fn f() { todo!() }"),
            ("src/app.rs", "fn f() { unimplemented!(\"later\") }"),
            ("src/app.rs", "fn f() { dbg!(1); }"),
            ("src/app.rs", "fn f() { x.unwrap(); }"),
            ("src/app.rs", "#[cfg(test)] mod t { #[test] #[ignore] fn a() {} }"),
            ("tests/it/acme/orders.rs", "#[ignore = \"slow\"] #[test] fn a() {}"),
            ("src/app.rs", "#[allow(dead_code)] fn f() {}"),
            ("src/lib.rs", "#![allow(clippy::all)]"),
            ("src/app.rs", "#[allow(dead_code, reason = \"later\")] fn f() {}"),
            ("tests/it/main.rs", "#[allow(unused)] fn f() {}"),
            ("src/app.rs", "#[expect(dead_code)] fn f() {}"),
            ("src/app.rs", "#[test] fn two() {} #[cfg(not(test))] fn f() { x.unwrap(); }"),
        ],
        &[
            ("src/app.rs", "fn f() { x.unwrap_or(1); } // todo!()"),
            ("src/app.rs", "#[cfg(test)] mod t { fn a() { x.unwrap(); } }"),
            ("tests/it/support/m.rs", "#[allow(unused_imports, reason = \"a body need not use all\")] fn f() {}"),
            ("src/app.rs", "#[expect(dead_code, reason = \"a field that keeps the file open\")] struct A;"),
        ],
    );
}

#[test]
fn refusals_are_sentences_and_no_template() {
    hold(
        templates,
        &[
            ("src/error.rs", "format!(\"{name} refuses {value}: allowed is {allowed}; {fix}\")"),
            ("src/model/grant.rs", "f(\"grant.names refuses a.test\")"),
            ("src/wire/problem.rs", "const A: &str = \"a value; allowed is another\";"),
            (
                "src/wire/problem.rs",
                "#[schema(example = json!({\"detail\": \"validity.max refuses 400d\"}))] struct A;",
            ),
        ],
        &[
            ("src/api/tokens.rs", "f(\"every replica refuses it within 5 seconds\")"),
            ("src/cli/profile.rs", "format!(\"profile {} refuses {}\", a, b)"),
            ("src/error.rs", "format!(\"{wrong}; {}\", self.rule.fix) // x.y refuses z: allowed is w"),
        ],
    );
}

#[test]
fn every_file_is_named_by_the_one_above() {
    hold(
        outside,
        &[
            ("src/acme/order.rs", "fn f() {}"),
            ("tests/it/api/profiles.rs", "#[test] fn a() {}"),
            ("src/attic.rs", ""),
        ],
        &[("src/lib.rs", "pub mod app;"), ("tests/it/main.rs", "mod api;"), ("tests/bench/main.rs", "fn main() {}")],
    );
}

#[test]
fn files_begin_by_saying_what_they_are() {
    hold(
        first_lines,
        &[
            ("src/app.rs", "use std::fmt;"),
            ("src/app.rs", "// plain\nuse std::fmt;"),
            ("tests/it/main.rs", "mod support;"),
            ("src/app.rs", "//!\nuse std::fmt;"),
        ],
        &[
            ("src/app.rs", "//! App.\n"),
            ("tests/it/main.rs", "//! One binary.\n"),
            ("tests/it/a.rs", "// Tests of a.\n"),
        ],
    );
}

#[test]
fn tests_move_the_clock_and_do_not_sleep() {
    hold(
        sleeps,
        &[
            ("tests/it/acme/orders.rs", "tokio::time::sleep(d).await; // wait for the job"),
            ("tests/it/acme/orders.rs", "use std::thread; fn f() { thread::sleep(d); }"),
            ("tests/it/support/poll.rs", "fn f() {\n\n    thread::sleep(d);\n}"),
            ("tests/it/status/crl.rs", "use tokio::time::sleep;\nfn f() { sleep(d) }"),
        ],
        &[
            ("tests/it/support/poll.rs", "// another process cannot be told our clock\nthread::sleep(STEP);"),
            ("tests/it/acme/orders.rs", "server.clock.advance(days(30)); // no sleep(\n"),
        ],
    );
}

#[test]
fn nothing_opens_the_guard_of_validation() {
    hold(
        open_guards,
        &[("src/server/running.rs", "let guard = Guard::open();"), ("src/api/x.rs", "f(guard::Guard::open())")],
        &[
            ("src/validation/guard.rs", "impl Guard { pub fn open() -> Self { Guard { open: true } } }"),
            ("src/server/running.rs", "#[cfg(test)] mod tests { fn f() { Guard::open(); } }"),
        ],
    );
}

#[test]
fn both_engines_have_the_same_migrations() {
    let names = |engine: &str| -> Vec<String> {
        let folder = root().join("migrations").join(engine);
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let (postgres, sqlite) = (names("postgres"), names("sqlite"));
    assert!(!postgres.is_empty(), "no migrations seen");
    assert_eq!(migration_faults(&postgres, &sqlite), Vec::<String>::new());

    let list = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(migration_faults(&list(&["0001_a.sql"]), &list(&["0001_b.sql"])).len(), 1);
    assert_eq!(migration_faults(&list(&["0001_a.sql"]), &list(&[])).len(), 1);
    let twice = list(&["0001_a.sql", "0001_b.sql"]);
    assert_eq!(migration_faults(&twice, &twice).len(), 1);
    let gap = list(&["0001_a.sql", "0003_c.sql"]);
    assert_eq!(migration_faults(&gap, &gap), Vec::<String>::new());
    assert_eq!(migration_faults(&list(&["first.sql"]), &list(&["first.sql"])).len(), 1);
}

/// Who reads `--version` knows whether an upgrade migrates: 0.36.1 and 0.36.2 have one schema, 0.37.0 another.
#[test]
fn the_versions_second_figure_is_the_schema() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let folder = fs::read_dir(root().join("migrations/postgres")).unwrap();
    let names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(version_faults(&read("Cargo.toml"), &read("Cargo.lock"), &names), Vec::<String>::new());

    let manifest = |version: &str| format!("[package]\nname = \"chancery\"\nversion = \"{version}\"\n");
    let (list, lock) =
        (vec!["0036_a.sql".to_owned(), "0004_b.sql".to_owned()], "name = \"chancery\"\nversion = \"0.36.2\"\n");
    assert_eq!(version_faults(&manifest("0.36.2"), lock, &list), Vec::<String>::new());
    assert_eq!(version_faults(&manifest("0.35.2"), &lock.replace("36", "35"), &list).len(), 1);
    assert_eq!(version_faults(&manifest("0.36.3"), lock, &list).len(), 1, "the lock file has another");
}

#[test]
fn every_dependency_is_named_by_a_source() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("[dependencies]"), "no manifest was read");
    assert_eq!(unused_dependencies(&manifest, &sources()), Vec::<String>::new());

    let of = |text: &str| {
        let source = Source::new("src/a.rs", text);
        unused_dependencies("[package]\nname = \"x\"\n[dependencies]\nmd-5 = \"1\"\ntower-http = \"1\"\n", &[source])
    };
    assert_eq!(of("use md5::Md5; tower_http::f();"), Vec::<String>::new());
    for text in [
        "// md5::a\nuse tower_http::f;",
        "use md5; const A: &str = \"tower_http::f\";",
        "fn tower_http() { md5::a() }",
        "use md5::a; use crate::tower_http::b;",
    ] {
        assert_eq!(of(text).len(), 1, "{text}");
    }
}

/// The rule finds each bad example, passes each good one, and finds nothing in the sources.
fn hold(rule: Rule, bad: &[(&str, &str)], good: &[(&str, &str)]) {
    for (path, text) in bad {
        assert!(!rule(&[Source::new(path, text)]).is_empty(), "the rule is blind to {path}: {text}");
    }
    for (path, text) in good {
        let found = rule(&[Source::new(path, text)]);
        assert!(found.is_empty(), "the rule wrongly finds {found:?} in {path}: {text}");
    }
    let sources = sources();
    assert!(sources.iter().any(|s| s.path == "src/lib.rs"), "the sources were not read");
    assert!(sources.iter().any(|s| s.path == "tests/it/main.rs"), "the tests were not read");
    assert!(sources.iter().any(|s| s.product().len() > 100), "no product code was read");
    let found = rule(&sources);
    assert!(found.is_empty(), "{} finding(s)\n{}", found.len(), found.join("\n"));
}

//! `chancery migrate`, and that no other command on the host changes the schema under a server.

use std::path::Path;

use chancery::store::engine::Db;
use chancery::store::migrate;

use crate::support::postgres::{create_database, drop_database};
use crate::support::process::{ANY, Process, chancery, code, told};

async fn of_schema_11(url: Option<&str>, home: &Path) {
    let db = match url {
        Some(url) => Db::open_postgres(url, 2, "chancery").await.unwrap(),
        None => {
            let data = home.join(".local/share/chancery");
            std::fs::create_dir_all(&data).unwrap();
            Db::open_sqlite(&data.join("chancery.db")).await.unwrap()
        }
    };
    migrate::up_to(&db, 11).await.unwrap();
    db.close().await;
}

async fn an_older_database_is_migrated_by_the_command_that_says_so(url: Option<&str>) {
    let home = tempfile::tempdir().unwrap();
    of_schema_11(url, home.path()).await;
    let run = |arguments: &[&str]| {
        let mut command = chancery(home.path());
        command.env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true");
        url.map(|url| command.env("CHANCERY_DATABASE_URL", url));
        let output = command.args(arguments).output().unwrap();
        (code(&output), told(&output), String::from_utf8(output.stdout).unwrap())
    };
    let latest = migrate::LATEST;
    for command in [&["find", "a.example"][..], &["doctor"], &["fsck"], &["ca", "list"], &["setup-link"]] {
        let (code, told, _) = run(command);
        assert_eq!(code, 7, "{command:?}: {told}");
        assert!(told.contains("has schema 11") && told.contains(" migrate --run`"), "{told}");
    }
    let (code, told, _) = run(&["migrate", "--check"]);
    assert_eq!(code, 10, "{told}");
    assert!(told.contains("has schema 11;") && told.contains("0012_issuer_states"), "{told}");
    let (code, told, shown) = run(&["migrate", "--check", "-o", "json"]);
    assert_eq!(code, 10, "{told}");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["schema"], &shown["latest"]), (&11.into(), &latest.into()));
    assert_eq!(shown["pending"][0]["schema"], 12);

    let (code, told, _) = run(&["migrate", "--run"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains(&format!("was migrated from schema 11 to {latest}")), "{told}");
    for again in [&["migrate", "--run"], &["migrate", "--check"]] {
        let (code, told, _) = run(again);
        assert_eq!(code, 0, "{told}");
        assert!(told.contains(&format!("has schema {latest}, which is this chancery's")), "{told}");
    }
    let (_, told, _) = run(&["find", "a.example"]);
    assert!(told.contains("holds no CA yet"), "{told}");
    let (code, told, _) = run(&["migrate"]);
    assert_eq!(code, 2, "{told}");
}

#[tokio::test]
async fn an_older_sqlite_file_is_migrated_by_the_command_that_says_so() {
    an_older_database_is_migrated_by_the_command_that_says_so(None).await;
}

#[tokio::test]
async fn an_older_postgres_is_migrated_by_the_command_that_says_so() {
    let url = create_database().await;
    an_older_database_is_migrated_by_the_command_that_says_so(Some(&url)).await;
    drop_database(&url).await;
}

#[test]
fn commands_on_the_host_make_no_database() {
    let home = tempfile::tempdir().unwrap();
    for command in [&["doctor"][..], &["find", "a.example"], &["migrate", "--run"], &["token", "create"]] {
        let output = chancery(home.path()).args(command).output().unwrap();
        assert_ne!(code(&output), 0, "{command:?}");
        assert!(told(&output).contains("holds no CA yet; run `chancery init`"), "{command:?}: {}", told(&output));
    }
    let data = home.path().join(".local/share/chancery");
    let left: Vec<_> = std::fs::read_dir(&data).map(Iterator::collect).unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_empty_database_beside_the_keys_of_another_installation_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let init = |more: &[&str]| {
        let mut command = chancery(home.path());
        command.args(["init", "--data"]).arg(&data).args(more).output().unwrap()
    };
    assert_eq!(code(&init(&[])), 0);
    let status = std::fs::read(data.join("status.key")).unwrap();
    let elsewhere = format!("sqlite://{}", home.path().join("other.db").display());
    let second = init(&["--database-url", &elsewhere]);
    assert_eq!(code(&second), 7, "{}", told(&second));
    assert!(told(&second).contains("status.key is of an installation that exists"), "{}", told(&second));
    // nor one that has the tables and no CA
    let url = home.path().join("tables.db");
    let db = Db::open_sqlite(&url).await.unwrap();
    migrate::run(&db).await.unwrap();
    db.close().await;
    let third = init(&["--database-url", &format!("sqlite://{}", url.display())]);
    assert_eq!(code(&third), 7, "{}", told(&third));
    assert_eq!(std::fs::read(data.join("status.key")).unwrap(), status, "and left as it was");
    let again = init(&[]);
    assert_eq!(code(&again), 0, "{}", told(&again));
}

#[test]
fn a_served_sqlite_file_is_not_migrated_beside_its_server() {
    let home = tempfile::tempdir().unwrap();
    let server = Process::start(home.path(), &ANY, &[]);
    let output = chancery(home.path()).args(["migrate", "--run"]).output().unwrap();
    assert_eq!(code(&output), 7, "{}", told(&output));
    assert!(told(&output).contains("serves"), "{}", told(&output));
    let output = chancery(home.path()).args(["migrate", "--check"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", told(&output));
    drop(server);
}

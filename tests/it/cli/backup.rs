//! A backup as docs/backup.md tells to make it, taken while the server runs, brings the installation back on another machine.

use std::os::unix::fs::PermissionsExt;

use chancery::store::engine::{Db, q};

use crate::support::process::{Process, chancery, code, told};
use crate::support::stores::plain;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_server_is_restored_elsewhere() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Process::start(home.path(), &[], &[]);
    assert_eq!(code(&server.run(&["issue", "before.lab.example"])), 0);
    let (data, backup) = (home.path().join(".local/share/chancery"), elsewhere.path().join("backup"));
    std::fs::create_dir(&backup).unwrap();
    // first the database, by a copy of SQLite's own, then the keys
    let db = Db::open_sqlite(&data.join("chancery.db")).await.unwrap();
    let copy = backup.join("chancery.db").display().to_string();
    q(plain("VACUUM INTO $1")).bind(&copy).execute(&db).await.unwrap();
    db.close().await;
    for key in ["unlock.key", "status.key", "root.key"] {
        std::fs::copy(data.join(key), backup.join(key)).unwrap();
    }
    assert_eq!(code(&server.run(&["issue", "after.lab.example"])), 0);
    drop(server);

    let run = |arguments: &[&str]| {
        chancery(elsewhere.path()).env("CHANCERY_DATA", &backup).args(arguments).output().unwrap()
    };
    let checked = run(&["fsck"]);
    assert_eq!(code(&checked), 0, "{}", told(&checked));
    let found = String::from_utf8(run(&["find"]).stdout).unwrap();
    assert!(found.contains("before.lab.example") && !found.contains("after.lab.example"), "{found}");
    // every key is there: the issuer's, and the root's
    for command in [&["issue", "again.lab.example"][..], &["ca", "crl", "sign", "tls-root"]] {
        let done = run(command);
        assert_eq!(code(&done), 0, "{command:?}: {}", told(&done));
    }
    let data = backup.display().to_string();
    let restored = Process::start(elsewhere.path(), &["--data", &data], &[]);
    assert_eq!(code(&restored.run(&["--data", &data, "fsck"])), 0);
}

/// The command of docs/backup.md, with a stand-in for sqlite3 that writes the file as any program does.
#[test]
fn the_copy_of_the_database_is_for_its_owner_alone() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/backup.md")).unwrap();
    let command = page.split('`').find(|code| code.contains("VACUUM INTO")).unwrap();
    let at = tempfile::tempdir().unwrap();
    let script = format!("umask 022; sqlite3() {{ : >backup.db; }}; {command}");
    let done = std::process::Command::new("sh").args(["-c", &script]).current_dir(at.path()).status().unwrap();
    assert!(done.success());
    let mode = std::fs::metadata(at.path().join("backup.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{command}");
}

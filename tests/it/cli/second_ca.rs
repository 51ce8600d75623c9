//! Never a second CA by accident: an empty database beside the key of an installation, and starts that must find one.

use std::path::Path;

use crate::support::postgres::{create_database, drop_database};
use crate::support::process::{chancery, code, told};

fn run(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let ports = ["", "_HTTP", "_OPS"].map(|listener| (format!("CHANCERY_LISTEN{listener}"), "127.0.0.1:0"));
    let output = chancery(home)
        .env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true")
        .envs(ports)
        .envs(variables.iter().copied())
        .args(arguments)
        .output()
        .unwrap();
    (code(&output), told(&output))
}

#[test]
fn a_start_that_must_find_a_ca_makes_none() {
    let home = tempfile::tempdir().unwrap();
    for (variables, arguments) in [
        (&[][..], &["init", "--must-exist"][..]),
        (&[("CHANCERY_MUST_EXIST", "true")], &["serve"]),
        (&[("CHANCERY_MUST_EXIST", "true")], &["serve", "--locked"]),
    ] {
        let (code, told) = run(home.path(), variables, arguments);
        assert_eq!(code, 7, "{told}");
        assert!(told.contains("must_exist") && told.contains("--database-url"), "{told}");
    }
    for file in ["chancery.db", "unlock.key", "root.key"] {
        assert!(!home.path().join(".local/share/chancery").join(file).exists(), "{file} was made");
    }
    assert_eq!(run(home.path(), &[], &["init"]).0, 0);
    let (code, told) = run(home.path(), &[("CHANCERY_MUST_EXIST", "true")], &["init"]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn a_start_that_must_find_a_ca_leaves_an_empty_database_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("empty.db");
    std::fs::write(&file, "").unwrap();
    let url = format!("sqlite://{}", file.display());
    let (code, told) = run(home.path(), &[("CHANCERY_DATABASE_URL", &url)], &["serve", "--must-exist"]);
    assert_eq!(code, 7, "{told}");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
}

#[tokio::test]
async fn the_unlock_key_of_an_installation_founds_no_other() {
    let url = create_database().await;
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("ca.key").display().to_string();
    let production = [("CHANCERY_UNLOCK_KEY", key.as_str()), ("CHANCERY_DATABASE_URL", url.as_str())];
    let (code, told) = run(first.path(), &production, &["init"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("created   unlock key"), "{told}");
    let known = std::fs::read_to_string(keys.path().join("ca.key.installation")).unwrap();
    assert_eq!(known.trim().len(), 32, "{known}");

    // the database URL is forgotten, on a machine with a fresh data directory
    for command in ["serve", "init"] {
        let (code, told) = run(second.path(), &production[..1], &[command]);
        assert_eq!(code, 7, "{told}");
        assert!(told.contains("ca.key.installation") && told.contains("--database-url"), "{told}");
    }
    assert!(!second.path().join(".local/share/chancery/chancery.db").exists(), "no database was made");
    // with it, the machine is one more replica
    let (code, told) = run(second.path(), &production, &["init"]);
    assert!(code == 0 && told.contains("holds a CA already"), "{told}");

    // another CA's database beside this key is named before its keys fail to open
    let other = tempfile::tempdir().unwrap();
    assert_eq!(run(other.path(), &[], &["init"]).0, 0);
    let foreign = format!("sqlite://{}", other.path().join(".local/share/chancery/chancery.db").display());
    let (code, told) =
        run(second.path(), &[production[0], ("CHANCERY_DATABASE_URL", &foreign)], &["find", "x.example"]);
    assert_eq!(code, 7, "{told}");
    assert!(told.contains(known.trim()) && told.contains("--unlock-key"), "{told}");
    drop_database(&url).await;
}

#[test]
fn an_installation_from_before_learns_which_key_it_has_and_a_key_that_was_there_was_used() {
    let home = tempfile::tempdir().unwrap();
    let (elsewhere, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(home.path(), &[], &["init"]).0, 0);
    let data = home.path().join(".local/share/chancery");
    let mark = data.join("unlock.key.installation");
    let known = std::fs::read(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(run(home.path(), &[], &["init"]).0, 0);
    assert_eq!(std::fs::read(&mark).unwrap(), known);

    let key = keys.path().join("unlock.key");
    std::fs::copy(data.join("unlock.key"), &key).unwrap();
    let (code, told) = run(elsewhere.path(), &[("CHANCERY_UNLOCK_KEY", &key.display().to_string())], &["init"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("used      unlock key") && told.contains("created   root key"), "{told}");
}

#[test]
fn what_is_left_of_a_ca_beside_its_keys_founds_no_other() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &[], &["init"]).0, 0);
    let data = home.path().join(".local/share/chancery");
    for left in ["root.key", "anchor.json"] {
        let other = tempfile::tempdir().unwrap();
        let place = other.path().join(".local/share/chancery");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::copy(data.join("root.key"), place.join(left)).unwrap();
        for command in [&["init"][..], &["serve"], &["find", "x.example"]] {
            let (code, told) = run(other.path(), &[], command);
            assert_eq!(code, 7, "{left}, {command:?}: {told}");
            assert!(told.contains(left) && told.contains("backup"), "{left}, {command:?}: {told}");
        }
        assert!(!place.join("chancery.db").exists(), "{left}");
    }
    // a link to nothing is a trace too
    let other = tempfile::tempdir().unwrap();
    let place = other.path().join(".local/share/chancery");
    std::fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", place.join("unlock.key.installation")).unwrap();
    assert_eq!(run(other.path(), &[], &["init"]).0, 7);
}

#[test]
fn a_file_that_names_no_installation_is_told_as_what_it_is() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &[], &["init"]).0, 0);
    let mark = home.path().join(".local/share/chancery/unlock.key.installation");
    let known = std::fs::read_to_string(&mark).unwrap();
    for garbage in ["", "\n", "garbage", &known[..31], &format!("{}00", known.trim())] {
        std::fs::write(&mark, garbage).unwrap();
        let (code, told) = run(home.path(), &[], &["find", "x.example"]);
        assert_eq!(code, 2, "{garbage:?}: {told}");
        assert!(told.contains("32 hexadecimal digits") && told.contains("remove the file"), "{garbage:?}: {told}");
    }
    std::fs::write(&mark, known.to_uppercase()).unwrap();
    let (code, told) = run(home.path(), &[], &["find", "x.example"]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn of_two_first_starts_at_once_one_makes_the_ca_and_the_other_finds_it() {
    let home = tempfile::tempdir().unwrap();
    let starts: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| run(home.path(), &[], &["init"]))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for (code, told) in &starts {
        assert_eq!(*code, 0, "{told}");
    }
    assert_eq!(run(home.path(), &[], &["find", "x.example"]).0, 0);
    // with one unlock key and two databases one makes its CA, and the other is refused
    let (keys, first, second) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = keys.path().join("unlock.key").display().to_string();
    let starts: Vec<_> = std::thread::scope(|scope| {
        let start = |home: &Path| run(home, &[("CHANCERY_UNLOCK_KEY", key.as_str())], &["init"]).0;
        let starts = [first.path(), second.path()].map(|home| scope.spawn(move || start(home)));
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(matches!(starts[..], [0, 7] | [7, 0]), "{starts:?}");
}

#[tokio::test]
async fn a_migration_that_must_find_a_ca_fills_no_empty_database() {
    let url = create_database().await;
    let home = tempfile::tempdir().unwrap();
    let variables = [("CHANCERY_DATABASE_URL", url.as_str()), ("CHANCERY_MUST_EXIST", "true")];
    let (code, told) = run(home.path(), &variables, &["migrate", "--run"]);
    assert_eq!(code, 7, "{told}");
    assert!(told.contains("must_exist"), "{told}");
    let (code, told) = run(home.path(), &variables[..1], &["migrate", "--check"]);
    assert!(code == 10 && !told.contains("error"), "it is empty still: {told}");
    drop_database(&url).await;
}

#[test]
fn a_name_that_no_certificate_carries_is_no_external_url() {
    let home = tempfile::tempdir().unwrap();
    for host in ["ca_server.lab", "-ca.lab", "a..b", &format!("{}.lab", "a".repeat(64))] {
        let (code, told) = run(home.path(), &[], &["init", "--external-url", &format!("https://{host}:8443")]);
        assert_eq!(code, 2, "{host}: {told}");
        assert!(told.contains("cannot carry the name of external_url"), "{host}: {told}");
    }
    assert!(!home.path().join(".local/share/chancery/chancery.db").exists());
}

/// Two hosts with keys of their own make a CA in one database at once: one does, and the other says what it needs to join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hosts_that_make_a_ca_at_once_the_other_asks_for_its_key() {
    let url = create_database().await;
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let begun = homes.each_ref().map(|home| {
        let mut command = chancery(home.path());
        command.env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true").args(["init", "--database-url", &url]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    });
    let ended = begun.map(|child| child.wait_with_output().unwrap());
    let won = ended.iter().position(|output| code(output) == 0).expect("one of them makes the CA");
    let (winner, loser, output) = (homes[won].path(), homes[1 - won].path(), &ended[1 - won]);
    let said = told(output);
    assert_eq!(code(output), 7, "{said}");
    let key = ".local/share/chancery/unlock.key";
    // which of the two sentences depends on how far it came
    let raced = said.contains("another process made this CA at the same moment; put its unlock key into");
    assert!((raced || said.contains("unlock.key does not exist; put it back")) && said.contains(key), "{said}");
    for file in ["unlock.key", "root.key", "status.key"] {
        assert!(!loser.join(".local/share/chancery").join(file).exists(), "{file} of a CA that was not made");
    }
    std::fs::create_dir_all(loser.join(key).parent().unwrap()).unwrap();
    std::fs::copy(winner.join(key), loser.join(key)).unwrap();
    let (code, said) = run(loser, &[], &["init", "--database-url", &url]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("holds a CA already; nothing was changed"), "{said}");
    let (code, said) = run(loser, &[], &["--database-url", &url, "issue", "web.lab.example"]);
    assert_eq!(code, 0, "{said}");
    drop_database(&url).await;
}

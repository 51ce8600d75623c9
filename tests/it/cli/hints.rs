//! What a command prints to go on with: it works when it is pasted, and it names the address that the server has.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{code, run, told};
use crate::support::postgres;
use crate::support::process::{Process, chancery};

/// What a shell in an empty HOME makes of a line that calls `chancery`.
fn pasted(home: &Path, line: &str) -> Output {
    let bin = home.join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_chancery"), bin.join("chancery")).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    Command::new("sh")
        .args(["-c", line])
        .env_clear()
        .env("HOME", home)
        .env("PATH", path)
        .current_dir(home)
        .output()
        .unwrap()
}

/// The commands in what was printed: up to the remark that five blanks set apart, or between backquotes.
fn commands(printed: &str) -> Vec<String> {
    let command = |line: &str| {
        let from = &line[line.find("chancery ")?..];
        Some(from.split("     ").next()?.split('`').next()?.trim().to_owned())
    };
    printed.lines().filter(|line| !line.contains("Chancery ")).filter_map(command).collect()
}

fn works(home: &Path, line: &str) -> String {
    // a test leaves the stores of its host alone
    let line = if line.ends_with("trust install") { format!("{line} --dry-run") } else { line.to_owned() };
    let output = pasted(home, &line);
    assert_eq!(code(&output), 0, "{line}: {}{}", String::from_utf8_lossy(&output.stdout), told(&output));
    told(&output)
}

#[test]
fn the_next_steps_that_are_printed_work_when_they_are_pasted() {
    for data in ["D", "my 'own' ca"] {
        let home = tempfile::tempdir().unwrap();
        let at = home.path();
        let made = run(at, &["init", "--data", data]);
        assert_eq!(code(&made), 0, "{}", told(&made));
        assert!(told(&made).lines().count() <= 40, "{}", told(&made));
        let next = commands(&told(&made));
        assert_eq!(next.len(), 6, "{next:?}");
        for line in &next {
            works(at, line);
        }
        // of a command that was pasted, what it prints works too
        let root = run(at, &["--data", data, "ca", "create", "tls", "--new-root"]);
        let next = commands(&told(&root));
        assert_eq!(next.len(), 2, "{}", told(&root));
        let more = commands(&works(at, &next[0]));
        works(at, &next[1]);
        assert_eq!(more.len(), 1, "{more:?}");
        works(at, &more[0]);
        let undo = commands(&told(&run(at, &["--data", data, "ca", "retire", "tls-1"])));
        works(at, &undo[0]);
        // and so does what a refusal says
        let again = run(at, &["--data", data, "ca", "create", "tls"]);
        assert_eq!(code(&again), 7);
        let fix = commands(&told(&again));
        assert!(!fix.is_empty() && fix.iter().all(|line| line.contains("--data")), "{}", told(&again));
        works(at, &fix[0]);
        // nothing was made in the usual place
        assert!(!at.join(".local/share/chancery").exists());
    }
}

/// A variable that stood before one command is not there for the next.
#[test]
fn printed_commands_carry_what_the_environment_named() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let url = format!("sqlite://{}/ca.db", at.display());
    let made =
        chancery(at).env("CHANCERY_DATA", "D").env("CHANCERY_DATABASE_URL", &url).arg("init").output().unwrap();
    assert_eq!(code(&made), 0, "{}", told(&made));
    let next = commands(&told(&made));
    assert_eq!(next.len(), 6, "{next:?}");
    for line in &next {
        works(at, line);
    }
    assert!(at.join("ca.db").exists() && !at.join(".local/share/chancery").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_of_the_database_is_never_printed_and_its_variable_is_named() {
    let url = postgres::create_database().await;
    let home = tempfile::tempdir().unwrap();
    let secret = url.replacen("postgres@", "postgres:hunter2@", 1);
    assert_ne!(url, secret);
    let at = |arguments: &[&str]| {
        let environment = [("CHANCERY_DATABASE_URL", secret.as_str()), ("CHANCERY_ALLOW_UNSAFE_DATABASE", "true")];
        chancery(home.path()).envs(environment).args(arguments).output().unwrap()
    };
    let made = at(&["init"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    let refused = at(&["ca", "create", "tls"]);
    for output in [made, refused] {
        assert!(told(&output).contains("these commands need CHANCERY_DATABASE_URL"), "{}", told(&output));
        assert!(!told(&output).contains("hunter2"), "{}", told(&output));
    }
    postgres::drop_database(&url).await;
}

#[test]
fn doctor_says_whether_a_server_answers_and_where_it_asked() {
    let home = tempfile::tempdir().unwrap();
    let line = |process: &Process| {
        let output = process.run(&["doctor"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|line| line.starts_with("server\t")).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let mut server = Process::start(home.path(), &[], &[]);
    let at = server.ready["https"].as_str().unwrap().to_owned();
    assert_eq!(line(&server), format!("server\tok\tone answers at {at}"));
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended(), Some(0));
    let stopped = line(&server);
    assert!(stopped.starts_with(&format!("server\tok\tnone answers at {at} (")), "{stopped}");
    assert!(stopped.contains("until `chancery serve` runs"), "{stopped}");
}

async fn host_commands_print_the_servers_address(database: Option<&str>) {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    std::fs::write(at.join("password"), "till drawer orbit lamp 42\n").unwrap();
    let environment: Vec<(&str, &str)> = database.iter().map(|url| ("CHANCERY_DATABASE_URL", *url)).collect();
    let mut server = Process::start(at, &["--external-url", "https://ca.lab.example:8443"], &environment);
    let prints = |server: &Process, arguments: &[&str]| {
        let output = server.run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", told(&output));
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(text.contains("https://ca.lab.example:8443/"), "{arguments:?}: {text}");
        told(&output)
    };
    let lost = "was not used and works no longer";
    assert!(!prints(&server, &["setup-link"]).contains(lost));
    assert!(prints(&server, &["setup-link"]).contains(lost), "the first link ends");
    let made = server.run(&["user", "create", "alice", "--role", "admin", "--password-file", "password"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    assert!(!prints(&server, &["user", "sign-in-link", "alice"]).contains(lost));
    assert!(
        prints(&server, &["user", "sign-in-link", "alice"]).contains("the link made before for alice was not used")
    );
    prints(&server, &["quickstart", "git"]);
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended(), Some(0));
    prints(&server, &["quickstart", "git"]);
    // a command's own setting comes first
    let output = super::chancery(at)
        .envs(environment.iter().copied())
        .env("CHANCERY_EXTERNAL_URL", "https://other.example")
        .args(["quickstart", "git"])
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("https://other.example/"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_commands_print_the_address_that_a_server_on_sqlite_was_given() {
    host_commands_print_the_servers_address(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_commands_print_the_address_that_a_server_on_postgres_was_given() {
    let url = postgres::create_database().await;
    host_commands_print_the_servers_address(Some(&url)).await;
    postgres::drop_database(&url).await;
}

#[test]
fn doctor_asks_the_server_that_is_named_and_tells_of_one_that_is_locked() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let mut open = Process::start(at, &[], &[]);
    std::fs::write(at.join("root.pem"), open.run(&["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    let bearer = open.operator();
    std::fs::write(at.join("token"), bearer.trim_start_matches("Bearer ")).unwrap();
    let ask = |server: &Process, more: &[&str]| {
        let url = server.ready["https"].as_str().unwrap();
        server.run(&[more, &["--url", url, "--root", "root.pem", "--token-file", "token"]].concat())
    };
    let fine = ask(&open, &["doctor"]);
    assert_eq!(code(&fine), 0, "{}{}", String::from_utf8_lossy(&fine.stdout), told(&fine));
    open.signal(libc::SIGTERM);
    assert_eq!(open.ended(), Some(0));

    let locked = Process::start(at, &["--locked"], &[]);
    for (output, begins) in [
        (ask(&locked, &["doctor", "-o", "json"]), "the server is locked: "),
        (locked.run(&["doctor", "-o", "json"]), "the server that started at "),
    ] {
        assert_eq!(code(&output), 11, "{}", told(&output));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "unlock key").unwrap();
        let detail = check["detail"].as_str().unwrap();
        assert!(check["status"] == "critical" && detail.starts_with(begins), "{detail}");
        for part in ["CRLs, OCSP answers and bundles are served on", "nothing is issued", "without --locked"] {
            assert!(detail.contains(part), "{part} in {detail}");
        }
    }
    // through the server nothing is issued; a command beside it that can read the unlock key issues
    let refused = ask(&locked, &["issue", "web.lab.example"]);
    assert_eq!(code(&refused), 7, "{}", told(&refused));
    assert!(told(&refused).contains("without --locked"), "{}", told(&refused));
    assert_eq!(code(&locked.run(&["issue", "web.lab.example"])), 0);
}

#[test]
fn what_only_the_host_can_do_is_refused_with_a_url() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    for command in [
        &["fsck"][..],
        &["audit", "verify"],
        &["setup-link"],
        &["clock", "show"],
        &["serve"],
        &["init"],
        &["ca", "crl", "sign", "tls-root"],
        &["user", "list"],
    ] {
        let output = run(at, &[command, &["--url", "https://ca.example"]].concat());
        assert_eq!(code(&output), 2, "{command:?}: {}", told(&output));
        assert!(told(&output).contains("works on the host of the server alone; run it there"), "{}", told(&output));
    }
}

#[test]
fn a_start_under_another_external_url_warns_once() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = ("https://ca.lab.example", "https://other.lab.example");
    let start = |url: &str| {
        let mut server = Process::start(home.path(), &["--external-url", url], &[]);
        server.signal(libc::SIGTERM);
        assert_eq!(server.ended(), Some(0));
        server.stderr()
    };
    assert!(!start(one).contains("external_url"), "the first start");
    assert!(!start(one).contains("external_url"), "the same again");
    let moved = start(two);
    let told: Vec<_> = moved.lines().filter(|line| line.contains(one) && line.contains(two)).collect();
    let (log, said): (Vec<&str>, Vec<&str>) = told.into_iter().partition(|line| line.starts_with('{'));
    assert!(log.len() == 1 && log[0].contains("WARN"), "{moved}");
    assert!(said.len() == 1 && said[0].contains(&format!("--external-url {one}")), "{moved}");
    assert!(!start(two).contains("external_url"), "it was meant");
}

#[test]
fn a_key_file_of_raw_bytes_is_told_how_to_write_it() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    std::fs::write(at.join("hmac"), [0xff_u8; 32]).unwrap();
    let create = ["acme", "eab", "create", "--name", "fleet", "--allow-name", "lab.example", "--hmac-key-file"];
    let refused = run(at, &[&create[..], &["hmac"]].concat());
    let line = "base64 -w0 hmac >hmac.b64";
    assert!(code(&refused) != 0 && told(&refused).contains(line), "{}", told(&refused));
    assert_eq!(code(&pasted(at, line)), 0);
    assert_eq!(code(&run(at, &[&create[..], &["hmac.b64"]].concat())), 0);
}

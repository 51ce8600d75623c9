//! PgBouncer before the database: in session mode everything works, in the other modes a start is refused with the reason.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chancery::store::engine::Db;

use crate::support::ports;
use crate::support::postgres;
use crate::support::process::{ANY, Process, chancery, code, told};
use crate::support::wait;

const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

struct Pooler {
    child: Child,
    url: String,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // it may have ended before
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// PgBouncer as its package sets it up, before the server of this URL.
async fn pooler(folder: &Path, url: &str, mode: &str) -> Pooler {
    pooler_with(folder, url, mode, "auth_type = any").await
}

async fn pooler_with(folder: &Path, url: &str, mode: &str, authentication: &str) -> Pooler {
    let (_, rest) = url.split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let (host, port) = server.rsplit_once(':').unwrap();
    let at = ports::own_port();
    let file = folder.join(format!("{mode}.ini"));
    let text = format!(
        "[databases]\n{database} = host={host} port={port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {at}\n\
         unix_socket_dir =\n{authentication}\npool_mode = {mode}\ndefault_pool_size = 60\nmax_client_conn = 200\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(PGBOUNCER);
    command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if unsafe { libc::geteuid() } == 0 {
        // it refuses to run as root
        command.args(["-u", "nobody"]);
        std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status().unwrap();
    }
    let child = command.spawn().unwrap();
    wait::until("the pooler listens", async || std::net::TcpStream::connect(("127.0.0.1", at)).ok()).await;
    Pooler { child, url: format!("postgres://postgres@127.0.0.1:{at}/{database}") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_needed_and_a_pooler_that_gives_them_will_do() {
    if !Path::new(PGBOUNCER).exists() {
        eprintln!("skipped: PgBouncer is not installed (Debian's package pgbouncer)");
        return;
    }
    let (home, url) = (tempfile::tempdir().unwrap(), postgres::create_database().await);
    for mode in ["transaction", "statement"] {
        let before = pooler(home.path(), &url, mode).await;
        let serve = [&["serve"], &ANY[..]].concat();
        for command in
            [&serve[..], &["init"], &["migrate", "--check"], &["issue", "a.example"], &["ca", "list"], &["fsck"]]
        {
            let output = chancery(home.path())
                .env("CHANCERY_DATABASE_URL", &before.url)
                .env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true")
                .args(command)
                .output()
                .unwrap();
            assert_eq!(code(&output), 2, "{mode} {command:?}: {}", told(&output));
            let reason = format!("behind a connection pooler in {mode} mode");
            assert!(
                told(&output).contains(&reason) && told(&output).contains("pool_mode = session"),
                "{command:?}: {}",
                told(&output)
            );
        }
    }
    let before = pooler(home.path(), &url, "session").await;
    let mut server = Process::start(home.path(), &[], &[("CHANCERY_DATABASE_URL", &before.url)]);
    for command in [&["issue", "web.lab.example"][..], &["ca", "create", "etcd"], &["fsck"]] {
        let output = server.run(command);
        assert_eq!(code(&output), 0, "{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), told(&output));
    }
    // the cluster of the tests may run with fsync=off, which is a warning
    assert!([0, 10].contains(&code(&server.run(&["doctor"]))));
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended(), Some(0));
    // a session of before leaves nothing to the next
    let db = Db::open_postgres(&before.url, 2, "chancery").await.unwrap();
    db.close().await;
    drop(before);
    postgres::drop_database(&url).await;
}

/// `app` with a password, which the pooler knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_a_password_file_that_is_not_read_are_named() {
    if !Path::new(PGBOUNCER).exists() {
        eprintln!("skipped: PgBouncer is not installed (Debian's package pgbouncer)");
        return;
    }
    let (home, url) = (tempfile::tempdir().unwrap(), postgres::create_database().await);
    let users = home.path().join("users.txt");
    std::fs::write(&users, "\"app\" \"right\"\n").unwrap();
    let authentication = format!("auth_type = scram-sha-256\nauth_file = {}", users.display());
    let before = pooler_with(home.path(), &url, "session", &authentication).await;
    let (_, place) = before.url.split_once('@').unwrap();
    let check = |user: &str| {
        let url = format!("postgres://{user}@{place}");
        let mut command = chancery(home.path());
        command.env("CHANCERY_DATABASE_URL", url).env("CHANCERY_ALLOW_UNSAFE_DATABASE", "true");
        let output = command.args(["migrate", "--check"]).output().unwrap();
        (code(&output), told(&output) + &String::from_utf8_lossy(&output.stdout))
    };
    for user in ["app:wrong", "nobody:right"] {
        let (ended, said) = check(user);
        assert!(ended != 0 && said.contains("the user or the password is wrong"), "{user}: {said}");
        assert!(said.contains("auth_file") && !said.contains(".pgpass is not read"), "{user}: {said}");
    }
    let file = home.path().join(".pgpass");
    std::fs::write(&file, "*:*:*:app:right\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let (ended, said) = check("app");
    let words = format!("{0} is not read, because others may: chmod 600 {0}", file.display());
    assert!(ended != 0 && said.contains(&words), "{said}");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let (_, said) = check("app");
    assert!(said.contains("has schema 0"), "{said}");
    drop(before);
    postgres::drop_database(&url).await;
}

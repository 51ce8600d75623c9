//! PgBouncer before the database: in session mode everything works, in the other modes a start is refused with the reason.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chancery::store::engine::Db;

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
    let (_, rest) = url.split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let (host, port) = server.rsplit_once(':').unwrap();
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.join(format!("{mode}.ini"));
    let text = format!(
        "[databases]\n{database} = host={host} port={port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {at}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 60\nmax_client_conn = 200\n"
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

//! A Postgres for the tests: the one that CHANCERY_TEST_POSTGRES_URL names, else a throw-away cluster of this
//! process on a free loopback port, stopped and removed when the process ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor, PgConnection};

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

struct Cluster {
    /// Without the database's name at its end.
    url: String,
    /// None when somebody else runs it.
    folder: Option<PathBuf>,
}

/// Makes an empty database and returns its URL. Its collation is not C, so that ours shows.
pub async fn create_database() -> String {
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(start)).await.unwrap();
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("chancery_test_{}_{number}", std::process::id());
    run(cluster, format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
    format!("{}/{name}", cluster.url)
}

/// A database with what `pg_dump --inserts` wrote.
pub async fn load(dump: &Path) -> String {
    let url = create_database().await;
    let sql = std::fs::read_to_string(dump).unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
    connection.close().await.unwrap();
    url
}

pub async fn drop_database(url: &str) {
    let (_, name) = url.rsplit_once('/').unwrap();
    let cluster = CLUSTER.get().expect("a database exists, so does its cluster");
    run(cluster, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
}

/// A copy as it is now; whoever is connected is cut off.
pub async fn copy_database(url: &str) -> String {
    let copy = format!("chancery_test_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    let cluster = CLUSTER.get().expect("a database exists, so does its cluster");
    let name = cut_off(cluster, url).await;
    run(cluster, format!("CREATE DATABASE {copy} TEMPLATE {name}")).await;
    run(cluster, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    format!("{}/{copy}", cluster.url)
}

/// Puts a copy in the place of a database, as a restore or a failover does; whoever is connected is cut off.
pub async fn take_over(url: &str, copy: &str) {
    let cluster = CLUSTER.get().expect("a database exists, so does its cluster");
    let name = cut_off(cluster, url).await;
    let (_, copy) = copy.rsplit_once('/').unwrap();
    run(cluster, format!("ALTER DATABASE {name} RENAME TO {name}_old")).await;
    run(cluster, format!("CREATE DATABASE {name} TEMPLATE {copy}")).await;
    run(cluster, format!("DROP DATABASE {name}_old WITH (FORCE)")).await;
}

async fn cut_off<'a>(cluster: &Cluster, url: &'a str) -> &'a str {
    let (_, name) = url.rsplit_once('/').unwrap();
    run(cluster, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    run(cluster, format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    name
}

async fn run(cluster: &Cluster, sql: String) {
    let mut connection = PgConnection::connect(&format!("{}/postgres", cluster.url)).await.unwrap();
    // names are made here from numbers
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

fn start() -> Cluster {
    if let Ok(url) = std::env::var("CHANCERY_TEST_POSTGRES_URL") {
        let (server, _) = url.rsplit_once('/').expect("CHANCERY_TEST_POSTGRES_URL ends in a database");
        return Cluster { url: server.to_owned(), folder: None };
    }
    let cluster = start_with(&["max_connections=500", "fsync=off"]);
    // statics are not dropped: the C library calls this when the process ends
    unsafe { libc::atexit(stop) };
    cluster
}

/// A cluster with settings of its own, for one test.
pub struct OwnCluster(Cluster);

impl OwnCluster {
    pub async fn start(settings: &'static [&'static str]) -> OwnCluster {
        OwnCluster(tokio::task::spawn_blocking(|| start_with(settings)).await.unwrap())
    }

    /// Of the database that every cluster has.
    pub fn url(&self) -> String {
        format!("{}/postgres", self.0.url)
    }

    pub async fn run(&self, sql: &'static str) {
        run(&self.0, sql.to_owned()).await;
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// On a loopback port of its own.
fn start_with(settings: &[&str]) -> Cluster {
    let folder = tempfile::Builder::new().prefix("chancery-test-pg-").tempdir().unwrap().keep();
    if unsafe { libc::geteuid() } == 0 {
        succeed(Command::new("chown").arg("postgres").arg(&folder));
    }
    let data = folder.join("data");
    succeed(
        as_postgres(&folder, "initdb").args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "-D"]).arg(&data),
    );
    let port = super::ports::own_port();
    let settings: String = settings.iter().map(|setting| format!(" -c {setting}")).collect();
    let options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={settings}");
    let log = folder.join("log");
    succeed(
        as_postgres(&folder, "pg_ctl")
            .args(["-w", "-t", "120", "-o", &options, "-l"])
            .arg(log)
            .arg("-D")
            .arg(&data)
            .arg("start"),
    );
    Cluster { url: format!("postgres://postgres@127.0.0.1:{port}"), folder: Some(folder) }
}

extern "C" fn stop() {
    if let Some(cluster) = CLUSTER.get() {
        cluster.stop();
    }
}

impl Cluster {
    fn stop(&self) {
        let Some(folder) = self.folder.as_deref() else { return };
        let data = folder.join("data");
        let _ = as_postgres(folder, "pg_ctl").args(["-m", "immediate", "-D"]).arg(data).arg("stop").status();
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// A program of the newest Postgres that is installed, as user postgres when we are root, which it refuses.
fn as_postgres(folder: &Path, program: &str) -> Command {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("Debian's postgresql is installed")
        .map(|entry| entry.unwrap().path())
        .collect();
    versions.sort();
    let program = versions.last().expect("a version of Postgres").join("bin").join(program);
    let mut command = if unsafe { libc::geteuid() } == 0 {
        let mut runuser = Command::new("runuser");
        runuser.args(["-u", "postgres", "--"]).arg(program);
        runuser
    } else {
        Command::new(program)
    };
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

//! The servers of a Postgres URL: what each connection is opened with, which of several servers it goes to, and whether a
//! pooler lets connections share sessions. What a session needs is set after it has begun and never as a parameter of its start,
//! which poolers refuse.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, Executor, Postgres, Row as _};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::unusable::{self, Unusable};
use super::{CONNECTION_WAIT, RAISE_DURABILITY};
use crate::clock::monotonic;
use crate::error::{Error, ErrorKind, Result};
use crate::model::postgres::{PostgresHost, PostgresUrl, SessionKind};

/// How long one server is waited for when the URL has no connect_timeout.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Between two looks at servers of which none will do.
const AGAIN: Duration = Duration::from_millis(250);

/// `lock_timeout` is `LOCK_WAIT`. A process whose machine is gone holds no locks and is known to have ended after half a minute.
const SESSION: &str = "SET statement_timeout = 30000; SET lock_timeout = 4000; SET idle_in_transaction_session_timeout = 60000; \
                       SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";
/// Statements that look each of their keys up by an index, planned once. A planner that saw a table when it was empty
/// would read all of it, and a prepared plan stays: under load a new installation was several times as slow. What
/// reads whole tables runs on the other connections, by the plan that is best for that.
const KEYED: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
                     SET enable_mergejoin = off; SET jit = off";
const VOLATILE: &str = "SET synchronous_commit = off";
const TAKES_NO_WRITES: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS takes_no_writes";

/// What connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Usual,
    /// Group commits, and what is looked up by keys.
    Keyed,
    /// Commits that a crash may lose.
    Volatile,
}

/// The parameters that reach the driver; the others of libpq are ours or mean nothing here.
const PASSED: [&str; 9] = [
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
    "statement-cache-capacity",
];
const KNOWN: [&str; 15] = [
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "target_session_attrs",
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "load_balance_hosts",
    "channel_binding",
];
/// Where systems keep the CAs that they trust, for `sslrootcert=system`.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The servers of a URL in their order, and the watch over which one is used.
#[derive(Debug)]
pub(super) struct Hosts {
    all: Vec<(PostgresHost, PgConnectOptions)>,
    writes: bool,
    attempt: Duration,
    /// A password file that the driver does not read.
    ignored_file: Option<PathBuf>,
    /// Told when a connection fails, or takes long to open.
    pub look: Arc<Notify>,
}

impl Hosts {
    pub fn of(url: &str, name: &str) -> Result<Arc<Hosts>> {
        let bad = |why: String| Error::new(ErrorKind::Config, format!("the database URL cannot be read: {why}"));
        let url = PostgresUrl::parse(url).map_err(bad)?;
        for key in url.keys().filter(|key| !PASSED.contains(key) && !KNOWN.contains(key)) {
            tracing::warn!(
                parameter = key,
                "the database URL has a parameter that Chancery does not know; it is not used"
            );
        }
        let hosts = url.hosts().map_err(bad)?;
        let all = hosts.into_iter().map(|host| Ok((host.clone(), options(&url, &host, name)?)));
        Ok(Arc::new(Hosts {
            all: all.collect::<Result<_>>()?,
            writes: url.session().map_err(bad)? == SessionKind::ReadWrite,
            attempt: url.seconds("connect_timeout").map_err(bad)?.map_or(ATTEMPT, Duration::from_secs),
            ignored_file: password_file_of_others().filter(|_| !has_password(&url)),
            look: Arc::default(),
        }))
    }

    /// Nothing is to be chosen: the one server there is will do.
    pub fn is_plain(&self) -> bool {
        self.all.len() == 1 && !self.writes
    }

    /// The first one, for pools that open their connections later.
    pub fn first(&self) -> Result<PgConnectOptions> {
        let first = self.all.first().map(|(_, options)| options.clone());
        first.ok_or_else(|| Error::inconsistent("a database URL without any host"))
    }

    /// The server to use: waits as long as one may come up.
    pub async fn choose(&self) -> Result<PgConnectOptions> {
        let started = monotonic();
        loop {
            let failures = match self.look_at_all().await {
                Ok(options) => return Ok(options),
                Err(failures) => failures,
            };
            let may_come = failures.iter().any(|(_, failure)| failure.may_pass());
            if !may_come || started.elapsed() >= CONNECTION_WAIT {
                return Err(self.error(&failures));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Why no connection came, of the servers that there are.
    pub async fn why(&self, error: sqlx::Error) -> Error {
        match self.look_at_all().await {
            Err(failures) => self.error(&failures),
            Ok(_) => {
                let host = self.all.first().map(|(host, _)| host.to_string()).unwrap_or_default();
                self.error(&[(host, Unusable::Failed(error))])
            }
        }
    }

    fn error(&self, failures: &[(String, Unusable)]) -> Error {
        let error = unusable::error(failures);
        match self.ignored_file.as_ref().filter(|_| failures.iter().any(|(_, failure)| failure.is_password())) {
            Some(file) => {
                let (file, told) = (file.display(), &error.detail);
                let why =
                    format!("{told}; the password file {file} is not read, because others may: chmod 600 {file}");
                Error::new(error.kind, why)
            }
            None => error,
        }
    }

    async fn look_at_all(&self) -> Result<PgConnectOptions, Vec<(String, Unusable)>> {
        let mut failures = Vec::new();
        for (host, options) in &self.all {
            let fits = async {
                let mut connection = options.connect().await.map_err(Unusable::Failed)?;
                self.check(&mut connection).await?;
                // it was opened for this alone, and its end is not waited for
                let _ = connection.close().await;
                Ok(())
            };
            match timeout(self.attempt, fits).await.unwrap_or(Err(Unusable::Silent)) {
                Ok(()) => return Ok(options.clone()),
                Err(failure) => failures.push((host.to_string(), failure)),
            }
        }
        Err(failures)
    }

    /// Is it a server that takes writes, where that is wanted?
    async fn check(&self, connection: &mut PgConnection) -> Result<(), Unusable> {
        if !self.writes {
            return Ok(());
        }
        let row = connection.fetch_one(TAKES_NO_WRITES).await.map_err(Unusable::Failed)?;
        match row.try_get::<bool, _>(0).map_err(Unusable::Failed)? {
            true => Err(Unusable::ReadOnly),
            false => Ok(()),
        }
    }

    /// Opens connections of a kind: settings that commits survive a crash whatever the server, the database or the role has
    /// set, and a server that fits.
    pub fn pool(self: &Arc<Self>, kind: Kind) -> PgPoolOptions {
        let hosts = Arc::clone(self);
        PgPoolOptions::new().acquire_timeout(CONNECTION_WAIT).after_connect(move |connection, _| {
            let hosts = Arc::clone(&hosts);
            Box::pin(async move {
                if let Err(failure) = hosts.check(connection).await {
                    hosts.look.notify_one();
                    return Err(failure.into());
                }
                begin_session(connection).await?;
                if kind != Kind::Usual {
                    connection.execute(KEYED).await?;
                }
                match kind {
                    Kind::Volatile => connection.execute(VOLATILE).await.map(drop),
                    Kind::Usual | Kind::Keyed => connection.execute(RAISE_DURABILITY).await.map(drop),
                }
            })
        })
    }

    /// Leads the pools to another server when theirs fails, until they are closed.
    pub fn follow(self: Arc<Self>, pools: Vec<sqlx::Pool<Postgres>>) {
        if self.all.len() == 1 {
            return;
        }
        tokio::spawn(async move {
            let Some(first) = pools.first() else { return };
            loop {
                tokio::select! {
                    () = first.close_event() => return,
                    () = self.look.notified() => {}
                }
                if let Ok(options) = self.look_at_all().await {
                    pools.iter().for_each(|pool| pool.set_connect_options(options.clone()));
                } else {
                    self.look.notify_one();
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
}

/// The limits of a session, which the server keeps.
pub(super) async fn begin_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(SESSION).await.map(drop)
}

fn has_password(url: &PostgresUrl) -> bool {
    url.has_password() || std::env::var_os("PGPASSWORD").is_some()
}

/// The password file of libpq, where its group or everybody has rights on it: the driver leaves it out without a word.
fn password_file_of_others() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass"));
    let file = std::env::var_os("PGPASSFILE").map(PathBuf::from).or_else(home)?;
    let mode = std::fs::metadata(&file).ok()?.permissions().mode();
    (mode & 0o077 != 0).then_some(file)
}

/// What the driver needs for one server. Without sslmode a server that is not on this machine is verified.
fn options(url: &PostgresUrl, host: &PostgresHost, name: &str) -> Result<PgConnectOptions> {
    let bad = |e: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Config, format!("the database URL cannot be used: {e}; see its parameters"))
    };
    // through a URL, because only there the driver looks into ~/.pgpass for the host that is meant
    let mut plain = url::Url::parse("postgres:///").map_err(|e| bad(&e))?;
    let mut pairs = plain.query_pairs_mut();
    if !host.host.is_empty() {
        pairs.append_pair("host", &host.host);
    }
    if let Some(port) = host.port {
        pairs.append_pair("port", &port.to_string());
    }
    for key in PASSED {
        let Some(value) = url.get(key) else { continue };
        match (key, value) {
            ("sslrootcert", "system") => {
                let found = SYSTEM_ROOTS.into_iter().find(|path| Path::new(path).exists());
                pairs.append_pair(
                    key,
                    found.ok_or_else(|| bad(&"sslrootcert=system finds no file of trusted CAs here"))?,
                )
            }
            ("sslrootcert" | "sslcert" | "sslkey", file)
                if !file.starts_with("-----BEGIN") && !Path::new(file).exists() =>
            {
                let text = format!("{key} names the file {file}, which cannot be read");
                return Err(bad(&text));
            }
            _ => pairs.append_pair(key, value),
        };
    }
    drop(pairs);
    let options = PgConnectOptions::from_str(plain.as_str()).map_err(|e| bad(&e))?;
    let meant = match options.get_socket() {
        Some(_) => PostgresHost { host: String::new(), port: None },
        None => PostgresHost { host: options.get_host().to_owned(), port: None },
    };
    let options = match url.get("sslmode").is_none() && !meant.is_local() {
        true => options.ssl_mode(PgSslMode::VerifyFull),
        false => options,
    };
    Ok(options.application_name(name).extra_float_digits(None).disable_statement_logging())
}

/// Whether what lies between gives every connection a session of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    Own,
    /// Two connections had one session: a pooler in transaction mode.
    SharedByTransaction,
    /// It takes no transactions: a pooler in statement mode.
    SharedByStatement,
}

/// Opens three connections: the second and the third hold a transaction open while the first is asked again where it is.
pub(super) async fn sessions(options: &PgConnectOptions) -> Result<Sessions, sqlx::Error> {
    let mut first = options.connect().await?;
    let here = backend(&mut first).await?;
    let mut holding = Vec::new();
    let mut shared = false;
    for _ in 0..2 {
        let mut other = options.connect().await?;
        match other.execute("BEGIN").await {
            Err(sqlx::Error::Database(told)) if told.message().contains("statement pooling") => {
                return Ok(Sessions::SharedByStatement);
            }
            begun => begun?,
        };
        shared |= backend(&mut other).await? == here;
        holding.push(other);
        shared |= backend(&mut first).await? != here;
    }
    for connection in holding.into_iter().chain([first]) {
        // what was opened for this ends with it
        let _ = connection.close().await;
    }
    Ok(if shared { Sessions::SharedByTransaction } else { Sessions::Own })
}

/// By the simple protocol: a prepared statement may not be there any more.
async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    connection.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_is_verified_unless_the_url_says_otherwise() {
        let mode = |text: &str| {
            let url = PostgresUrl::parse(text).unwrap();
            let host = url.hosts().unwrap().remove(0);
            options(&url, &host, "chancery").unwrap().get_ssl_mode()
        };
        for text in ["postgres://u@db.example/c", "host=db.example", "postgres://a,b/c", "hostaddr=192.0.2.1"] {
            assert!(matches!(mode(text), PgSslMode::VerifyFull), "{text}");
        }
        for text in
            ["postgres://u@127.0.0.1/c", "postgres://u@[::1]/c", "postgres:///c?host=/run/postgresql", "host=/run"]
        {
            assert!(matches!(mode(text), PgSslMode::Prefer), "{text}");
        }
        assert!(matches!(mode("postgres://u@db.example/c?sslmode=require"), PgSslMode::Require));
    }

    #[test]
    fn parameters_reach_the_driver_as_they_are() {
        let url = PostgresUrl::parse("host=::1 port=5433 user='a b' password='p&=+ %' dbname='x y'").unwrap();
        let options = options(&url, &url.hosts().unwrap()[0], "chancery").unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("::1", 5433));
        assert_eq!((options.get_username(), options.get_database()), ("a b", Some("x y")));
        let missing = PostgresUrl::parse("postgres://db/c?sslrootcert=/no/such/file").unwrap();
        let why = super::options(&missing, &missing.hosts().unwrap()[0], "chancery").unwrap_err();
        assert!(why.detail.contains("/no/such/file"), "{why}");
    }
}

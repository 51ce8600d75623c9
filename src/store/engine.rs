//! The only file that knows there are two engines, with what stands in `engine/`. One SQL text a statement in the portable subset with `$1`
//! placeholders; what differs (row locks, bulk inserts) is a second text beside the first. Transactions on SQLite
//! begin IMMEDIATE; a unique violation is `Conflict`; a lost connection is `Unavailable`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Database, Executor, Postgres, Row as _, Sqlite};

use super::faults::Statements;
use super::pool::{Held, Pool, silent};
use super::{outages, patience};
use crate::error::{Error, ErrorKind, Result};

/// Awaits one statement on a connection and keeps what its failure says about the connection.
macro_rules! on_held {
    ($held:ident, $conn:ident => $statement:expr) => {{
        match $held.check_sound() {
            Err(error) => Err(error),
            Ok(()) => {
                let most = $held.patience();
                let faults = $held.faults();
                let outcome = {
                    let $conn = &mut **$held;
                    let statement = async { patience::wait(most, $statement).await.unwrap_or_else(|| Err(silent())) };
                    faults.run(statement).await
                };
                $held.note(&outcome);
                outcome
            }
        }
    }};
}

macro_rules! bound {
    ($text:expr, $args:expr, $db:ty) => {{
        let mut query = sqlx::query::<$db>($text);
        for arg in $args {
            query = match arg {
                Arg::Bytes(v) => query.bind(v),
                Arg::Int(v) => query.bind(v),
                Arg::Text(v) => query.bind(v),
                Arg::Bool(v) => query.bind(v),
            };
        }
        query
    }};
}

// they use the macros above
mod hosts;
mod large;
mod migrating;
mod sweep;
mod unusable;

pub use hosts::Sessions;
use hosts::{Hosts, Kind};
pub use large::{LARGE_VALUE, LargeRow, write_large};
pub use migrating::{MigrationConnection, waited_in_vain};
pub use sweep::sweep;

/// One statement. `postgres` differs from `sqlite` only for row locks (`FOR UPDATE`) and bulk inserts (UNNEST).
#[derive(Debug, Clone, Copy)]
pub struct Sql {
    pub name: &'static str,
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

impl Sql {
    /// The text that Postgres runs.
    fn on_postgres(&self) -> &'static str {
        without_lock!(self.name, self.postgres)
    }
}

/// `statements! { FIND = "SELECT …"; CLAIM = "SELECT …", postgres "SELECT … FOR UPDATE"; }` makes consts of type
/// `Sql` and `ALL`, which the test that prepares every statement reads.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr $(, postgres $pg:expr)?;)+) => {
        $($(#[$doc])* pub(in crate::store) const $name: $crate::store::engine::Sql = $crate::store::engine::Sql {
            name: concat!(module_path!(), "::", stringify!($name)),
            sqlite: $sql,
            postgres: $crate::store::engine::pick(&[$sql $(, $pg)?]),
        };)+
        pub(in crate::store) const ALL: &[$crate::store::engine::Sql] = &[$($name),+];
    };
}
pub(in crate::store) use statements;

pub const fn pick(texts: &[&'static str]) -> &'static str {
    texts[texts.len() - 1]
}

#[derive(Debug, Clone)]
pub enum Db {
    Pg { pool: Pool<Postgres>, groups: Pool<Postgres>, volatile: Pool<Postgres> },
    Lite { write: Pool<Sqlite>, read: Pool<Sqlite> },
}

/// One open transaction; dropped = rolled back.
#[derive(Debug)]
pub enum RawTx {
    Pg(Held<Postgres>),
    Lite(Held<Sqlite>),
}

/// Where a statement runs.
pub enum On<'a> {
    Db(&'a Db),
    Tx(&'a mut RawTx),
}

impl<'a> From<&'a Db> for On<'a> {
    fn from(db: &'a Db) -> Self {
        On::Db(db)
    }
}

impl<'a> From<&'a mut RawTx> for On<'a> {
    fn from(tx: &'a mut RawTx) -> Self {
        On::Tx(tx)
    }
}

impl Db {
    /// SQLite in one file: WAL, synchronous=FULL (a CA must not lose serials), one writer, several readers.
    pub async fn open_sqlite(path: &Path) -> Result<Db> {
        keep_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // what is deleted must not be read from the file: CRLs that were withdrawn, secrets of links
            .pragma("secure_delete", "ON")
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(LOCK_WAIT)
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECTION_WAIT)
            .connect_with(options.clone())
            .await
            .map_err(unreachable_db)?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(CONNECTION_WAIT)
            .connect_with(options.read_only(true))
            .await
            .map_err(unreachable_db)?;
        let faults = Arc::default();
        Ok(Db::Lite { write: Pool::new(write, NO_END, &faults), read: Pool::new(read, NO_END, &faults) })
    }

    /// Postgres by URL or key=value pairs (`model/postgres.rs`); `verify-full` unless the host is loopback or a socket or the
    /// URL says otherwise. `volatile` commits without waiting for the disk: nonces only. The server calls the connections
    /// by `name`, by which other processes see that this one lives.
    pub async fn open_postgres(url: &str, connections: u32, name: &str) -> Result<Db> {
        let hosts = Hosts::of(url, name)?;
        let usual = hosts.pool(Kind::Usual).max_connections(connections);
        let pool = if hosts.is_plain() {
            match usual.connect_with(hosts.first()?).await {
                Ok(pool) => pool,
                Err(error) => return Err(hosts.why(error).await),
            }
        } else {
            usual.connect_lazy_with(hosts.choose().await?)
        };
        let options = (*pool.connect_options()).clone();
        let groups =
            hosts.pool(Kind::Keyed).max_connections(connections.min(GROUPS)).connect_lazy_with(options.clone());
        let volatile = hosts.pool(Kind::Volatile).max_connections(4).connect_lazy_with(options);
        let (faults, look) = (Arc::default(), Arc::clone(&hosts.look));
        hosts.follow(vec![pool.clone(), groups.clone(), volatile.clone()]);
        let ours = |inner| Pool::new(inner, SILENCE, &faults).telling(&look);
        Ok(Db::Pg { pool: ours(pool), groups: ours(groups), volatile: ours(volatile) })
    }

    /// Whether connections have sessions of their own, which locks, settings and prepared statements need.
    pub async fn sessions(&self) -> Result<Sessions> {
        match self {
            Db::Pg { pool, .. } => hosts::sessions(&pool.connect_options()).await.map_err(convert),
            Db::Lite { .. } => Ok(Sessions::Own),
        }
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Db::Pg { .. })
    }

    pub fn engine(&self) -> &'static str {
        if self.is_postgres() { "postgres" } else { "sqlite" }
    }

    /// The same database through connections that do not wait for durable commits (Postgres; SQLite as it is).
    pub fn volatile(&self) -> Db {
        match self {
            Db::Pg { volatile, .. } => {
                Db::Pg { pool: volatile.clone(), groups: volatile.clone(), volatile: volatile.clone() }
            }
            Db::Lite { .. } => self.clone(),
        }
    }

    /// The same database through connections that look up by keys alone (Postgres; SQLite as it is).
    pub fn keyed(&self) -> Db {
        match self {
            Db::Pg { groups, volatile, .. } => {
                Db::Pg { pool: groups.clone(), groups: groups.clone(), volatile: volatile.clone() }
            }
            Db::Lite { .. } => self.clone(),
        }
    }

    /// For a group commit, whose statements take arrays of keys.
    pub async fn begin_group(&self) -> Result<RawTx> {
        match self {
            Db::Pg { groups, .. } => Ok(RawTx::Pg(groups.begin(None).await?)),
            Db::Lite { .. } => self.begin().await,
        }
    }

    pub async fn begin(&self) -> Result<RawTx> {
        match self {
            Db::Pg { pool, .. } => Ok(RawTx::Pg(pool.begin(None).await?)),
            Db::Lite { write, .. } => Ok(RawTx::Lite(write.begin(Some("BEGIN IMMEDIATE")).await?)),
        }
    }

    pub async fn close(&self) {
        match self {
            Db::Pg { pool, groups, volatile } => {
                volatile.close().await;
                groups.close().await;
                pool.close().await;
            }
            Db::Lite { write, read } => {
                read.close().await;
                write.close().await;
            }
        }
    }

    /// (open, idle) connections, for metrics.
    pub fn connections(&self) -> (u32, usize) {
        match self {
            Db::Pg { pool, groups, .. } => sum(pool.size(), groups.size()),
            Db::Lite { read, write } => sum(read.size(), write.size()),
        }
    }

    /// What tests break.
    pub fn faults(&self) -> &Statements {
        match self {
            Db::Pg { pool, .. } => pool.faults(),
            Db::Lite { write, .. } => write.faults(),
        }
    }

    /// Why something could not be stored lately: no write has shown since then that it can be.
    pub fn write_trouble(&self) -> Option<&'static str> {
        match self {
            Db::Pg { pool, groups, .. } => pool.trouble().or(groups.trouble()),
            Db::Lite { write, .. } => write.trouble(),
        }
    }

    pub fn forget_write_trouble(&self) {
        match self {
            Db::Pg { pool, groups, .. } => [pool, groups].into_iter().for_each(Pool::forget_trouble),
            Db::Lite { write, .. } => write.forget_trouble(),
        }
    }

    /// Runs a statement about the file itself (a pragma, VACUUM) on SQLite's writer; none on Postgres.
    pub(in crate::store) async fn on_file(&self, text: &'static str) -> Result<Option<Vec<Row>>> {
        let Db::Lite { write, .. } = self else { return Ok(None) };
        let mut held = write.take().await?;
        let rows = wrap((&mut *held).fetch_all(text).await, Row::Lite)?;
        held.give_back();
        Ok(Some(rows))
    }

    /// Prepares one statement without running it: the test that every statement fits both engines.
    pub async fn prepare(&self, sql: &Sql) -> Result<()> {
        match self {
            Db::Pg { pool, .. } => {
                let mut conn = pool.take().await?;
                (&mut *conn).prepare(sqlx::SqlSafeStr::into_sql_str(sql.postgres)).await.map(drop).map_err(convert)
            }
            Db::Lite { write, .. } => {
                let mut conn = write.take().await?;
                (&mut *conn).prepare(sqlx::SqlSafeStr::into_sql_str(sql.sqlite)).await.map(drop).map_err(convert)
            }
        }
    }
}

/// Commits are on the disk before they are answered, whatever the server, the database or the role has set. A stronger
/// setting (`remote_apply`) stays.
const RAISE_DURABILITY: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                                WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

fn sum(a: (u32, usize), b: (u32, usize)) -> (u32, usize) {
    (a.0 + b.0, a.1 + b.1)
}

/// How long a statement waits for a lock (`lock_timeout` in `engine/hosts.rs` says the same), and how long it waits for a connection
/// before: together less than the ten seconds that a client waits at most.
pub const LOCK_WAIT: Duration = Duration::from_secs(4);
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// A server that has not answered by then is cut off: it ends a statement itself after 30 s (`statement_timeout`).
const SILENCE: Duration = Duration::from_secs(35);
/// SQLite runs in this process and is never cut off.
const NO_END: Duration = Duration::from_secs(86_400);

/// Connections for group commits (two lanes of intents and of outcomes, one of each kind of ACME) and for what is
/// looked up by keys besides.
const GROUPS: u32 = 10;

/// The database holds wrapped keys and hashed tokens: for its owner alone. SQLite gives the files beside it
/// (`-wal`, `-shm`) the mode of the database.
fn keep_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let private = std::fs::Permissions::from_mode(0o600);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(Error::new(ErrorKind::Unavailable, "the database file cannot be made").because(error));
        }
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let open_to_others = |m: std::fs::Metadata| m.permissions().mode() & 0o077 != 0;
        if std::fs::metadata(&file).is_ok_and(open_to_others)
            && let Err(error) = std::fs::set_permissions(&file, private.clone())
        {
            tracing::warn!(%error, path = %Path::new(&file).display(), "others may read the database, and its mode cannot be changed");
        }
    }
    Ok(())
}

impl RawTx {
    /// An error here means *unknown*: the caller reads again by id and never signs again blindly.
    pub async fn commit(self) -> Result<()> {
        metrics::counter!("chancery_db_commits_total").increment(1);
        match self {
            RawTx::Pg(tx) => tx.commit().await,
            RawTx::Lite(tx) => tx.commit().await,
        }
        .map_err(convert)
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, RawTx::Pg(_))
    }

    /// A savepoint that undoes a failed row on Postgres, where one failed statement aborts the transaction.
    pub async fn savepoint(&mut self) -> Result<()> {
        self.plain("SAVEPOINT one_row").await
    }

    pub async fn release(&mut self) -> Result<()> {
        self.plain("RELEASE SAVEPOINT one_row").await
    }

    pub async fn undo(&mut self) -> Result<()> {
        self.plain("ROLLBACK TO SAVEPOINT one_row").await
    }

    async fn plain(&mut self, sql: &'static str) -> Result<()> {
        counted();
        match self {
            RawTx::Pg(tx) => on_held!(tx, conn => conn.execute(sql)).map(drop),
            RawTx::Lite(tx) => on_held!(tx, conn => conn.execute(sql)).map(drop),
        }
        .map_err(convert)
    }

    /// Waits for locks up to a minute in this transaction: for what no client waits for.
    pub async fn wait_longer(&mut self) -> Result<()> {
        match self {
            RawTx::Pg(tx) => {
                let set = on_held!(tx, conn => conn.execute("SET LOCAL lock_timeout = '60s'"));
                set.map(drop).map_err(convert)
            }
            RawTx::Lite(_) => Ok(()),
        }
    }

    /// A lock of the whole installation until the transaction ends (migrations, initialisation). SQLite's one
    /// writer is that lock already.
    pub async fn lock_installation(&mut self) -> Result<()> {
        match self {
            RawTx::Pg(tx) => {
                planted!("installation-is-not-locked", {
                    return Ok(());
                });
                let locked = on_held!(tx, conn => conn.execute("SELECT pg_advisory_xact_lock(7166187265001)"));
                locked.map(drop).map_err(convert)
            }
            RawTx::Lite(_) => Ok(()),
        }
    }
}

/// A bound value. `None` is NULL.
#[derive(Debug, Clone)]
pub enum Arg {
    Bytes(Option<Vec<u8>>),
    Int(Option<i64>),
    Text(Option<String>),
    Bool(bool),
}

macro_rules! args {
    ($($from:ty => $variant:ident($value:ident => $made:expr);)+) => {$(
        impl From<$from> for Arg {
            fn from($value: $from) -> Arg { Arg::$variant($made) }
        }
    )+};
}
args! {
    Vec<u8> => Bytes(v => Some(v));
    &[u8] => Bytes(v => Some(v.to_vec()));
    Option<Vec<u8>> => Bytes(v => v);
    i64 => Int(v => Some(v));
    u32 => Int(v => Some(i64::from(v)));
    Option<i64> => Int(v => v);
    crate::clock::Timestamp => Int(v => Some(v.micros()));
    Option<crate::clock::Timestamp> => Int(v => v.map(crate::clock::Timestamp::micros));
    &str => Text(v => Some(v.to_owned()));
    String => Text(v => Some(v));
    &String => Text(v => Some(v.clone()));
    Option<String> => Text(v => v);
    Option<&str> => Text(v => v.map(str::to_owned));
    bool => Bool(v => v);
}

/// One statement with its values.
#[must_use]
pub struct Query {
    sql: Sql,
    args: Vec<Arg>,
}

pub fn q(sql: Sql) -> Query {
    Query { sql, args: Vec::with_capacity(8) }
}

macro_rules! bound_arrays {
    ($text:expr, $columns:expr) => {{
        let mut query = sqlx::query::<Postgres>($text);
        for column in $columns {
            query = match column {
                Column::Bytes(v) => query.bind(v),
                Column::Int(v) => query.bind(v),
                Column::Text(v) => query.bind(v),
                Column::Bool(v) => query.bind(v),
            };
        }
        query
    }};
}
impl Query {
    pub fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    pub(in crate::store) fn sql(&self) -> &Sql {
        &self.sql
    }

    pub(in crate::store) fn args(&self) -> &[Arg] {
        &self.args
    }

    /// The values that were bound.
    pub fn into_args(self) -> Vec<Arg> {
        self.args
    }

    pub async fn fetch_all<'a>(self, on: impl Into<On<'a>>) -> Result<Vec<Row>> {
        refuse_nul(&self.args)?;
        counted();
        match on.into() {
            On::Db(Db::Pg { pool, .. }) => {
                let mut held = pool.take().await?;
                let on = &mut held;
                let rows = on_held!(on, conn => bound!(self.sql.on_postgres(), self.args, Postgres).fetch_all(conn));
                let rows = wrap(rows, Row::Pg)?;
                held.give_back();
                Ok(rows)
            }
            On::Db(Db::Lite { read, .. }) => {
                let mut held = read.take().await?;
                let on = &mut held;
                let rows = on_held!(on, conn => bound!(self.sql.sqlite, self.args, Sqlite).fetch_all(conn));
                let rows = wrap(rows, Row::Lite)?;
                held.give_back();
                Ok(rows)
            }
            On::Tx(RawTx::Pg(tx)) => {
                let rows = on_held!(tx, conn => bound!(self.sql.on_postgres(), self.args, Postgres).fetch_all(conn));
                wrap(rows, Row::Pg)
            }
            On::Tx(RawTx::Lite(tx)) => {
                let rows = on_held!(tx, conn => bound!(self.sql.sqlite, self.args, Sqlite).fetch_all(conn));
                wrap(rows, Row::Lite)
            }
        }
        .map_err(|e| at(self.sql.name, e))
    }

    pub async fn fetch_optional<'a>(self, on: impl Into<On<'a>>) -> Result<Option<Row>> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// Exactly one row, else an inconsistency error.
    pub async fn fetch_one<'a>(self, on: impl Into<On<'a>>) -> Result<Row> {
        let name = self.sql.name;
        self.fetch_optional(on).await?.ok_or_else(|| Error::inconsistent(format!("{name} found no row")))
    }

    /// How many rows it touched.
    pub async fn execute<'a>(self, on: impl Into<On<'a>>) -> Result<u64> {
        refuse_nul(&self.args)?;
        counted();
        match on.into() {
            On::Db(Db::Pg { pool, .. }) => {
                let mut held = pool.take().await?;
                pool.faults().check_space()?;
                let on = &mut held;
                let done = on_held!(on, conn => bound!(self.sql.on_postgres(), self.args, Postgres).execute(conn))?;
                held.give_back();
                Ok(done.rows_affected())
            }
            On::Db(Db::Lite { write, .. }) => {
                let mut held = write.take().await?;
                write.faults().check_space()?;
                let on = &mut held;
                let done = on_held!(on, conn => bound!(self.sql.sqlite, self.args, Sqlite).execute(conn))?;
                held.give_back();
                Ok(done.rows_affected())
            }
            On::Tx(RawTx::Pg(tx)) => {
                on_held!(tx, conn => bound!(self.sql.on_postgres(), self.args, Postgres).execute(conn))
                    .map(|r| r.rows_affected())
            }
            On::Tx(RawTx::Lite(tx)) => on_held!(tx, conn => bound!(self.sql.sqlite, self.args, Sqlite).execute(conn))
                .map(|r| r.rows_affected()),
        }
        .map_err(|e| at(self.sql.name, e))
    }
}

/// A statement is a round trip, and round trips are what an operation costs: the benches count them.
fn counted() {
    metrics::counter!("chancery_db_statements_total").increment(1);
}

/// U+0000 in text: Postgres refuses it and SQLite takes it, so neither gets it. Whatever came from outside was to be
/// refused before; what slips through is the caller's fault on both engines.
fn refuse_nul(args: &[Arg]) -> Result<()> {
    match args.iter().any(|arg| matches!(arg, Arg::Text(Some(text)) if text.contains('\0'))) {
        true => Err(Error::malformed("a text holds the character U+0000, which is never stored or looked for")),
        false => Ok(()),
    }
}

/// Writes many rows with one statement: `sql.postgres` takes one array a column (UNNEST); `sql.sqlite` has one row
/// `VALUES ($1, …)`, which is repeated. Each round trip saved is worth more than the row itself.
pub async fn write_many(tx: &mut RawTx, sql: Sql, rows: Vec<Vec<Arg>>) -> Result<u64> {
    let mut touched = 0;
    match tx {
        RawTx::Pg(tx) => {
            if let Some(columns) = in_arrays(&sql, rows)? {
                let done = on_held!(tx, conn => bound_arrays!(sql.on_postgres(), columns).execute(conn));
                touched += done.map_err(|e| at(sql.name, e))?.rows_affected();
            }
        }
        RawTx::Lite(tx) => {
            for (text, args) in in_repeats(&sql, rows)? {
                let done = on_held!(tx, conn => bound!(text, args, Sqlite).execute(conn));
                touched += done.map_err(|e| at(sql.name, e))?.rows_affected();
            }
        }
    }
    Ok(touched)
}

/// Looks many keys up with one statement, its parameters as in `write_many`.
pub async fn fetch_many(tx: &mut RawTx, sql: Sql, keys: Vec<Vec<Arg>>) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    match tx {
        RawTx::Pg(tx) => {
            if let Some(columns) = in_arrays(&sql, keys)? {
                let rows = on_held!(tx, conn => bound_arrays!(sql.on_postgres(), columns).fetch_all(conn));
                found.append(&mut wrap(rows, Row::Pg).map_err(|e| at(sql.name, e))?);
            }
        }
        RawTx::Lite(tx) => {
            for (text, args) in in_repeats(&sql, keys)? {
                let rows = on_held!(tx, conn => bound!(text, args, Sqlite).fetch_all(conn));
                found.append(&mut wrap(rows, Row::Lite).map_err(|e| at(sql.name, e))?);
            }
        }
    }
    Ok(found)
}

/// The same without a transaction, for what writes too: one statement on Postgres, a few on SQLite.
pub async fn fetch_many_alone(db: &Db, sql: Sql, keys: Vec<Vec<Arg>>) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    match db {
        Db::Pg { pool, .. } => {
            if let Some(columns) = in_arrays(&sql, keys)? {
                let mut held = pool.take().await?;
                let on = &mut held;
                let rows = on_held!(on, conn => bound_arrays!(sql.on_postgres(), columns).fetch_all(conn));
                found.append(&mut wrap(rows, Row::Pg).map_err(|e| at(sql.name, e))?);
                held.give_back();
            }
        }
        Db::Lite { write, .. } => {
            let mut held = write.take().await?;
            for (text, args) in in_repeats(&sql, keys)? {
                let on = &mut held;
                let rows = on_held!(on, conn => bound!(text, args, Sqlite).fetch_all(conn));
                found.append(&mut wrap(rows, Row::Lite).map_err(|e| at(sql.name, e))?);
            }
            held.give_back();
        }
    }
    Ok(found)
}

/// One statement of arrays, or none for no rows.
fn in_arrays(sql: &Sql, rows: Vec<Vec<Arg>>) -> Result<Option<Vec<Column>>> {
    rows.iter().try_for_each(|args| refuse_nul(args))?;
    if rows.is_empty() {
        return Ok(None);
    }
    counted();
    transpose(rows).map(Some).map_err(|e| at(sql.name, e))
}

/// Statements of a few fixed sizes, so that each text is prepared once a connection.
fn in_repeats(sql: &Sql, rows: Vec<Vec<Arg>>) -> Result<Vec<(sqlx::SqlStr, Vec<Arg>)>> {
    rows.iter().try_for_each(|args| refuse_nul(args))?;
    let mut rows = rows.into_iter();
    let mut statements = Vec::new();
    while rows.len() > 0 {
        let size = BULK_SIZES.into_iter().find(|size| *size <= rows.len()).unwrap_or(1);
        let text = super::bulk::repeated(sql.sqlite, size)
            .ok_or_else(|| Error::inconsistent(format!("{} has no VALUES row to repeat", sql.name)))?;
        counted();
        statements.push((sqlx::SqlSafeStr::into_sql_str(text), rows.by_ref().take(size).flatten().collect()));
    }
    Ok(statements)
}

/// Rows of one SQLite statement: 64 of 18 columns stay far below its 32,766 parameters.
const BULK_SIZES: [usize; 4] = [64, 16, 4, 1];

enum Column {
    Bytes(Vec<Option<Vec<u8>>>),
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bool(Vec<bool>),
}

fn transpose(rows: Vec<Vec<Arg>>) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for (n, row) in rows.into_iter().enumerate() {
        for (i, arg) in row.into_iter().enumerate() {
            if n == 0 {
                columns.push(match arg {
                    Arg::Bytes(v) => Column::Bytes(vec![v]),
                    Arg::Int(v) => Column::Int(vec![v]),
                    Arg::Text(v) => Column::Text(vec![v]),
                    Arg::Bool(v) => Column::Bool(vec![v]),
                });
                continue;
            }
            match (columns.get_mut(i), arg) {
                (Some(Column::Bytes(c)), Arg::Bytes(v)) => c.push(v),
                (Some(Column::Int(c)), Arg::Int(v)) => c.push(v),
                (Some(Column::Text(c)), Arg::Text(v)) => c.push(v),
                (Some(Column::Bool(c)), Arg::Bool(v)) => c.push(v),
                _ => return Err(Error::inconsistent("rows of one bulk insert have different columns")),
            }
        }
    }
    Ok(columns)
}

#[derive(Debug)]
pub enum Row {
    Pg(PgRow),
    Lite(SqliteRow),
}

/// A type that both engines decode.
pub trait Col:
    for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres> + for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>
{
}
impl<T> Col for T where
    T: for<'r> sqlx::Decode<'r, Postgres>
        + sqlx::Type<Postgres>
        + for<'r> sqlx::Decode<'r, Sqlite>
        + sqlx::Type<Sqlite>
{
}

impl Row {
    /// A column by name; one that is missing or of another type is an inconsistency of the database.
    pub fn get<T: Col>(&self, column: &str) -> Result<T> {
        match self {
            Row::Pg(row) => row.try_get(column),
            Row::Lite(row) => row.try_get(column),
        }
        .map_err(|e| Error::inconsistent(format!("column {column} cannot be read")).because(e))
    }

    pub fn time(&self, column: &str) -> Result<crate::clock::Timestamp> {
        self.get::<i64>(column).map(crate::clock::Timestamp::from_micros)
    }

    pub fn time_opt(&self, column: &str) -> Result<Option<crate::clock::Timestamp>> {
        Ok(self.get::<Option<i64>>(column)?.map(crate::clock::Timestamp::from_micros))
    }

    pub fn id<T: TryFrom<Vec<u8>, Error = Error>>(&self, column: &str) -> Result<T> {
        T::try_from(self.get::<Vec<u8>>(column)?)
    }

    pub fn id_opt<T: TryFrom<Vec<u8>, Error = Error>>(&self, column: &str) -> Result<Option<T>> {
        self.get::<Option<Vec<u8>>>(column)?.map(T::try_from).transpose()
    }

    /// A JSON column; what does not parse is an inconsistency.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::inconsistent(format!("column {column} is not its JSON")).because(e))
    }
}

fn wrap<R, D: Database>(rows: Result<Vec<R>, sqlx::Error>, make: fn(R) -> Row) -> Result<Vec<Row>, Error>
where
    R: sqlx::Row<Database = D>,
{
    rows.map(|rows| rows.into_iter().map(make).collect()).map_err(convert)
}

fn at(name: &str, error: impl Into<Error>) -> Error {
    let mut error = error.into();
    match error.kind {
        ErrorKind::Internal => {
            error.detail = format!("{} ({name})", error.detail);
            error
        }
        // the words of a database about a lock say nothing that the sentence does not
        ErrorKind::Unavailable if outages::is_busy(&error) => error.because(format!("statement {name}")),
        // its sentence goes to the client, its cause to the log
        ErrorKind::Unavailable => {
            let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
            error.because(format!("{name}: {cause}"))
        }
        _ => error,
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        convert(error)
    }
}

pub(in crate::store) fn convert(error: sqlx::Error) -> Error {
    if matches!(&error, sqlx::Error::Database(told) if told.is_unique_violation()) {
        return Error::new(ErrorKind::Conflict, "a row with this key exists already").because(error);
    }
    match outages::sentence(&error) {
        Some(sentence) => {
            let told = Error::new(ErrorKind::Unavailable, sentence).retry_after(Duration::from_secs(1));
            if outages::is_busy(&told) { told } else { told.because(error) }
        }
        None => Error::internal("a database statement failed", error),
    }
}

fn unreachable_db(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the database cannot be opened").because(error)
}

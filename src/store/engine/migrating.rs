//! The connection on which the schema is changed. On Postgres it is one of its own, outside the pools: a step may run for
//! as long as it takes, and waits for a table only briefly.

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Executor, Row as _, Sqlite};

use super::hosts::begin_session;
use super::{Db, RAISE_DURABILITY};
use crate::store::pool::Held;

/// A step takes as long as it takes. It waits half a second for a table: a session that waits for an exclusive lock keeps
/// everybody who comes after it waiting, an older server's requests too.
const AT_LENGTH: &str =
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 500";

/// Holds the lock of migrations from `Db::begin_migration` to `end`, or until its process dies.
#[derive(Debug)]
pub enum MigrationConnection {
    Pg(Box<PgConnection>),
    Lite(Held<Sqlite>),
}

impl Db {
    /// Waits for the lock of migrations as long as another process holds it, and calls `waiting` each time it was waited
    /// for in vain.
    pub async fn begin_migration(
        &self,
        waiting: &(dyn Fn() + Send + Sync),
    ) -> Result<MigrationConnection, MigrateError> {
        let Db::Pg { pool, .. } = self else {
            let Db::Lite { write, .. } = self else { unreachable!("there are two engines") };
            return Ok(MigrationConnection::Lite(write.take().await?));
        };
        let mut connection = pool.connect_options().connect().await?;
        begin_session(&mut connection).await?;
        connection.execute(AT_LENGTH).await?;
        connection.execute(RAISE_DURABILITY).await?;
        loop {
            // sqlx's own lock: older versions wait for it too. It is asked again and again, because a statement that waits
            // would keep another process's CREATE INDEX CONCURRENTLY waiting.
            match connection.lock().await {
                Ok(()) => return Ok(MigrationConnection::Pg(Box::new(connection))),
                Err(error) if waited_in_vain(&error) => waiting(),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(super::super::migrate::PAUSE).await;
        }
    }
}

impl MigrationConnection {
    pub async fn apply(&mut self, migrator: &mut Migrator) -> Result<(), MigrateError> {
        match self {
            MigrationConnection::Pg(connection) => {
                migrator.set_locking(false).run_direct(None, &mut **connection, false).await
            }
            MigrationConnection::Lite(held) => migrator.run(&mut **held).await,
        }
    }

    /// A statement outside of a transaction. Postgres only: SQLite has no server to work beside.
    pub async fn change(&mut self, text: &'static str) -> Result<(), MigrateError> {
        let MigrationConnection::Pg(connection) = self else { return Ok(()) };
        connection.execute(text).await?;
        Ok(())
    }

    /// The same for one that waits for other sessions while nobody waits for it.
    pub async fn change_patiently(&mut self, text: &'static str) -> Result<(), MigrateError> {
        let MigrationConnection::Pg(connection) = self else { return Ok(()) };
        connection.execute("SET lock_timeout = 0").await?;
        let outcome = connection.execute(text).await;
        connection.execute("RESET lock_timeout").await?;
        outcome?;
        Ok(())
    }

    /// The number that a statement about a table or an index returns; 0 for no row.
    pub async fn number_of(&mut self, text: &'static str, name: &str) -> Result<i64, MigrateError> {
        let MigrationConnection::Pg(connection) = self else { return Ok(0) };
        let row = sqlx::query(text).bind(name).fetch_optional(&mut **connection).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
    }

    /// Copies the part of rows behind `last`, at most `batch`; returns the last row's key, None when there was none.
    pub async fn copy_part(
        &mut self,
        text: &'static str,
        last: &[u8],
        batch: i64,
    ) -> Result<Option<Vec<u8>>, MigrateError> {
        let MigrationConnection::Pg(connection) = self else { return Ok(None) };
        let row = sqlx::query(text).bind(last).bind(batch).fetch_optional(&mut **connection).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Gives the lock back. A failure changes nothing: the lock ends with the connection.
    pub async fn end(self) {
        match self {
            MigrationConnection::Pg(connection) => drop(connection.close().await),
            MigrationConnection::Lite(held) => held.give_back(),
        }
    }
}

/// Postgres' lock_not_available.
pub fn waited_in_vain(error: &MigrateError) -> bool {
    let cause = match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause,
        _ => return false,
    };
    cause.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "55P03")
}

//! Connections that are at hand. sqlx's pool asks a connection whether it is alive each time that it is given out and
//! each time that it comes back: two round trips more for every statement. So what came back sound a moment ago is
//! given out again as it is; everything else goes through sqlx's pool, which tests and mends.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Database;
use sqlx::pool::PoolConnection;
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::faults::Statements;
use super::{outages, patience};
use crate::clock::monotonic;

/// One that has rested longer is tested before it is used.
const SOUND_FOR: Duration = Duration::from_secs(1);
/// One that is older goes back to sqlx, which ends those beyond their lifetime.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Less than `statement_timeout`: a commit that waits for a synchronous standby is then ended by PostgreSQL with a warning
/// and success, although no standby has it.
const COMMIT_WAIT: Duration = Duration::from_secs(25);
/// How long a connection opens before another server is looked for.
const SLOW: Duration = Duration::from_millis(250);
/// How long a rollback may take.
const UNDONE_WITHIN: Duration = Duration::from_secs(4);

type Manager<D> = <D as Database>::TransactionManager;

#[derive(Debug)]
pub struct Pool<D: Database> {
    inner: sqlx::Pool<D>,
    /// As many as the pool may open: who waits, waits here, in turn.
    places: Arc<Semaphore>,
    /// How long a statement may take; a caller's budget may be smaller.
    patience: Duration,
    /// The one that came back last is given out first: its statements are prepared.
    rested: Arc<Mutex<Vec<Rested<D>>>>,
    /// Why a statement could not be stored: kept until a write succeeds that shows otherwise.
    trouble: Arc<Mutex<Option<&'static str>>>,
    faults: Arc<Statements>,
    /// Told when a connection fails, or takes long to open.
    look: Arc<Notify>,
}

#[derive(Debug)]
struct Rested<D: Database> {
    connection: PoolConnection<D>,
    taken: Instant,
    since: Instant,
}

impl<D: Database> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Pool {
            inner: self.inner.clone(),
            places: Arc::clone(&self.places),
            patience: self.patience,
            rested: Arc::clone(&self.rested),
            trouble: Arc::clone(&self.trouble),
            faults: Arc::clone(&self.faults),
            look: Arc::clone(&self.look),
        }
    }
}

impl<D: Database> Pool<D> {
    pub fn new(inner: sqlx::Pool<D>, patience: Duration, faults: &Arc<Statements>) -> Self {
        let most = usize::try_from(inner.options().get_max_connections()).unwrap_or(1);
        Pool {
            inner,
            places: Arc::new(Semaphore::new(most)),
            patience,
            rested: Arc::default(),
            trouble: Arc::default(),
            faults: Arc::clone(faults),
            look: Arc::default(),
        }
    }

    /// Tells `look` of connections that fail or take long to open.
    pub fn telling(self, look: &Arc<Notify>) -> Self {
        Pool { look: Arc::clone(look), ..self }
    }

    /// What tests break.
    pub fn faults(&self) -> &Statements {
        &self.faults
    }

    /// Waits as long as the pool's own timeout says, for a place and a connection together.
    pub async fn take(&self) -> Result<Held<D>, sqlx::Error> {
        let (whole, started) = (self.inner.options().get_acquire_timeout(), monotonic());
        let place = patience::wait(whole, Arc::clone(&self.places).acquire_owned()).await.ok_or_else(crowded)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let (connection, taken, rested_before) = match self.at_hand() {
            Some(found) => (found.connection, found.taken, true),
            None => {
                let opened = patience::wait(whole.saturating_sub(started.elapsed()), self.open()).await;
                (opened.unwrap_or(Err(sqlx::Error::PoolTimedOut))?, monotonic(), false)
            }
        };
        Ok(Held {
            connection: Some(connection),
            taken,
            rested_before,
            patience: self.patience,
            rested: Arc::clone(&self.rested),
            trouble: Arc::clone(&self.trouble),
            faults: Arc::clone(&self.faults),
            look: Arc::clone(&self.look),
            sound: false,
            broken: false,
            copying: false,
            place: Some(place),
        })
    }

    /// One that takes long may lead to a server that is gone.
    async fn open(&self) -> Result<PoolConnection<D>, sqlx::Error> {
        let mut opening = std::pin::pin!(self.inner.acquire());
        match tokio::time::timeout(SLOW, &mut opening).await {
            Ok(opened) => opened.inspect_err(|_| self.look.notify_one()),
            Err(_slow) => {
                self.look.notify_one();
                opening.await
            }
        }
    }

    fn at_hand(&self) -> Option<Rested<D>> {
        let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        let last = rested.pop()?;
        if last.since.elapsed() <= SOUND_FOR {
            return Some(last);
        }
        // the others have rested longer still
        rested.drain(..).chain([last]).for_each(|old| test(old.connection));
        None
    }

    /// A connection on which a transaction has begun; `statement` in place of BEGIN. One that died while it rested is
    /// not the caller's trouble.
    pub async fn begin(&self, statement: Option<&'static str>) -> Result<Held<D>, sqlx::Error> {
        let mut held = self.take().await?;
        match held.begin(statement).await {
            Ok(()) => return Ok(held),
            Err(error) if held.rested_before && is_of_connection(&error) => {}
            Err(error) => return Err(error),
        }
        drop(held);
        let mut held = self.take().await?;
        held.begin(statement).await?;
        Ok(held)
    }

    /// How its connections are opened.
    pub fn connect_options(&self) -> <D::Connection as sqlx::Connection>::Options {
        (*self.inner.connect_options()).clone()
    }

    pub async fn close(&self) {
        self.places.close();
        let rested = std::mem::take(&mut *self.rested.lock().unwrap_or_else(PoisonError::into_inner));
        rested.into_iter().for_each(|old| test(old.connection));
        self.inner.close().await;
    }

    /// Why a statement could not be stored lately.
    pub fn trouble(&self) -> Option<&'static str> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn forget_trouble(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// (open, idle) connections.
    pub fn size(&self) -> (u32, usize) {
        let rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner).len();
        (self.inner.size(), self.inner.num_idle() + rested)
    }
}

/// A connection in use. Dropped before it is said to be sound, it is tested before anybody else has it, and a
/// transaction that is open on it is rolled back. A connection that is broken, or whose rollback fails, is closed.
#[derive(Debug)]
pub struct Held<D: Database> {
    connection: Option<PoolConnection<D>>,
    taken: Instant,
    /// It was not tested when it was given out.
    rested_before: bool,
    patience: Duration,
    rested: Arc<Mutex<Vec<Rested<D>>>>,
    trouble: Arc<Mutex<Option<&'static str>>>,
    faults: Arc<Statements>,
    look: Arc<Notify>,
    sound: bool,
    /// Nobody knows in which state an error or an interrupted commit left the transaction: SQLite, for one, rolls back
    /// by itself when its disk is full, and would run what follows outside of any transaction.
    broken: bool,
    /// A COPY is under way: whoever stops waiting for it leaves answers behind that the next user would take for its own.
    copying: bool,
    /// None once it is dropped.
    place: Option<OwnedSemaphorePermit>,
}

impl<D: Database> Held<D> {
    /// All that was asked of it has been answered.
    pub fn give_back(mut self) {
        self.sound = true;
    }

    /// An error after which the transaction cannot be relied on.
    pub fn check_sound(&self) -> Result<(), sqlx::Error> {
        if self.broken { Err(sqlx::Error::BeginFailed) } else { Ok(()) }
    }

    /// Keeps what the outcome of a statement says about the connection.
    pub fn note<T>(&mut self, outcome: &Result<T, sqlx::Error>) {
        let Err(error) = outcome else { return };
        if outages::breaks_connection(error) {
            self.broken = true;
            self.look.notify_one();
        }
        if let Some(trouble) = outages::write_trouble(error) {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        }
    }

    pub fn faults(&self) -> Arc<Statements> {
        Arc::clone(&self.faults)
    }

    /// From here on the connection is closed when it is dropped, until `copied` says otherwise.
    pub fn copying(&mut self) {
        self.copying = true;
    }

    pub fn copied(&mut self) {
        self.copying = false;
    }

    /// How long one statement may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    async fn begin(&mut self, statement: Option<&'static str>) -> Result<(), sqlx::Error> {
        let most = self.patience;
        let begun = patience::wait(most, Manager::<D>::begin(self, statement.map(sqlx::SqlSafeStr::into_sql_str)));
        let begun = begun.await.unwrap_or_else(|| Err(silent()));
        self.note(&begun);
        begun
    }

    /// Whoever stops waiting, and any error, leave the outcome unknown: the connection is closed then.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.check_sound()?;
        self.broken = true;
        let most = self.patience.min(COMMIT_WAIT);
        let faults = self.faults();
        let committed = async {
            faults.check_space()?;
            patience::wait(most, Manager::<D>::commit(&mut self)).await.unwrap_or_else(|| Err(silent()))
        };
        let committed = faults.run(committed).await;
        self.note(&committed);
        committed?;
        self.broken = false;
        self.give_back();
        Ok(())
    }
}

#[expect(clippy::expect_used, reason = "it is taken out by drop alone")]
impl<D: Database> Deref for Held<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.connection.as_ref().expect("a connection until it is dropped")
    }
}

#[expect(clippy::expect_used, reason = "it is taken out by drop alone")]
impl<D: Database> DerefMut for Held<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_mut().expect("a connection until it is dropped")
    }
}

impl<D: Database> Drop for Held<D> {
    fn drop(&mut self) {
        let (Some(mut connection), Some(place)) = (self.connection.take(), self.place.take()) else { return };
        let open = Manager::<D>::get_transaction_depth(&connection) > 0;
        if self.broken || self.copying {
            connection.close_on_drop();
        } else if open {
            tokio::spawn(undo(connection, place));
            return;
        } else if self.sound && self.taken.elapsed() < KEPT_FOR {
            let found = Rested { connection, taken: self.taken, since: monotonic() };
            let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
            // a pool that closes waits for its connections: asked behind the lock that `close` takes afterwards
            if !place.semaphore().is_closed() {
                rested.push(found);
            }
            return;
        }
        if !self.broken && !self.copying {
            test(connection);
        }
        if !self.sound && self.rested_before {
            // what failed on one may have ended all
            let others = std::mem::take(&mut *self.rested.lock().unwrap_or_else(PoisonError::into_inner));
            others.into_iter().for_each(|other| test(other.connection));
        }
    }
}

/// Gives a connection back to sqlx, which tests it. One that leads nowhere is dropped in a few seconds: its place is
/// needed.
fn test<D: Database>(mut connection: PoolConnection<D>) {
    tokio::spawn(tokio::time::timeout(UNDONE_WITHIN, async move { connection.return_to_pool().await }));
}

/// Rolls a transaction back. A connection on which that fails, or takes too long, is closed: given out again, it would
/// refuse every transaction, or run statements outside of one.
async fn undo<D: Database>(mut connection: PoolConnection<D>, place: OwnedSemaphorePermit) {
    let undone = tokio::time::timeout(UNDONE_WITHIN, Manager::<D>::rollback(&mut connection)).await;
    let open = Manager::<D>::get_transaction_depth(&connection) > 0;
    if open || !matches!(undone, Ok(Ok(()))) {
        connection.close_on_drop();
    }
    drop(connection);
    drop(place);
}

/// All connections were in use for as long as a caller waits.
#[derive(Debug)]
pub struct Crowded;

impl std::fmt::Display for Crowded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("all connections to the database are in use")
    }
}

impl std::error::Error for Crowded {}

fn crowded() -> sqlx::Error {
    sqlx::Error::AnyDriverError(Box::new(Crowded))
}

/// The database did not answer in the time that the caller has.
#[derive(Debug)]
pub struct Silent;

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database did not answer in time")
    }
}

impl std::error::Error for Silent {}

pub fn silent() -> sqlx::Error {
    sqlx::Error::AnyDriverError(Box::new(Silent))
}

/// The connection is at fault, not what was asked of it: also a server that shuts down (57P01 to 57P03).
fn is_of_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(told) => {
            told.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

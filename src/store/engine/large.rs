//! Rows with a value of many megabytes, written so that this process holds the value once. What is bound to a statement is
//! copied by the drivers, more than once, and the copies stay with the connection. So on Postgres the row goes in pieces by
//! COPY, and on SQLite a row of zeros is made first and then filled piece by piece.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::fmt;
use std::ptr::NonNull;

use libsqlite3_sys as sqlite;
use sqlx::error::{DatabaseError, ErrorKind as Kind};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{LockedSqliteHandle, SqliteConnection};

use super::super::patience;
use super::super::pool::silent;
use super::{Arg, Query, RawTx, Sql, at, convert, counted};
use crate::error::{Error, Result};

/// From this size on a value is written in pieces.
pub const LARGE_VALUE: usize = 256 << 10;
const PIECE: usize = 256 << 10;

/// How a row with a large value is written. The value is the last column: elsewhere SQLite would build the whole record in
/// memory. A conflict with another row is an error, so the caller holds a lock that excludes it.
#[derive(Debug, Clone, Copy)]
pub struct LargeRow {
    /// `COPY table (columns, the value last) FROM STDIN (FORMAT binary)`
    pub copy: &'static str,
    /// The same columns, `zeroblob` for the value.
    pub zeros: Sql,
    pub table: &'static CStr,
    pub column: &'static CStr,
}

/// Writes one row: `args` are the columns before the value.
pub async fn write_large(tx: &mut RawTx, row: LargeRow, args: Vec<Arg>, value: &[u8]) -> Result<()> {
    counted();
    match tx {
        RawTx::Pg(tx) => {
            tx.copying();
            let copied = on_held!(tx, conn => copy_row(conn, row.copy, &args, value));
            if copied.is_ok() {
                tx.copied();
            }
            copied.map_err(|e| at(row.zeros.name, convert(e)))
        }
        RawTx::Lite(tx) => {
            let length = i64::try_from(value.len()).map_err(|e| Error::internal("a value is too large", e))?;
            let query = Query { sql: row.zeros, args }.bind(length);
            let filled = on_held!(tx, conn => fill_row(conn, query, row, value));
            filled.map_err(|e| at(row.zeros.name, convert(e)))
        }
    }
}

/// Whoever drops this future leaves the connection inside COPY (`Held::copying`).
async fn copy_row(
    connection: &mut PgConnection,
    copy: &'static str,
    args: &[Arg],
    value: &[u8],
) -> Result<(), sqlx::Error> {
    let head = copy_head(args, value.len())?;
    let mut copying = connection.copy_in_raw(copy).await?;
    copying.send(head).await?;
    for piece in value.chunks(PIECE) {
        copying.send(piece).await?;
    }
    // no further row
    copying.send((-1_i16).to_be_bytes().as_slice()).await?;
    copying.finish().await.map(drop)
}

/// What stands before the value in COPY's binary format: signature, flags, no header extension, how many fields, each with
/// its length.
fn copy_head(args: &[Arg], value: usize) -> Result<Vec<u8>, sqlx::Error> {
    let too_large = |e: std::num::TryFromIntError| sqlx::Error::Encode(Box::new(e));
    let mut head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend(i16::try_from(args.len() + 1).map_err(too_large)?.to_be_bytes());
    for arg in args {
        let number;
        let octets: Option<&[u8]> = match arg {
            Arg::Bytes(octets) => octets.as_deref(),
            Arg::Text(text) => text.as_deref().map(str::as_bytes),
            Arg::Bool(set) => Some(if *set { &[1] } else { &[0] }),
            Arg::Int(None) => None,
            Arg::Int(Some(n)) => {
                number = n.to_be_bytes();
                Some(&number)
            }
        };
        let length = octets.map_or(Ok(-1), |octets| i32::try_from(octets.len())).map_err(too_large)?;
        head.extend(length.to_be_bytes());
        head.extend(octets.unwrap_or_default());
    }
    head.extend(i32::try_from(value).map_err(too_large)?.to_be_bytes());
    Ok(head)
}

async fn fill_row(
    connection: &mut SqliteConnection,
    query: Query,
    row: LargeRow,
    value: &[u8],
) -> Result<(), sqlx::Error> {
    let made = bound!(query.sql.sqlite, query.args, sqlx::Sqlite).execute(&mut *connection).await?;
    let mut blob = Blob::open(connection.lock_handle().await?, row, made.last_insert_rowid())?;
    for (n, piece) in value.chunks(PIECE).enumerate() {
        blob.write(piece, n * PIECE)?;
        // other work of this thread goes on
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// A value of a row that is open for writing. It is closed before the connection is unlocked.
struct Blob<'c> {
    raw: NonNull<sqlite::sqlite3_blob>,
    connection: LockedSqliteHandle<'c>,
}

// SAFETY: the handle belongs to a connection that this value holds locked, and moves with that lock. SQLite lets a
// connection be used from several threads, one at a time, and `&mut self` sees to that.
unsafe impl Send for Blob<'_> {}

impl<'c> Blob<'c> {
    fn open(mut connection: LockedSqliteHandle<'c>, row: LargeRow, rowid: i64) -> Result<Self, sqlx::Error> {
        const WRITE: c_int = 1;
        let mut raw = std::ptr::null_mut();
        let db = connection.as_raw_handle().as_ptr();
        // SAFETY: the connection is open and locked; the names end in NUL and outlive the call
        let code = unsafe {
            sqlite::sqlite3_blob_open(
                db,
                c"main".as_ptr(),
                row.table.as_ptr(),
                row.column.as_ptr(),
                rowid,
                WRITE,
                &mut raw,
            )
        };
        match NonNull::new(raw) {
            Some(raw) if code == sqlite::SQLITE_OK => Ok(Blob { raw, connection }),
            _ => Err(failed(&mut connection)),
        }
    }

    fn write(&mut self, piece: &[u8], offset: usize) -> Result<(), sqlx::Error> {
        let number = |n: usize| c_int::try_from(n).map_err(|e| sqlx::Error::Encode(Box::new(e)));
        let (length, offset) = (number(piece.len())?, number(offset)?);
        // SAFETY: the handle is open, and SQLite reads `length` octets of the piece before it returns
        let code = unsafe { sqlite::sqlite3_blob_write(self.raw.as_ptr(), piece.as_ptr().cast(), length, offset) };
        if code == sqlite::SQLITE_OK { Ok(()) } else { Err(failed(&mut self.connection)) }
    }
}

impl Drop for Blob<'_> {
    fn drop(&mut self) {
        // SAFETY: it was opened by `open` and is closed here alone, while the connection is still locked
        unsafe { sqlite::sqlite3_blob_close(self.raw.as_ptr()) };
    }
}

fn failed(connection: &mut LockedSqliteHandle<'_>) -> sqlx::Error {
    let db = connection.as_raw_handle().as_ptr();
    // SAFETY: the connection is open and locked, so that the text stays until it has been copied
    let (code, message) = unsafe {
        let text = CStr::from_ptr(sqlite::sqlite3_errmsg(db));
        (sqlite::sqlite3_extended_errcode(db), text.to_string_lossy().into_owned())
    };
    sqlx::Error::Database(Box::new(Refused { code, message }))
}

/// What SQLite says of a piece that it did not write.
#[derive(Debug)]
struct Refused {
    code: c_int,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

impl DatabaseError for Refused {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.code.to_string()))
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> Kind {
        Kind::Other
    }
}

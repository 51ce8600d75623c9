//! Which errors of a database pass by themselves: the client is told so (503) and tries again. Everything else is a
//! fault of ours.

use super::pool::{Crowded, Silent};
use crate::error::Error;

const AWAY: &str = "the database is out of reach; try again in a moment";
const BUSY: &str = "other requests hold what this one needs in the database; try again in a moment";
const SLOW: &str = "the database did not answer in time: it is overloaded, or cut off; try again in a moment";
const READ_ONLY: &str = "the database takes no writes now: it is a standby, or was set to read-only; try again later";
const FULL: &str =
    "the database's disk is full: nothing can be stored until there is space on it again; try again later";
const DISK: &str = "the database cannot use its disk, which may be full or failing; try again later";

/// None for an error that would come again.
pub fn sentence(error: &sqlx::Error) -> Option<&'static str> {
    match error {
        sqlx::Error::Database(told) => of_code(told.code()?.as_ref()),
        // also a server or proxy that accepts a connection and closes it, or answers what is no Postgres
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed
        | sqlx::Error::WorkerCrashed => Some(AWAY),
        sqlx::Error::AnyDriverError(told) if told.is::<Crowded>() => Some(BUSY),
        sqlx::Error::AnyDriverError(told) if told.is::<Silent>() => Some(SLOW),
        _ => None,
    }
}

/// Is it a lock that somebody else holds? A connection that none gave back in time, too.
pub fn is_busy(error: &Error) -> bool {
    error.detail == BUSY
}

/// What keeps a database from storing anything, whatever is asked of it.
pub fn write_trouble(error: &sqlx::Error) -> Option<&'static str> {
    sentence(error).filter(|sentence| [READ_ONLY, FULL, DISK].contains(sentence))
}

/// After these errors nobody knows whether a transaction is open on the connection, or the connection leads to a server
/// that will not do what is asked of it: the next one may lead to another.
pub fn breaks_connection(error: &sqlx::Error) -> bool {
    sentence(error).is_some_and(|sentence| sentence != BUSY)
}

/// A SQLSTATE has five characters, a result code of SQLite at most four digits.
fn of_code(code: &str) -> Option<&'static str> {
    if code.len() == 5 { of_sqlstate(code) } else { of_result_code(code.parse().ok()?) }
}

/// PostgreSQL, appendix A.
fn of_sqlstate(code: &str) -> Option<&'static str> {
    match code {
        // lock_not_available, query_canceled (statement_timeout)
        "55P03" | "57014" => Some(BUSY),
        // read_only_sql_transaction
        "25006" => Some(READ_ONLY),
        // disk_full
        "53100" => Some(FULL),
        // idle_in_transaction_session_timeout, transaction_timeout, a database that is being restored
        "25P03" | "25P04" | "3D000" => Some(AWAY),
        _ => match code.get(..2)? {
            // serialization_failure, deadlock_detected
            "40" => Some(BUSY),
            // connection, sign-in (a password that is being changed), resources, shutdown and recovery
            "08" | "28" | "53" | "57" => Some(AWAY),
            // system_error, io_error
            "58" => Some(DISK),
            _ => None,
        },
    }
}

/// The primary result code is the low octet (sqlite3_extended_errcode).
fn of_result_code(code: u32) -> Option<&'static str> {
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => Some(BUSY),
        // SQLITE_READONLY
        8 => Some(READ_ONLY),
        // SQLITE_FULL
        13 => Some(FULL),
        // SQLITE_IOERR (also a quota), SQLITE_CANTOPEN
        10 | 14 => Some(DISK),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_a_fault() {
        for (code, sentence) in [
            ("55P03", BUSY),
            ("40P01", BUSY),
            ("57014", BUSY),
            ("25006", READ_ONLY),
            ("57P03", AWAY),
            ("57P01", AWAY),
            ("53300", AWAY),
            ("53100", FULL),
            ("08P01", AWAY),
            ("28P01", AWAY),
            ("58030", DISK),
            ("5", BUSY),
            ("517", BUSY),
            ("8", READ_ONLY),
            ("1032", READ_ONLY),
            ("13", FULL),
            ("778", DISK),
            ("4874", DISK),
        ] {
            assert_eq!(of_code(code), Some(sentence), "{code}");
        }
        // constraints, syntax, a table that is missing, corruption
        for code in ["23505", "23503", "42601", "42P01", "XX001", "19", "2067", "1", "11", ""] {
            assert_eq!(of_code(code), None, "{code}");
        }
    }
}

//! A million rows of Postgres in one sweep. Page by page the planner decides anew, and while the statistics are those of a
//! smaller table it sorts all of it for each page; one row at a time costs as much again in the driver.

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;

use super::super::patience;
use super::super::pool::silent;
use super::{RawTx, at, convert, counted};
use crate::error::{Error, Result};

/// The signature, flags and the length of an extension of COPY's binary format.
const HEADER: usize = 19;

/// Runs `COPY (SELECT …) TO STDOUT (FORMAT binary)` and gives each row's columns to `each`. False on SQLite, which reads
/// pages by its index at no such cost. The text holds no value that came from outside.
pub async fn sweep(
    tx: &mut RawTx,
    name: &'static str,
    copy: &str,
    mut each: impl FnMut(&[&[u8]]) -> Result<()> + Send,
) -> Result<bool> {
    let RawTx::Pg(tx) = tx else { return Ok(false) };
    counted();
    let mut outcome = Ok(());
    tx.copying();
    let copied = on_held!(tx, conn => copy_out(conn, copy, |row| {
        if outcome.is_ok() {
            outcome = each(row);
        }
    }));
    if copied.is_ok() {
        tx.copied();
    }
    copied.map_err(|e| at(name, convert(e)))?;
    outcome.map(|()| true)
}

async fn copy_out(
    connection: &mut PgConnection,
    copy: &str,
    mut each: impl FnMut(&[&[u8]]) + Send,
) -> Result<(), sqlx::Error> {
    use sqlx::Executor;
    // enough to sort in memory what a page of statistics did not foresee
    connection.execute("SET LOCAL work_mem = '64MB'").await?;
    let mut pieces = connection.copy_out_raw(copy).await?;
    // a row may be cut between two pieces
    let mut rest = Vec::new();
    let mut begun = false;
    while let Some(piece) = pieces.try_next().await? {
        rest.extend_from_slice(&piece);
        let mut left = rest.as_slice();
        if !begun {
            let Some(behind) = left.get(HEADER..) else { continue };
            (left, begun) = (behind, true);
        }
        while let Some((row, behind)) = first_row(left).map_err(|e| sqlx::Error::Decode(Box::new(e)))? {
            if let Some(row) = row {
                each(&row);
            }
            left = behind;
        }
        let used = rest.len() - left.len();
        rest.drain(..used);
    }
    Ok(())
}

type Columns<'a> = Vec<&'a [u8]>;

/// The first row and what is behind it; no columns for the mark of the end. None while it is not there as a whole.
fn first_row(octets: &[u8]) -> Result<Option<(Option<Columns<'_>>, &[u8])>> {
    let Some((count, mut rest)) = octets.split_first_chunk() else { return Ok(None) };
    let Ok(count) = u16::try_from(i16::from_be_bytes(*count)) else { return Ok(Some((None, rest))) };
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let Some((length, behind)) = rest.split_first_chunk() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|e| Error::inconsistent("a column of a sweep is NULL").because(e))?;
        let Some((column, behind)) = behind.split_at_checked(length) else { return Ok(None) };
        columns.push(column);
        rest = behind;
    }
    Ok(Some((Some(columns), rest)))
}

//! How long CRLs and OCSP answers of an issuer are valid, where an operator set it. Rows bear a MAC: a captured CRL is good
//! until its nextUpdate, so whoever can write rows must not be able to move it.

use std::collections::HashMap;
use std::time::Duration;

use super::engine::{On, Row, q, statements};
use super::row_macs::{self, ISSUER_LIFETIMES, Sealing, mac_columns, sealed, sealed_writes};
use super::{Store, Tx};
use crate::error::Result;
use crate::model::id::IssuerId;
use crate::model::status_lifetimes::{SetLifetimes, StatusLifetimes};

macro_rules! columns {
    () => {
        concat!(
            "issuer_id, crl_lifetime, ocsp_lifetime, ",
            mac_columns!("issuer_lifetimes", "issuer_lifetimes", "", "issuer_id")
        )
    };
}

statements! {
    EVERY = concat!("SELECT ", columns!(), " FROM issuer_lifetimes");
    ONE = concat!("SELECT ", columns!(), " FROM issuer_lifetimes WHERE issuer_id = $1");
}

sealed_writes! {
    INSERT = "INSERT INTO issuer_lifetimes (issuer_id, crl_lifetime, ocsp_lifetime, row_version, row_mac) VALUES ($1, $2, $3, 1, $4)";
    SET = "UPDATE issuer_lifetimes SET crl_lifetime = $2, ocsp_lifetime = $3 WHERE issuer_id = $1";
}

/// Those that are set. A row that was changed in the database is left out: the default holds, and publishing goes on.
pub async fn all(store: &Store) -> Result<HashMap<IssuerId, StatusLifetimes>> {
    let (on, checker) = Sealing::from(store).into_parts();
    let mut known = HashMap::new();
    for row in q(EVERY).fetch_all(on).await? {
        if checker.refusal(ISSUER_LIFETIMES, &row)?.is_none() {
            known.insert(row.id("issuer_id")?, read(&row)?.resolved());
        }
    }
    Ok(known)
}

/// Those that hold for an issuer: the default where nothing is set, or the row was changed in the database.
pub async fn of<'a>(on: impl Into<Sealing<'a>>, id: IssuerId) -> Result<StatusLifetimes> {
    let (on, checker) = on.into().into_parts();
    let Some(row) = q(ONE).bind(id.to_vec()).fetch_optional(on).await? else { return Ok(StatusLifetimes::DEFAULT) };
    let is_ours = checker.refusal(ISSUER_LIFETIMES, &row)?.is_none();
    Ok(if is_ours { read(&row)?.resolved() } else { StatusLifetimes::DEFAULT })
}

/// What is set for an issuer; none where there is no row.
pub async fn find<'a>(on: impl Into<On<'a>>, id: IssuerId) -> Result<Option<SetLifetimes>> {
    q(ONE).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(read).transpose()
}

/// The caller holds the issuer's row.
pub async fn set(tx: &mut Tx, id: IssuerId, lifetimes: SetLifetimes, is_there: bool) -> Result<()> {
    let micros = |length: Option<Duration>| length.map(|l| i64::try_from(l.as_micros()).unwrap_or(i64::MAX));
    let (crl, ocsp) = (micros(lifetimes.crl), micros(lifetimes.ocsp));
    if is_there {
        let query = sealed(SET).bind(id.to_vec()).bind(crl).bind(ocsp);
        return row_macs::replace(tx, ISSUER_LIFETIMES, &id.bytes(), query).await.map(drop);
    }
    let query = sealed(INSERT).bind(id.to_vec()).bind(crl).bind(ocsp);
    row_macs::insert(tx, ISSUER_LIFETIMES, query).await.map(drop)
}

fn read(row: &Row) -> Result<SetLifetimes> {
    let length = |micros: Option<i64>| micros.and_then(|m| u64::try_from(m).ok()).map(Duration::from_micros);
    Ok(SetLifetimes { crl: length(row.get("crl_lifetime")?), ocsp: length(row.get("ocsp_lifetime")?) })
}

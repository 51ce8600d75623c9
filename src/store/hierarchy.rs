//! The installation, domains, keys, issuers with their certificates, and OCSP responders.

use super::bad_rows::{BadRow, split};
use super::engine::{On, Row, q, statements};
use super::row_macs::{self, ANCHORS, ISSUER_CERTIFICATES, ISSUERS, Sealing, mac_columns, sealed, sealed_writes};
use super::{Store, Tx};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::{CertificateId, IssuerId, KeyId};
use crate::model::issuer::{
    Anchor, AnchorStanding, Domain, Former, Issuer, IssuerCertificate, IssuerRequest, IssuerRole, IssuerState,
    Responder,
};
use crate::pki::signer::{KeyPurpose, SealedKey};

macro_rules! issuer_columns {
    () => {
        concat!(
            "id, slug, domain, name, role, key_id, parent_id, status, state, is_default, former, status_url, crl_counter, \
             (crl_dirty OR crl_building) AS crl_dirty, crl_retained_since, created_at, ",
            mac_columns!("issuers", "issuers", "", "id")
        )
    };
}

macro_rules! key_columns {
    () => {
        "id, purpose, algorithm, public_key, sealed"
    };
}

statements! {
    INSTALLATION = "SELECT id, created_at, key_check, status_key, epoch FROM installation";
    INSERT_INSTALLATION = "INSERT INTO installation (one, id, created_at, key_check, status_key, epoch) VALUES (1, $1, $2, $3, $4, 0)";
    EXTERNAL_URL = "SELECT external_url FROM installation";
    SET_EXTERNAL_URL = "UPDATE installation SET external_url = $1";
    DOMAINS = "SELECT id, slug, name, created_at FROM domains ORDER BY slug";
    INSERT_DOMAIN = "INSERT INTO domains (id, slug, name, created_at) VALUES ($1, $2, $3, $4)";
    KEYS = concat!("SELECT ", key_columns!(), " FROM keys");
    KEY = concat!("SELECT ", key_columns!(), " FROM keys WHERE id = $1");
    INSERT_KEY = "INSERT INTO keys (id, purpose, algorithm, public_key, sealed, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    ISSUERS_LIST = concat!("SELECT ", issuer_columns!(), " FROM issuers ORDER BY slug");
    LOCK_ISSUER = concat!("SELECT ", issuer_columns!(), " FROM issuers WHERE id = $1"),
        postgres concat!("SELECT ", issuer_columns!(), " FROM issuers WHERE id = $1 FOR UPDATE");
    MARK_CRL_DIRTY = "UPDATE issuers SET crl_dirty = TRUE WHERE id = $1";
    OF_CERTIFICATE = "SELECT id FROM issuers WHERE state <> 'revoked' AND id IN (SELECT issuer_id FROM issuer_certificates WHERE certificate_id = $1)";
    CERTIFICATES = concat!("SELECT id, issuer_id, certificate_id, der, not_before, not_after, created_at, ",
        mac_columns!("issuer_certificates", "issuer_certificates", "", "id"), " FROM issuer_certificates ORDER BY issuer_id, not_after DESC");
    SET_SEALED = "UPDATE keys SET sealed = $2 WHERE id = $1 AND sealed = $3";
    DEFAULTS = "SELECT id FROM issuers WHERE domain = $1 AND is_default";
    FORMER_DEFAULTS = "SELECT id FROM issuers WHERE domain = $1 AND former = 'default'";
    ANCHORS_LIST = concat!("SELECT domain, fingerprint, standing, der, not_before, not_after, ",
        mac_columns!("anchors", "anchors", "", "fingerprint"), " FROM anchors ORDER BY domain, not_after DESC, fingerprint");
    REQUESTS = "SELECT id, slug, domain, key_id, status_url, csr, created_at FROM issuer_requests ORDER BY slug";
    INSERT_REQUEST = "INSERT INTO issuer_requests (id, slug, domain, key_id, status_url, csr, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    DELETE_REQUEST = "DELETE FROM issuer_requests WHERE id = $1";
    LAST_END = "SELECT MAX(not_after) AS last FROM certificates WHERE issuer_id = $1 AND profile <> 'ocsp'";
    RESPONDERS = "SELECT id, issuer_id, key_id, certificate_id, der, not_before, not_after, created_at FROM responders WHERE not_after > $1 \
                  AND NOT EXISTS (SELECT 1 FROM certificates c WHERE c.id = responders.certificate_id AND c.status = 'revoked') ORDER BY issuer_id, not_after DESC";
    INSERT_RESPONDER = "INSERT INTO responders (id, issuer_id, key_id, certificate_id, der, not_before, not_after, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
}

sealed_writes! {
    INSERT_ISSUER = "INSERT INTO issuers (id, slug, domain, name, role, key_id, parent_id, status, state, is_default, former, status_url, crl_counter, crl_dirty, \
                     created_at, row_version, row_mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', $11, $12, $13, $14, 1, $15)";
    REVOKE_ISSUER = "UPDATE issuers SET state = 'revoked', status = 'retired', is_default = FALSE, former = '' WHERE id = $1 AND state <> 'revoked'";
    INSERT_ISSUER_CERTIFICATE = "INSERT INTO issuer_certificates (id, issuer_id, certificate_id, der, not_before, not_after, created_at, row_version, row_mac) \
                                 VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8)";
    SET_STATE = "UPDATE issuers SET state = $2, status = $3, former = $4, is_default = FALSE WHERE id = $1";
    CLEAR_DEFAULT = "UPDATE issuers SET is_default = FALSE WHERE id = $1 AND is_default";
    FORGET_DEFAULT = "UPDATE issuers SET former = '' WHERE id = $1 AND former = 'default'";
    SET_DEFAULT = "UPDATE issuers SET is_default = TRUE WHERE id = $1 AND role = 'issuing' AND state = 'active' AND status = 'active'";
    INSERT_ANCHOR = "INSERT INTO anchors (domain, fingerprint, der, not_before, not_after, created_at, standing, row_version, row_mac) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8) ON CONFLICT DO NOTHING";
    SET_ANCHOR_STANDING = "UPDATE anchors SET standing = $3 WHERE domain = $1 AND fingerprint = $2";
}

/// Stands for the row among `certificates` that a certificate of another CA has not.
pub const FOREIGN: CertificateId = CertificateId::from_bytes([0; 16]);

/// The one row that says: this database belongs to a Chancery.
#[derive(Debug, Clone)]
pub struct Installation {
    pub id: Vec<u8>,
    pub created_at: Timestamp,
    pub key_check: Vec<u8>,
    pub status_key: Vec<u8>,
    pub epoch: i64,
}

pub async fn installation<'a>(on: impl Into<On<'a>>) -> Result<Option<Installation>> {
    let Some(row) = q(INSTALLATION).fetch_optional(on).await? else { return Ok(None) };
    Ok(Some(Installation {
        id: row.get("id")?,
        created_at: row.time("created_at")?,
        key_check: row.get("key_check")?,
        status_key: row.get("status_key")?,
        epoch: row.get("epoch")?,
    }))
}

pub async fn insert_installation<'a>(on: impl Into<On<'a>>, row: &Installation) -> Result<()> {
    q(INSERT_INSTALLATION)
        .bind(row.id.clone())
        .bind(row.created_at)
        .bind(row.key_check.clone())
        .bind(row.status_key.clone())
        .execute(on)
        .await
        .map(drop)
}

/// What the row of the installation keeps as its external URL.
pub async fn external_url<'a>(on: impl Into<On<'a>>) -> Result<Option<Vec<u8>>> {
    match q(EXTERNAL_URL).fetch_optional(on).await? {
        Some(row) => row.get("external_url"),
        None => Ok(None),
    }
}

pub async fn set_external_url<'a>(on: impl Into<On<'a>>, sealed: Vec<u8>) -> Result<()> {
    q(SET_EXTERNAL_URL).bind(sealed).execute(on).await.map(drop)
}

pub async fn domains<'a>(on: impl Into<On<'a>>) -> Result<Vec<Domain>> {
    let rows = q(DOMAINS).fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            Ok(Domain {
                id: row.id("id")?,
                slug: row.get("slug")?,
                name: row.get("name")?,
                created_at: row.time("created_at")?,
            })
        })
        .collect()
}

pub async fn insert_domain<'a>(on: impl Into<On<'a>>, domain: &Domain) -> Result<()> {
    q(INSERT_DOMAIN)
        .bind(domain.id.to_vec())
        .bind(&domain.slug)
        .bind(&domain.name)
        .bind(domain.created_at)
        .execute(on)
        .await
        .map(drop)
}

/// Those that can be read.
pub async fn keys<'a>(on: impl Into<On<'a>>) -> Result<Vec<SealedKey>> {
    Ok(all_keys(on).await?.0)
}

pub async fn all_keys<'a>(on: impl Into<On<'a>>) -> Result<(Vec<SealedKey>, Vec<BadRow>)> {
    Ok(split("keys", &q(KEYS).fetch_all(on).await?, key_row))
}

pub async fn key<'a>(on: impl Into<On<'a>>, id: KeyId) -> Result<Option<SealedKey>> {
    q(KEY).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(key_row).transpose()
}

pub async fn insert_key<'a>(on: impl Into<On<'a>>, key: &SealedKey, now: Timestamp) -> Result<()> {
    q(INSERT_KEY)
        .bind(key.id.to_vec())
        .bind(key.purpose.name())
        .bind(key.algorithm.name())
        .bind(key.public_key.clone())
        .bind(key.sealed.clone())
        .bind(now)
        .execute(on)
        .await
        .map(drop)
}

/// Those that can be read.
pub async fn issuers<'a>(on: impl Into<On<'a>>) -> Result<Vec<Issuer>> {
    Ok(split("issuers", &q(ISSUERS_LIST).fetch_all(on).await?, issuer_row).0)
}

/// The issuer's row, locked until the transaction ends: who builds its CRL owns the number.
pub async fn lock_issuer<'a>(on: impl Into<On<'a>>, id: IssuerId) -> Result<Option<Issuer>> {
    q(LOCK_ISSUER).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(issuer_row).transpose()
}

pub async fn insert_issuer<'a>(on: impl Into<Sealing<'a>>, issuer: &Issuer) -> Result<()> {
    let query = sealed(INSERT_ISSUER)
        .bind(issuer.id.to_vec())
        .bind(&issuer.slug)
        .bind(&issuer.domain)
        .bind(&issuer.name)
        .bind(issuer.role.name())
        .bind(issuer.key_id.to_vec())
        .bind(issuer.parent_id.map(IssuerId::to_vec))
        .bind(issuer.state.status())
        .bind(issuer.state.name())
        .bind(issuer.is_default)
        .bind(&issuer.status_url)
        .bind(issuer.crl_counter)
        .bind(issuer.crl_dirty)
        .bind(issuer.created_at);
    row_macs::insert(on, ISSUERS, query).await.map(drop)
}

/// In the transaction of the revocation that makes it so.
pub async fn mark_crl_dirty<'a>(on: impl Into<On<'a>>, id: IssuerId) -> Result<()> {
    q(MARK_CRL_DIRTY).bind(id.to_vec()).execute(on).await.map(drop)
}

/// Revokes the issuer whose own certificate this is, if any: its key is no longer its own. Returns how many.
pub async fn revoke_of_certificate(tx: &mut Tx, id: CertificateId) -> Result<u64> {
    let mut revoked = 0;
    for found in q(OF_CERTIFICATE).bind(id.to_vec()).fetch_all(&mut *tx).await? {
        let issuer: Vec<u8> = found.get("id")?;
        let query = sealed(REVOKE_ISSUER).bind(issuer.clone());
        revoked += u64::from(row_macs::withdraw(tx, ISSUERS, &issuer, query).await?);
    }
    Ok(revoked)
}

pub async fn issuer_certificates<'a>(on: impl Into<On<'a>>) -> Result<Vec<IssuerCertificate>> {
    q(CERTIFICATES).fetch_all(on).await?.iter().map(issuer_certificate).collect()
}

/// Rows of the hierarchy to act with, each with the sentence by which it is refused: it was changed in the database.
pub type Checked<T> = Vec<(T, Option<String>)>;

/// With the rows that cannot be read.
pub async fn checked_issuers(store: &Store) -> Result<(Checked<Issuer>, Vec<BadRow>)> {
    let (on, checker) = Sealing::from(store).into_parts();
    let rows = q(ISSUERS_LIST).fetch_all(on).await?;
    Ok(split("issuers", &rows, |row| Ok((issuer_row(row)?, checker.refusal(ISSUERS, row)?))))
}

pub async fn checked_certificates(store: &Store) -> Result<Checked<IssuerCertificate>> {
    let (on, checker) = Sealing::from(store).into_parts();
    let rows = q(CERTIFICATES).fetch_all(on).await?;
    rows.iter().map(|row| Ok((issuer_certificate(row)?, checker.refusal(ISSUER_CERTIFICATES, row)?))).collect()
}

pub async fn checked_anchors(store: &Store) -> Result<Checked<Anchor>> {
    let (on, checker) = Sealing::from(store).into_parts();
    let rows = q(ANCHORS_LIST).fetch_all(on).await?;
    rows.iter().map(|row| Ok((anchor(row)?, checker.refusal(ANCHORS, row)?))).collect()
}

fn issuer_certificate(row: &Row) -> Result<IssuerCertificate> {
    Ok(IssuerCertificate {
        id: row.id("id")?,
        issuer_id: row.id("issuer_id")?,
        certificate_id: Some(row.id("certificate_id")?).filter(|id| *id != FOREIGN),
        der: row.get("der")?,
        not_before: row.time("not_before")?,
        not_after: row.time("not_after")?,
        created_at: row.time("created_at")?,
    })
}

pub async fn insert_issuer_certificate<'a>(on: impl Into<Sealing<'a>>, c: &IssuerCertificate) -> Result<()> {
    let query = sealed(INSERT_ISSUER_CERTIFICATE)
        .bind(c.id.to_vec())
        .bind(c.issuer_id.to_vec())
        .bind(c.certificate_id.unwrap_or(FOREIGN).to_vec())
        .bind(c.der.clone())
        .bind(c.not_before)
        .bind(c.not_after)
        .bind(c.created_at);
    row_macs::insert(on, ISSUER_CERTIFICATES, query).await.map(drop)
}

/// Responders that have neither expired at `now` nor been revoked, the longest-lived of each issuer first.
pub async fn responders<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<Vec<Responder>> {
    let rows = q(RESPONDERS).bind(now).fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            Ok(Responder {
                id: row.id("id")?,
                issuer_id: row.id("issuer_id")?,
                key_id: row.id("key_id")?,
                certificate_id: row.id("certificate_id")?,
                der: row.get("der")?,
                not_before: row.time("not_before")?,
                not_after: row.time("not_after")?,
                created_at: row.time("created_at")?,
            })
        })
        .collect()
}

pub async fn insert_responder<'a>(on: impl Into<On<'a>>, r: &Responder) -> Result<()> {
    q(INSERT_RESPONDER)
        .bind(r.id.to_vec())
        .bind(r.issuer_id.to_vec())
        .bind(r.key_id.to_vec())
        .bind(r.certificate_id.to_vec())
        .bind(r.der.clone())
        .bind(r.not_before)
        .bind(r.not_after)
        .bind(r.created_at)
        .execute(on)
        .await
        .map(drop)
}

/// Exchanges the private part of a key; empty means that it was taken offline. False when it changed meanwhile.
pub async fn set_sealed<'a>(on: impl Into<On<'a>>, id: KeyId, new: &[u8], old: &[u8]) -> Result<bool> {
    Ok(q(SET_SEALED).bind(id.to_vec()).bind(new).bind(old).execute(on).await? == 1)
}

/// Writes a state for this binary and the status that goes with it for an older one. An issuer that changes its state is
/// no default: `set_default` follows where it becomes one. The caller holds the lock of the installation.
pub async fn set_state(tx: &mut Tx, id: IssuerId, state: IssuerState, former: Former) -> Result<()> {
    let states = sealed(SET_STATE).bind(id.to_vec()).bind(state.name()).bind(state.status()).bind(former.name());
    let id = id.bytes();
    let set = if state.signs() {
        row_macs::update(tx, ISSUERS, &id, states).await
    } else {
        row_macs::withdraw(tx, ISSUERS, &id, states).await
    };
    set.map(drop)
}

/// An operator chose another default: no issuer of the domain becomes it again by itself.
pub async fn forget_defaults(tx: &mut Tx, domain: &str) -> Result<()> {
    for found in q(FORMER_DEFAULTS).bind(domain).fetch_all(&mut *tx).await? {
        let id: Vec<u8> = found.get("id")?;
        row_macs::update(tx, ISSUERS, &id, sealed(FORGET_DEFAULT).bind(id.clone())).await?;
    }
    Ok(())
}

/// Makes one issuer the default of its domain, or none. False when it is no active issuer.
pub async fn set_default(tx: &mut Tx, domain: &str, id: Option<IssuerId>) -> Result<bool> {
    let mut is_default = false;
    for found in q(DEFAULTS).bind(domain).fetch_all(&mut *tx).await? {
        let before: Vec<u8> = found.get("id")?;
        if id.is_some_and(|id| id.to_vec() == before) {
            is_default = true;
            continue;
        }
        row_macs::withdraw(&mut *tx, ISSUERS, &before, sealed(CLEAR_DEFAULT).bind(before.clone())).await?;
    }
    match id {
        Some(id) if !is_default => {
            row_macs::update(tx, ISSUERS, &id.bytes(), sealed(SET_DEFAULT).bind(id.to_vec())).await
        }
        _ => Ok(true),
    }
}

/// When the last certificate of an issuer ends, its OCSP delegates apart.
pub async fn last_end<'a>(on: impl Into<On<'a>>, id: IssuerId) -> Result<Option<Timestamp>> {
    let row = q(LAST_END).bind(id.to_vec()).fetch_one(on).await?;
    Ok(row.get::<Option<i64>>("last")?.map(Timestamp::from_micros))
}

pub async fn anchors<'a>(on: impl Into<On<'a>>) -> Result<Vec<Anchor>> {
    q(ANCHORS_LIST).fetch_all(on).await?.iter().map(anchor).collect()
}

fn anchor(row: &Row) -> Result<Anchor> {
    Ok(Anchor {
        standing: anchor_standing(&row.get::<String>("standing")?)?,
        domain: row.get("domain")?,
        der: row.get("der")?,
        not_before: row.time("not_before")?,
        not_after: row.time("not_after")?,
    })
}

/// Once a domain: one that is there stays.
pub async fn insert_anchor(tx: &mut super::Tx, anchor: &Anchor, fingerprint: &[u8; 32]) -> Result<()> {
    let now = tx.now();
    let query = sealed(INSERT_ANCHOR)
        .bind(&anchor.domain)
        .bind(fingerprint.to_vec())
        .bind(anchor.der.clone())
        .bind(anchor.not_before)
        .bind(anchor.not_after)
        .bind(now)
        .bind(anchor.standing.name());
    row_macs::insert(tx, ANCHORS, query).await.map(drop)
}

/// False when there is no such certificate.
pub async fn set_anchor_standing(
    tx: &mut Tx,
    domain: &str,
    fingerprint: &[u8; 32],
    standing: AnchorStanding,
) -> Result<bool> {
    let set = sealed(SET_ANCHOR_STANDING).bind(domain).bind(fingerprint.to_vec()).bind(standing.name());
    if standing.is_trusted() {
        return row_macs::update(tx, ANCHORS, (domain, fingerprint), set).await;
    }
    row_macs::withdraw(tx, ANCHORS, (domain, fingerprint), set).await
}

fn anchor_standing(name: &str) -> Result<AnchorStanding> {
    let unknown = || Error::inconsistent(format!("a CA certificate has the unknown standing {name}"));
    AnchorStanding::from_name(name).ok_or_else(unknown)
}

pub async fn requests<'a>(on: impl Into<On<'a>>) -> Result<Vec<IssuerRequest>> {
    let rows = q(REQUESTS).fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            Ok(IssuerRequest {
                id: row.id("id")?,
                slug: row.get("slug")?,
                domain: row.get("domain")?,
                key_id: row.id("key_id")?,
                status_url: row.get("status_url")?,
                csr: row.get("csr")?,
                created_at: row.time("created_at")?,
            })
        })
        .collect()
}

pub async fn insert_request<'a>(on: impl Into<On<'a>>, r: &IssuerRequest) -> Result<()> {
    q(INSERT_REQUEST)
        .bind(r.id.to_vec())
        .bind(&r.slug)
        .bind(&r.domain)
        .bind(r.key_id.to_vec())
        .bind(&r.status_url)
        .bind(r.csr.clone())
        .bind(r.created_at)
        .execute(on)
        .await
        .map(drop)
}

/// False when another command has answered it.
pub async fn delete_request<'a>(on: impl Into<On<'a>>, id: IssuerId) -> Result<bool> {
    Ok(q(DELETE_REQUEST).bind(id.to_vec()).execute(on).await? == 1)
}

fn key_row(row: &Row) -> Result<SealedKey> {
    let (purpose, algorithm): (String, String) = (row.get("purpose")?, row.get("algorithm")?);
    Ok(SealedKey {
        id: row.id("id")?,
        purpose: KeyPurpose::from_name(&purpose)
            .ok_or_else(|| Error::inconsistent(format!("a key has the purpose {purpose}")))?,
        algorithm: algorithm
            .try_into()
            .map_err(|e| Error::inconsistent("a key has an unknown algorithm").because(e))?,
        public_key: row.get("public_key")?,
        sealed: row.get("sealed")?,
    })
}

fn issuer_row(row: &Row) -> Result<Issuer> {
    let role: String = row.get("role")?;
    let (state, status): (String, String) = (row.get("state")?, row.get("status")?);
    let slug: String = row.get("slug")?;
    let wrong = |what: &str| Error::inconsistent(format!("issuer {slug} has an unknown {what}"));
    let former: String = row.get("former")?;
    let (former, marked) = (Former::from_name(&former).ok_or_else(|| wrong("former state"))?, row.get("is_default")?);
    let state = IssuerState::of_columns(&state, &status).ok_or_else(|| wrong("state"))?;
    Ok(Issuer {
        id: row.id("id")?,
        domain: row.get("domain")?,
        name: row.get("name")?,
        role: IssuerRole::from_name(&role).ok_or_else(|| wrong("role"))?,
        key_id: row.id("key_id")?,
        parent_id: row.id_opt("parent_id")?,
        state,
        // an older binary retires an issuer and leaves the mark
        is_default: marked && state.signs(),
        former: if marked && !state.signs() { Former::Default } else { former },
        status_url: row.get("status_url")?,
        crl_counter: row.get("crl_counter")?,
        crl_dirty: row.get("crl_dirty")?,
        crl_retained_since: row.time_opt("crl_retained_since")?,
        created_at: row.time("created_at")?,
        slug,
    })
}

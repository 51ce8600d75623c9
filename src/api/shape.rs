//! Records as the shapes of `wire`.

use crate::authority::Authority;
use crate::authority::checks::{Check, Severity};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::audit::ListedEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::eab::EabKey;
use crate::model::grant::{Grant, Scope};
use crate::model::serial::to_hex;
use crate::model::token::Token;
use crate::pki::pem;
use crate::wire;

/// As a list has it: without PEM.
pub fn certificate(authority: &Authority, record: &Certificate) -> wire::certificates::Certificate {
    let now = authority.store().now();
    wire::certificates::Certificate {
        id: record.id.to_string(),
        serial: record.serial.to_string(),
        status: record.shown_status(now),
        names: record.names.iter().map(|name| name.value()).collect(),
        subject: record.subject.clone(),
        not_before: record.validity.not_before(),
        not_after: record.validity.not_after(),
        issuer: record.issuer.clone(),
        profile: record.profile.clone(),
        key_algorithm: record.key_algorithm.clone(),
        fingerprint: record.fingerprint.map(|hash| to_hex(&hash)),
        requester: record.requester.clone(),
        via: record.via.clone(),
        issued_at: record.issued_at,
        revocation: revocation(record),
        issuer_revocation: issuer_revocation(authority, record),
        issuer_removed: authority.removed_above(record),
        action_required: None,
        certificate: None,
        chain: None,
        left_out: Vec::new(),
        private_key: None,
        pkcs12: None,
        pkcs12_password: None,
    }
}

fn issuer_revocation(authority: &Authority, record: &Certificate) -> Option<wire::certificates::IssuerRevocation> {
    let (issuer, revoked_at) = authority.revoked_above(record)?;
    let on_hold = authority.snapshot().issuer(&issuer).is_ok_and(|above| above.on_hold);
    Some(wire::certificates::IssuerRevocation { issuer, revoked_at, on_hold })
}

/// With leaf and chain in PEM. An intent has no leaf.
pub async fn whole(authority: &Authority, record: &Certificate) -> Result<wire::certificates::Certificate> {
    let der = authority.certificate_der(record.id).await?;
    let mut shape = certificate(authority, record);
    shape.certificate = der.map(|der| pem::encode(pem::CERTIFICATE, &der));
    shape.chain = Some(chain(&authority.chain_of(record)));
    shape.action_required = authority.revocation_to_publish(record).await?;
    Ok(shape)
}

pub fn chain<T: AsRef<[u8]>>(ders: &[T]) -> String {
    ders.iter().map(|der| pem::encode(pem::CERTIFICATE, der.as_ref())).collect()
}

pub fn revocation(record: &Certificate) -> Option<wire::certificates::Revocation> {
    match record.status {
        CertificateStatus::Revoked { at, reason, invalidity_date } => {
            Some(wire::certificates::Revocation { revoked_at: at, reason, invalidity_date })
        }
        CertificateStatus::Intended | CertificateStatus::Valid => None,
    }
}

pub fn token(record: &Token, now: Timestamp) -> wire::tokens::Token {
    wire::tokens::Token {
        id: record.id.to_string(),
        name: record.name.clone(),
        role: record.role.name().to_owned(),
        status: record.status(now).to_owned(),
        grant: record.grant_id.map(|id| id.to_string()),
        scope: record.scope.as_ref().map(scope),
        created_by: record.created_by.clone(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        revoked_at: record.revoked_at,
        last_used_at: record.last_used_at,
        secret: None,
    }
}

pub fn grant(record: &Grant, now: Timestamp) -> wire::grants::Grant {
    wire::grants::Grant {
        id: record.id.to_string(),
        name: record.name.clone(),
        status: record.status(now).to_owned(),
        scope: scope(&record.scope),
        max_count: record.max_count,
        used_count: record.used_count,
        created_by: record.created_by.clone(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        revoked_at: record.revoked_at,
    }
}

fn scope(scope: &Scope) -> wire::tokens::TokenScope {
    wire::tokens::TokenScope {
        names: scope.names.iter().map(ToString::to_string).collect(),
        subjects: scope.subjects.clone(),
        profiles: scope.profiles.clone(),
        issuers: scope.issuers.clone(),
    }
}

pub fn eab_key(record: &EabKey, now: Timestamp) -> wire::acme::EabKey {
    wire::acme::EabKey {
        id: record.id.to_string(),
        kid: record.kid(),
        name: record.name.clone(),
        directory: record.directory.clone(),
        status: record.status(now).to_owned(),
        grant: record.grant_id.to_string(),
        max_accounts: record.max_accounts,
        used_accounts: record.used_accounts,
        created_by: record.created_by.clone(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        revoked_at: record.revoked_at,
        last_used_at: record.last_used_at,
        hmac_key: None,
    }
}

pub fn event(listed: &ListedEvent) -> wire::audit::AuditEvent {
    let record = &listed.event;
    wire::audit::AuditEvent {
        id: record.id.to_string(),
        at: record.at,
        action: record.action.clone(),
        outcome: record.outcome.clone(),
        actor: record.actor.clone(),
        object: record.object.clone(),
        request_id: record.request_id.clone(),
        detail: serde_json::from_str(&record.detail).unwrap_or_default(),
        writer: record.writer.to_string(),
        lane: record.lane,
        seq: record.seq,
        hash: to_hex(&record.hash),
        fault: listed.fault.clone(),
    }
}

pub fn checks(found: &[Check]) -> wire::system::Checks {
    let worst = found.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    let check = |check: &Check| wire::system::Check {
        name: check.name.to_owned(),
        status: check.severity.name().to_owned(),
        detail: check.detail.clone(),
    };
    wire::system::Checks { status: worst.name().to_owned(), checks: found.iter().map(check).collect() }
}

//! Accounts, orders and attempts as the shapes of `wire`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::acme::{Account, Authorization, Challenge, Order};
use crate::model::attempt::Attempt;
use crate::model::certificate::Certificate;
use crate::registration::challenge_tests::Tested;
use crate::registration::timeline::{Entry, Timeline};
use crate::wire::acme_lists::{
    AcmeAccount, AcmeAttempt, AcmeAuthorization, AcmeCertificate, AcmeChallenge, AcmeOrder, AcmeTimeline,
    AcmeTimelineEntry, ChallengeTest,
};

pub fn account(record: &Account) -> AcmeAccount {
    AcmeAccount {
        id: record.id.to_string(),
        directory: record.directory.clone(),
        status: record.status.name().to_owned(),
        contact: record.contact.clone(),
        url: record.url.clone(),
        key_type: record.key.kind(),
        key_thumbprint: URL_SAFE_NO_PAD.encode(record.key.thumbprint),
        grant: record.grant.map(|grant| grant.to_string()),
        eab_key: record.binding.as_ref().map(|binding| binding.key.to_string()),
        terms_agreed: record.terms_agreed,
        created_at: record.created_at,
        created_from: record.created_from.clone(),
    }
}

/// As a list has it.
pub fn order(record: &Order, now: Timestamp) -> AcmeOrder {
    AcmeOrder {
        id: record.id.to_string(),
        account: record.account_id.to_string(),
        directory: record.directory.clone(),
        status: record.shown_status(now).name().to_owned(),
        names: record.identifiers.iter().map(ToString::to_string).collect(),
        profile: record.profile.clone(),
        not_before: record.not_before,
        not_after: record.not_after,
        replaces: record.replaces.clone(),
        error: record.error.clone(),
        certificate_id: record.certificate_id.map(|id| id.to_string()),
        created_at: record.created_at,
        expires_at: record.expires_at,
        authorizations: None,
        certificate: None,
    }
}

pub fn authorization(record: &Authorization, challenges: &[Challenge], now: Timestamp) -> Result<AcmeAuthorization> {
    let challenge = |c: &Challenge| AcmeChallenge {
        id: c.id.to_string(),
        r#type: c.kind.clone(),
        status: c.status.name().to_owned(),
        validated_at: c.validated_at,
        error: c.error.clone(),
    };
    Ok(AcmeAuthorization {
        id: record.id.to_string(),
        name: record.name()?.value(),
        status: record.shown_status(now).name().to_owned(),
        expires_at: record.expires_at,
        challenges: challenges.iter().map(challenge).collect(),
    })
}

pub fn certificate(record: &Certificate, now: Timestamp) -> AcmeCertificate {
    AcmeCertificate {
        id: record.id.to_string(),
        serial: record.serial.to_string(),
        issuer: record.issuer.clone(),
        status: record.shown_status(now).name().to_owned(),
        not_after: record.validity.not_after(),
    }
}

pub fn attempt(record: &Attempt) -> AcmeAttempt {
    AcmeAttempt {
        id: record.id.to_string(),
        at: record.at,
        last_at: record.last_at,
        times: record.times,
        action: record.action.clone(),
        directory: record.directory.clone(),
        account: record.account_id.map(|id| id.to_string()),
        order: record.order_id.map(|id| id.to_string()),
        from: record.address.clone(),
        names: record.names.clone(),
        code: record.code.clone(),
        detail: record.detail.clone(),
        rule: record.rule.clone(),
        request_id: record.request_id.clone(),
    }
}

pub fn timeline(told: &Timeline) -> AcmeTimeline {
    AcmeTimeline {
        order: told.order.id.to_string(),
        account: told.order.account_id.to_string(),
        directory: told.order.directory.clone(),
        status: told.status.name().to_owned(),
        names: told.order.identifiers.iter().map(ToString::to_string).collect(),
        summary: told.summary.clone(),
        next: told.next.clone(),
        entries: told.entries.iter().map(entry).collect(),
    }
}

pub fn challenge_test(told: &Tested) -> ChallengeTest {
    ChallengeTest {
        at: told.at,
        directory: told.directory.clone(),
        name: told.name.clone(),
        r#type: told.kind.to_owned(),
        verdict: told.verdict.name().to_owned(),
        summary: told.summary.clone(),
        next: told.next.clone(),
        entries: told.entries.iter().map(entry).collect(),
    }
}

fn entry(told: &Entry) -> AcmeTimelineEntry {
    AcmeTimelineEntry {
        at: told.at,
        what: told.what.to_owned(),
        name: told.name.clone(),
        detail: told.detail.clone(),
        mark: told.mark.name().to_owned(),
    }
}

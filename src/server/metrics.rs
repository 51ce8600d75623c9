//! What metrics can only be told at run time: the values of open labels (issuers, profiles, directories, routes),
//! which stand at zero before the first scrape, and gauges that are read from the database now and then.

use std::collections::BTreeMap;

use super::routes;
use crate::acme::ENDPOINTS;
use crate::app::App;
use crate::error::{ErrorKind, Result};
use crate::jobs;
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::model::reason::RevocationReason;
use crate::registration::directories::CHALLENGES;
use crate::store::{certificates, crls, domain_crls, jobs as queue, orders};
use crate::telemetry::zero;

/// Why an order or a request gets no certificate, most often.
const REJECTIONS: &[ErrorKind] = &[
    ErrorKind::Refused,
    ErrorKind::RejectedIdentifier,
    ErrorKind::BadCsr,
    ErrorKind::BadKey,
    ErrorKind::Unprocessable,
    ErrorKind::Malformed,
    ErrorKind::Forbidden,
    ErrorKind::Locked,
    ErrorKind::Unavailable,
    ErrorKind::TimedOut,
    ErrorKind::Internal,
];
const UNPROVED: &[ErrorKind] = &[
    ErrorKind::Dns,
    ErrorKind::Connection,
    ErrorKind::Tls,
    ErrorKind::IncorrectResponse,
    ErrorKind::Caa,
    ErrorKind::Forbidden,
    ErrorKind::Malformed,
    ErrorKind::Unavailable,
    ErrorKind::Inconsistent,
];
const ACME_ERRORS: &[(&str, &str)] = &[
    ("2xx", "none"),
    ("4xx", "malformed"),
    ("4xx", "badNonce"),
    ("4xx", "unauthorized"),
    ("4xx", "accountDoesNotExist"),
    ("4xx", "rejectedIdentifier"),
    ("4xx", "badCSR"),
    ("4xx", "orderNotReady"),
    ("4xx", "rateLimited"),
    ("5xx", "serverInternal"),
];

/// Makes the series of every issuer, profile and directory that there is now stand at zero. Called again when they
/// change: what moved already stays.
pub fn stand_at_zero(app: &App) {
    let snapshot = app.authority.snapshot();
    for (slug, loaded) in &snapshot.issuers {
        let issuer = ("issuer", slug.as_str());
        RevocationReason::ALL
            .iter()
            .for_each(|r| zero("chancery_certificates_revoked_total", &[issuer, ("reason", r.name())]));
        zero("chancery_crl_publish_failures_total", &[issuer]);
        zero("chancery_crl_publish_duration_seconds", &[issuer]);
        if loaded.issuer.role == IssuerRole::Issuing {
            ["signing_duration_seconds", "signing_errors_total", "ocsp_requests_total"]
                .iter()
                .for_each(|family| zero(&format!("chancery_{family}"), &[issuer]));
        }
    }
    for (issuer, profile) in pairs(app) {
        zero("chancery_certificates_issued_total", &[("issuer", &issuer), ("profile", &profile)]);
    }
    for profile in snapshot.profiles.keys().map(String::as_str).chain(["unknown"]) {
        for kind in REJECTIONS {
            zero("chancery_issuance_rejected_total", &[("profile", profile), ("code", kind.code())]);
        }
    }
    for directory in app.registration.directories().iter().map(String::as_str).chain(["unknown"]) {
        for endpoint in ENDPOINTS {
            for (status, error) in ACME_ERRORS {
                let labels =
                    [("directory", directory), ("endpoint", endpoint), ("status", *status), ("error", *error)];
                zero("chancery_acme_requests_total", &labels);
            }
        }
    }
}

/// What stands from the start whatever the database holds.
pub fn stand_once() {
    for (listener, route, method) in routes::all() {
        let labels = [("listener", listener), ("route", route.as_str()), ("method", method)];
        zero("chancery_http_requests_total", &labels);
        zero("chancery_http_request_duration_seconds", &labels);
    }
    for outcome in ["permitted", "logged", "refused"] {
        zero("chancery_acme_caa_total", &[("outcome", outcome)]);
    }
    for kind in CHALLENGES {
        let decided = |outcome, reason| {
            zero("chancery_acme_challenges_total", &[("type", kind), ("outcome", outcome), ("reason", reason)]);
        };
        decided("valid", "none");
        for outcome in ["proved", "open", "failed"] {
            zero("chancery_acme_challenge_tests_total", &[("type", kind), ("outcome", outcome)]);
        }
        UNPROVED.iter().for_each(|why| decided("invalid", why.code()));
        zero("chancery_acme_validation_duration_seconds", &[("type", kind)]);
    }
    for kind in jobs::KINDS {
        zero("chancery_job_duration_seconds", &[("kind", kind)]);
    }
    jobs::WORK.iter().for_each(|work| zero("chancery_periodic_runs_total", &[("job", work.name)]));
}

/// Gauges that cost a few indexed reads.
pub async fn measure(app: &App) -> Result<()> {
    stand_at_zero(app);
    let now = app.clock.now();
    let (open, idle) = app.store.db.connections();
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    metrics::gauge!("chancery_db_pool_connections", "state" => "idle").set(f64::from(idle));
    metrics::gauge!("chancery_db_pool_connections", "state" => "used").set(f64::from(open.saturating_sub(idle)));
    let snapshot = app.authority.snapshot();
    for domain in &snapshot.domains {
        let can = !snapshot.signers(&domain.slug, now).is_empty();
        metrics::gauge!("chancery_domain_can_issue", "domain" => domain.slug.clone()).set(f64::from(u8::from(can)));
    }
    for (slug, loaded) in &snapshot.issuers {
        for state in IssuerState::ALL {
            let is = f64::from(u8::from(loaded.issuer.state == state));
            metrics::gauge!("chancery_issuer_state", "issuer" => slug.clone(), "state" => state.name()).set(is);
        }
        if let Some(newest) = loaded.certificates.first() {
            let life = newest.not_after.since(newest.not_before).as_secs_f64();
            let used = now.since(newest.not_before).as_secs_f64() / life.max(1.0);
            metrics::gauge!("chancery_issuer_not_after_timestamp_seconds", "issuer" => slug.clone(),
                "role" => loaded.issuer.role.name())
            .set(seconds(newest.not_after.secs()));
            metrics::gauge!("chancery_issuer_life_used_ratio", "issuer" => slug.clone()).set(used.min(1.0));
        }
        if let Some(responder) = &loaded.responder {
            metrics::gauge!("chancery_ocsp_signer_not_after_timestamp_seconds", "issuer" => slug.clone())
                .set(seconds(responder.not_after.secs()));
        }
        let crl = crls::in_force(&app.store, loaded.issuer.id, now).await?;
        let crl = crl.as_ref();
        let of_crl = |family: &'static str, value: i64| {
            metrics::gauge!(family, "issuer" => slug.clone(), "shard" => "complete").set(seconds(value));
        };
        // 0 until the first one is published: an alert on a late CRL then fires, as it should
        of_crl("chancery_crl_this_update_timestamp_seconds", crl.map_or(0, |c| c.this_update.secs()));
        of_crl("chancery_crl_next_update_timestamp_seconds", crl.map_or(0, |c| c.next_update.secs()));
        of_crl("chancery_crl_entries", crl.map_or(0, |c| c.entries));
        of_crl("chancery_crl_size_bytes", crl.map_or(0, |c| c.size));
    }
    let lists = domain_crls::heads(&app.store).await?;
    for domain in &app.authority.snapshot().domains {
        let list = lists.iter().find(|list| list.domain == domain.slug);
        let of_list = |family: &'static str, value: i64| {
            metrics::gauge!(family, "domain" => domain.slug.clone()).set(seconds(value));
        };
        let in_force = list.map(|list| list.in_force(now));
        of_list("chancery_domain_crl_next_update_timestamp_seconds", in_force.map_or(0, |(until, _)| until.secs()));
        of_list("chancery_domain_crl_entries", in_force.map_or(0, |(_, entries)| entries));
    }
    let pending = app.authority.pending_revocations().await?;
    for slug in app.authority.snapshot().issuers.keys() {
        let count = pending.iter().find(|p| p.issuer == *slug).map_or(0, |p| p.count);
        metrics::gauge!("chancery_crl_pending_revocations", "issuer" => slug.clone()).set(count as f64);
    }
    let mut queued: BTreeMap<(String, String), i64> = BTreeMap::new();
    for kind in jobs::KINDS {
        for state in ["waiting", "running"] {
            queued.insert(((*kind).to_owned(), state.to_owned()), 0);
        }
    }
    queued.extend(queue::states(&app.store, now).await?.into_iter().map(|(kind, state, n)| ((kind, state), n)));
    for ((kind, state), n) in queued {
        metrics::gauge!("chancery_jobs", "kind" => kind, "state" => state).set(seconds(n));
    }
    let reference = app.store.reference();
    metrics::gauge!("chancery_clock_offset_seconds").set(reference.offset() as f64 / 1e6);
    let database = reference.database_offset().unwrap_or(0);
    metrics::gauge!("chancery_database_clock_offset_seconds").set(database as f64 / 1e6);
    Ok(())
}

/// Full counts: every few minutes.
pub async fn census(app: &App) -> Result<()> {
    let now = app.clock.now();
    let mut states: BTreeMap<(String, String, String), i64> = BTreeMap::new();
    let mut expiring: BTreeMap<(String, String), [i64; 3]> = BTreeMap::new();
    for (issuer, profile) in pairs(app) {
        for state in ["intended", "valid", "expired", "revoked"] {
            states.insert((issuer.clone(), profile.clone(), state.to_owned()), 0);
        }
        expiring.insert((issuer, profile), [0; 3]);
    }
    let counted = certificates::states(&app.store, now).await?;
    states.extend(counted.into_iter().map(|(issuer, profile, state, n)| ((issuer, profile, state), n)));
    for ((issuer, profile, state), n) in states {
        metrics::gauge!("chancery_certificates", "issuer" => issuer, "profile" => profile, "state" => state)
            .set(seconds(n));
    }
    let counted = certificates::expiring(&app.store, now).await?;
    expiring.extend(counted.into_iter().map(|(issuer, profile, n)| ((issuer, profile), n)));
    for ((issuer, profile), counts) in expiring {
        for (within, n) in ["7d", "14d", "30d"].into_iter().zip(counts) {
            metrics::gauge!("chancery_certificates_expiring", "issuer" => issuer.clone(),
                "profile" => profile.clone(), "within" => within)
            .set(seconds(n));
        }
    }
    let mut by_state: BTreeMap<(String, String), i64> = BTreeMap::new();
    for directory in app.registration.directories() {
        for state in ["pending", "ready", "processing", "valid", "invalid"] {
            by_state.insert((directory.clone(), state.to_owned()), 0);
        }
    }
    by_state.extend(orders::states(&app.store).await?.into_iter().map(|(dir, state, n)| ((dir, state), n)));
    for ((directory, state), n) in by_state {
        metrics::gauge!("chancery_acme_orders", "directory" => directory, "state" => state).set(seconds(n));
    }
    Ok(())
}

/// Issuers with the profiles that they may sign for.
fn pairs(app: &App) -> Vec<(String, String)> {
    let snapshot = app.authority.snapshot();
    let issuing = snapshot.issuers.iter().filter(|(_, i)| i.issuer.role == IssuerRole::Issuing);
    issuing
        .flat_map(|(slug, loaded)| {
            let of_domain = snapshot.profiles.iter().filter(|(_, p)| p.profile.domain() == loaded.issuer.domain);
            of_domain.map(|(profile, _)| (slug.clone(), profile.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// Prometheus has floats only.
fn seconds(value: i64) -> f64 {
    value as f64
}

//! What this replica can do. /readyz: can it issue (the database, a write to it in the last seconds, the unlock key, a
//! self-test of the key of every issuer that signs, the clock, a database that is as new as remembered)? A trust domain that
//! cannot issue is named as a warning while others can. /readyz/status: can it serve the CRL of every CA, roots
//! included, and OCSP answers? A CA that is retiring, removed or revoked counts there until its last certificate has
//! expired; one that has itself expired makes neither fail: what to do about it is said by `chancery doctor`. `/livez`
//! asks none of it: a database that is down must not restart every replica.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::ops::{Answer, Check};
use crate::app::App;
use crate::authority::snapshot::LoadedIssuer;
use crate::clock::monotonic;
use crate::error::Error;
use crate::model::issuer::{IssuerRole, OcspSigner};
use crate::pki::algorithm::verify;
use crate::pki::issuer::IssuerKey;
use crate::pki::signer::{KeyPurpose, KeyStore};
use crate::store::is_busy;

/// How long a signature that verified speaks for its key, and one that did not.
const GOOD_FOR: Duration = Duration::from_secs(60);
const BAD_FOR: Duration = Duration::from_secs(5);

pub fn issuing(app: &Arc<App>) -> Vec<Check> {
    let tested: Arc<Mutex<SelfTests>> = Arc::default();
    vec![
        check(app, "database", |app| Box::pin(database(app))),
        check(app, "write", |app| Box::pin(async move { vec![Answer::new("write", app.store.write_failure())] })),
        check(app, "unlocked", |app| Box::pin(async move { vec![unlocked(&app)] })),
        check(app, "issuer", move |app| {
            let tested = Arc::clone(&tested);
            Box::pin(async move { issuers(&app, &tested).await })
        }),
        check(app, "clock", |app| Box::pin(clock(app))),
        check(app, "rows", |app| Box::pin(async move { vec![rows(&app)] })),
        check(app, "history", |app| Box::pin(async move { vec![history(&app)] })),
    ]
}

pub fn status(app: &Arc<App>) -> Vec<Check> {
    vec![check(app, "crl", |app| Box::pin(published(app))), check(app, "ocsp", |app| Box::pin(delegates(app)))]
}

fn check(
    app: &Arc<App>,
    name: &'static str,
    ask: impl Fn(Arc<App>) -> BoxFuture<'static, Vec<Answer>> + Send + Sync + 'static,
) -> Check {
    let app = Arc::clone(app);
    Check { name, ask: Arc::new(move || ask(Arc::clone(&app))) }
}

async fn database(app: Arc<App>) -> Vec<Answer> {
    let told = |error: Error| if is_busy(&error) { error.detail } else { error.chain() };
    vec![Answer::new("database", app.authority.refresh().await.err().map(told))]
}

fn history(app: &App) -> Answer {
    Answer::new("history", app.store.check_history().err().map(|error| error.detail))
}

/// Other rows work, so this replica stays in the load balancer.
fn rows(app: &App) -> Answer {
    let macs = app.store.row_macs();
    if let Some(why) = macs.lost() {
        return Answer::new("rows", Some(format!("rows that grant something cannot be checked: {why}")));
    }
    let changed = macs.changed();
    let more = match changed.len().saturating_sub(1) {
        0 => String::new(),
        more => format!("; and {more} more, which `chancery doctor` names"),
    };
    match changed.into_iter().next() {
        Some((object, row)) => Answer::warning("rows", format!("{object} {}{more}", row.what)),
        None => Answer::new("rows", None),
    }
}

fn unlocked(app: &App) -> Answer {
    let locked = !app.keys.can_open(KeyPurpose::Issuer);
    Answer::new(
        "unlocked",
        locked.then(|| {
            "the server is locked: status goes on, nothing is issued, and rows are compared with the audit, but few with their MACs; \
             restart it with its unlock key, without --locked"
                .into()
        }),
    )
}

/// By issuer: when its key was tried, and what was wrong.
type SelfTests = BTreeMap<String, (Instant, Option<String>)>;

async fn issuers(app: &App, tested: &Mutex<SelfTests>) -> Vec<Answer> {
    // held over the signatures: a hundred probes at once try each key once
    let mut tested = tested.lock().await;
    let mut answers = Vec::new();
    let (snapshot, now) = (app.authority.snapshot(), app.clock.now());
    for (slug, loaded) in snapshot.issuers.iter().filter(|(_, i)| snapshot.may_sign(i, now).is_ok()) {
        let name = format!("issuer/{slug}");
        let Some(key) = &loaded.key else {
            answers.push(Answer::new(name, Some("its key is not loaded: the server is locked".into())));
            continue;
        };
        let fresh = tested
            .get(slug)
            .filter(|(at, failure)| at.elapsed() < if failure.is_none() { GOOD_FOR } else { BAD_FOR });
        let failure = match fresh {
            Some((_, failure)) => failure.clone(),
            None => {
                let failure = self_test(slug, key).await;
                tested.insert(slug.clone(), (monotonic(), failure.clone()));
                failure
            }
        };
        answers.push(Answer::new(name, failure));
    }
    if answers.is_empty() {
        answers.push(Answer::new("issuer", Some("no issuer signs certificates; run `chancery doctor`".to_owned())));
    }
    // this replica issues for other domains, so that it stays in the load balancer and its body says what it cannot do
    let idle = app.authority.domains_without_signer().await.unwrap_or_default();
    answers.extend(idle.into_iter().map(|(domain, why)| Answer::warning(format!("domain/{domain}"), why)));
    answers
}

/// Signs a sentence, which is no DER and so can never be taken for a certificate, a CRL or an answer.
async fn self_test(slug: &str, key: &IssuerKey) -> Option<String> {
    let sentence = format!("chancery tries the key of {slug}: this is no certificate");
    let signer = key.signer();
    match signer.sign(sentence.as_bytes()).await {
        Err(error) => Some(error.to_string()),
        Ok(signature) => verify(signer.public_key(), sentence.as_bytes(), &signature)
            .err()
            .map(|_| "its signature does not verify".to_owned()),
    }
}

/// The CRL that this replica serves for every CA whose certificates somebody may still verify: in force, from memory when
/// the database is away.
async fn published(app: Arc<App>) -> Vec<Answer> {
    let (snapshot, now) = (app.authority.snapshot(), app.clock.now());
    let mut answers = Vec::new();
    for (slug, loaded) in &snapshot.issuers {
        if !loaded.signs_crls() || !counts(&app, loaded).await {
            continue;
        }
        let failure = match app.authority.current_crl(slug).await {
            Err(error) => Some(error.chain()),
            Ok(crl) => (crl.next_update <= now).then(|| format!("the newest one expired at {}", crl.next_update)),
        };
        let failure = failure.map(|why| format!("{why}; {}", app.authority.how_to_publish(loaded)));
        answers.push(Answer::new(format!("crl/{slug}"), failure));
    }
    // this replica serves what there is; taking it away would hide the CRL from everybody
    let pending = app.authority.pending_revocations().await.unwrap_or_default();
    answers.extend(pending.into_iter().map(|p| {
        let why = format!("{} revoked under {} not on its CRL; {}", p.count, p.issuer, p.fix);
        Answer::warning(format!("revocations/{}", p.issuer), why)
    }));
    answers
}

/// Is its status what verifiers need? Of a CA that signs no more as long as its last certificate is valid. What has
/// expired is for operators to look at.
async fn counts(app: &App, loaded: &LoadedIssuer) -> bool {
    // with the database away what is served from memory is still looked at
    app.authority.needs_status(&loaded.issuer).await.unwrap_or(true)
}

async fn delegates(app: Arc<App>) -> Vec<Answer> {
    let (snapshot, now) = (app.authority.snapshot(), app.clock.now());
    let mut answers = Vec::new();
    for (slug, loaded) in snapshot.issuers.iter().filter(|(_, i)| i.issuer.role == IssuerRole::Issuing) {
        if !counts(&app, loaded).await {
            continue;
        }
        let failure = match &loaded.responder {
            None if loaded.ocsp_signer == OcspSigner::Issuer => {
                Some("its own key signs the answers and is not loaded: the server is locked".to_owned())
            }
            None => Some("there is no delegate whose key is loaded".to_owned()),
            Some(signer) => (signer.not_after <= now)
                .then(|| format!("the certificate of its OCSP signer expired at {}", signer.not_after)),
        };
        answers.push(Answer::new(format!("ocsp/{slug}"), failure));
    }
    answers
}

async fn clock(app: Arc<App>) -> Vec<Answer> {
    let wrong = match app.store.measure_clock().await {
        Err(error) => Some(error.chain()),
        Ok(()) => app.store.check_clock().err().map(|error| error.detail),
    };
    vec![Answer::new("clock", wrong)]
}

//! What clients were told, compared with what the servers say now. Nothing is wrong with any server meanwhile.

use std::collections::HashMap;

use chancery::authority::audit_check::KnownOutside;
use chancery::model::crl::CrlNumber;
use chancery::store::jobs;
use openssl::x509::X509;
use serde_json::Value;

use crate::client::{Answer, CERTIFICATES, get};
use crate::model::{Standing, plain};
use crate::status::Said;
use crate::week::Week;

/// The CRL of the issuer, and the list of its whole trust domain.
const ISSUER: &str = "/crl/tls-1.crl";
const DOMAIN: &str = "/crl/domain/tls.crl";
/// Every so many steps everything is compared.
const WHOLE: usize = 12;

/// After each step: the lists, and some certificates.
pub fn look(week: &mut Week) {
    if week.dice.below(WHOLE) == 0 {
        return everything(week);
    }
    for server in 0..week.nodes.len() {
        lists(week, server);
        for _ in 0..3.min(week.model.known.len()) {
            let at = week.dice.below(week.model.known.len());
            status(week, server, at);
        }
    }
    if !week.model.known.is_empty() {
        let (server, at) = (week.some_server(), week.dice.below(week.model.known.len()));
        certificate(week, server, at);
    }
}

/// At rest no certificate is being made.
pub fn no_intents(week: &mut Week) {
    let server = week.some_server();
    let path = format!("{CERTIFICATES}?status=intended");
    let page = week.node(server).ask(get(week.token(), &path)).expect("nothing kills it").json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(0), "signings were begun and are left: {page}");
}

pub fn everything(week: &mut Week) {
    for server in 0..week.nodes.len() {
        lists(week, server);
        (0..week.model.known.len()).for_each(|at| status(week, server, at));
    }
    let server = week.some_server();
    (0..week.model.known.len()).for_each(|at| certificate(week, server, at));
    listing(week, server);
    records(week, server);
}

/// The CRLs of a server that has done its periodic work.
pub fn lists(week: &mut Week, server: usize) {
    let rolled_back = week.node(server).app().store.rollback().is_some();
    let now = week.now().secs();
    for path in [ISSUER, DOMAIN] {
        let verifier = week.verifier.as_ref().expect("fetched at the start");
        let Some(list) = verifier.crl(week.node(server), path).expect("nothing kills it") else {
            panic!("{path} is not served")
        };
        week.model.fetched(path, &list);
        assert!(list.is_current(now), "{path} number {} is not current", list.number);
        for known in week.model.known.iter().filter(|known| !known.perhaps_lost && !rolled_back) {
            let (id, listed) = (&known.id, list.has(&known.serial));
            match known.standing {
                Standing::Revoked => assert!(listed, "{id} was revoked and is not on {path} number {}", list.number),
                Standing::Valid => assert!(!listed, "{id} was not revoked and is on {path} number {}", list.number),
                Standing::PerhapsRevoked => {}
            }
        }
    }
}

/// The number of the CRL that a server serves.
pub fn crl_number(week: &Week, server: usize) -> Option<CrlNumber> {
    let verifier = week.verifier.as_ref()?;
    verifier.crl(week.node(server), ISSUER).expect("nothing kills it").map(|list| list.number)
}

/// What OCSP says of one certificate.
fn status(week: &mut Week, server: usize, at: usize) {
    let known = &week.model.known[at];
    let verifier = week.verifier.as_ref().expect("fetched at the start");
    let said = verifier.ocsp(week.node(server), &known.der).expect("nothing kills it");
    let id = &known.id;
    match known.standing {
        Standing::Revoked if known.perhaps_lost && !known.listed => {}
        Standing::Revoked => assert_eq!(said, Said::Revoked, "{id} was revoked"),
        Standing::Valid if known.perhaps_lost => {}
        Standing::Valid => assert_eq!(said, Said::Good, "{id} was not revoked"),
        Standing::PerhapsRevoked if known.perhaps_lost => {}
        Standing::PerhapsRevoked => match said {
            Said::Revoked => week.model.revoked(at),
            Said::Good => {}
            other => panic!("OCSP says {other:?} of {id}"),
        },
    }
}

/// From the moment that a revocation is acknowledged its server says "good" no more, whatever is wrong with it.
pub fn is_not_good(week: &Week, server: usize, at: usize) {
    let verifier = week.verifier.as_ref().expect("fetched at the start");
    let said = verifier.ocsp(week.node(server), &week.model.known[at].der);
    assert_ne!(said, Ok(Said::Good), "{} was just revoked", week.model.known[at].id);
}

/// What REST says of one certificate and of its events.
fn certificate(week: &mut Week, server: usize, at: usize) {
    if week.model.known[at].perhaps_lost {
        return;
    }
    let path = format!("{CERTIFICATES}/{}", week.model.known[at].id);
    let answer = week.node(server).ask(get(week.token(), &path)).expect("nothing kills it");
    assert_eq!(answer.status, 200, "{path}: {}", answer.told());
    same_bytes(week, at, &answer);
    let is_revoked = answer.text("status") == "revoked";
    match week.model.known[at].standing {
        Standing::Revoked => assert!(is_revoked, "{path} was revoked"),
        Standing::Valid => assert!(!is_revoked, "{path} was not revoked"),
        Standing::PerhapsRevoked if is_revoked => week.model.revoked(at),
        Standing::PerhapsRevoked => week.model.known[at].standing = Standing::Valid,
    }
    let answer = week.node(server).ask(get(week.token(), &format!("{path}/events"))).expect("nothing kills it");
    let events = answer.json();
    let has = |action: &str| events["items"].as_array().unwrap().iter().any(|event| event["action"] == action);
    assert!(has("certificate.issued"), "the audit does not tell that {path} was issued");
    assert_eq!(has("certificate.revoked"), is_revoked, "the audit and the status of {path}");
}

pub fn same_bytes(week: &Week, at: usize, answer: &Answer) {
    let der = X509::from_pem(answer.text("certificate").as_bytes()).expect("a certificate in PEM").to_der().unwrap();
    assert_eq!(
        der, week.model.known[at].der,
        "{} has other bytes than its client was given",
        week.model.known[at].id
    );
}

/// All certificates that REST lists: what was acknowledged is there once, and what was not is whole or absent.
fn listing(week: &mut Week, server: usize) {
    let mut by_name: HashMap<String, Vec<Value>> = HashMap::new();
    let mut ids = HashMap::new();
    let mut serials = HashMap::new();
    let mut path = format!("{CERTIFICATES}?limit=200");
    loop {
        let page = week.node(server).ask(get(week.token(), &path)).expect("nothing kills it");
        assert_eq!(page.status, 200, "{}", page.told());
        let page = page.json();
        for item in page["items"].as_array().unwrap() {
            let (id, serial) = (item["id"].to_string(), plain(item["serial"].as_str().unwrap()));
            assert_eq!(ids.insert(id.clone(), ()), None, "{id} is listed twice");
            assert_eq!(serials.insert(serial.clone(), id), None, "serial {serial} is listed twice");
            if let Some(name) = item["names"][0].as_str().filter(|name| week.model.names.contains(*name)) {
                by_name.entry(name.to_owned()).or_default().push(item.clone());
            }
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{CERTIFICATES}?limit=200&cursor={cursor}"),
            None => break,
        }
    }
    for known in week.model.known.iter().filter(|known| !known.perhaps_lost) {
        let rows = by_name.get(&known.name).map_or(&[][..], Vec::as_slice);
        let row = rows.iter().find(|row| row["id"] == known.id.as_str());
        let row = row.unwrap_or_else(|| panic!("{} was given to a client and is not listed", known.id));
        assert_eq!(plain(row["serial"].as_str().unwrap()), known.serial);
    }
    for (name, rows) in &by_name {
        let alive: Vec<&Value> = rows.iter().filter(|row| row["status"] != "revoked").collect();
        assert!(alive.len() <= 1, "{name} was asked for under one key and has {} certificates", alive.len());
        for row in alive {
            // an intent without outcome ends after some minutes
            assert!(["valid", "intended"].contains(&row["status"].as_str().unwrap()), "{row}");
            assert_eq!(
                row["status"] == "valid",
                row["fingerprint"].is_string(),
                "a certificate is whole or absent: {row}"
            );
        }
    }
}

/// The database agrees with itself, the audit is whole, and nothing waits for an operator.
fn records(week: &mut Week, server: usize) {
    let app = week.node(server).app().clone();
    let (report, audit, checks, waiting) = week
        .node(server)
        .run(async {
            let report = app.authority.fsck().await.expect("fsck reads everything");
            let audit = app.authority.verify_audit(KnownOutside::default()).await.expect("the audit is read");
            let now = app.store.now();
            let waiting: i64 = jobs::states(&app.store, now).await.unwrap().iter().map(|(.., n)| n).sum();
            (report, audit, app.authority.checks().await, waiting)
        })
        .expect("nothing kills it");
    assert!(report.findings.is_empty(), "fsck: {:?}", report.findings);
    assert!(audit.findings.is_empty(), "audit verify: {:?}", audit.findings);
    assert_eq!(waiting, 0, "jobs are left over");
    for check in checks {
        assert_ne!(check.severity.name(), "critical", "doctor: {}: {}", check.name, check.detail);
    }
}

//! Hostile targets in a network namespace of their own, where every address of IPv4 and IPv6 is this machine's and
//! every connection is counted by the address and port that it came to. With the rules as they ship none comes to a
//! forbidden place; with the rules opened each target that leads to one is counted there, so that the zero means
//! something. Checklist H2, H3, H5 (no proxy), D2, L2, and acme.md §4.

mod namespace;
mod stage;
mod targets;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery::clock::{ManualClock, Timestamp, monotonic};
use chancery::error::ErrorKind;
use chancery::model::identifier::Identifier;
use chancery::validation::guard::Guard;
use chancery::validation::{Claim, Method, Outcome, Rules, StepKind, ValidationConfig, Validator};

use self::namespace::Entered;
use self::stage::{NAME_SERVER, Stage};
use self::targets::{OWN, Target};
use super::support::{ACCOUNT, TOKEN, key_authorization};
use crate::support::wait::pause;

/// Fewer than these would be no battery.
const AT_LEAST: usize = 60;
/// Of one attempt; what a machine under load adds stands in `SLACK`.
const TOTAL: Duration = Duration::from_secs(6);
const SLACK: Duration = Duration::from_secs(6);
/// What a target can send before it notices that nobody reads: our limits and both kernels' buffers.
const MOST_SENT: u64 = 1_000_000;

#[test]
fn h2_h3_h5_d2_l2_no_hostile_target_leads_to_a_forbidden_place() {
    match namespace::enter("validation::hostile::h2_h3_h5_d2_l2_no_hostile_target_leads_to_a_forbidden_place") {
        Entered::Inside => tokio::runtime::Runtime::new().unwrap().block_on(battery()),
        Entered::Done(report) => print!("{report}"),
        Entered::Skipped(why) => println!("skip hostile: {why}"),
    }
}

async fn battery() {
    let targets = targets::all();
    let names: BTreeSet<_> = targets.iter().map(|t| &t.name).collect();
    assert_eq!(names.len(), targets.len(), "each target has a name of its own");
    assert!(targets.len() >= AT_LEAST, "{} targets", targets.len());
    // the harness has begun a line of its own
    println!();
    closed(&targets).await;
    let opened = open(&targets).await;
    println!(
        "hostile: {} targets, 0 connections to forbidden places; opened, {opened} of them got there",
        targets.len()
    );
}

/// All at once, as an attacker would, with the rules as they ship.
async fn closed(targets: &[Target]) {
    let stage = Stage::set(targets).await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let validator = Validator::new(settings(), own_listeners(), clock).unwrap();
    let attempts = targets.iter().map(async |target| {
        let began = monotonic();
        let outcome = attempt(&validator, target, &target.rules).await;
        (target, outcome, began.elapsed())
    });
    let mut wrong = Vec::new();
    for (target, outcome, took) in futures_util::future::join_all(attempts).await {
        assert!(took <= TOTAL + SLACK, "{}: took {took:?}", target.name);
        match judge(target, &outcome) {
            Ok(()) => println!("ok {} ({})", target.name, target.kind.code()),
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // what is still on its way would be counted too late
    pause(Duration::from_millis(200)).await;
    let own: BTreeSet<_> = targets.iter().map(|t| t.address).collect();
    let allowed = |to: &SocketAddr| own.contains(&to.ip()) && matches!(to.port(), 80 | 443);
    let forbidden: Vec<_> = stage.counts().into_iter().filter(|(to, _)| !allowed(to)).collect();
    assert!(forbidden.is_empty(), "connections to forbidden places: {forbidden:?}");
    assert!(stage.counts().len() >= 30, "targets were reached at their own addresses");
    for target in targets {
        let sent = stage.sent(target.address);
        assert!(sent <= MOST_SENT, "{}: {sent} bytes were taken", target.name);
    }
}

/// One after the other with nothing held back: how many reached what the rules forbid.
async fn open(targets: &[Target]) -> usize {
    let stage = Stage::set(targets).await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let validator = Validator::with_guard(settings(), Guard::open(), clock).unwrap();
    let mut reached = BTreeSet::new();
    let mut several = 0;
    for target in targets {
        let Some(place) = target.forbidden else { continue };
        let before = stage.count(place);
        let outcome = attempt(&validator, target, &target.opened).await;
        assert!(stage.count(place) > before, "{}: nothing came to {place}: {outcome:?}", target.name);
        reached.insert(place);
        several += 1;
    }
    // every listener that must not be reached is one that can be
    for place in targets::FORBIDDEN {
        let place: SocketAddr = place.parse().unwrap();
        assert!(reached.contains(&place), "no target leads to {place}");
    }
    several
}

async fn attempt(validator: &Validator, target: &Target, rules: &Rules) -> Outcome {
    let name = Identifier::guess(&target.identifier).unwrap();
    let key_authorization = key_authorization();
    let claim = Claim {
        name: &name,
        token: TOKEN,
        key_authorization: &key_authorization,
        account_url: ACCOUNT,
        subdomains: false,
    };
    validator.prove(target.method, rules, &claim).await
}

/// Refused, for the reason that it should be, in a sentence that helps and tells nothing that was sent.
fn judge(target: &Target, outcome: &Outcome) -> Result<(), String> {
    let Err(error) = &outcome.result else { return Err(format!("{} proved something", target.name)) };
    let detail = error.detail();
    let hold = |good: bool, what: &str| {
        if good { Ok(()) } else { Err(format!("{}: {what}: {detail} {:?}", target.name, outcome.timeline)) }
    };
    hold(error.kind() == target.kind, error.kind().code())?;
    hold(detail.chars().count() <= 400, "too long")?;
    let all = format!("{detail} {error:?} {:?}", outcome.timeline);
    hold(!all.contains("CANARY"), "shows what was sent")?;
    hold(detail.contains("; "), "nothing to do")?;
    let placed = match target.kind {
        ErrorKind::Dns => detail.contains("from the CA server"),
        ErrorKind::IncorrectResponse if target.method == Method::Dns01 => detail.starts_with("_acme-challenge."),
        _ => detail.contains(" port "),
    };
    hold(placed, "no address and port")?;
    hold(detail.contains(target.words), target.words)?;
    let dials = outcome.timeline.iter().filter(|s| s.what == StepKind::Dial).count();
    hold(dials <= 11, "too many connections")?;
    hold(outcome.timeline.last().is_some_and(|s| s.what == StepKind::Result), "no result in the timeline")
}

fn settings() -> ValidationConfig {
    let mut settings = ValidationConfig {
        resolvers: vec![NAME_SERVER.parse().unwrap()],
        deny_networks: vec!["10.99.0.0/16".parse().unwrap()],
        ..ValidationConfig::default()
    };
    settings.timeouts.total = TOTAL;
    settings.timeouts.dial = TOTAL / 2;
    settings.timeouts.resolve = TOTAL / 2;
    settings.concurrency.global = 1_000;
    settings
}

/// What a server tells the validator of itself: its API, its metrics, its database.
fn own_listeners() -> Vec<SocketAddr> {
    OWN.iter().map(|place| place.parse().unwrap()).collect()
}

//! Simulated weeks of whole servers. In each, clients issue, renew, revoke and read through REST, ACME, OCSP and CRLs,
//! while by the seed servers are killed, answers are lost, disks fill up, statements and commits fail, clocks are set
//! wrong and older databases come back. A model of what was acknowledged is compared with what the servers say.
//!
//!   cargo run --release --example simulation -- [--seeds 200] [--from 1] [--engine sqlite|postgres] [--seed N]
//!
//! Postgres takes part where CHANCERY_TEST_POSTGRES_URL is set, with two replicas. A failure prints the command that
//! repeats it.

mod acme;
mod client;
mod compare;
mod model;
mod node;
mod options;
mod place;
mod status;
mod trouble;
mod week;

#[expect(dead_code, reason = "the account of a simulated week proves nothing and has one key")]
#[path = "../it/support/acme_key.rs"]
mod acme_key;
#[path = "../it/support/dice.rs"]
mod dice;
#[expect(dead_code, reason = "simulated weeks need nobody who refuses connections")]
#[path = "../it/support/ports.rs"]
mod ports;
#[expect(dead_code, reason = "simulated weeks need no cluster with settings of its own and load no dump")]
#[path = "../it/support/postgres.rs"]
mod postgres;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use options::Options;
use place::{Engine, Template};
use week::Week;

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<String> = RefCell::default();
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    // a failed seed is reported with its story; the thread's own words would mix with those of others
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(String::new(), |at| format!("{}:{}", at.file(), at.line()));
        PLACE.with(|of_thread| of_thread.replace(place));
    }));
    let (mut ran, mut failed) = (0, 0);
    for engine in &options.engines {
        let (of_engine, wrong) = run(*engine, &options);
        ran += of_engine;
        failed += wrong;
    }
    println!("{ran} seeds run, {failed} failed");
    if failed == 0 && ran > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the seeds of one engine; says how many there were and how many failed.
fn run(engine: Engine, options: &Options) -> (u64, usize) {
    let template = Template::found(engine);
    let (from, to) = options.range(engine);
    let (next, failed) = (AtomicU64::new(from), AtomicUsize::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to || failed.load(Ordering::Relaxed) >= options.failures {
                return;
            }
            if !lives(engine, &template, seed, options) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.lanes(engine) {
            scope.spawn(work);
        }
    });
    template.remove();
    let ran = next.load(Ordering::Relaxed).min(to) - from;
    (ran, failed.load(Ordering::Relaxed))
}

/// One week. Says whether everything held.
fn lives(engine: Engine, template: &Template, seed: u64, options: &Options) -> bool {
    let mut week = Week::new(template, seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| week.live()));
    let name = engine.name();
    match outcome {
        Ok(()) => println!("ok {name} seed {seed}: {}", week.summary()),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let why = why.unwrap_or_else(|| "it panicked".to_owned());
            let why = format!("{why} ({})", PLACE.with(|of_thread| of_thread.take()));
            let mut told = format!("not ok {name} seed {seed}: {}\n", why.replace('\n', " "));
            for line in week.story(options.lines) {
                told.push_str(&format!("# {line}\n"));
            }
            told.push_str(&format!("# repeat it with: {}\n", options.command(engine, seed)));
            print!("{told}");
            week.give_up();
            return false;
        }
    }
    week.end();
    true
}

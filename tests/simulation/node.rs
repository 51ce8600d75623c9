//! One server of the simulated week: everything but its listeners, on a runtime of its own. Killing it drops that
//! runtime, and with it every task wherever it waits.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use chancery::app::App;
use chancery::clock::{Clock, ManualClock, Timestamp};
use chancery::entropy::SeededEntropy;
use chancery::error::Error;
use chancery::jobs;
use chancery::server::listen::Addresses;
use chancery::server::startup::Startup;
use chancery::server::{assemble, claim, running};
use chancery::store::faults::Statements;
use futures_util::future::{join_all, poll_fn};
use tokio::runtime::{Builder, Runtime};

use crate::client::{Answer, send};
use crate::place::{Engine, Place};

/// The server was killed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Died;

pub struct Node {
    app: Arc<App>,
    router: Router,
    pub clock: ManualClock,
    /// When each piece of periodic work ran last, in the order of `jobs::WORK`.
    last: RefCell<Vec<Option<Timestamp>>>,
    dead: Cell<bool>,
    /// Held as long as the server lives.
    _claim: Option<File>,
    runtime: Runtime,
}

/// One request and how long its client waits: after so many steps of the server it is gone.
pub struct Call {
    pub request: Request<Body>,
    pub patience: Option<usize>,
}

impl Node {
    /// `chance` differs for each start of each week.
    pub fn open(place: &Place, server: usize, clock: &ManualClock, chance: u64) -> Result<Node, Error> {
        let config = place.config(server);
        let claim = claim::database(&config)?;
        let addresses = Addresses::configured(&config);
        let urls = running::urls(&config, &addresses);
        // a server whose turn it is not must not keep its locks on a database that others share
        let runtime = match place.engine {
            Engine::Sqlite => Builder::new_current_thread().enable_all().build(),
            Engine::Postgres => Builder::new_multi_thread().worker_threads(1).enable_all().build(),
        };
        let runtime = runtime.unwrap();
        let (time, entropy) = (Arc::new(clock.clone()), Arc::new(SeededEntropy::new(chance)));
        let (app, _) =
            runtime.block_on(running::open_app(&config, time, entropy, urls, &addresses, &Startup::default()))?;
        let router = runtime.block_on(async { assemble::protocols(&app) });
        let last = RefCell::new(vec![None; jobs::WORK.len()]);
        Ok(Node { app, router, clock: clock.clone(), last, dead: Cell::new(false), _claim: claim, runtime })
    }

    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub fn faults(&self) -> &Statements {
        self.app.store.db.faults()
    }

    /// Runs until the work is done or the server was killed.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Died> {
        if self.dead.get() {
            return Err(Died);
        }
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.faults().died() => Err(Died),
                done = work => Ok(done),
            }
        });
        self.dead.set(outcome.is_err());
        outcome
    }

    pub fn ask(&self, request: Request<Body>) -> Result<Answer, Died> {
        let router = self.router.clone();
        self.run(send(router, request))
    }

    /// Requests at once. Those answered before a kill were answered.
    pub fn ask_all(&self, calls: Vec<Call>) -> (Vec<Option<Answer>>, Result<(), Died>) {
        let answers: RefCell<Vec<Option<Answer>>> = RefCell::new(calls.iter().map(|_| None).collect());
        let work = calls.into_iter().enumerate().map(|(at, call)| {
            let (router, answers) = (self.router.clone(), &answers);
            async move {
                let answer = before_it_goes(call.patience, send(router, call.request)).await;
                answers.borrow_mut()[at] = answer;
            }
        });
        let outcome = self.run(async {
            join_all(work).await;
        });
        (answers.into_inner(), outcome)
    }

    /// Runs the periodic work that is due and then the queue; says what failed. Each piece runs as its task would, so
    /// one that fails does not keep the others.
    pub fn turn(&self) -> Result<Vec<String>, Died> {
        let mut failed = Vec::new();
        for (at, work) in jobs::WORK.iter().enumerate() {
            let now = self.clock.now();
            let last = self.last.borrow()[at];
            // also after a clock was set back, as the machine's own time goes on
            if last.is_some_and(|last| last <= now && now.since(last) < work.period) {
                continue;
            }
            self.last.borrow_mut()[at] = Some(now);
            if let Err(error) = self.run(work.turn(&self.app))? {
                failed.push(format!("{}: {}", work.name, error.chain()));
            }
        }
        loop {
            match self.run(jobs::turn(&self.app))? {
                Ok(0) => return Ok(failed),
                Ok(_) => {}
                Err(error) => {
                    failed.push(format!("queue: {}", error.chain()));
                    return Ok(failed);
                }
            }
        }
    }

    /// All periodic work, due or not.
    pub fn every_turn(&self) -> Vec<String> {
        self.last.borrow_mut().fill(None);
        self.turn().expect("nothing kills it")
    }

    /// Lets what was begun and that nobody waits for go on for a while.
    pub fn settle(&self) -> Result<(), Died> {
        self.run(async { tokio::time::sleep(Duration::from_millis(1)).await })
    }

    /// As SIGKILL does.
    pub fn kill(self, place: &Place) {
        let Node { app, router, runtime, _claim, .. } = self;
        {
            // connections that are dropped start a task
            let _within = runtime.enter();
            drop(router);
            drop(app);
        }
        drop(runtime);
        place.wait_until_closed();
        claim::release(_claim);
    }

    /// As SIGTERM does (`Running::stop`).
    pub fn stop(self, place: &Place) {
        let app = self.app.clone();
        let stopped = self.run(async move {
            app.write_refusals(true).await;
            let _ = app.authority.remember().await;
            let _ = app.store.leave_clocks().await;
            let _ = app.store.leave_write_proofs().await;
            app.store.db.close().await;
        });
        stopped.expect("a server that stops is not killed");
        self.kill(place);
    }
}

/// The answer, unless the client is gone before: its request is dropped where it waits, as a server drops it when the
/// connection closes.
async fn before_it_goes<T>(patience: Option<usize>, work: impl Future<Output = T>) -> Option<T> {
    let mut left = patience;
    let mut work = std::pin::pin!(work);
    poll_fn(|context| {
        match &mut left {
            Some(0) => return std::task::Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

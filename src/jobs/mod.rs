//! What runs without a request: periodic work of this replica, and queued jobs that any replica may claim. One
//! list of each stands here. Every piece says in its room why running it twice is harmless.

mod periodic;
mod queue;
mod schedule;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;

pub use periodic::every;
pub use queue::{KINDS, turn};
pub use schedule::{PeriodicWork, WORK};

/// Runs until `stop` says so. `worker` is false for `--only web`: then only what a web process needs itself runs.
pub async fn run(app: Arc<App>, worker: bool, stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    schedule::spawn(&mut tasks, &app, worker, &stop);
    if worker {
        tasks.spawn(queue::run(Arc::clone(&app), stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

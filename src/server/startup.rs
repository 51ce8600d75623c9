//! What a server does that does not serve yet: its health listener, the service manager and the log say it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;

use super::notify::Notify;

/// How long the service manager is asked to wait further, and how often.
const FURTHER: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(15);

/// The migration that a starting server runs or waits for, if it does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Startup(watch::Sender<Option<String>>);

impl Default for Startup {
    fn default() -> Self {
        Startup(watch::Sender::new(None))
    }
}

impl Startup {
    pub fn migrating(&self, doing: &str) {
        self.0.send_replace(Some(doing.to_owned()));
    }

    /// From here on the service manager's own limit counts again.
    pub fn migrated(&self) {
        self.0.send_replace(None);
    }

    pub fn doing(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Tells the service manager of each change, and asks it for more time as long as a migration runs.
    pub async fn tell(&self, notify: &Notify) -> Infallible {
        let mut changes = self.0.subscribe();
        loop {
            let doing = changes.borrow_and_update().clone();
            // without a migration nothing is asked for: a start that hangs elsewhere is to be ended
            doing.iter().for_each(|doing| notify.starting(doing, FURTHER));
            // the sender is ours, so the channel does not close
            let _ = tokio::time::timeout(AGAIN, changes.changed()).await;
        }
    }
}

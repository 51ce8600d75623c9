//! Attempts to sign in that are slowed down: those for one account from one network, and guesses at the present
//! password within a session. Waiting grows with failures and its length is reported. No gate stands before a whole
//! address: behind a NAT or a load balancer it would shut everybody out for what one does (see `fair_queue.rs`).

use std::time::Duration;

use super::Access;
use crate::clock::{Timestamp, hours, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::UserId;
use crate::model::network::IpNetwork;
use crate::model::user::UserName;
use crate::store::{Tx, sessions};

/// Failures older than this are forgotten.
const REMEMBERED: Duration = hours(1);

/// Where attempts are counted, and how many are free.
#[derive(Debug, Clone)]
pub struct Gate {
    key: String,
    free: i64,
    longest: Duration,
}

impl Gate {
    pub fn of_sign_in(name: &UserName, network: &str) -> Self {
        Gate { key: format!("account {name} from {network}"), free: 5, longest: minutes(15) }
    }

    /// Only somebody in a session of the user gets here.
    pub fn of_password_change(user: UserId) -> Self {
        Gate { key: format!("password of {user}"), free: 5, longest: minutes(15) }
    }

    /// After the free ones it doubles from two seconds.
    fn wait(&self, failures: i64) -> Duration {
        let over = u32::try_from((failures - self.free).clamp(0, 20)).unwrap_or(0);
        if over == 0 { Duration::ZERO } else { Duration::from_secs(1 << over).min(self.longest) }
    }
}

/// The network of a client's address, which counts as one client.
pub fn network(address: &str) -> String {
    address.parse().map_or_else(|_| "unknown".to_owned(), |ip| IpNetwork::of_client(ip).to_string())
}

impl Access {
    /// Counts an attempt as failed until it has succeeded, so that many at once do not pass the gate together. A
    /// refusal by the gate itself is not audited again and again: the attempts that closed it were.
    pub(super) async fn pass(&self, tx: &mut Tx, gate: &Gate) -> Result<()> {
        planted!("passwords-are-guessed-freely", {
            return Ok(());
        });
        let now = tx.now();
        let Some(failures) = sessions::attempt(&mut *tx, &gate.key, now, now - REMEMBERED).await? else {
            let until = sessions::blocked_until(&mut *tx, &gate.key).await?.unwrap_or(now);
            return Err(too_many(until, now));
        };
        sessions::block(tx, &gate.key, now + gate.wait(failures)).await
    }

    /// Forgets the failures behind a gate after a success.
    pub(super) async fn succeeded(&self, tx: &mut Tx, gate: &Gate) -> Result<()> {
        sessions::forget(tx, &gate.key).await
    }

    pub(super) async fn forget_attempts(&self, now: Timestamp) -> Result<()> {
        sessions::clean_attempts(&self.store, now - REMEMBERED).await.map(drop)
    }
}

fn too_many(until: Timestamp, now: Timestamp) -> Error {
    let wait = Duration::from_secs(until.since(now).as_secs() + 1);
    let detail = format!("too many attempts failed; the next one is looked at in {} seconds", wait.as_secs());
    Error::new(ErrorKind::RateLimited, detail).retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_and_ends() {
        let gate = Gate { key: String::new(), free: 5, longest: minutes(15) };
        let waits: Vec<u64> = [1, 5, 6, 7, 8, 14, 15, 1_000].map(|n| gate.wait(n).as_secs()).to_vec();
        assert_eq!(waits, [0, 0, 2, 4, 8, 512, 900, 900]);
    }

    #[test]
    fn addresses_of_one_client_are_one() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}

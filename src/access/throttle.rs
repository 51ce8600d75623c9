//! Attempts to sign in, counted before the password is looked at: by account and address together, by address, and
//! by account. Waiting grows with failures and is told; nobody is locked out, and an account is never slowed by more
//! than a minute by what others do.

use std::time::Duration;

use super::Access;
use crate::clock::{Timestamp, hours, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::user::UserName;
use crate::store::{Tx, sessions};

/// Failures older than this are forgotten.
const REMEMBERED: Duration = hours(1);

/// Where attempts are counted, and how many are free.
#[derive(Debug, Clone)]
struct Gate {
    key: String,
    free: i64,
    longest: Duration,
}

/// The gates of one attempt, always in the same order, so that two attempts never wait for each other.
#[derive(Debug, Clone)]
pub struct Gates(Vec<Gate>);

impl Gates {
    /// `name` is None when what was typed cannot be a name.
    pub fn of_sign_in(name: Option<&UserName>, address: &str) -> Self {
        let network = network(address);
        let mut gates = vec![Gate { key: format!("address {network}"), free: 30, longest: minutes(15) }];
        if let Some(name) = name {
            gates.push(Gate { key: format!("account {name}"), free: 50, longest: minutes(1) });
            gates.push(Gate { key: format!("account {name} from {network}"), free: 5, longest: minutes(15) });
        }
        Gates(gates)
    }

    pub fn of_setup(address: &str) -> Self {
        Gates(vec![Gate { key: format!("set-up from {}", network(address)), free: 10, longest: minutes(15) }])
    }
}

/// An IPv6 client has a whole /64 to itself.
fn network(address: &str) -> String {
    match address.parse() {
        Ok(std::net::IpAddr::V6(v6)) => {
            let s = v6.segments();
            format!("{:x}:{:x}:{:x}:{:x}::/64", s[0], s[1], s[2], s[3])
        }
        Ok(std::net::IpAddr::V4(v4)) => v4.to_string(),
        Err(_) => "unknown".to_owned(),
    }
}

impl Gate {
    /// After the free ones it doubles from two seconds.
    fn wait(&self, failures: i64) -> Duration {
        let over = u32::try_from((failures - self.free).clamp(0, 20)).unwrap_or(0);
        if over == 0 { Duration::ZERO } else { Duration::from_secs(1 << over).min(self.longest) }
    }
}

impl Access {
    /// Counts an attempt as failed until it has succeeded, so that many at once do not pass the gate together. A
    /// refusal by the gate itself is not audited again and again: the attempts that closed it were.
    pub(super) async fn pass(&self, tx: &mut Tx, gates: &Gates) -> Result<()> {
        let now = tx.now();
        for gate in &gates.0 {
            let Some(failures) = sessions::attempt(&mut *tx, &gate.key, now, now - REMEMBERED).await? else {
                let until = sessions::blocked_until(&mut *tx, &gate.key).await?.unwrap_or(now);
                return Err(too_many(until, now));
            };
            let wait = gate.wait(failures);
            sessions::block(&mut *tx, &gate.key, now + wait).await?;
        }
        Ok(())
    }

    /// It was a good one: what the account has is forgotten, the address gets its attempt back.
    pub(super) async fn succeeded(&self, tx: &mut Tx, gates: &Gates) -> Result<()> {
        for gate in &gates.0 {
            if gate.key.starts_with("address ") {
                sessions::forgive(&mut *tx, &gate.key).await?;
            } else {
                sessions::forget(&mut *tx, &gate.key).await?;
            }
        }
        Ok(())
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

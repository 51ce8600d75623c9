//! Accounts as they were read a moment ago: every request names one. A change by this process is seen at once, another
//! process's within five seconds, and whatever writes looks at the account's row again in its transaction: its state and
//! its key. A signature that does not verify is tried with the row as it is now.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::acme::Account;
use crate::model::id::AccountId;
use crate::store::Store;

const GOOD_FOR: Duration = Duration::from_secs(4);

/// More than these are not kept; about 4 MB.
const MOST: usize = 4_096;

#[derive(Default)]
pub(super) struct Known {
    /// The lock guards single look-ups and insertions; nothing is read or written under it.
    entries: Mutex<HashMap<AccountId, Entry>>,
}

struct Entry {
    account: Arc<Account>,
    read_at: Timestamp,
    /// Of the store, before it was read.
    changes: u64,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl Known {
    pub fn get(&self, store: &Store, id: AccountId) -> Option<Arc<Account>> {
        let (now, changes) = (store.now(), store.account_changes());
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&id).filter(|entry| entry.changes == changes)?;
        // a clock that was set back makes nothing good for longer
        let good = entry.read_at <= now && now.since(entry.read_at) < GOOD_FOR;
        good.then(|| Arc::clone(&entry.account))
    }

    /// `changes` and `read_at` are of before the row was read.
    pub fn put(&self, account: Account, read_at: Timestamp, changes: u64) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(account.id, Entry { account: Arc::new(account), read_at, changes });
    }
}

//! Account keys that are blocked: a revocation reported them as compromised, or somebody blocked them.

use aws_lc_rs::digest::{SHA256, digest};

use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::AccountKey;
use crate::store::versions::{self, Topic};
use crate::store::{Tx, revocations};

/// Refuses a blocked key. The revocation version is held until the transaction ends: a revocation that blocks the key
/// meanwhile waits, and then finds the account.
pub(super) async fn refuse_blocked(tx: &mut Tx, key: &AccountKey) -> Result<()> {
    versions::hold(tx, Topic::Revocations).await?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, &key.public_key).as_ref());
    match revocations::blocked(&mut *tx, &sha256).await? {
        None => Ok(()),
        Some(reason) => Err(Error::refused(
            ErrorKind::BadKey,
            "key.blocked",
            "this account key",
            "a key that is not blocked",
            "make a new key",
        )
        .explained(format!("this account key is blocked ({reason})"))),
    }
}

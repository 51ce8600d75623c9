//! ACME accounts on both engines.

use chancery::error::{ErrorKind, Result};
use chancery::model::acme::{Account, AccountKey, AccountStatus};
use chancery::model::actor::Actor;
use chancery::store::{Store, accounts};
use futures_util::future::join_all;

use crate::support::acme_rows::{account, deactivated, directory, key, stored_account};

crate::on_both_engines! {
    async fn an_account_comes_back_as_it_was(at) {
        let made = stored_account(&at.store).await;
        assert_eq!(accounts::find(&at.store, made.id).await.unwrap().as_ref(), Some(&made));
        assert_eq!(accounts::lock(&at.store, made.id).await.unwrap().as_ref(), Some(&made));
        let by_key = |directory| accounts::find_by_key(&at.store, directory, &made.key.thumbprint);
        assert_eq!(by_key("default").await.unwrap().as_ref(), Some(&made));
        assert_eq!(by_key("other").await.unwrap(), None);
        assert!(accounts::has_key(&at.store, &made.key.public_key).await.unwrap());
        assert!(!accounts::has_key(&at.store, b"another").await.unwrap());
    }

    async fn a_key_has_one_account_in_a_directory_whoever_is_first(at) {
        directory(&at.store, "default").await;
        directory(&at.store, "other").await;
        let key = key();
        let rows: Vec<_> = (0..8)
            .map(|n| {
                let mut row = account(&at.store, if n == 7 { "other" } else { "default" });
                row.key = key.clone();
                row
            })
            .collect();
        let made = join_all(rows.iter().map(|row| accounts::insert(&at.store, row))).await;
        let made: Vec<bool> = made.into_iter().map(Result::unwrap).collect();
        assert_eq!(made[..7].iter().filter(|made| **made).count(), 1);
        assert!(made[7], "another directory is another matter");
    }

    async fn an_account_changes_only_while_it_is_valid(at) {
        let made = stored_account(&at.store).await;
        assert!(accounts::set_contact(&at.store, made.id, &made.key.thumbprint, &[]).await.unwrap());
        let ends = join_all((0..6).map(|_| deactivated(&at.store, &made))).await;
        assert_eq!(ends.into_iter().filter(|ended| *ended).count(), 1, "it ends once");
        assert!(!accounts::set_contact(&at.store, made.id, &made.key.thumbprint, &["mailto:b@example.org".into()]).await.unwrap());
        assert!(!moved(&at.store, &made, &key()).await.unwrap());
        let left = accounts::find(&at.store, made.id).await.unwrap().unwrap();
        assert_eq!((left.status, left.contact), (AccountStatus::Deactivated, vec![]));
    }

    async fn a_key_moves_once_and_never_onto_another_accounts(at) {
        let (first, second) = (stored_account(&at.store).await, stored_account(&at.store).await);
        let taken = moved(&at.store, &first, &second.key).await;
        assert_eq!(taken.unwrap_err().kind, ErrorKind::Conflict);
        let keys = [key(), key(), key()];
        let moves = join_all(keys.iter().map(|k| moved(&at.store, &first, k))).await;
        let moves: Vec<bool> = moves.into_iter().map(Result::unwrap).collect();
        assert_eq!(moves.iter().filter(|moved| **moved).count(), 1);
        let won = &keys[moves.iter().position(|moved| *moved).unwrap()];
        assert_eq!(accounts::find(&at.store, first.id).await.unwrap().unwrap().key, *won);
        assert_eq!(accounts::find_by_key(&at.store, "default", &first.key.thumbprint).await.unwrap(), None);
    }
}

/// The account has another key, in a transaction of its own.
async fn moved(store: &Store, account: &Account, key: &AccountKey) -> Result<bool> {
    let mut tx = store.begin(&Actor::system("test")).await?;
    let moved = accounts::set_key(&mut tx, account.id, &account.key.thumbprint, key).await?;
    tx.commit().await?;
    Ok(moved)
}

//! ACME rows that no client asked for: for tests of the store alone.

use std::sync::atomic::{AtomicU8, Ordering};

use chancery::clock::days;
use chancery::model::acme::{
    Account, AccountKey, AccountStatus, Authorization, AuthorizationStatus, Challenge, ChallengeStatus, Order,
    OrderStatus,
};
use chancery::model::actor::Actor;
use chancery::model::attempt::Attempt;
use chancery::model::id::{AccountId, AttemptId, AuthorizationId, ChallengeId, DirectoryId, OrderId};
use chancery::model::identifier::Identifier;
use chancery::store::{Store, Tx, accounts, authorizations, challenges, orders, profiles};

static NUMBER: AtomicU8 = AtomicU8::new(1);

/// An ACME directory of this slug.
pub async fn directory(store: &Store, slug: &str) {
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    let id = DirectoryId::new(store.now(), store.entropy.as_ref()).unwrap();
    profiles::insert_directory(&mut tx, id, slug, "{}").await.unwrap();
    tx.commit().await.unwrap();
}

/// A key that no other account has.
pub fn key() -> AccountKey {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    AccountKey { jwk: format!("{{\"n\":{number}}}"), thumbprint: [number; 32], public_key: vec![number; 40] }
}

/// Not stored.
pub fn account(store: &Store, directory: &str) -> Account {
    let id = AccountId::new(store.now(), store.entropy.as_ref()).unwrap();
    Account {
        id,
        directory: directory.into(),
        status: AccountStatus::Valid,
        key: key(),
        contact: vec!["mailto:a@example.org".into()],
        url: format!("https://ca.test/acme/{directory}/account/{id}"),
        terms_agreed: true,
        terms_url: None,
        grant: None,
        binding: None,
        created_at: store.now(),
        created_from: "192.0.2.1".into(),
    }
}

/// An account in directory `default`, which is made too.
pub async fn stored_account(store: &Store) -> Account {
    if profiles::directories(store).await.unwrap().is_empty() {
        directory(store, "default").await;
    }
    let account = account(store, "default");
    assert!(accounts::insert(store, &account).await.unwrap());
    account
}

/// A request of this account that was refused three times. Not stored.
pub fn refused(store: &Store, account: &Account) -> Attempt {
    Attempt {
        id: AttemptId::new(store.now(), store.entropy.as_ref()).unwrap(),
        at: store.now(),
        last_at: store.now(),
        times: 3,
        action: "order.refused".into(),
        directory: account.directory.clone(),
        account_id: Some(account.id),
        order_id: None,
        address: "192.0.2.1".into(),
        names: vec!["localhost".into()],
        code: "rejected_identifier".into(),
        detail: "dns \"localhost\" is reserved; ask for a name of your own".into(),
        rule: Some("names.reserved".into()),
        request_id: "req_01KB45CZRMS1RG67EMDAZD52BD".into(),
    }
}

/// A pending order for these names with its authorizations and a challenge each.
pub async fn stored_order(
    store: &Store,
    account: &Account,
    names: &[&str],
) -> (Order, Vec<Authorization>, Vec<Challenge>) {
    let order = Order {
        id: OrderId::new(store.now(), store.entropy.as_ref()).unwrap(),
        account_id: account.id,
        directory: account.directory.clone(),
        status: OrderStatus::Pending,
        identifiers: names.iter().map(|n| Identifier::guess(n).unwrap()).collect(),
        profile: "tls-server".into(),
        not_before: None,
        not_after: Some(store.now() + days(30)),
        error: None,
        certificate_id: None,
        replaces: None,
        expires_at: store.now() + days(7),
        created_at: store.now(),
    };
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    orders::insert(&mut tx, &[&order]).await.unwrap();
    let (mut authorizations, mut challenges) = (Vec::new(), Vec::new());
    for (position, identifier) in (0i64..).zip(&order.identifiers) {
        let authorization = Authorization {
            id: AuthorizationId::new(store.now(), store.entropy.as_ref()).unwrap(),
            account_id: account.id,
            order_id: Some(order.id),
            position,
            status: AuthorizationStatus::Pending,
            identifier: identifier.clone(),
            wildcard: false,
            subdomains: false,
            expires_at: order.expires_at,
            created_at: store.now(),
        };
        authorizations::insert(&mut tx, &[(&authorization, false)]).await.unwrap();
        let challenge = Challenge {
            id: ChallengeId::new(store.now(), store.entropy.as_ref()).unwrap(),
            authorization_id: authorization.id,
            kind: "http-01".into(),
            token: format!("token-{position}"),
            status: ChallengeStatus::Pending,
            validated_at: None,
            error: None,
        };
        challenges::insert(&mut tx, &[&challenge]).await.unwrap();
        authorizations.push(authorization);
        challenges.push(challenge);
    }
    let ids: Vec<_> = authorizations.iter().map(|a| a.id).collect();
    orders::cover(&mut tx, std::iter::once((order.id, ids.as_slice()))).await.unwrap();
    tx.commit().await.unwrap();
    (order, authorizations, challenges)
}

/// Verdicts as the validation job writes them; how many authorizations moved.
pub async fn settled(tx: &mut Tx, verdicts: &[(AuthorizationId, AuthorizationStatus)]) -> usize {
    let held = authorizations::lock_all(tx, verdicts.iter().map(|(id, _)| *id)).await.unwrap();
    let of = |id| held.iter().find(|held| held.authorization.id == id).unwrap();
    authorizations::settle(tx, verdicts.iter().map(|(id, status)| (of(*id), *status))).await.unwrap().len()
}

/// The account ends in a transaction of its own.
pub async fn deactivated(store: &Store, account: &Account) -> bool {
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    let ended = accounts::deactivate(&mut tx, account.id, &account.key.thumbprint).await.unwrap();
    tx.commit().await.unwrap();
    ended
}

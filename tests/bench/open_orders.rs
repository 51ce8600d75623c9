//! What open orders cost: memory of the server and the time of a new order, before and after many are stored.

use std::sync::Arc;

use chancery::clock::{SystemClock, days};
use chancery::entropy::SystemEntropy;
use chancery::model::acme::{
    Account, AccountKey, AccountStatus, Authorization, AuthorizationStatus, Challenge, ChallengeStatus, Order,
    OrderStatus,
};
use chancery::model::actor::Actor;
use chancery::model::id::{AccountId, AuthorizationId, ChallengeId, OrderId};
use chancery::model::identifier::Identifier;
use chancery::store::engine::Db;
use chancery::store::{Store, accounts, authorizations, challenges, orders};

use super::server::Server;

/// Open orders of one account, as many as the limit is by default.
const OF_ONE: usize = 300;

pub async fn store(server: &Server, total: usize) {
    let db = match server.database() {
        Some(url) => Db::open_postgres(url, 2, "chancery").await,
        None => Db::open_sqlite(&server.data().join("chancery.db")).await,
    };
    let db = db.expect("the server's own database");
    let store = Store::new(db, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).expect("a store");
    let mut left = total;
    for number in 0.. {
        let count = left.min(OF_ONE);
        if count == 0 {
            break;
        }
        of_account(&store, number, count).await;
        left -= count;
    }
    store.db.close().await;
}

async fn of_account(store: &Store, number: usize, count: usize) {
    let (now, entropy) = (store.now(), store.entropy.as_ref());
    let mut thumbprint = [9; 32];
    thumbprint[..8].copy_from_slice(&number.to_be_bytes());
    let account = Account {
        id: AccountId::new(now, entropy).expect("an id"),
        directory: "default".into(),
        status: AccountStatus::Valid,
        key: AccountKey { jwk: "{}".into(), thumbprint, public_key: thumbprint.to_vec() },
        contact: Vec::new(),
        url: format!("bench:{number}"),
        terms_agreed: true,
        binding: None,
        grant: None,
        terms_url: None,
        created_at: now,
        created_from: String::new(),
    };
    let mut tx = store.begin(&Actor::system("bench")).await.expect("begin");
    assert!(accounts::insert(&mut tx, &account).await.expect("an account"));
    let rows: Vec<_> = (0..count).map(|n| rows(store, &account, n)).collect();
    orders::insert(&mut tx, &rows.iter().map(|(order, ..)| order).collect::<Vec<_>>()).await.expect("orders");
    let parts: Vec<_> = rows.iter().map(|(_, part, _)| (part, false)).collect();
    authorizations::insert(&mut tx, &parts).await.expect("authorizations");
    let proofs: Vec<_> = rows.iter().flat_map(|(_, _, proofs)| proofs).collect();
    challenges::insert(&mut tx, &proofs).await.expect("challenges");
    let rests: Vec<_> = rows.iter().map(|(order, part, _)| (order.id, [part.id])).collect();
    orders::cover(&mut tx, rests.iter().map(|(id, part)| (*id, part.as_slice()))).await.expect("cover");
    tx.commit().await.expect("commit");
}

fn rows(store: &Store, account: &Account, n: usize) -> (Order, Authorization, [Challenge; 2]) {
    let (now, entropy) = (store.now(), store.entropy.as_ref());
    let identifier = Identifier::dns(&format!("o{n}.bench.test")).expect("a name");
    let order = Order {
        id: OrderId::new(now, entropy).expect("an id"),
        account_id: account.id,
        directory: account.directory.clone(),
        status: OrderStatus::Pending,
        identifiers: vec![identifier.clone()],
        profile: "tls-server".into(),
        not_before: None,
        not_after: None,
        error: None,
        certificate_id: None,
        replaces: None,
        expires_at: now + days(7),
        created_at: now,
    };
    let authorization = Authorization {
        id: AuthorizationId::new(now, entropy).expect("an id"),
        account_id: account.id,
        order_id: Some(order.id),
        position: 0,
        status: AuthorizationStatus::Pending,
        identifier,
        wildcard: false,
        subdomains: false,
        expires_at: order.expires_at,
        created_at: now,
    };
    let challenge = |kind: &str| Challenge {
        id: ChallengeId::new(now, entropy).expect("an id"),
        authorization_id: authorization.id,
        kind: kind.into(),
        token: "t".repeat(43),
        status: ChallengeStatus::Pending,
        validated_at: None,
        error: None,
    };
    let proofs = [challenge("http-01"), challenge("dns-01")];
    (order, authorization, proofs)
}

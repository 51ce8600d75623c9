//! Two processes that change the same account, authorization or order at once on Postgres, in both orders: whatever the
//! first has committed holds for the second.

use std::sync::Arc;

use axum::Router;
use chancery::access::Access;
use chancery::access::grants::NewGrant;
use chancery::keys::software;
use chancery::model::actor::Actor;
use chancery::model::id::AccountId;
use chancery::model::key::KeyAlgorithm;
use chancery::model::reason::RevocationReason;
use chancery::registration::Registration;
use serde_json::{Value, json};

use super::ahead::{ahead, offer, with_new_authz};
use super::client::{Client, Key, Reply, at, b64, csr, send_to, url};
use super::compromise::certified;
use super::eab::{external, new_key};
use super::world::{World, worlds};
use crate::support::race::meet;

type Process = (Arc<Registration>, Router);

async fn world() -> World {
    worlds().await.into_iter().find(|world| world.url.is_some()).unwrap()
}

fn post(process: &Process, client: &Client<'_>, to: &str, payload: Value) -> impl Future<Output = Reply> + use<> {
    let (process, key, kid, to) = (process.clone(), client.key.copy(), client.kid.clone(), to.to_owned());
    async move { at(&process, &key, &kid, &to, &payload.to_string()).await }
}

fn identifiers(names: &[&str]) -> Value {
    let list: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
    json!({"identifiers": list})
}

/// A valid authorization that no order has used.
async fn proved_ahead(client: &Client<'_>, name: &str) -> String {
    let made = ahead(client, json!({"type": "dns", "value": name})).await.expect(201);
    let authorization = made.header("location").to_owned();
    assert_eq!(client.prove(&authorization).await["status"], "valid");
    authorization
}

async fn register((registration, router): &Process, key: &Key) -> Reply {
    let (nonce, to) = (registration.nonces.mint().unwrap(), url("new-account"));
    let header = json!({"alg": "ES256", "jwk": key.jwk(), "nonce": nonce, "url": to}).to_string();
    send_to(router, &to, &key.jws(&header, "{}").to_string()).await
}

fn deactivated() -> Value {
    json!({"status": "deactivated"})
}

/// `store::accounts::HOLD_ALL`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_order_and_the_deactivation_of_its_account() {
    let world = world().await;
    let other = world.elsewhere().await;
    let client = Client::register(&world).await;
    let order = post(&other, &client, &url("new-order"), identifiers(&["a.example.org"]));
    let end = client.post(&client.kid, r#"{"status":"deactivated"}"#);
    let met = meet(&world.store, "account.deactivated", end, order).await;
    met.first.expect(200);
    met.second.refused(401, "unauthorized");
    assert!(met.waited);

    let client = Client::register(&world).await;
    let payload = deactivated();
    let end = post(&other, &client, &client.kid, payload);
    let met = meet(&world.store, "order.created", client.order(&["b.example.org"]), end).await;
    let made = met.first.expect(201);
    met.second.expect(200);
    assert!(met.waited, "the deactivation sees the order");
    assert_eq!(open_orders(&world).await, 0, "{}", made.text);
}

async fn open_orders(world: &World) -> i64 {
    let text = "SELECT COUNT(*) AS n FROM acme_orders WHERE status IN ('pending', 'ready', 'processing')";
    let row = chancery::store::engine::q(crate::support::stores::plain(text)).fetch_one(&world.store.db).await;
    row.unwrap().get("n").unwrap()
}

/// `store::guards::ORDERING_ACCOUNTS`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalization_and_the_deactivation_of_its_account() {
    let world = world().await;
    let other = world.elsewhere().await;
    for intent_first in [false, true] {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        let finalize = order["finalize"].as_str().unwrap();
        let csr = json!({"csr": b64(csr(&["a.example.org"]).0)});
        let payload = deactivated();
        if intent_first {
            let end = post(&other, &client, &client.kid, payload);
            let csr = csr.to_string();
            let first = client.post(finalize, &csr);
            let met = meet(&world.store, "certificate.intended", first, end).await;
            met.second.expect(200);
            assert!(met.waited);
        } else {
            let end = client.post(&client.kid, r#"{"status":"deactivated"}"#);
            let met =
                meet(&world.store, "account.deactivated", end, post(&other, &client, finalize, csr.clone())).await;
            met.first.expect(200);
            assert!(met.second.status >= 400 && met.waited, "{}", met.second.text);
        }
        assert_eq!(open_orders(&world).await, 0);
    }
    let text = "SELECT COUNT(*) AS n FROM certificates WHERE order_id IS NOT NULL";
    let row = chancery::store::engine::q(crate::support::stores::plain(text)).fetch_one(&world.store.db).await;
    assert_eq!(row.unwrap().get::<i64>("n").unwrap(), 1, "the one whose intent came first");
}

/// `store::authorizations::LOCK_ALL`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_order_and_the_end_of_the_proof_that_it_would_reuse() {
    let world = world().await;
    offer(&world, with_new_authz()).await;
    let other = world.elsewhere().await;
    let client = Client::register(&world).await;
    let ready = proved_ahead(&client, "a.example.org").await;
    let payload = identifiers(&["a.example.org"]);
    let order = post(&other, &client, &url("new-order"), payload);
    let end = client.post(&ready, r#"{"status":"deactivated"}"#);
    let met = meet(&world.store, "authorization.deactivated", end, order).await;
    met.first.expect(200);
    let made = met.second.expect(201).json();
    assert!(met.waited);
    assert_eq!(made["status"], "pending", "{made}");
    assert_ne!(made["authorizations"][0], ready.as_str(), "{made}");

    let ready = proved_ahead(&client, "b.example.org").await;
    let payload = deactivated();
    let end = post(&other, &client, &ready, payload);
    let met = meet(&world.store, "order.created", client.order(&["b.example.org"]), end).await;
    let made = met.first.expect(201);
    met.second.expect(200);
    assert!(met.waited);
    let now = client.get(made.header("location")).await.expect(200).json();
    assert_eq!(now["status"], "invalid", "its proof has ended: {now}");
}

/// `store::orders` (`FOR UPDATE` of the orders that rest on authorizations).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_two_verdicts_of_an_order_make_it_ready() {
    let world = world().await;
    let other = world.elsewhere().await;
    let client = Client::register(&world).await;
    let names = ["a.example.org", "b.example.org"];
    let made = client.order(&names).await.expect(201);
    let order = made.header("location").to_owned();
    let made = made.json();
    let (a, b) = (made["authorizations"][0].as_str().unwrap(), made["authorizations"][1].as_str().unwrap());
    let mut challenges = Vec::new();
    for part in [a, b] {
        let challenge = client.challenge(part, "http-01").await;
        let token = challenge["token"].as_str().unwrap().to_owned();
        world.tokens.lock().unwrap().insert(token.clone(), format!("{token}.{}", client.key.thumbprint()));
        challenges.push(challenge["url"].as_str().unwrap().to_owned());
    }
    let proved = async |part: &str| {
        crate::support::wait::until("the verdict", async || {
            (client.get(part).await.expect(200).json()["status"] == "valid").then_some(())
        })
        .await;
    };
    let first = async {
        client.post(&challenges[0], "{}").await.expect(200);
        proved(a).await;
    };
    let second = async {
        post(&other, &client, &challenges[1], json!({})).await.expect(200);
        proved(b).await;
    };
    let met = meet(&world.store, "challenge.validated", first, second).await;
    assert!(met.waited);
    assert_eq!(client.get(&order).await.expect(200).json()["status"], "ready");
}

/// `store::grants::LOCK` and `store::accounts::LOCK`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_is_given_to_an_account_while_it_is_revoked() {
    let world = world().await;
    let (other, _) = world.elsewhere().await;
    let access = Access::new(world.store.clone());
    let me = Actor::host(0, "test");
    for give_first in [false, true] {
        let client = Client::register(&world).await;
        let account: AccountId = client.kid.rsplit('/').next().unwrap().parse().unwrap();
        let new = NewGrant { name: "g".into(), allow_names: Some(vec!["example.org".into()]), ..NewGrant::default() };
        let grant = access.create_grant(&me, &new, None, |_| Ok(String::new())).await.unwrap().id;
        if give_first {
            let elsewhere = Access::new(world.second_authority().await.store().clone());
            let give = world.registration.grant_account(&me, account, grant);
            let met = meet(&world.store, "account.granted", give, elsewhere.revoke_grant(&me, grant)).await;
            met.first.unwrap();
            assert_eq!(met.second.unwrap().1.accounts, 1, "the account ends with its grant");
            assert!(met.waited);
        } else {
            let give = other.grant_account(&me, account, grant);
            let met = meet(&world.store, "grant.revoked", access.revoke_grant(&me, grant), give).await;
            met.first.unwrap();
            assert!(met.second.is_err() && met.waited);
        }
    }
}

/// `store::versions::HOLD`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_registered_while_its_key_is_reported_as_compromised() {
    let world = world().await;
    let other = world.elsewhere().await;
    for report_first in [true, false] {
        let pair = software::generate(KeyAlgorithm::P256).unwrap();
        let (key, id) = (Key::from_pkcs8(&pair.pkcs8), certified(&world, &pair).await);
        let me = Actor::host(0, "test");
        if report_first {
            let report = world.authority.revoke(&me, id, RevocationReason::KeyCompromise);
            let met = meet(&world.store, "certificate.revoked", report, register(&other, &key)).await;
            met.first.unwrap();
            met.second.refused(400, "badPublicKey");
            assert!(met.waited);
        } else {
            let here = (world.registration.clone(), world.router());
            let elsewhere = world.second_authority().await;
            let report = elsewhere.revoke(&me, id, RevocationReason::KeyCompromise);
            let met = meet(&world.store, "account.created", register(&here, &key), report).await;
            let kid = met.first.expect(201).header("location").to_owned();
            met.second.unwrap();
            assert!(met.waited);
            let ended = at(&other, &key, &kid, &kid, "").await;
            assert_eq!((ended.status, ended.problem().as_str()), (401, "unauthorized"), "{}", ended.text);
        }
    }
}

/// `store::accounts::HOLD`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorization_ahead_and_the_deactivation_of_its_account() {
    let world = world().await;
    offer(&world, with_new_authz()).await;
    let other = world.elsewhere().await;
    let name = |n: &str| json!({"type": "dns", "value": n});
    let client = Client::register(&world).await;
    let payload = json!({"identifier": name("a.example.org")});
    let asked = post(&other, &client, &url("new-authz"), payload);
    let end = client.post(&client.kid, r#"{"status":"deactivated"}"#);
    let met = meet(&world.store, "account.deactivated", end, asked).await;
    met.first.expect(200);
    met.second.refused(401, "unauthorized");
    assert!(met.waited);

    let client = Client::register(&world).await;
    let end = post(&other, &client, &client.kid, deactivated());
    let met = meet(&world.store, "authorization.created", ahead(&client, name("b.example.org")), end).await;
    met.first.expect(201);
    met.second.expect(200);
    assert!(met.waited, "the deactivation sees the authorization");
    let open = "SELECT COUNT(*) AS n FROM acme_authorizations WHERE status IN ('pending', 'valid')";
    let row = chancery::store::engine::q(crate::support::stores::plain(open)).fetch_one(&world.store.db).await;
    assert_eq!(row.unwrap().get::<i64>("n").unwrap(), 0);
}

/// The client changes its contact; what its account rests on ends elsewhere before that is committed.
async fn changes_and_ends<T>(
    world: &World,
    client: &Client<'_>,
    end: impl Future<Output = chancery::error::Result<T>>,
) {
    let change = client.post(&client.kid, r#"{"contact":["mailto:a@example.org"]}"#);
    let met = meet(&world.store, "account.updated", change, end).await;
    met.first.expect(200);
    met.second.unwrap();
    assert!(met.waited);
    client.get(&client.kid).await.refused(401, "unauthorized");
    let checked = world.authority.fsck().await.unwrap();
    assert_eq!(checked.findings, Vec::<String>::new(), "the row that was ended is the one that was changed");
}

/// `store::accounts::OF_EAB_KEY`, `OF_GRANT` and `OF_PUBLIC_KEY`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_changes_while_what_it_rests_on_ends() {
    let world = world().await;
    let (other, _) = world.elsewhere().await;
    let elsewhere = world.second_authority().await;
    let me = Actor::host(0, "test");

    let external = external(&world, &new_key(&["example.org"])).await;
    let client = external.register(&world).await;
    changes_and_ends(&world, &client, other.revoke_eab_key(&me, external.id, true)).await;

    let client = Client::register(&world).await;
    let new = NewGrant { name: "g".into(), allow_names: Some(vec!["example.org".into()]), ..NewGrant::default() };
    let grant =
        Access::new(world.store.clone()).create_grant(&me, &new, None, |_| Ok(String::new())).await.unwrap().id;
    let account: AccountId = client.kid.rsplit('/').next().unwrap().parse().unwrap();
    world.registration.grant_account(&me, account, grant).await.unwrap();
    changes_and_ends(&world, &client, Access::new(elsewhere.store().clone()).revoke_grant(&me, grant)).await;

    let pair = software::generate(KeyAlgorithm::P256).unwrap();
    let (key, id) = (Key::from_pkcs8(&pair.pkcs8), certified(&world, &pair).await);
    let here = (world.registration.clone(), world.router());
    let kid = register(&here, &key).await.expect(201).header("location").to_owned();
    let client = Client { key, kid, ..Client::register(&world).await };
    changes_and_ends(&world, &client, elsewhere.revoke(&me, id, RevocationReason::KeyCompromise)).await;
}

//! Rate limits (RFC 8555 §6.6): exact at once and over replicas, told with their numbers, with another limit for an
//! account, spared for what renews; and names that are paused because they failed for days.

use axum::Router;
use chancery::clock::{days, hours, minutes};
use chancery::error::ErrorKind;
use chancery::model::acme::AccountKey;
use chancery::model::id::AccountId;
use chancery::model::limits::{AccountLimits, Limit, Limits, Most};
use chancery::registration::accounts::NewAccount;
use chancery::registration::{DirectoryConfig, Origin};
use chancery::store::engine::q;
use futures_util::future::join_all;
use serde_json::json;

use super::client::{Client, Reply, b64, csr, url};
use super::eab::admin;
use super::state::number;
use super::world::{World, worlds};
use crate::support::stores::plain;

fn rate(text: &str) -> Limit {
    text.parse().unwrap()
}

async fn limit(world: &World, limits: Limits) {
    let config = DirectoryConfig { limits, ..DirectoryConfig::default() };
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

fn id(client: &Client<'_>) -> AccountId {
    client.kid.rsplit('/').next().unwrap().parse().unwrap()
}

/// The detail, once it is a refusal by a limit that says when to come back and where to read of it.
#[track_caller]
fn limited(reply: Reply, retry_after: &str) -> String {
    assert_eq!(reply.header("retry-after"), retry_after, "{}", reply.text);
    assert!(reply.headers.get_all("link").iter().any(|l| l.to_str().unwrap().ends_with(";rel=\"help\"")), "no help");
    let reply = reply.refused(429, "rateLimited");
    format!("{}: {}", reply.json()["rule"].as_str().unwrap(), reply.json()["detail"].as_str().unwrap())
}

async fn fail(client: &Client<'_>, name: &str) {
    let made = client.order(&[name]).await.expect(201).json();
    let authorization = made["authorizations"][0].as_str().unwrap();
    let challenge = client.challenge(authorization, "http-01").await;
    assert_eq!(client.respond(&challenge, authorization).await["status"], "invalid");
}

#[tokio::test]
async fn of_fifty_orders_at_once_exactly_ten_pass_and_one_comes_back_with_time() {
    for world in worlds().await {
        limit(&world, Limits { new_orders: rate("10/1h"), ..Limits::default() }).await;
        let client = Client::register(&world).await;
        let names: Vec<String> = (0..50).map(|n| format!("n{n}.example.org")).collect();
        let asked = names.iter().map(|name| async { client.order(&[name.as_str()]).await });
        let replies = join_all(asked).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 10);
        let refused = replies.into_iter().find(|reply| reply.status != 201).unwrap();
        let told = limited(refused, "360");
        assert!(told.contains("acme.limits.new_orders") && told.contains("10 in 1h"), "{told}");
        assert!(told.contains(&(world.now() + minutes(6)).truncated().to_string()), "{told}");
        let stored = q(plain("SELECT COUNT(*) AS n FROM acme_orders")).fetch_one(&world.store.db).await.unwrap();
        assert_eq!(stored.get::<i64>("n").unwrap(), 10);
        // another account has its own
        Client::register(&world).await.order(&["n1.example.org"]).await.expect(201);
        world.clock.advance(minutes(6));
        client.order(&["again.example.org"]).await.expect(201);
        limited(client.order(&["more.example.org"]).await, "360");
        world.clock.advance(hours(2));
        for n in 0..10 {
            client.order(&[&format!("late{n}.example.org")]).await.expect(201);
        }
        limited(client.order(&["last.example.org"]).await, "360");
    }
}

#[tokio::test]
async fn two_replicas_share_a_limit() {
    for world in worlds().await.into_iter().filter(|world| world.store.db.is_postgres()) {
        limit(&world, Limits { new_orders: rate("10/1h"), ..Limits::default() }).await;
        let client = Client::register(&world).await;
        let account = world.registration.account("default", id(&client)).await.unwrap().unwrap();
        let (other, _): (_, Router) = world.replica().await;
        let ask = |n: usize| {
            let registration = if n.is_multiple_of(2) { world.registration.clone() } else { other.clone() };
            let account = account.clone();
            async move {
                let name = chancery::registration::orders::AskedName {
                    kind: "dns".into(),
                    value: format!("n{n}.example.org"),
                    ancestor: None,
                };
                let ask = chancery::registration::orders::NewOrder { identifiers: vec![name], ..Default::default() };
                let directory = registration.shared_directory("default").unwrap();
                registration.new_order(&Origin::default(), &directory, &account, ask).await
            }
        };
        let answers = join_all((0..50).map(ask)).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
        assert!(answers.iter().filter_map(|a| a.as_ref().err()).all(|e| e.kind == ErrorKind::RateLimited));
    }
}

#[tokio::test]
async fn what_renews_is_bounded_by_the_limit_of_its_names_alone() {
    for world in worlds().await {
        let limits = Limits { new_orders: rate("1/30d"), certificates: rate("2/7d"), ..Limits::default() };
        limit(&world, limits).await;
        let client = Client::register(&world).await;
        client.certificate(&["a.example.org", "b.example.org"]).await;
        limited(client.order(&["a.example.org"]).await, "2592000");
        // the same names in another order are the same names
        let (_, renewed) = client.ready_order(&["b.example.org", "a.example.org"]).await;
        let finalize = |order: &serde_json::Value| order["finalize"].as_str().unwrap().to_owned();
        let body = json!({"csr": b64(csr(&["a.example.org", "b.example.org"]).0)}).to_string();
        let (_, third) = client.ready_order(&["a.example.org", "b.example.org"]).await;
        client.post(&finalize(&renewed), &body).await.expect(200);
        // also where the order was there before
        let told = limited(client.post(&finalize(&third), &body).await, "302400");
        assert!(told.contains("acme.limits.certificates") && told.contains("2 in 7d"), "{told}");
        let told = limited(client.order(&["a.example.org", "b.example.org"]).await, "302400");
        assert!(told.contains("acme.limits.certificates"), "{told}");
        world.clock.advance(hours(84));
        client.post(&finalize(&third), &body).await.expect(200);
        // known as a renewal for as long as certificates live
        world.clock.advance(days(100));
        world.registration.housekeep().await.unwrap();
        client.order(&["elsewhere.example.org"]).await.expect(201);
        limited(client.order(&["elsewhere-2.example.org"]).await, "2592000");
        client.order(&["a.example.org", "b.example.org"]).await.expect(201);
    }
}

/// A set of names is a renewal for the account that had its certificate, and that too has an end.
#[tokio::test]
async fn what_another_account_had_spares_nobody_and_renewals_have_a_wide_rate() {
    for world in worlds().await {
        limit(&world, Limits { new_orders: rate("2/1h"), ..Limits::default() }).await;
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        owner.certificate(&["a.example.org"]).await;
        for _ in 0..2 {
            other.order(&["a.example.org"]).await.expect(201);
        }
        let told = limited(other.order(&["a.example.org"]).await, "1800");
        assert!(told.contains("acme.limits.new_orders"), "{told}");
        for _ in 0..20 {
            owner.order(&["a.example.org"]).await.expect(201);
        }
        let told = limited(owner.order(&["a.example.org"]).await, "180");
        assert!(
            told.contains("acme.limits.new_orders") && told.contains("renews") && told.contains("20 in 1h"),
            "{told}"
        );
        // what is no renewal has its own
        owner.order(&["b.example.org"]).await.expect(201);
        limited(owner.order(&["c.example.org"]).await, "1800");
        world.clock.advance(minutes(3));
        owner.order(&["a.example.org"]).await.expect(201);
        limited(owner.order(&["a.example.org"]).await, "180");
    }
}

#[tokio::test]
async fn renewals_of_one_address_have_an_end_too() {
    for world in worlds().await {
        let limits = Limits { new_orders: rate("none"), new_orders_per_address: rate("2/1h"), ..Limits::default() };
        limit(&world, limits).await;
        let client = Client::register(&world).await;
        client.certificate(&["a.example.org"]).await;
        let directory = world.registration.shared_directory("default").unwrap();
        let account = world.registration.account("default", id(&client)).await.unwrap().unwrap();
        let order = async || {
            let origin = Origin { address: "192.0.2.1".into(), request_id: String::new() };
            let name = chancery::registration::orders::AskedName {
                kind: "dns".into(),
                value: "a.example.org".into(),
                ancestor: None,
            };
            let ask = chancery::registration::orders::NewOrder { identifiers: vec![name], ..Default::default() };
            world.registration.new_order(&origin, &directory, &account, ask).await.map(drop)
        };
        for _ in 0..20 {
            order().await.unwrap();
        }
        let error = order().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RateLimited);
        assert_eq!(error.rule.unwrap().name, "acme.limits.new_orders_per_address");
    }
}

/// To ask for a name ahead of its order and to give it up is no way around the limit of orders.
#[tokio::test]
async fn authorizations_ahead_take_from_the_limit_of_orders() {
    for world in worlds().await {
        let limits = Limits { new_orders: rate("3/1h"), ..Limits::default() };
        let config = DirectoryConfig { limits, pre_authorization: true, ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", config).await.unwrap();
        let client = Client::register(&world).await;
        let name =
            |n: usize| json!({"identifier": {"type": "dns", "value": format!("n{n}.example.org")}}).to_string();
        for n in 0..3 {
            let made = client.post(&url("new-authz"), &name(n)).await.expect(201);
            client.post(made.header("location"), r#"{"status":"deactivated"}"#).await.expect(200);
        }
        let told = limited(client.post(&url("new-authz"), &name(3)).await, "1200");
        assert!(told.contains("acme.limits.new_orders") && told.contains("3 in 1h"), "{told}");
        limited(client.order(&["a.example.org"]).await, "1200");
        world.clock.advance(minutes(20));
        client.order(&["a.example.org"]).await.expect(201);
        limited(client.post(&url("new-authz"), &name(4)).await, "1200");

        let limits = Limits { new_orders_per_address: rate("1/1h"), ..Limits::default() };
        let config = DirectoryConfig { limits, pre_authorization: true, ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", config).await.unwrap();
        let directory = world.registration.shared_directory("default").unwrap();
        let account = world.registration.account("default", id(&client)).await.unwrap().unwrap();
        world.clock.advance(hours(2));
        let ahead = async |n: u8, address: &str| {
            let origin = Origin { address: address.into(), request_id: String::new() };
            let name = chancery::registration::orders::AskedName {
                kind: "dns".into(),
                value: format!("m{n}.example.org"),
                ancestor: None,
            };
            let made = world.registration.new_authorization(&origin, &directory, &account, name, false).await;
            made.map(drop).map_err(|e| e.kind)
        };
        ahead(1, "192.0.2.1").await.unwrap();
        assert_eq!(ahead(2, "192.0.2.1").await.unwrap_err(), ErrorKind::RateLimited);
        ahead(2, "192.0.2.2").await.unwrap();
    }
}

/// Orders that were made before their name failed try it no more often than later ones.
#[tokio::test]
async fn a_name_that_failed_too_often_is_not_tried_by_an_order_that_is_open() {
    for world in worlds().await {
        limit(&world, Limits { failed_validations: rate("1/1h"), ..Limits::default() }).await;
        let client = Client::register(&world).await;
        let (mut open, mut last) = (Vec::new(), String::new());
        for _ in 0..2 {
            let made = client.order(&["bad.example.org"]).await.expect(201);
            open.push(made.json()["authorizations"][0].as_str().unwrap().to_owned());
            last = made.header("location").rsplit('/').next().unwrap().to_owned();
        }
        let first = client.challenge(&open[0], "http-01").await;
        assert_eq!(client.respond(&first, &open[0]).await["status"], "invalid");
        let second = client.challenge(&open[1], "http-01").await;
        let to = second["url"].as_str().unwrap();
        let told = limited(client.post(to, "{}").await, "3600");
        assert!(told.contains("\"bad.example.org\"") && told.contains("acme.limits.failed_validations"), "{told}");
        limited(client.post(to, "{}").await, "3600");
        assert_eq!(client.get(to).await.expect(200).json()["status"], "pending", "nothing was begun");
        // of the refusals one is written
        let kept = "SELECT COUNT(*) AS held FROM acme_attempts WHERE action = 'challenge.refused'";
        assert_eq!(number(&world, kept).await, 1);
        let told = world.registration.timeline(last.parse().unwrap()).await.unwrap().unwrap().entries;
        let refused = told.iter().find(|entry| entry.detail.starts_with("a challenge was refused: ")).unwrap();
        assert_eq!((refused.what, refused.name.as_deref()), ("answered", Some("bad.example.org")));
        world.clock.advance(hours(1));
        assert_eq!(client.prove(&open[1]).await["status"], "valid");
    }
}

#[tokio::test]
async fn names_that_fail_are_limited_and_after_days_paused_until_an_operator_resumes_them() {
    for world in worlds().await {
        let limits = Limits { failed_validations: rate("3/1h"), pause: rate("5/2d"), ..Limits::default() };
        limit(&world, limits).await;
        let client = Client::register(&world).await;
        for _ in 0..3 {
            fail(&client, "bad.example.org").await;
        }
        let told = limited(client.order(&["good.example.org", "bad.example.org"]).await, "1200");
        assert!(told.contains("\"bad.example.org\"") && told.contains("3 in 1h"), "{told}");
        client.order(&["good.example.org"]).await.expect(201);
        Client::register(&world).await.order(&["bad.example.org"]).await.expect(201);
        // a success ends what was counted
        world.clock.advance(minutes(20));
        client.ready_order(&["bad.example.org"]).await;
        for _ in 0..3 {
            fail(&client, "bad.example.org").await;
        }
        limited(client.order(&["bad.example.org"]).await, "1200");
        // the fifth within two days does not pause it yet, the next one after them does
        world.clock.advance(hours(40));
        fail(&client, "bad.example.org").await;
        fail(&client, "bad.example.org").await;
        world.clock.advance(hours(9));
        fail(&client, "bad.example.org").await;
        let told = limited(client.order(&["bad.example.org"]).await, "86400");
        assert!(told.contains("acme.limits.pause") && told.contains("6 validations"), "{told}");
        world.clock.advance(days(20));
        limited(client.order(&["*.bad.example.org"]).await, "86400");

        let (_, paused) = world.registration.account_limits(id(&client)).await.unwrap();
        assert_eq!(
            paused.iter().map(|p| (p.name.as_str(), p.failures)).collect::<Vec<_>>(),
            [("bad.example.org", 6)]
        );
        let missing = world.registration.resume(&admin(), id(&client), Some("other.example.org")).await.unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
        let resumed = world.registration.resume(&admin(), id(&client), None).await.unwrap();
        assert_eq!(resumed, ["bad.example.org"]);
        client.order(&["bad.example.org"]).await.expect(201);
    }
}

#[tokio::test]
async fn an_account_may_have_limits_of_its_own() {
    for world in worlds().await {
        let limits = Limits { new_orders: rate("1/1h"), open_orders: Most(Some(3)), ..Limits::default() };
        limit(&world, limits).await;
        let client = Client::register(&world).await;
        client.order(&["a.example.org"]).await.expect(201);
        limited(client.order(&["b.example.org"]).await, "3600");
        let own = AccountLimits { new_orders: Some(rate("none")), ..AccountLimits::default() };
        world.registration.set_account_limits(&admin(), id(&client), own).await.unwrap();
        client.order(&["b.example.org"]).await.expect(201);
        client.order(&["c.example.org"]).await.expect(201);
        let told = limited(client.order(&["d.example.org"]).await, "600");
        assert!(told.contains("acme.limits.open_orders") && told.contains("the limit is 3"), "{told}");
        let own = AccountLimits { open_orders: Some(Most(None)), ..own };
        world.registration.set_account_limits(&admin(), id(&client), own).await.unwrap();
        client.order(&["d.example.org"]).await.expect(201);
        assert_eq!(world.registration.account_limits(id(&client)).await.unwrap().0, own);
        world.registration.set_account_limits(&admin(), id(&client), AccountLimits::default()).await.unwrap();
        limited(client.order(&["e.example.org"]).await, "600");
    }
}

#[tokio::test]
async fn one_address_makes_so_many_accounts_and_orders() {
    for world in worlds().await {
        let limits = Limits { new_accounts: rate("2/1h"), new_orders_per_address: rate("2/1h"), ..Limits::default() };
        limit(&world, limits).await;
        let directory = world.registration.shared_directory("default").unwrap();
        let make = async |n: u8, address: &str| {
            let key = AccountKey { jwk: format!("{{\"n\":{n}}}"), thumbprint: [n; 32], public_key: vec![n; 40] };
            let origin = Origin { address: address.into(), request_id: String::new() };
            let ask = NewAccount::default();
            let made = world.registration.new_account(&origin, &directory, key, ask, |id| format!("u/{id}")).await;
            made.map(|(account, _)| account).map_err(|e| e.kind)
        };
        let account = make(1, "2001:db8::1").await.unwrap();
        make(2, "2001:db8::ffff:2").await.unwrap();
        assert_eq!(make(3, "2001:db8:0:0:1::3").await.unwrap_err(), ErrorKind::RateLimited);
        make(3, "2001:db8:0:1::3").await.unwrap();
        make(4, "192.0.2.1").await.unwrap();
        let order = async |n: u8, address: &str| {
            let origin = Origin { address: address.into(), request_id: String::new() };
            let name = chancery::registration::orders::AskedName {
                kind: "dns".into(),
                value: format!("n{n}.example.org"),
                ancestor: None,
            };
            let ask = chancery::registration::orders::NewOrder { identifiers: vec![name], ..Default::default() };
            world.registration.new_order(&origin, &directory, &account, ask).await.map(drop).map_err(|e| e.kind)
        };
        order(1, "192.0.2.1").await.unwrap();
        order(2, "192.0.2.1").await.unwrap();
        assert_eq!(order(3, "192.0.2.1").await.unwrap_err(), ErrorKind::RateLimited);
        order(3, "192.0.2.2").await.unwrap();
        // what is full again is forgotten
        world.clock.advance(hours(2));
        world.registration.housekeep().await.unwrap();
        let rows = q(plain("SELECT COUNT(*) AS n FROM rate_limits")).fetch_one(&world.store.db).await.unwrap();
        assert!(rows.get::<i64>("n").unwrap() <= 1, "the account's own limit is per three hours");
    }
}

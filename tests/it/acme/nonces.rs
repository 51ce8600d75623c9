//! Nonces (N1–N10).

use std::collections::HashSet;

use axum::Router;
use chancery::clock::{hours, minutes};
use chancery::registration::nonces::MAX_SPENT;
use chancery::store::engine::q;
use serde_json::json;

use super::client::{Client, Key, raw, send, send_to, url, with_headers};
use super::state::{everything, number};
use super::world::{World, worlds};
use crate::support::stores::plain;

/// A POST-as-GET of the account.
fn read(client: &Client<'_>, nonce: &str) -> String {
    let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": client.kid}).to_string();
    client.key.jws(&header, "").to_string()
}

#[tokio::test]
async fn n1_new_nonce_answers_as_the_rfc_says() {
    for world in worlds().await {
        for (method, status) in [("HEAD", 200), ("GET", 204)] {
            let reply = raw(&world, method, &url("new-nonce"), "", Vec::new()).await.expect(status);
            assert_eq!(reply.header("cache-control"), "no-store");
            assert!(reply.header("replay-nonce").len() >= 22);
            assert!(reply.header("link").contains("rel=\"index\""));
            assert_eq!((reply.text.as_str(), reply.header("content-type")), ("", ""));
        }
    }
}

#[tokio::test]
async fn n2_every_answer_to_a_post_has_a_fresh_nonce() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let mut seen = HashSet::new();
        let order = client.order(&["a.example.org"]).await.expect(201);
        for reply in [
            client.get(&client.kid).await.expect(200),
            client.get(order.header("location")).await.expect(200),
            client.post_with(&client.kid, "AAAA", "").await.expect(400),
            client.order(&[]).await.expect(400),
            client.get(&url("order/x")).await.expect(404),
            send(&world, &url("new-order"), "no JSON").await.expect(400),
            send(&world, &url("nothing"), "{}").await.expect(404),
            raw(&world, "POST", &url("new-order"), "", Vec::new()).await.expect(415),
            raw(&world, "POST", &url("new-order").replace("default", "other"), "", Vec::new()).await.expect(415),
            order,
        ] {
            let nonce = reply.header("replay-nonce").to_owned();
            assert!(seen.insert(nonce.clone()), "{}", reply.text);
            client.post_with(&client.kid, &nonce, "").await.expect(200);
        }
        // reading without a signature takes none
        assert!(!raw(&world, "GET", &url("directory"), "", Vec::new()).await.headers.contains_key("replay-nonce"));
        assert!(!raw(&world, "GET", &url("new-order"), "", Vec::new()).await.headers.contains_key("replay-nonce"));
    }
}

#[tokio::test]
async fn n3_nonces_are_distinct_unpredictable_and_in_their_alphabet() {
    for world in worlds().await {
        let mut seen = HashSet::new();
        let mut random = HashSet::new();
        for _ in 0..10_000 {
            let nonce = world.registration.nonces.mint().unwrap();
            assert!(nonce.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            let bytes = decoded(&nonce);
            // epoch, time, 128 random bits, MAC
            assert_eq!(bytes.len(), 8 + 8 + 16 + 16);
            random.insert(bytes[16..32].to_vec());
            assert!(seen.insert(nonce));
        }
        assert_eq!(random.len(), 10_000);
        // each bit is as often one as zero, within six standard deviations
        for bit in 0..128 {
            let ones = random.iter().filter(|bytes| bytes[bit / 8] >> (bit % 8) & 1 == 1).count();
            assert!((4_700..5_300).contains(&ones), "bit {bit}: {ones}");
        }
    }
}

fn decoded(nonce: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(nonce).unwrap()
}

#[tokio::test]
async fn n4_a_nonce_is_used_once_and_the_retry_succeeds() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let nonce = client.nonce().await;
        let all = (0..50).map(|_| client.post_with(&client.kid, &nonce, ""));
        let replies = futures_util::future::join_all(all).await;
        assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 1);
        for reply in replies.into_iter().filter(|r| r.status != 200) {
            let reply = reply.refused(400, "badNonce");
            client.post_with(&client.kid, reply.header("replay-nonce"), "").await.expect(200);
        }
        // one that is too old, one that is not ours
        let old = client.nonce().await;
        world.clock.advance(hours(2));
        let mut other = client.nonce().await;
        let flipped = if &other[20..21] == "A" { "B" } else { "A" };
        other.replace_range(20..21, flipped);
        for bad in [old.as_str(), &other, "", "abcd", "AAAA"] {
            client.post_with(&client.kid, bad, "").await.refused(400, "badNonce");
        }
    }
}

/// RFC 8555 §6.5.2: what is not base64url is malformed; Pebble and Boulder say badNonce of it as of a missing one.
#[tokio::test]
async fn n5_a_missing_nonce_is_bad_and_a_misspelt_one_malformed() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = everything(&world).await;
        let header = json!({"alg": "ES256", "kid": client.kid, "url": client.kid}).to_string();
        send(&world, &client.kid, &client.key.jws(&header, "").to_string()).await.refused(400, "badNonce");
        let good = client.nonce().await;
        for bad in ["not base64!", "AAAA=", "A", "AA+/", &format!("{good}\n"), &format!(" {good}")] {
            client.post_with(&client.kid, bad, "").await.refused(400, "malformed");
        }
        let number = json!({"alg": "ES256", "kid": client.kid, "url": client.kid, "nonce": 7}).to_string();
        send(&world, &client.kid, &client.key.jws(&number, "").to_string()).await.refused(400, "malformed");
        assert_eq!(everything(&world).await, before);
        client.post_with(&client.kid, &good, "").await.expect(200);
    }
}

/// RFC 8555 §6.5.1: a request should have none; Pebble and Boulder refuse one. What is signed alone counts here.
#[tokio::test]
async fn n6_a_nonce_in_a_request_header_is_not_looked_at() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (nonce, beside) = (client.nonce().await, client.nonce().await);
        let headers = [("content-type", "application/jose+json"), ("replay-nonce", beside.as_str())];
        let body = read(&client, &nonce).into_bytes();
        with_headers(&world, "POST", &client.kid, &headers, body.clone()).await.expect(200);
        with_headers(&world, "POST", &client.kid, &headers, body).await.refused(400, "badNonce");
        client.post_with(&client.kid, &beside, "").await.expect(200);
    }
}

#[tokio::test]
async fn n7_a_bad_signature_spends_no_nonce() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let nonce = client.nonce().await;
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": client.kid}).to_string();
        for _ in 0..3 {
            send(&world, &client.kid, &Key::new().jws(&header, "").to_string()).await.refused(400, "malformed");
        }
        client.post_with(&client.kid, &nonce, "").await.expect(200);
    }
}

/// 50 requests at once over two routers with one nonce; then each nonce of one redeems at the other.
#[tokio::test]
async fn n8_any_replica_on_postgres_redeems_a_nonce_once() {
    for world in worlds().await.into_iter().filter(|w| w.store.db.is_postgres()) {
        let client = Client::register(&world).await;
        let (_, other) = world.replica().await;
        let here = world.router();
        let either = |n: usize| if n.is_multiple_of(2) { &here } else { &other };
        let nonce = client.nonce().await;
        let body = read(&client, &nonce);
        let all = (0..50).map(|n| send_to(either(n), &client.kid, &body));
        let replies = futures_util::future::join_all(all).await;
        assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 1);
        let mut next = String::new();
        for reply in replies.into_iter().filter(|r| r.status != 200) {
            next = reply.refused(400, "badNonce").header("replay-nonce").to_owned();
        }
        for n in 0..20 {
            let reply = send_to(either(n), &client.kid, &read(&client, &next)).await.expect(200);
            next = reply.header("replay-nonce").to_owned();
        }
    }
}

/// How many badNonce a client meets that retries with the nonce of the answer, until it is served.
async fn bad_nonces(router: &Router, client: &Client<'_>, nonce: &str) -> usize {
    let mut nonce = nonce.to_owned();
    for bad in 0..5 {
        let reply = send_to(router, &client.kid, &read(client, &nonce)).await;
        nonce = reply.header("replay-nonce").to_owned();
        if reply.status == 200 {
            return bad;
        }
        reply.refused(400, "badNonce");
    }
    panic!("never served")
}

#[tokio::test]
async fn n9_after_a_restart_each_client_meets_one_bad_nonce_at_most() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (here, there) = (client.nonce().await, client.nonce().await);
        let (_, restarted) = world.replica().await;
        let met = bad_nonces(&restarted, &client, &here).await;
        // SQLite has them in memory; Postgres keeps its epoch, whoever asks
        assert_eq!(met, usize::from(!world.store.db.is_postgres()));
        if world.store.db.is_postgres() {
            // the database lost its UNLOGGED tables: both replicas go on, and each client meets one at most
            for table in ["DELETE FROM nonces_spent", "DELETE FROM nonce_epochs"] {
                q(plain(table)).execute(&world.store.db).await.unwrap();
            }
            assert_eq!(bad_nonces(&restarted, &client, &there).await, 1);
            let before = client.nonce().await;
            assert!(bad_nonces(&restarted, &client, &before).await <= 1);
            let mut next = client.nonce().await;
            let mut met = 0;
            for n in 0..10 {
                let router = if n % 2 == 0 { world.router() } else { restarted.clone() };
                let mut reply = send_to(&router, &client.kid, &read(&client, &next)).await;
                if reply.status != 200 {
                    met += 1;
                    let retry = reply.header("replay-nonce").to_owned();
                    reply = send_to(&router, &client.kid, &read(&client, &retry)).await.expect(200);
                }
                next = reply.header("replay-nonce").to_owned();
            }
            assert!(met <= 1, "{met}");
        }
    }
}

/// Giving one out keeps nothing; spent ones are kept up to a bound, beyond which the epoch ends.
#[tokio::test]
async fn n10_a_million_nonces_leave_memory_and_database_bounded() {
    for world in worlds().await {
        let nonces = &world.registration.nonces;
        let client = Client::register(&world).await;
        let held = nonces.held().await.unwrap();
        for _ in 0..10_000 {
            nonces.mint().unwrap();
        }
        assert_eq!(nonces.held().await.unwrap(), held);
        let early = client.nonce().await;
        client.post_with(&client.kid, &early, "").await.expect(200);
        if world.store.db.is_postgres() {
            spend_in_rows(&world).await
        } else {
            spend_in_memory(&world).await
        }
        // what was used before the bound was reached is not good again
        client.post_with(&client.kid, &early, "").await.refused(400, "badNonce");
        assert_eq!(bad_nonces(&world.router(), &client, &client.nonce().await).await, 0);
        // and an hour later nothing is left
        world.clock.advance(hours(2));
        nonces.forget_expired().await.unwrap();
        assert!(nonces.held().await.unwrap() <= 1);
    }
}

async fn spend_in_memory(world: &World) {
    let nonces = &world.registration.nonces;
    let (mut most, mut ended) = (0, 0);
    for n in 0..1_000_000 {
        if nonces.redeem(&nonces.mint().unwrap()).await.is_err() {
            ended += 1;
        }
        if n % 10_000 == 0 {
            most = most.max(nonces.held().await.unwrap());
        }
    }
    assert!(most > MAX_SPENT / 2 && most <= MAX_SPENT, "{most}");
    assert!((1..=2).contains(&ended), "{ended}: one nonce is refused when an epoch ends");
    nonces.forget_expired().await.unwrap();
}

/// As rows that a million requests left: redeeming them one by one would be a test of the disk.
async fn spend_in_rows(world: &World) {
    let nonces = &world.registration.nonces;
    let (other, router) = world.replica().await;
    let client = Client::register(world).await;
    let (fresh, theirs) = (nonces.mint().unwrap(), other.nonces.mint().unwrap());
    let rows = "INSERT INTO nonces_spent (nonce, expires_at) SELECT int8send(e.epoch) || decode(md5(n::text) || md5('x' || n::text), 'hex') || '\\x0000000000000000'::bytea, $1 \
                FROM nonce_epochs e, generate_series($2::bigint, $2::bigint + 99999) n";
    let rows = chancery::store::engine::Sql { name: "rows", sqlite: "SELECT $1, $2", postgres: rows };
    for part in 0i64..10 {
        q(rows).bind(world.now() + minutes(50)).bind(part * 100_000).execute(&world.store.db).await.unwrap();
    }
    assert_eq!(nonces.held().await.unwrap(), 2 * MAX_SPENT);
    // an epoch lasts a minute at least
    world.clock.advance(minutes(1));
    nonces.forget_expired().await.unwrap();
    // the epoch ended: each client meets one, also at the replica that was not told
    assert_eq!(bad_nonces(&world.router(), &client, &fresh).await, 1);
    assert_eq!(bad_nonces(&router, &client, &theirs).await, 1);
    assert!(bad_nonces(&router, &client, &other.nonces.mint().unwrap()).await <= 1);
    // the rows go a minute later, when no spend of the old epoch is under way
    nonces.forget_expired().await.unwrap();
    assert!(number(world, "SELECT COUNT(*) AS held FROM nonces_spent").await >= 1_000_000);
    world.clock.advance(minutes(1));
    nonces.forget_expired().await.unwrap();
    assert!(nonces.held().await.unwrap() < 10);
}

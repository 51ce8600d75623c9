//! Nonces (N1–N10).

use std::collections::HashSet;

use super::client::{Client, Key, raw, send, url};
use super::world::worlds;
use chancery::clock::hours;
use serde_json::json;

#[tokio::test]
async fn of_fifty_requests_with_one_nonce_exactly_one_wins() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let nonce = client.nonce().await;
        let all = (0..50).map(|_| client.post_with(&client.kid, &nonce, ""));
        let replies = futures_util::future::join_all(all).await;
        assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 1);
        for reply in replies.into_iter().filter(|r| r.status != 200) {
            reply.refused(400, "badNonce");
        }
    }
}

#[tokio::test]
async fn a_bad_signature_spends_no_nonce() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let nonce = client.nonce().await;
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": client.kid}).to_string();
        let forged = Key::new().jws(&header, "").to_string();
        send(&world, &client.kid, &forged).await.refused(400, "malformed");
        client.post_with(&client.kid, &nonce, "").await.expect(200);
    }
}

#[tokio::test]
async fn nonces_are_distinct_fresh_and_ours() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let nonce = world.registration.nonces.mint().unwrap();
            assert!(nonce.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            assert!(seen.insert(nonce));
        }
        let old = client.nonce().await;
        world.clock.advance(hours(2));
        let mut other = client.nonce().await;
        let flipped = if other.ends_with('A') { 'B' } else { 'A' };
        other.replace_range(20..21, &flipped.to_string());
        for bad in [old.as_str(), &other, "", "abc", "not base64!"] {
            client.post_with(&client.kid, bad, "").await.refused(400, "badNonce");
        }
    }
}

#[tokio::test]
async fn a_missing_nonce_is_bad_and_new_nonce_answers_as_the_rfc_says() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let header = json!({"alg": "ES256", "kid": client.kid, "url": client.kid}).to_string();
        let reply = send(&world, &client.kid, &client.key.jws(&header, "").to_string()).await;
        reply.refused(400, "badNonce");
        for (method, status) in [("HEAD", 200), ("GET", 204)] {
            let reply = raw(&world, method, &url("new-nonce"), "", Vec::new()).await.expect(status);
            assert_eq!(reply.header("cache-control"), "no-store");
            assert!(reply.header("replay-nonce").len() >= 22);
            assert_eq!(reply.text, "");
        }
    }
}

#[tokio::test]
async fn any_replica_on_postgres_redeems_a_nonce_once() {
    for world in worlds().await.into_iter().filter(|w| w.store.db.is_postgres()) {
        let (other, _) = world.replica().await;
        let nonce = world.registration.nonces.mint().unwrap();
        let (here, there) = tokio::join!(world.registration.nonces.redeem(&nonce), other.nonces.redeem(&nonce));
        assert!(here.is_ok() != there.is_ok());
    }
}

#[tokio::test]
async fn a_restart_on_sqlite_makes_old_nonces_bad() {
    for world in worlds().await.into_iter().filter(|w| !w.store.db.is_postgres()) {
        let (restarted, _) = world.replica().await;
        let nonce = world.registration.nonces.mint().unwrap();
        assert!(restarted.nonces.redeem(&nonce).await.is_err());
    }
}

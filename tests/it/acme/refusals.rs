//! Requests that are refused before registration sees them are in the audit, and a flood of them does not fill it.

use chancery::clock::minutes;
use chancery::registration::DirectoryConfig;
use chancery::store::audit;
use serde_json::{Value, json};

use super::client::{Client, Key, b64, raw, send, url};
use super::eab::admin;
use super::state::number;
use super::world::{World, worlds};

#[tokio::test]
async fn each_kind_of_early_refusal_is_an_event() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let to = url("new-order");
        let payload = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string();
        let signed = |key: &Key, kid: &str, nonce: &str| {
            let header = json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": to}).to_string();
            key.jws(&header, &payload).to_string()
        };
        raw(&world, "POST", &to, "application/json", b"{}".to_vec()).await.refused(415, "malformed");
        send(&world, &to, "no JSON").await.refused(400, "malformed");
        let nonce = client.nonce().await;
        send(&world, &to, &signed(&client.key, "https://acme.test/none", &nonce))
            .await
            .refused(400, "accountDoesNotExist");
        send(&world, &to, &signed(&client.key, &client.kid, "AAAA")).await.refused(400, "badNonce");
        let kinds: Vec<_> = early(&world).await.iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["UnsupportedMediaType", "Malformed", "AccountDoesNotExist", "BadNonce"]);
        let first = &early(&world).await[0];
        assert_eq!(first["surface"], "acme:default");
        assert!(first["why"].as_str().unwrap().contains("application/jose+json"));

        // what registration refuses has an event of its own, with its account, and is not counted twice
        client.order(&["localhost"]).await.refused(400, "rejectedIdentifier");
        // and nobody is told of a path that is not there
        send(&world, &url("nothing"), "x").await.refused(404, "malformed");
        assert_eq!(early(&world).await.len(), 4);
        let events = audit::page(&world.store, None, 100).await.unwrap();
        assert!(events.iter().any(|e| e.action == "order.refused" && e.actor.starts_with("account:")));
    }
}

#[tokio::test]
async fn a_flood_of_garbage_is_two_events_a_minute() {
    for world in worlds().await {
        let to = url("new-order");
        for _ in 0..200 {
            send(&world, &to, "{}").await.refused(400, "malformed");
        }
        assert_eq!(early(&world).await.len(), 1);
        world.registration.refusals.flush(false).await;
        assert_eq!(early(&world).await.len(), 1, "the minute is not over");
        world.clock.advance(minutes(1));
        world.registration.refusals.flush(false).await;
        let told = early(&world).await;
        assert_eq!((told.len(), &told[1]["count"], &told[1]["kind"]), (2, &json!(199), &json!("Malformed")));
        world.registration.refusals.flush(true).await;
        assert_eq!(early(&world).await.len(), 2, "what is written is not counted again");

        // without a flush the count is written with the first of the next minute
        send(&world, &to, "{}").await;
        send(&world, &to, "{}").await;
        world.clock.advance(minutes(2));
        send(&world, &to, "{}").await;
        let told = early(&world).await;
        assert_eq!((told.len(), &told[4]["count"]), (5, &json!(1)));
    }
}

/// What registration refuses, and what it does again and again without change, costs no row a request either.
#[tokio::test]
async fn floods_that_registration_refuses_are_bounded() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let rows = async || {
            let events = audit::page(&world.store, None, 1_000).await.unwrap().len();
            (events, number(&world, "SELECT COUNT(*) AS held FROM acme_attempts").await)
        };
        let before = rows().await;
        // a fresh key each time, over bytes that nobody issued
        for n in 0..40u8 {
            let to = url("revoke");
            let nonce = world.registration.nonces.mint().unwrap();
            let key = Key::new();
            let header = json!({"alg": "ES256", "jwk": key.jwk(), "nonce": nonce, "url": to}).to_string();
            let payload = json!({"certificate": b64([n; 40])}).to_string();
            send(&world, &to, &key.jws(&header, &payload).to_string()).await.refused(404, "malformed");
        }
        assert_eq!(rows().await, (before.0 + 1, before.1 + 1), "revocations by key");
        for n in 0..40u8 {
            let payload = json!({"certificate": b64([n; 40])}).to_string();
            client.post(&url("revoke"), &payload).await.refused(404, "malformed");
        }
        assert_eq!(rows().await, (before.0 + 2, before.1 + 2), "revocations by account");
        for n in 0..40 {
            let payload = json!({"contact": [format!("mailto:a@b.example?n={n}")]}).to_string();
            client.post(&client.kid, &payload).await.refused(400, "invalidContact");
        }
        assert_eq!(rows().await, (before.0 + 3, before.1 + 3), "bad contacts");
        for _ in 0..40 {
            let payload = json!({"contact": ["mailto:a@b.example"]}).to_string();
            let shown = client.post(&client.kid, &payload).await.expect(200).json();
            assert_eq!(shown["contact"], json!(["mailto:a@b.example"]));
        }
        assert_eq!(rows().await, (before.0 + 4, before.1 + 3), "one change of the contacts");
        let config = DirectoryConfig {
            terms_of_service: Some("https://acme.test/terms".into()),
            require_current_terms: true,
            ..DirectoryConfig::default()
        };
        world.registration.change_directory(&admin(), "default", config).await.unwrap();
        for n in 0..40 {
            client.order(&[&format!("n{n}.example.org")]).await.refused(403, "userActionRequired");
        }
        assert_eq!(rows().await, (before.0 + 6, before.1 + 4), "terms, and the change of the directory");
        // the counts are not lost
        world.clock.advance(minutes(1));
        world.registration.write_attempts(false).await;
        let again = audit::page(&world.store, None, 1_000).await.unwrap();
        assert_eq!(again.iter().filter(|e| e.action == "acme.refused_again").count(), 4);
    }
}

/// Details of the events about early refusals, in the order written.
async fn early(world: &World) -> Vec<Value> {
    let mut events = audit::page(&world.store, None, 500).await.unwrap();
    events.reverse();
    events.retain(|e| e.action == "request.refused" || e.action == "requests.refused");
    assert!(events.iter().all(|e| e.actor == "nobody" && e.outcome == "refused"));
    events.iter().map(|e| serde_json::from_str(&e.detail).unwrap()).collect()
}

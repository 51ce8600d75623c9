//! Requests that share a commit, and how many commits an order costs.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::client::{Client, b64, csr};
use super::world::worlds;
use crate::support::wait;

/// new order 1, "ready" 1, verdict 1, intent 1, outcome 1.
#[tokio::test]
async fn an_order_costs_five_commits() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = world.store.commits().count();
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        assert_eq!(world.store.commits().count() - before, 3);
        let csr = b64(csr(&["a.example.org"]).0);
        let finalize = order["finalize"].as_str().unwrap();
        let done = client.post(finalize, &json!({"csr": csr}).to_string()).await.expect(200).json();
        client.get(done["certificate"].as_str().unwrap()).await.expect(200);
        assert_eq!(world.store.commits().count() - before, 5);
    }
}

#[tokio::test]
async fn answers_and_verdicts_of_many_share_their_commits() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names: Vec<String> = (0..48).map(|n| format!("n{n}.example.org")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let made = client.order(&names).await.expect(201).json();
        let parts: Vec<&str> = list(&made["authorizations"]);
        let asked = join_all(parts.iter().map(|part| client.challenge(part, "http-01"))).await;
        for challenge in &asked {
            let token = challenge["token"].as_str().unwrap();
            let body = format!("{token}.{}", client.key.thumbprint());
            world.tokens.lock().unwrap().insert(token.to_owned(), body);
        }
        let before = world.store.commits().count();
        let answers = asked.iter().map(|challenge| client.post(challenge["url"].as_str().unwrap(), "{}"));
        for answer in join_all(answers).await {
            assert_eq!(answer.expect(200).json()["status"], "processing");
        }
        wait::until("all are proved", async || {
            let shown = join_all(parts.iter().map(|part| client.get(part))).await;
            shown.iter().all(|reply| reply.json()["status"] == "valid").then_some(())
        })
        .await;
        let commits = world.store.commits().count() - before;
        assert!(commits < 64, "{commits} commits for 96 rows");
        let events = chancery::store::audit::page(&world.store, None, 200).await.unwrap();
        let count = |action: &str| events.iter().filter(|event| event.action == action).count();
        assert_eq!((count("challenge.started"), count("challenge.validated")), (48, 48));
    }
}

/// Two of one authorization at once: one is tried, the other stays as it was.
#[tokio::test]
async fn of_two_challenges_of_a_name_one_is_begun() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["a.example.org"]).await.expect(201).json();
        let part = made["authorizations"][0].as_str().unwrap();
        let (http, dns) = (client.challenge(part, "http-01").await, client.challenge(part, "dns-01").await);
        let post = |challenge: &Value| challenge["url"].as_str().unwrap().to_owned();
        let (http, dns) = (post(&http), post(&dns));
        let answers = join_all([client.post(&http, "{}"), client.post(&dns, "{}")]).await;
        let states: Vec<_> = answers.into_iter().map(|a| a.expect(200).json()["status"].clone()).collect();
        assert_eq!(states.iter().filter(|s| **s == "pending").count(), 1, "{states:?}");
        let events = chancery::store::audit::page(&world.store, None, 100).await.unwrap();
        assert_eq!(events.iter().filter(|event| event.action == "challenge.started").count(), 1);
    }
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

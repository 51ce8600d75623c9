//! Requests that share a commit, and how many commits an order costs.

use chancery::model::actor::Actor;
use chancery::store::accounts;
use chancery::store::engine::q;
use chancery::store::faults::CommitFault;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::client::{Client, b64, csr};
use super::world::{Zone, worlds};
use crate::support::stores::plain;
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
        assert!(commits < 90, "{commits} commits for 96 rows");
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
        // no verdict comes before the second is asked for
        for name in ["a.example.org", "_acme-challenge.a.example.org"] {
            world.zone.lock().unwrap().insert(name.into(), Zone::Silent);
        }
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

/// 64 at once, one of them of an account that ends in the middle: it alone is refused.
#[tokio::test]
async fn an_account_that_ends_fails_alone_in_its_group() {
    for world in worlds().await {
        let (client, ending) = (Client::register(&world).await, Client::register(&world).await);
        let id = ending.kid.rsplit('/').next().unwrap().parse().unwrap();
        let names: Vec<String> = (0..64).map(|n| format!("n{n}.example.org")).collect();
        let mut tx = world.store.begin(&Actor::system("test")).await.unwrap();
        assert!(accounts::revoke(&mut tx, id).await.unwrap());
        // all are read as valid before the commit, and meet the account's row in their transactions
        let asked = names.iter().enumerate().map(|(n, name)| {
            let client = if n == 31 { &ending } else { &client };
            async move { client.order(&[name.as_str()]).await }
        });
        let before = world.store.commits().count();
        let (replies, ()) = tokio::join!(join_all(asked), async { tx.commit().await.unwrap() });
        for (n, reply) in replies.into_iter().enumerate() {
            match n {
                31 => drop(reply.refused(401, "unauthorized")),
                _ => drop(reply.expect(201)),
            }
        }
        let commits = world.store.commits().count() - before;
        assert!(commits < 60, "{commits} commits for 64 orders");
        let stored = q(plain("SELECT COUNT(*) AS n FROM acme_orders")).fetch_one(&world.store.db).await.unwrap();
        assert_eq!(stored.get::<i64>("n").unwrap(), 63);
    }
}

/// The reply of a group's commit is lost, or its commit fails: everybody is told what the database has.
#[tokio::test]
async fn orders_survive_a_group_that_fails_or_whose_reply_is_lost() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        for (fault, word) in [(CommitFault::LosesReply, "lost"), (CommitFault::Fails, "failed")] {
            world.store.commits().plan("order.created", fault);
            let names: Vec<String> = (0..24).map(|n| format!("{word}{n}.example.org")).collect();
            let asked = names.iter().map(|name| async { client.order(&[name.as_str()]).await });
            let replies = join_all(asked).await;
            // a group of one is not tried again: its client is told to
            let refused = replies.iter().filter(|reply| reply.status == 503).count();
            let made: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
            assert!(refused <= 1 && made.len() + refused == 24, "{word}: {refused} of 24 refused");
            assert!(word == "failed" || refused == 0, "what is stored is found again");
            for reply in made {
                client.get(reply.header("location")).await.expect(200);
            }
        }
    }
}

/// Another process's change, which this one is not told of, is seen within five seconds; what writes sees it at once.
#[tokio::test]
async fn an_account_is_remembered_for_seconds_and_not_when_it_writes() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let order = client.order(&["a.example.org"]).await.expect(201);
        let set = |text: &'static str| {
            let id: chancery::model::id::AccountId = client.kid.rsplit('/').next().unwrap().parse().unwrap();
            q(plain(text)).bind(id.to_vec()).execute(&world.store)
        };
        set("UPDATE acme_accounts SET status = 'deactivated' WHERE id = $1").await.unwrap();
        client.get(order.header("location")).await.expect(200);
        client.order(&["b.example.org"]).await.refused(401, "unauthorized");
        world.clock.advance(std::time::Duration::from_secs(5));
        client.get(order.header("location")).await.refused(401, "unauthorized");
        set("UPDATE acme_accounts SET status = 'valid' WHERE id = $1").await.unwrap();
        world.clock.advance(std::time::Duration::from_secs(5));
        client.get(&client.kid).await.expect(200);
        // our own is seen at once
        client.post(&client.kid, r#"{"status":"deactivated"}"#).await.expect(200);
        client.get(&client.kid).await.refused(401, "unauthorized");
    }
}

/// A round trip is what an operation costs: a request that reads takes one statement, and one for its nonce where
/// replicas share them.
#[tokio::test]
async fn reading_takes_one_statement() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let count = || {
        let text = handle.render();
        let line = text.lines().find(|l| l.starts_with("chancery_db_statements_total "));
        line.map_or(0, |l| l.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
    };
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (certificate, ..) = client.certificate(&["a.example.org"]).await;
        let made = client.order(&["b.example.org"]).await.expect(201);
        let part = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&part, "http-01").await["url"].as_str().unwrap().to_owned();
        let each = if world.store.db.is_postgres() { 2 } else { 1 };
        for url in [made.header("location"), &part, &challenge, &certificate] {
            let before = count();
            client.get(url).await.expect(200);
            assert_eq!(count() - before, each, "{url}");
        }
    }
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

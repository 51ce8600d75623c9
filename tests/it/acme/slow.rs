//! A signature that takes longer than a client is kept waiting: `processing`, then polling (RFC 8555 §7.4).

use std::time::Duration;

use chancery::clock::minutes;
use chancery::error::ErrorKind;
use chancery::model::actor::Actor;
use chancery::store::engine::{Db, q};
use chancery::store::jobs;
use chancery::store::replicas::connection_name;
use serde_json::{Value, json};

use super::client::{Client, at, b64, csr};
use super::state::number;
use super::world::{World, Zone, worlds};
use crate::issuance::rig::SignerState;
use crate::support::stores::plain;
use crate::support::wait::until;

#[tokio::test]
async fn a_slow_signature_is_processing_and_then_valid() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        *world.trouble.signer.lock().unwrap() = SignerState::Waits;
        let finalize = order["finalize"].as_str().unwrap();
        let answer = client.post(finalize, &payload).await.expect(200);
        assert_eq!(answer.json()["status"], "processing", "{}", answer.text);
        assert_eq!((answer.header("retry-after"), answer.header("location")), ("1", order_url.as_str()));
        assert!(answer.json().get("certificate").is_none());
        let polled = client.get(&order_url).await.expect(200);
        assert_eq!((&polled.json()["status"], polled.header("retry-after")), (&json!("processing"), "1"));
        client.post(finalize, &payload).await.refused(403, "orderNotReady");

        world.trouble.gate.add_permits(1);
        let done = loop {
            let polled = client.get(&order_url).await.expect(200).json();
            if polled["status"] != "processing" {
                break polled;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(done["status"], "valid", "{done}");
        client.get(done["certificate"].as_str().unwrap()).await.expect(200);
    }
}

#[tokio::test]
async fn a_signer_that_is_away_ends_the_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        *world.trouble.signer.lock().unwrap() = SignerState::Unavailable;
        let refused = client.post(order["finalize"].as_str().unwrap(), &payload).await;
        let expected = chancery::http::problem::row(ErrorKind::Unavailable);
        assert_eq!((refused.status, refused.problem().as_str()), (expected.acme_status.as_u16(), expected.acme));
        let ended = client.get(&order_url).await.expect(200).json();
        assert_eq!(ended["status"], "invalid");
        assert_eq!(ended["error"]["type"], "urn:ietf:params:acme:error:serverInternal");
    }
}

/// An order that is processing and has no outcome until `gate` lets it; other signatures work.
struct CutOff {
    order_url: String,
    order: Value,
    finalize: String,
    payload: String,
}

async fn cut_off(client: &Client<'_>, world: &World) -> CutOff {
    let (order_url, order) = client.ready_order(&["a.example.org"]).await;
    let finalize = order["finalize"].as_str().unwrap().to_owned();
    let payload = json!({"csr": b64(csr(&["a.example.org"]).0)}).to_string();
    *world.trouble.signer.lock().unwrap() = SignerState::Waits;
    let answer = client.post(&finalize, &payload).await.expect(200).json();
    assert_eq!(answer["status"], "processing", "{answer}");
    *world.trouble.signer.lock().unwrap() = SignerState::Works;
    CutOff { order_url, order, finalize, payload }
}

/// A server ends between the intent and the outcome of a finalize, and its client repeats that at another one: who
/// reached a dead server must not wait for recovery, let alone lose the order.
#[tokio::test]
async fn an_order_whose_server_ended_is_finalized_by_another() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let CutOff { order_url, finalize, payload, .. } = cut_off(&client, &world).await;
        let (finalize, payload) = (finalize.as_str(), payload.as_str());
        let other = world.elsewhere().await;

        if let Some(url) = &world.url {
            // the first one lives as long as it has a connection
            let name = connection_name(world.store.replica());
            let alive = Db::open_postgres(url, 1, &name).await.unwrap();
            at(&other, &client.key, &client.kid, finalize, payload).await.refused(403, "orderNotReady");
            assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "processing");
            alive.close().await;
            // the database notices in its own time
            until("the first one has no connection", async || {
                let named = "SELECT COUNT(*) AS held FROM pg_stat_activity WHERE application_name = $1";
                let row = q(plain(named)).bind(name.as_str()).fetch_one(&world.store.db).await.unwrap();
                (row.get::<i64>("held").unwrap() == 0).then_some(())
            })
            .await;
        }
        // at two others at once: one certificate
        let third = world.elsewhere().await;
        let (one, two) = tokio::join!(
            at(&other, &client.key, &client.kid, finalize, payload),
            at(&third, &client.key, &client.kid, finalize, payload)
        );
        let (done, late) = if one.status == 200 { (one, two) } else { (two, one) };
        late.refused(403, "orderNotReady");
        let answer = done.expect(200).json();
        assert_eq!(answer["status"], "valid", "{answer}");
        let pem = client.get(answer["certificate"].as_str().unwrap()).await.expect(200).text;
        at(&other, &client.key, &client.kid, finalize, payload).await.refused(403, "orderNotReady");
        let revoked = "SELECT COUNT(*) AS held FROM revocations r JOIN certificates c ON c.id = r.certificate_id \
                       WHERE c.status = 'revoked' AND c.issued_at IS NULL";
        assert_eq!(number(&world, revoked).await, 1, "what may have been signed");

        // it lived after all: what it made is given to nobody, and the order stays as it is
        world.trouble.gate.add_permits(1);
        until("the first one's outcome is refused", async || {
            let refused = "SELECT COUNT(*) AS held FROM audit_events WHERE action = 'certificate.rejected'";
            (number(&world, refused).await == 1).then_some(())
        })
        .await;
        let shown = client.get(&order_url).await.expect(200).json();
        assert_eq!((&shown["status"], &shown["certificate"]), (&json!("valid"), &answer["certificate"]));
        assert_eq!(client.get(answer["certificate"].as_str().unwrap()).await.expect(200).text, pem);
        assert_eq!(
            number(&world, "SELECT COUNT(*) AS held FROM certificates WHERE issued_at IS NOT NULL AND via = 'acme'")
                .await,
            1
        );

        assert_eq!(world.authority.fsck().await.unwrap().findings, Vec::<String>::new());
        let id = order_url.rsplit('/').next().unwrap().parse().unwrap();
        let told = other.0.timeline(id).await.unwrap().unwrap();
        let told: Vec<_> = told.entries.iter().map(|entry| entry.detail.as_str()).collect();
        assert!(told.iter().any(|detail| detail.contains("ended before it was done")), "{told:?}");
    }
}

/// What ended while the order was processing passed over it: it is not made ready on a proof that was given up.
#[tokio::test]
async fn an_order_whose_proof_ended_with_its_server_is_over() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let CutOff { order_url, order, finalize, payload } = cut_off(&client, &world).await;
        let (finalize, payload) = (finalize.as_str(), payload.as_str());
        let authorization = order["authorizations"][0].as_str().unwrap();
        client.post(authorization, r#"{"status":"deactivated"}"#).await.expect(200);

        let other = world.elsewhere().await;
        at(&other, &client.key, &client.kid, finalize, payload).await.refused(403, "orderNotReady");
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "invalid");
        assert_eq!(
            number(&world, "SELECT COUNT(*) AS held FROM certificates WHERE issued_at IS NOT NULL AND via = 'acme'")
                .await,
            0
        );
        world.trouble.gate.add_permits(1);
    }
}

/// A server ends while it validates: another one does it while the client still waits (certbot for 90 seconds), and a
/// verdict that comes later all the same counts for nothing.
#[tokio::test]
async fn a_validation_whose_server_ended_is_done_by_another() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["a.example.org"]).await.expect(201).json();
        let authorization = made["authorizations"][0].as_str().unwrap();
        let challenge = client.challenge(authorization, "http-01").await;
        let token = challenge["token"].as_str().unwrap();
        world.tokens.lock().unwrap().insert(token.to_owned(), format!("{token}.{}", client.key.thumbprint()));
        world.zone.lock().unwrap().insert("a.example.org".into(), Zone::Silent);
        client.post(challenge["url"].as_str().unwrap(), "{}").await.expect(200);

        let (other, _) = world.elsewhere().await;
        let claim = async || {
            let mut tx = world.store.begin(&Actor::job("test")).await.unwrap();
            let claimed = jobs::claim(&mut tx, world.now() + minutes(1), 10).await.unwrap();
            tx.commit().await.unwrap();
            claimed
        };
        world.clock.advance(Duration::from_secs(58));
        assert_eq!(claim().await, [], "its server may still be at it");
        world.clock.advance(Duration::from_secs(3));
        world.zone.lock().unwrap().remove("a.example.org");
        let [late] = &claim().await[..] else { panic!("one job") };
        world.clock.advance(minutes(2));
        let [job] = &claim().await[..] else { panic!("the same one") };
        other.validate(late).await.unwrap_err();
        let shown = client.get(authorization).await.expect(200).json();
        assert_eq!(shown["status"], "pending", "the job is another one's by now");
        other.validate(job).await.unwrap();
        assert_eq!(client.get(authorization).await.expect(200).json()["status"], "valid");
    }
}

/// A machine whose clock is wrong validates nothing itself: any replica whose clock is right may take the job at once.
#[tokio::test]
async fn a_challenge_that_begins_under_a_wrong_clock_is_left_to_other_replicas() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let order = client.order(&["a.example.org"]).await.expect(201).json();
        let authorization = order["authorizations"][0].as_str().unwrap();
        let challenge = client.challenge(authorization, "http-01").await;
        let token = challenge["token"].as_str().unwrap();
        let body = format!("{token}.{}", client.key.thumbprint());
        world.tokens.lock().unwrap().insert(token.to_owned(), body);

        world.clock.jump(-600);
        let begun = client.post(challenge["url"].as_str().unwrap(), "{}").await.expect(200).json();
        assert_eq!(begun["status"], "processing", "{begun}");
        world.clock.jump(600);

        let mut tx = world.store.begin(&Actor::job("queue")).await.unwrap();
        let claimed = jobs::claim(&mut tx, world.now() + minutes(1), 10).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claimed.iter().map(|job| job.attempts).collect::<Vec<_>>(), [1], "nobody holds it");
        world.registration.validate(&claimed[0]).await.unwrap();
        assert_eq!(client.get(authorization).await.expect(200).json()["status"], "valid");
    }
}

//! `replaces` in newOrder (RFC 9773 §5; AR5).

use chancery::clock::days;
use chancery::store::engine::q;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, leaf_der, url};
use super::world::{World, worlds};
use crate::support::stores::plain;

/// The renewal identifier of a certificate, made by code that is not ours.
pub fn renewal_id(pem: &str) -> String {
    let leaf = openssl::x509::X509::from_der(&leaf_der(pem)).unwrap();
    let serial = leaf.serial_number().to_bn().unwrap().to_vec();
    assert_eq!(serial[0] & 0x80, 0, "DER would put a zero before it");
    format!("{}.{}", b64(leaf.authority_key_id().unwrap().as_slice()), b64(serial))
}

async fn order(client: &Client<'_>, names: &[&str], replaces: &str) -> Reply {
    let identifiers: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
    client.post(&url("new-order"), &json!({"identifiers": identifiers, "replaces": replaces}).to_string()).await
}

async fn finish(client: &Client<'_>, order: &Value, names: &[&str]) -> Value {
    for authorization in order["authorizations"].as_array().unwrap() {
        client.prove(authorization.as_str().unwrap()).await;
    }
    let csr = json!({"csr": b64(csr(names).0)}).to_string();
    client.post(order["finalize"].as_str().unwrap(), &csr).await.expect(200).json()
}

async fn orders_in(world: &World) -> i64 {
    let count = plain("SELECT COUNT(*) AS n FROM acme_orders");
    q(count).fetch_one(&world.store.db).await.unwrap().get("n").unwrap()
}

#[tokio::test]
async fn ar5_a_certificate_is_replaced_once_and_the_order_says_so_for_ever() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org", "b.example.org"]).await;
        let id = renewal_id(&pem);
        // one name in common is enough
        let made = order(&client, &["b.example.org", "c.example.org"], &id).await.expect(201);
        assert_eq!(made.json()["replaces"], json!(id));
        let detail = order(&client, &["a.example.org"], &id).await.refused(409, "alreadyReplaced").json();
        let first = made.header("location").rsplit('/').next().unwrap().to_owned();
        assert!(detail["detail"].as_str().unwrap().contains(&first), "it says which order: {detail}");

        let done = finish(&client, &made.json(), &["b.example.org", "c.example.org"]).await;
        assert_eq!((&done["status"], &done["replaces"]), (&json!("valid"), &json!(id)));
        assert_eq!(client.get(made.header("location")).await.json()["replaces"], json!(id));
        order(&client, &["a.example.org"], &id).await.refused(409, "alreadyReplaced");
        // the new one may be replaced in its turn
        let pem = client.get(done["certificate"].as_str().unwrap()).await.text;
        order(&client, &["c.example.org"], &renewal_id(&pem)).await.expect(201);
        assert!(client.order(&["a.example.org"]).await.expect(201).json().get("replaces").is_none());
    }
}

#[tokio::test]
async fn ar5_a_failed_or_expired_order_frees_the_slot() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let id = renewal_id(&pem);
        let failed = order(&client, &["a.example.org"], &id).await.expect(201);
        let authorization = failed.json()["authorizations"][0].as_str().unwrap().to_owned();
        client.post(&authorization, r#"{"status":"deactivated"}"#).await.expect(200);
        assert_eq!(client.get(failed.header("location")).await.json()["status"], "invalid");

        // no housekeeping runs here: time alone ends this one
        let late = order(&client, &["a.example.org"], &id).await.expect(201);
        world.clock.advance(days(8));
        let next = order(&client, &["a.example.org"], &id).await.expect(201);
        let shown = client.get(late.header("location")).await.json();
        assert_eq!((&shown["status"], &shown["replaces"]), (&json!("invalid"), &json!(id)));
        order(&client, &["a.example.org"], &id).await.refused(409, "alreadyReplaced");
        assert_eq!(finish(&client, &next.json(), &["a.example.org"]).await["status"], "valid");
    }
}

#[tokio::test]
async fn ar5_what_may_not_be_replaced_is_refused_and_nothing_is_stored() {
    for world in worlds().await {
        let (client, other) = (Client::register(&world).await, Client::register(&world).await);
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let id = renewal_id(&pem);
        let before = orders_in(&world).await;
        order(&other, &["a.example.org"], &id).await.refused(403, "unauthorized");
        order(&client, &["other.example.org"], &id).await.refused(400, "malformed");
        let (key_id, serial) = id.split_once('.').unwrap();
        for unknown in [
            format!("{key_id}.{}", b64([0x41; 20])),
            format!("{}.{serial}", b64([0x41; 20])),
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned(),
            format!("{id}="),
            serial.to_owned(),
            format!("{id}.{serial}"),
        ] {
            order(&client, &["a.example.org"], &unknown).await.refused(400, "malformed");
        }
        for wrong in [json!(7), json!([id])] {
            let names = json!([{"type": "dns", "value": "a.example.org"}]);
            let payload = json!({"identifiers": names, "replaces": wrong}).to_string();
            client.post(&url("new-order"), &payload).await.refused(400, "malformed");
        }
        assert_eq!(orders_in(&world).await, before);
        order(&client, &["a.example.org"], &id).await.expect(201);
    }
}

#[tokio::test]
async fn ar5_of_twenty_orders_at_once_one_replaces() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let id = renewal_id(&pem);
        let before = orders_in(&world).await;
        let replies = join_all((0..20).map(|_| order(&client, &["a.example.org"], &id))).await;
        let (made, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 201);
        assert_eq!(made.len(), 1);
        refused.into_iter().for_each(|r| drop(r.refused(409, "alreadyReplaced")));
        assert_eq!(orders_in(&world).await, before + 1);
    }
}

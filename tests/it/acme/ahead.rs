//! Authorizations ahead of orders and shared by them: newAuthz (Z7), reuse (Z8), names below one proof (RFC 9444), and
//! the rules of a directory over names and issuers.

use aws_lc_rs::digest::{SHA256, digest};
use chancery::clock::{Timestamp, hours};
use chancery::model::names::NameRule;
use chancery::registration::DirectoryConfig;
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, leaf_der, url};
use super::eab::admin;
use super::world::{World, Zone, worlds};

pub async fn offer(world: &World, config: DirectoryConfig) {
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

pub async fn ahead(client: &Client<'_>, identifier: Value) -> Reply {
    client.post(&url("new-authz"), &json!({"identifier": identifier}).to_string()).await
}

/// Proves a name by dns-01.
async fn prove_by_dns(client: &Client<'_>, authorization: &str, name: &str) {
    let challenge = client.challenge(authorization, "dns-01").await;
    let key = format!("{}.{}", challenge["token"].as_str().unwrap(), client.key.thumbprint());
    let text = b64(digest(&SHA256, key.as_bytes()));
    client.world.zone.lock().unwrap().insert(format!("_acme-challenge.{name}"), Zone::Texts(vec![text]));
    assert_eq!(client.respond(&challenge, authorization).await["status"], "valid");
}

async fn finalize(client: &Client<'_>, order: &Value, names: &[&str]) -> Reply {
    client.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(csr(names).0)}).to_string()).await
}

pub fn with_new_authz() -> DirectoryConfig {
    DirectoryConfig { pre_authorization: true, ..DirectoryConfig::default() }
}

#[tokio::test]
async fn z7_a_name_proved_ahead_makes_its_order_ready_at_once() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        assert!(client.get(&url("directory")).await.json().get("newAuthz").is_none(), "off by default");
        ahead(&client, json!({"type": "dns", "value": "a.lab.example"})).await.refused(404, "malformed");

        offer(&world, with_new_authz()).await;
        assert_eq!(client.get(&url("directory")).await.json()["newAuthz"], url("new-authz"));
        let made = ahead(&client, json!({"type": "dns", "value": "A.lab.example"})).await.expect(201);
        let authorization = made.header("location").to_owned();
        assert_eq!(made.json()["identifier"], json!({"type": "dns", "value": "a.lab.example"}));
        assert_eq!(made.json()["status"], "pending");

        // an order made before the proof becomes ready with it
        let early = client.order(&["a.lab.example"]).await.expect(201);
        assert_eq!(early.json()["authorizations"], json!([authorization]));
        assert_eq!(early.json()["status"], "pending");
        assert_eq!(client.prove(&authorization).await["status"], "valid");
        assert_eq!(client.get(early.header("location")).await.json()["status"], "ready");

        // one made after it is ready at once, and what is not proved is asked for beside it
        let late = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_eq!((&late["status"], &late["authorizations"]), (&json!("ready"), &json!([authorization])));
        let done = finalize(&client, &late, &["a.lab.example"]).await.expect(200).json();
        assert_eq!(done["status"], "valid");
        let mixed = client.order(&["b.lab.example", "a.lab.example"]).await.expect(201).json();
        assert_eq!(mixed["status"], "pending");
        assert_eq!(mixed["authorizations"][1], json!(authorization));

        // nobody else's order rests on it, nor one for a wildcard
        let other = Client::register(&world).await;
        assert_ne!(
            other.order(&["a.lab.example"]).await.expect(201).json()["authorizations"],
            json!([authorization])
        );
        assert_eq!(client.order(&["*.a.lab.example"]).await.expect(201).json()["status"], "pending");
        client.get(&authorization).await.expect(200);
        other.get(&authorization).await.refused(404, "malformed");

        // given up, it ends the orders that rest on it
        client.post(&authorization, r#"{"status":"deactivated"}"#).await.expect(200);
        assert_eq!(client.get(early.header("location")).await.json()["status"], "invalid");
        assert_eq!(client.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");
    }
}

#[tokio::test]
async fn z7_what_cannot_be_authorized_ahead_is_refused() {
    for world in worlds().await {
        offer(&world, with_new_authz()).await;
        let client = Client::register(&world).await;
        ahead(&client, json!({"type": "dns", "value": "*.lab.example"})).await.refused(400, "malformed");
        ahead(&client, json!({"type": "email", "value": "a@lab.example"}))
            .await
            .refused(400, "unsupportedIdentifier");
        ahead(&client, json!({"type": "dns", "value": "localhost"})).await.refused(400, "rejectedIdentifier");
        for bad in [json!("a.lab.example"), json!({"type": "dns"}), json!(null), json!({"type": "dns", "value": 7})] {
            ahead(&client, bad).await.refused(400, "malformed");
        }
        let flag = json!({"type": "dns", "value": "lab.example", "subdomainAuthAllowed": "yes"});
        ahead(&client, flag).await.refused(400, "malformed");
        client.post(&url("new-authz"), "{}").await.refused(400, "malformed");
        client.get(&url("new-authz")).await.refused(400, "malformed");
    }
}

#[tokio::test]
async fn z8_a_proof_serves_the_next_orders_for_as_long_as_the_directory_says() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, first) = client.ready_order(&["a.lab.example"]).await;
        let again = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_ne!(again["authorizations"], first["authorizations"], "each order proves anew by default");

        offer(&world, DirectoryConfig { reuse_authorizations: Some("8h".into()), ..DirectoryConfig::default() })
            .await;
        let again = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_eq!((&again["status"], &again["authorizations"]), (&json!("ready"), &first["authorizations"]));
        let wildcard = client.order(&["*.a.lab.example"]).await.expect(201).json();
        assert_eq!(wildcard["status"], "pending", "another wildcard flag is another name");
        let other = Client::register(&world).await;
        assert_eq!(other.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");

        // a method that the directory takes no longer proves nothing any more
        let only_dns = DirectoryConfig {
            reuse_authorizations: Some("8h".into()),
            challenges: vec!["dns-01".into()],
            ..DirectoryConfig::default()
        };
        offer(&world, only_dns).await;
        assert_eq!(client.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");

        offer(&world, DirectoryConfig { reuse_authorizations: Some("8h".into()), ..DirectoryConfig::default() })
            .await;
        world.clock.advance(chancery::clock::hours(9));
        assert_eq!(client.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");
    }
}

/// Of two that are equally good the one that lasts longer: the order ends with what it rests on.
#[tokio::test]
async fn z7_z8_of_two_proofs_the_one_that_lasts_longer_counts() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        offer(&world, with_new_authz()).await;
        let name = json!({"type": "dns", "value": "a.lab.example"});
        let old = ahead(&client, name.clone()).await.expect(201).header("location").to_owned();
        world.clock.advance(chancery::clock::days(5));
        let new = ahead(&client, name).await.expect(201);
        let expires = new.json()["expires"].clone();
        let new = new.header("location").to_owned();
        let pending = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_eq!((&pending["authorizations"], &pending["expires"]), (&json!([new]), &expires));
        // what is proved comes first
        client.prove(&old).await;
        let order = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_eq!((&order["status"], &order["authorizations"]), (&json!("ready"), &json!([old])));
        client.prove(&new).await;
        let order = client.order(&["a.lab.example"]).await.expect(201).json();
        assert_eq!((&order["status"], &order["authorizations"]), (&json!("ready"), &json!([new])));
        assert_eq!(order["expires"], expires);
    }
}

/// Rules that were tightened hold for what is finalized from then on.
#[tokio::test]
async fn z7_an_order_ends_with_the_proof_that_it_rests_on() {
    for world in worlds().await {
        offer(&world, with_new_authz()).await;
        let client = Client::register(&world).await;
        let made = ahead(&client, json!({"type": "dns", "value": "a.example.org"})).await.expect(201);
        let ready = made.header("location").to_owned();
        let proof = client.prove(&ready).await;
        let end = Timestamp::parse_rfc3339(proof["expires"].as_str().unwrap()).unwrap();
        world.clock.set(end - hours(1));
        let order = client.order(&["a.example.org"]).await.expect(201).json();
        assert_eq!((&order["authorizations"][0], &order["expires"]), (&json!(ready), &proof["expires"]), "{order}");
    }
}

#[tokio::test]
async fn the_rules_of_a_directory_are_asked_again_at_finalize() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names = ["a.dev.example", "b.dev.example"];
        let (order_url, order) = client.ready_order(&names).await;
        let deny_names = vec![NameRule::parse("=b.dev.example").unwrap()];
        offer(&world, DirectoryConfig { deny_names, ..DirectoryConfig::default() }).await;
        let refused = finalize(&client, &order, &names).await.refused(400, "rejectedIdentifier");
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(
            (&refused.json()["rule"], &refused.json()["subproblems"][0]["rule"]),
            (&json!("directory.names"), &json!("directory.names"))
        );
        assert!(told.contains("b.dev.example"), "{told}");
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready");
        offer(&world, DirectoryConfig::default()).await;
        assert_eq!(finalize(&client, &order, &names).await.expect(200).json()["status"], "valid");
    }
}

/// RFC 8555 §7.6 wants authorizations for all names, and one proof may be that.
#[tokio::test]
async fn rfc9444_one_proof_entitles_to_revoke_what_is_below_it() {
    for world in worlds().await {
        let config = DirectoryConfig { subdomains: true, ..with_new_authz() };
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        let (_, pem, _) = owner.certificate(&["a.lab.example", "b.c.lab.example"]).await;
        let wild = owner.order(&["*.lab.example"]).await.expect(201).json();
        prove_by_dns(&owner, wild["authorizations"][0].as_str().unwrap(), "lab.example").await;
        let wild = finalize(&owner, &wild, &["*.lab.example"]).await.expect(200).json();
        let wild = owner.get(wild["certificate"].as_str().unwrap()).await.expect(200).text;
        offer(&world, config).await;
        let payload = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        let zone = json!({"type": "dns", "value": "lab.example", "subdomainAuthAllowed": true});
        let authorization = ahead(&other, zone).await.expect(201).header("location").to_owned();
        other.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        prove_by_dns(&other, &authorization, "lab.example").await;
        // a wildcard is proved by its own kind alone
        let wild = json!({"certificate": b64(leaf_der(&wild))}).to_string();
        other.post(&url("revoke"), &wild).await.refused(403, "unauthorized");
        // while the directory allows it
        offer(&world, with_new_authz()).await;
        other.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        offer(&world, DirectoryConfig { subdomains: true, ..with_new_authz() }).await;
        other.post(&url("revoke"), &payload).await.expect(200);
    }
}

#[tokio::test]
async fn rfc9444_one_proof_covers_the_names_below_it() {
    for world in worlds().await {
        let config = DirectoryConfig { subdomains: true, ..with_new_authz() };
        let client = Client::register(&world).await;
        offer(&world, config.clone()).await;
        assert_eq!(client.get(&url("directory")).await.json()["meta"]["subdomainAuthAllowed"], true);
        let zone = json!({"type": "dns", "value": "lab.example", "subdomainAuthAllowed": true});
        let made = ahead(&client, zone).await.expect(201);
        let authorization = made.header("location").to_owned();
        assert_eq!(made.json()["subdomainAuthAllowed"], true);
        let kinds: Vec<_> = made.json()["challenges"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
        assert_eq!(kinds, [json!("dns-01")], "a web server speaks for itself alone");
        prove_by_dns(&client, &authorization, "lab.example").await;

        let names = ["a.lab.example", "b.c.lab.example", "lab.example"];
        let order = client.order(&names).await.expect(201).json();
        assert_eq!((&order["status"], &order["authorizations"]), (&json!("ready"), &json!([authorization])));
        assert_eq!(finalize(&client, &order, &names).await.expect(200).json()["status"], "valid");
        for outside in ["*.lab.example", "xlab.example", "example"] {
            let reply = client.order(&[outside]).await;
            assert!(reply.status == 400 || reply.json()["status"] == "pending", "{outside}: {}", reply.text);
        }
        // where the directory allows it no longer, the proof covers nothing
        offer(&world, with_new_authz()).await;
        assert_eq!(client.order(&["a.lab.example"]).await.expect(201).json()["status"], "pending");
    }
}

#[tokio::test]
async fn rfc9444_an_order_may_offer_an_ancestor() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let ask = |ancestor: &str| {
            let name = |n: &str| json!({"type": "dns", "value": n, "ancestorDomain": ancestor});
            json!({"identifiers": [name("a.b.lab.example"), name("c.b.lab.example")]}).to_string()
        };
        let order = client.post(&url("new-order"), &ask("b.lab.example")).await.expect(201).json();
        assert_eq!(order["authorizations"].as_array().unwrap().len(), 2, "not offered: each name for itself");

        offer(&world, DirectoryConfig { subdomains: true, ..DirectoryConfig::default() }).await;
        let order = client.post(&url("new-order"), &ask("b.lab.example")).await.expect(201).json();
        let list = order["authorizations"].as_array().unwrap();
        assert_eq!(list.len(), 1, "both rest on one proof: {order}");
        let authorization = list[0].as_str().unwrap();
        let shown = client.get(authorization).await.expect(200).json();
        assert_eq!(shown["identifier"]["value"], "b.lab.example");
        assert_eq!(shown["subdomainAuthAllowed"], true);
        prove_by_dns(&client, authorization, "b.lab.example").await;
        let done = finalize(&client, &order, &["a.b.lab.example", "c.b.lab.example"]).await.expect(200).json();
        assert_eq!(done["status"], "valid");

        let star =
            json!({"identifiers": [{"type": "dns", "value": "*.w.lab.example", "ancestorDomain": "lab.example"}]});
        let order = client.post(&url("new-order"), &star.to_string()).await.expect(201).json();
        prove_by_dns(&client, order["authorizations"][0].as_str().unwrap(), "lab.example").await;
        let done = finalize(&client, &order, &["*.w.lab.example"]).await.expect(200).json();
        assert_eq!(done["status"], "valid", "a wildcard below the name that was proved");

        for wrong in ["a.b.lab.example", "other.example", "*.lab.example", "", "lab.example."] {
            client.post(&url("new-order"), &ask(wrong)).await.refused(400, "malformed");
        }
    }
}

#[tokio::test]
async fn a_directory_has_rules_over_names_and_issuers_of_its_own() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let rules = |texts: &[&str]| texts.iter().map(|t| NameRule::parse(t).unwrap()).collect::<Vec<_>>();
        let config = DirectoryConfig {
            allow_names: rules(&["dev.example", "10.0.0.0/8"]),
            deny_names: rules(&["=secret.dev.example"]),
            issuers: vec!["tls-1".into()],
            ..DirectoryConfig::default()
        };
        offer(&world, config).await;
        client.order(&["app.dev.example"]).await.expect(201);
        let refused =
            client.order(&["app.prod.example", "secret.dev.example"]).await.refused(400, "rejectedIdentifier");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(refused.json()["rule"], "directory.names");
        assert!(detail.contains("only dev.example, 10.0.0.0/8") && detail.contains("denies"), "{detail}");
        assert_eq!(refused.json()["subproblems"].as_array().unwrap().len(), 2);
        client.order(&["*.dev.example"]).await.refused(400, "rejectedIdentifier");
        // an empty list allows nothing
        offer(&world, DirectoryConfig { allow_names: Vec::new(), ..DirectoryConfig::default() }).await;
        client.order(&["app.dev.example"]).await.refused(400, "rejectedIdentifier");
        let unknown = DirectoryConfig { issuers: vec!["nobody".into()], ..DirectoryConfig::default() };
        let error = world.registration.change_directory(&admin(), "default", unknown).await.unwrap_err();
        assert!(error.detail.contains("tls-1"), "{}", error.detail);
    }
}

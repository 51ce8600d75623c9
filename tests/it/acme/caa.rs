//! CAA in a directory (C5, C9, C10): with the proof, again at finalize, and never where it is off.

use std::time::Duration;

use chancery::model::identifier::DnsName;
use chancery::registration::DirectoryConfig;
use chancery::store::engine::q;
use chancery::validation::{CaaMode, Step, StepKind};
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, url};
use super::eab::{admin, external, new_key};
use super::world::{World, Zone, worlds};
use crate::support::stores::plain;
use crate::validation::support::CAA;

const HOUR: Duration = Duration::from_secs(3_600);

fn config(caa: CaaMode) -> DirectoryConfig {
    let identity = DnsName::parse("ca.example").unwrap();
    DirectoryConfig { caa, caa_identities: vec![identity], ..DirectoryConfig::default() }
}

async fn offer(world: &World, config: DirectoryConfig) {
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

fn permit(world: &World, name: &str, value: &str) {
    let record = Zone::Caa(vec![(0, "issue".into(), value.into())]);
    world.zone.lock().unwrap().insert(name.to_owned(), record);
}

/// How often CAA of this name was asked for.
fn asked(world: &World, name: &str) -> usize {
    world.dns.asked().iter().filter(|q| **q == (name.to_owned(), CAA)).count()
}

async fn finalize(client: &Client<'_>, order: &Value, names: &[&str]) -> Reply {
    client.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(csr(names).0)}).to_string()).await
}

async fn timelines(world: &World) -> Vec<Step> {
    let rows = q(plain("SELECT timeline FROM acme_challenges WHERE timeline IS NOT NULL ORDER BY id"))
        .fetch_all(&world.store.db)
        .await
        .unwrap();
    rows.iter()
        .flat_map(|row| serde_json::from_str::<Vec<Step>>(&row.get::<String>("timeline").unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn c10_enforced_it_refuses_with_403_caa_and_the_identities_are_told() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let meta = |reply: Reply| reply.json()["meta"].clone();
        assert_eq!(meta(client.get(&url("directory")).await).get("caaIdentities"), None);
        offer(&world, config(CaaMode::Enforce)).await;
        let told = meta(client.get(&url("directory")).await);
        assert_eq!(told["caaIdentities"], json!(["ca.example"]));

        permit(&world, "other.example", "other-ca.example");
        let made = client.order(&["www.other.example"]).await.expect(201);
        let shown = client.prove(made.json()["authorizations"][0].as_str().unwrap()).await;
        assert_eq!(shown["status"], "invalid");
        let error = &shown["challenges"][0]["error"];
        assert_eq!((&error["type"], &error["status"]), (&json!("urn:ietf:params:acme:error:caa"), &json!(403)));
        let expected = "the CAA records of other.example do not name this CA, asked from the CA server; add the \
                        property issue \"ca.example\" there, or mend the one there is";
        assert_eq!(error["detail"], expected);
        assert_eq!(client.get(made.header("location")).await.json()["status"], "invalid");
        let words: Vec<_> =
            timelines(&world).await.into_iter().filter(|s| s.what == StepKind::Caa).map(|s| s.detail).collect();
        let expected = [
            "CAA www.other.example: 0 records",
            "CAA other.example: 1 records",
            "CAA other.example: do not name this CA",
        ];
        assert_eq!(words, expected);

        // and one that names this account is no obstacle
        permit(&world, "other.example", &format!("ca.example; accounturi={}", client.kid));
        client.certificate(&["www.other.example"]).await;
        permit(&world, "other.example", &format!("ca.example; accounturi={}0", client.kid));
        let made = client.order(&["www.other.example"]).await.expect(201).json();
        assert_eq!(client.prove(made["authorizations"][0].as_str().unwrap()).await["status"], "invalid");
    }
}

#[tokio::test]
async fn c10_off_asks_nothing_and_log_lets_everything_through() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        permit(&world, "a.other.example", ";");
        client.certificate(&["a.other.example"]).await;
        assert_eq!(asked(&world, "a.other.example"), 0);
        offer(&world, config(CaaMode::Log)).await;
        client.certificate(&["a.other.example"]).await;
        assert_eq!(asked(&world, "a.other.example"), 1, "with the proof, and not again at finalize");
        let logged = timelines(&world).await.iter().any(|s| s.detail.contains("CAA is only logged"));
        assert!(logged, "it stands in the timeline");
    }
}

#[tokio::test]
async fn c9_at_finalize_it_is_looked_up_again_after_eight_hours() {
    for world in worlds().await {
        offer(&world, config(CaaMode::Enforce)).await;
        let client = Client::register(&world).await;
        let name = "late.example.org";
        permit(&world, name, "ca.example");
        let (_, early) = client.ready_order(&[name]).await;
        let (location, late) = client.ready_order(&[name]).await;
        assert_eq!(asked(&world, name), 2);
        world.clock.advance(8 * HOUR - Duration::from_secs(60));
        finalize(&client, &early, &[name]).await.expect(200);
        assert_eq!(asked(&world, name), 2, "it is less than eight hours ago");
        world.clock.advance(Duration::from_secs(120));
        permit(&world, name, ";");
        let refused = finalize(&client, &late, &[name]).await.refused(403, "caa").json();
        let expected = format!("the CAA records of {name} let nobody issue");
        assert!(refused["detail"].as_str().unwrap().starts_with(&expected), "{refused}");
        assert_eq!(asked(&world, name), 3);
        assert_eq!(client.get(&location).await.json()["status"], "ready", "a zone can be mended");
        world.zone.lock().unwrap().insert(name.into(), Zone::Code(2));
        let refused = finalize(&client, &late, &[name]).await.refused(403, "caa").json();
        assert!(refused["detail"].as_str().unwrap().contains("SERVFAIL"), "{refused}");
        let steps = timelines(&world).await;
        let told = |words: &str| steps.iter().any(|s| s.what == StepKind::Caa && s.detail.contains(words));
        assert!(told("let nobody issue") && told("SERVFAIL"), "{steps:?}");
        permit(&world, name, "ca.example");
        let done = finalize(&client, &late, &[name]).await.expect(200).json();
        assert_eq!(done["status"], "valid", "{done}");
    }
}

#[tokio::test]
async fn c9_a_directory_that_begins_to_ask_asks_for_what_was_proved_before() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["before.example.org"]).await;
        permit(&world, "before.example.org", "other-ca.example");
        offer(&world, config(CaaMode::Enforce)).await;
        finalize(&client, &order, &["before.example.org"]).await.refused(403, "caa");
    }
}

#[tokio::test]
async fn c5_every_name_that_is_refused_at_finalize_is_a_subproblem() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names = ["a.example.org", "b.example.org", "c.example.org"];
        let (_, order) = client.ready_order(&names).await;
        offer(&world, config(CaaMode::Enforce)).await;
        permit(&world, "a.example.org", ";");
        world.zone.lock().unwrap().insert("c.example.org".into(), Zone::Code(5));
        let refused = finalize(&client, &order, &names).await.refused(403, "caa").json();
        let parts: Vec<_> =
            refused["subproblems"].as_array().unwrap().iter().map(|p| p["identifier"]["value"].clone()).collect();
        assert_eq!(parts, [json!("a.example.org"), json!("c.example.org")], "{refused}");
    }
}

#[tokio::test]
async fn i3_addresses_and_granted_names_have_their_own_ways() {
    for world in worlds().await {
        offer(&world, config(CaaMode::Enforce)).await;
        let client = external(&world, &new_key(&["lab.example", "10.0.0.0/8"])).await.register(&world).await;
        let identifiers = json!([{"type": "dns", "value": "a.lab.example"}, {"type": "ip", "value": "10.1.2.3"}]);
        let payload = json!({"identifiers": identifiers}).to_string();
        let order = client.post(&url("new-order"), &payload).await.expect(201).json();
        assert_eq!(order["status"], "ready");
        permit(&world, "lab.example", "other-ca.example");
        // nobody looked yet: a grant needs no proof, and the zone may still say no
        let refused = finalize(&client, &order, &["a.lab.example", "10.1.2.3"]).await.refused(403, "caa").json();
        assert!(refused["detail"].as_str().unwrap().contains("lab.example do not name this CA"), "{refused}");
        assert!(world.dns.asked().iter().all(|(name, _)| !name.contains("10.1.2.3")), "addresses have none");
        permit(&world, "lab.example", "ca.example");
        finalize(&client, &order, &["a.lab.example", "10.1.2.3"]).await.expect(200);
    }
}

#[tokio::test]
async fn the_proof_of_a_name_above_says_nothing_about_the_records_below() {
    for world in worlds().await {
        let settings = DirectoryConfig { subdomains: true, pre_authorization: true, ..config(CaaMode::Enforce) };
        offer(&world, settings).await;
        let client = Client::register(&world).await;
        let identifier = json!({"type": "dns", "value": "zone.example.org", "subdomainAuthAllowed": true});
        let made = client.post(&url("new-authz"), &json!({"identifier": identifier}).to_string()).await.expect(201);
        let authorization = made.header("location").to_owned();
        let challenge = client.challenge(&authorization, "dns-01").await;
        let key = format!("{}.{}", challenge["token"].as_str().unwrap(), client.key.thumbprint());
        let text = b64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes()));
        world.zone.lock().unwrap().insert("_acme-challenge.zone.example.org".into(), Zone::Texts(vec![text]));
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
        permit(&world, "a.zone.example.org", "other-ca.example");
        let names = ["a.zone.example.org"];
        let order = client.order(&names).await.expect(201).json();
        assert_eq!(order["status"], "ready", "{order}");
        finalize(&client, &order, &names).await.refused(403, "caa");
        permit(&world, "a.zone.example.org", "ca.example");
        finalize(&client, &order, &names).await.expect(200);
    }
}

//! dns-01 (D1–D3) over a real DNS server on loopback: wildcards, aliases, TCP, resolvers of a directory.

use aws_lc_rs::digest::{SHA256, digest};
use chancery::registration::DirectoryConfig;
use serde_json::{Value, json};

use super::client::{Client, b64, csr, leaf_der, url};
use super::eab::admin;
use super::world::{World, Zone, worlds};
use crate::validation::support::{Dns, DnsServer, TXT};

/// What belongs into the zone for this challenge.
fn value(client: &Client<'_>, challenge: &Value) -> String {
    let authorization = format!("{}.{}", challenge["token"].as_str().unwrap(), client.key.thumbprint());
    b64(digest(&SHA256, authorization.as_bytes()))
}

fn publish(world: &World, name: &str, answer: Zone) {
    world.zone.lock().unwrap().insert(name.to_owned(), answer);
}

async fn asked(client: &Client<'_>, name: &str) -> (String, Value) {
    let order = client.order(&[name]).await.expect(201).json();
    let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
    let challenge = client.challenge(&authorization, "dns-01").await;
    (authorization, challenge)
}

#[tokio::test]
async fn a_wildcard_and_its_base_are_proved_side_by_side() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names = ["example.org", "*.example.org"];
        let made = client.order(&names).await.expect(201);
        let mut texts = vec!["something else".to_owned()];
        let mut challenges = Vec::new();
        for (n, authorization) in made.json()["authorizations"].as_array().unwrap().iter().enumerate() {
            let authorization = authorization.as_str().unwrap().to_owned();
            let shown = client.get(&authorization).await.expect(200).json();
            assert_eq!(shown["identifier"], json!({"type": "dns", "value": "example.org"}));
            assert_eq!(shown.get("wildcard"), (n == 1).then_some(&json!(true)), "absent is no false");
            let kinds: Vec<_> = shown["challenges"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
            assert_eq!(
                kinds,
                if n == 1 {
                    vec![json!("dns-01")]
                } else {
                    vec![json!("http-01"), json!("dns-01"), json!("tls-alpn-01")]
                }
            );
            let challenge = client.challenge(&authorization, "dns-01").await;
            texts.push(value(&client, &challenge));
            challenges.push((authorization, challenge));
        }
        publish(&world, "_acme-challenge.example.org", Zone::Texts(texts));
        for (authorization, challenge) in &challenges {
            let shown = client.respond(challenge, authorization).await;
            assert_eq!(shown["status"], "valid", "{shown}");
            assert_eq!(
                shown["challenges"].as_array().unwrap().len(),
                1,
                "the one that decided stands alone: {shown}"
            );
        }
        let order = client.get(made.header("location")).await.expect(200).json();
        let (request, _) = csr(&names);
        let finalize = order["finalize"].as_str().unwrap();
        let done = client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.expect(200).json();
        let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
        let leaf = openssl::x509::X509::from_der(&leaf_der(&pem)).unwrap();
        let san = leaf.subject_alt_names().unwrap();
        let mut found: Vec<_> = san.iter().filter_map(|n| n.dnsname()).collect();
        found.sort_unstable();
        assert_eq!(found, ["*.example.org", "example.org"]);
        // and it holds both names now, so that it may revoke another's certificate for them
        let other = Client::register(&world).await;
        let revocation = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        other.post(&url("revoke"), &revocation).await.refused(403, "unauthorized");
        client.post(&url("revoke"), &revocation).await.expect(200);
    }
}

#[tokio::test]
async fn d1_d2_the_record_is_found_among_many_in_pieces_by_tcp_and_behind_aliases() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        for (name, zone) in [
            (
                "many.example.org",
                (|v: String| (0..40).map(|n| format!("{n:043}")).chain([v]).collect()) as fn(String) -> Vec<String>,
            ),
            ("one.example.org", |v| vec![v]),
        ] {
            let (authorization, challenge) = asked(&client, name).await;
            publish(&world, &format!("_acme-challenge.{name}"), Zone::OverTcp(zone(value(&client, &challenge))));
            assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid", "{name}");
        }
        let (authorization, challenge) = asked(&client, "pieces.example.org").await;
        publish(&world, "_acme-challenge.pieces.example.org", Zone::Pieces(value(&client, &challenge)));
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");

        let (authorization, challenge) = asked(&client, "alias.example.org").await;
        publish(&world, "_acme-challenge.alias.example.org", Zone::Alias("a.acme.example.net"));
        publish(&world, "a.acme.example.net", Zone::Alias("b.acme.example.net"));
        publish(&world, "b.acme.example.net", Zone::Texts(vec![value(&client, &challenge)]));
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
    }
}

#[tokio::test]
async fn d1_what_is_wrong_in_the_zone_is_told() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        for (name, zone, problem, words) in [
            ("none.example.org", None, "dns", "NXDOMAIN"),
            ("empty.example.org", Some(Zone::Texts(Vec::new())), "incorrectResponse", "has no TXT record"),
            (
                "wrong.example.org",
                Some(Zone::Texts(vec!["SECRET".into(), "x".into()])),
                "incorrectResponse",
                "has 2 TXT records",
            ),
            ("fails.example.org", Some(Zone::Code(2)), "dns", "SERVFAIL"),
            ("refused.example.org", Some(Zone::Code(5)), "dns", "REFUSED"),
            (
                "circle.example.org",
                Some(Zone::Alias("_acme-challenge.circle.example.org")),
                "incorrectResponse",
                "has no TXT",
            ),
        ] {
            let (authorization, challenge) = asked(&client, name).await;
            if let Some(zone) = zone {
                publish(&world, &format!("_acme-challenge.{name}"), zone);
            }
            let shown = client.respond(&challenge, &authorization).await;
            assert_eq!(shown["status"], "invalid", "{name}");
            let error = &shown["challenges"][0]["error"];
            assert_eq!(error["type"], format!("urn:ietf:params:acme:error:{problem}"), "{name}: {error}");
            let detail = error["detail"].as_str().unwrap();
            assert!(detail.contains(words) && detail.starts_with("_acme-challenge."), "{name}: {detail}");
            assert!(!detail.contains("SECRET"), "what stands in the zone is not told: {detail}");
        }
        assert!(world.dns.asked().len() < 200, "bounded: {}", world.dns.asked().len());
    }
}

#[tokio::test]
async fn d2_a_directory_asks_its_own_resolvers() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (authorization, challenge) = asked(&client, "split.example.org").await;
        let right = value(&client, &challenge);
        let own = DnsServer::answering(move |_, kind, _| match kind {
            TXT => Dns::Texts(vec![right.clone()]),
            _ => Dns::Addresses(Vec::new()),
        })
        .await;
        let before = world.dns.asked().len();
        let config = DirectoryConfig { resolvers: vec![own.address], ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", config).await.unwrap();
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
        assert_eq!(own.asked(), [("_acme-challenge.split.example.org".to_owned(), TXT)]);
        assert_eq!(world.dns.asked().len(), before);
    }
}

#[tokio::test]
async fn d3_l4_an_address_is_offered_no_dns_challenge_and_a_wildcard_no_other() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let payload = json!({"identifiers": [{"type": "ip", "value": "10.1.2.3"}]}).to_string();
        let order = client.post(&url("new-order"), &payload).await.expect(201).json();
        let shown = client.get(order["authorizations"][0].as_str().unwrap()).await.json();
        let kinds: Vec<_> = shown["challenges"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
        assert_eq!(kinds, [json!("http-01"), json!("tls-alpn-01")]);
        let only = |kind: &str| DirectoryConfig { challenges: vec![kind.into()], ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", only("http-01")).await.unwrap();
        let refused = client.order(&["*.example.org"]).await.refused(400, "rejectedIdentifier").json();
        assert_eq!(refused["rule"], "acme.challenges");
        assert!(refused["detail"].as_str().unwrap().contains("can prove dns \"*.example.org\""), "{refused}");
        world.registration.change_directory(&admin(), "default", only("dns-01")).await.unwrap();
        client.post(&url("new-order"), &payload).await.refused(400, "rejectedIdentifier");
        client.order(&["*.example.org"]).await.expect(201);
    }
}

#[tokio::test]
async fn two_challenges_of_one_name_have_one_verdict() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["both.example.org"]).await.expect(201);
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let http = client.challenge(&authorization, "http-01").await;
        let dns = client.challenge(&authorization, "dns-01").await;
        // one is right and one is wrong: whichever is tried first decides, and order and authorization agree
        publish(&world, "_acme-challenge.both.example.org", Zone::Texts(vec![value(&client, &dns)]));
        let (a, b) = tokio::join!(
            client.post(http["url"].as_str().unwrap(), "{}"),
            client.post(dns["url"].as_str().unwrap(), "{}")
        );
        let tried = [a, b].iter().filter(|r| r.status == 200 && r.json()["status"] != "pending").count();
        assert_eq!(tried, 1);
        let shown = loop {
            let shown = client.get(&authorization).await.expect(200).json();
            if shown["status"] != "pending" {
                break shown;
            }
            tokio::task::yield_now().await;
        };
        let order = client.get(made.header("location")).await.expect(200).json();
        let expected = if shown["status"] == "valid" { "ready" } else { "invalid" };
        assert_eq!(order["status"], expected, "{shown}");
    }
}

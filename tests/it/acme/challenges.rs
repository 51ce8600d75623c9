//! The challenges beside http-01 and dns-01, from order to certificate: tls-alpn-01, dns-account-01, dns-persist-01,
//! and what a directory says about each.

use aws_lc_rs::digest::{SHA256, digest};
use chancery::error::ErrorKind;
use chancery::registration::DirectoryConfig;
use rcgen::SanType;
use serde_json::{Value, json};

use super::addresses::allow_loopback;
use super::client::{Client, Key, b64, csr, url};
use super::eab::admin;
use super::world::{World, Zone, worlds};
use crate::validation::alpn::{AlpnServer, Leaf, Manner, dns, ip, octets};
use crate::validation::support::TXT;

async fn offer(world: &World, config: DirectoryConfig) {
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

fn only(kind: &str) -> DirectoryConfig {
    DirectoryConfig {
        challenges: vec![kind.into()],
        caa_identities: vec!["ca.example".parse_name()],
        ..DirectoryConfig::default()
    }
}

trait ParseName {
    fn parse_name(&self) -> chancery::model::identifier::DnsName;
}

impl ParseName for str {
    fn parse_name(&self) -> chancery::model::identifier::DnsName {
        chancery::model::identifier::DnsName::parse(self).unwrap()
    }
}

fn key_digest(client: &Client<'_>, challenge: &Value) -> Vec<u8> {
    let authorization = format!("{}.{}", challenge["token"].as_str().unwrap(), client.key.thumbprint());
    digest(&SHA256, authorization.as_bytes()).as_ref().to_vec()
}

/// (order URL, order, authorization URL, the challenge of this kind)
async fn ordered(client: &Client<'_>, identifier: Value, kind: &str) -> (String, Value, String, Value) {
    let payload = json!({"identifiers": [identifier]}).to_string();
    let made = client.post(&url("new-order"), &payload).await.expect(201);
    let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
    let challenge = client.challenge(&authorization, kind).await;
    (made.header("location").to_owned(), made.json(), authorization, challenge)
}

async fn issued(client: &Client<'_>, order: &Value, name: &str) {
    let payload = json!({"csr": b64(csr(&[name]).0)}).to_string();
    let done = client.post(order["finalize"].as_str().unwrap(), &payload).await.expect(200).json();
    assert_eq!(done["status"], "valid", "{done}");
}

fn answering(client: &Client<'_>, challenge: &Value, name: SanType) -> Leaf {
    Leaf { identifiers: vec![(octets(&key_digest(client, challenge)), true)], ..Leaf::right(name) }
}

#[tokio::test]
async fn l4_d3_every_name_is_offered_what_can_prove_it() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let kinds = async |identifier: Value| {
            let payload = json!({"identifiers": [identifier]}).to_string();
            let order = client.post(&url("new-order"), &payload).await.expect(201).json();
            let shown = client.get(order["authorizations"][0].as_str().unwrap()).await.json();
            let list = shown["challenges"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap().to_owned());
            list.collect::<Vec<_>>()
        };
        let (name, wild, address) = (
            json!({"type": "dns", "value": "a.example.org"}),
            json!({"type": "dns", "value": "*.example.org"}),
            json!({"type": "ip", "value": "10.1.2.3"}),
        );
        assert_eq!(
            kinds(name.clone()).await,
            ["http-01", "dns-01", "tls-alpn-01"],
            "those of drafts only when asked"
        );
        assert_eq!(kinds(wild.clone()).await, ["dns-01"]);
        assert_eq!(kinds(address.clone()).await, ["http-01", "tls-alpn-01"]);
        let every = ["http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01"];
        let config = DirectoryConfig { challenges: every.map(str::to_owned).to_vec(), ..only("http-01") };
        offer(&world, config).await;
        assert_eq!(kinds(name).await, every);
        assert_eq!(kinds(wild).await, ["dns-01", "dns-account-01", "dns-persist-01"]);
        assert_eq!(kinds(address).await, ["http-01", "tls-alpn-01"]);
    }
}

#[tokio::test]
async fn l1_i2_names_and_addresses_are_certified_by_tls_alpn() {
    for world in worlds().await {
        allow_loopback(&world).await;
        let here = || DirectoryConfig { profiles: vec!["loopback".into()], ..only("tls-alpn-01") };
        for (identifier, san) in [
            (json!({"type": "dns", "value": "alpn.example.org"}), dns("alpn.example.org")),
            (json!({"type": "ip", "value": "127.0.0.1"}), ip("127.0.0.1")),
        ] {
            let client = Client::register(&world).await;
            offer(&world, here()).await;
            let (_, order, authorization, challenge) = ordered(&client, identifier.clone(), "tls-alpn-01").await;
            let server =
                AlpnServer::start("127.0.0.1:0", answering(&client, &challenge, san), Manner::default()).await;
            offer(&world, DirectoryConfig { tls_alpn01_port: Some(server.address.port()), ..here() }).await;
            let shown = client.respond(&challenge, &authorization).await;
            assert_eq!(shown["status"], "valid", "{shown}");
            assert_eq!(server.heard().await.protocols, ["acme-tls/1"]);
            let name = identifier["value"].as_str().unwrap();
            issued(&client, &order, name).await;
        }
    }
}

#[tokio::test]
async fn l2_another_account_s_certificate_proves_nothing_and_the_reason_is_told() {
    for world in worlds().await {
        let (client, other) = (Client::register(&world).await, Client::register(&world).await);
        let name = "alpn.example.org";
        let (order, _, authorization, challenge) =
            ordered(&client, json!({"type": "dns", "value": name}), "tls-alpn-01").await;
        let leaf = answering(&other, &challenge, dns(name));
        let server = AlpnServer::start("127.0.0.1:0", leaf, Manner::default()).await;
        let port = server.address.port();
        offer(&world, DirectoryConfig { tls_alpn01_port: Some(port), ..only("tls-alpn-01") }).await;
        let shown = client.respond(&challenge, &authorization).await;
        assert_eq!(shown["status"], "invalid");
        let error = &shown["challenges"][0]["error"];
        assert_eq!(error["type"], "urn:ietf:params:acme:error:incorrectResponse");
        let expected = format!(
            "127.0.0.1 port {port} showed the CA server a certificate of another token or another account key; show \
             a self-signed certificate for this name alone with the critical acmeIdentifier of this challenge \
             (RFC 8737 §3)"
        );
        assert_eq!(error["detail"], expected);
        assert_eq!(client.get(&order).await.json()["status"], "invalid");
    }
}

/// `_` and the lower-case base32 of the first ten octets of SHA-256 of the account's URL, made by another's code.
fn account_label(kid: &str) -> String {
    let digest = digest(&SHA256, kid.as_bytes());
    let bits: String = digest.as_ref()[..10].iter().map(|octet| format!("{octet:08b}")).collect();
    let letter = |n: usize| "abcdefghijklmnopqrstuvwxyz234567".as_bytes()[n] as char;
    let groups = bits.as_bytes().chunks(5).map(|five| {
        let text = std::str::from_utf8(five).unwrap();
        letter(usize::from_str_radix(text, 2).unwrap())
    });
    format!("_{}", groups.collect::<String>())
}

#[tokio::test]
async fn dns_account_01_lets_two_accounts_prove_one_name_side_by_side() {
    for world in worlds().await {
        offer(&world, only("dns-account-01")).await;
        let clients = [Client::register(&world).await, Client::register(&world).await];
        let mut open = Vec::new();
        for client in &clients {
            let identifier = json!({"type": "dns", "value": "*.shared.example.org"});
            let (_, order, authorization, challenge) = ordered(client, identifier, "dns-account-01").await;
            assert!(challenge["token"].is_string(), "{challenge}");
            let place = format!("{}._acme-challenge.shared.example.org", account_label(&client.kid));
            let text = b64(key_digest(client, &challenge));
            world.zone.lock().unwrap().insert(place, Zone::Texts(vec![text]));
            open.push((client, order, authorization, challenge));
        }
        for (client, order, authorization, challenge) in open {
            assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
            issued(client, &order, "*.shared.example.org").await;
        }
    }
}

#[tokio::test]
async fn dns_persist_01_has_no_token_and_its_record_serves_every_order() {
    for world in worlds().await {
        offer(&world, only("dns-persist-01")).await;
        let mut client = Client::register(&world).await;
        let record = format!("CA.Example; accounturi={}; policy=wildcard", client.kid);
        world.zone.lock().unwrap().insert("_validation-persist.example.org".into(), Zone::Texts(vec![record]));
        for name in ["example.org", "*.example.org", "deep.www.example.org"] {
            let (_, order, authorization, challenge) =
                ordered(&client, json!({"type": "dns", "value": name}), "dns-persist-01").await;
            let mut members: Vec<_> = challenge.as_object().unwrap().keys().cloned().collect();
            members.sort();
            assert_eq!(members, ["accounturi", "issuer-domain-names", "status", "type", "url"]);
            assert_eq!(challenge["accounturi"], client.kid);
            assert_eq!(challenge["issuer-domain-names"], json!(["ca.example"]));
            let shown = client.respond(&challenge, &authorization).await;
            assert_eq!(shown["status"], "valid", "{shown}");
            issued(&client, &order, name).await;
        }
        // the record names the account, not its key
        let fresh = Key::new();
        change_key(&mut client, fresh).await;
        let (_, _, authorization, challenge) =
            ordered(&client, json!({"type": "dns", "value": "example.org"}), "dns-persist-01").await;
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
        // and another account cannot use it
        let other = Client::register(&world).await;
        let (_, _, authorization, challenge) =
            ordered(&other, json!({"type": "dns", "value": "example.org"}), "dns-persist-01").await;
        let shown = other.respond(&challenge, &authorization).await;
        let error = &shown["challenges"][0]["error"];
        assert_eq!(error["type"], "urn:ietf:params:acme:error:unauthorized", "{shown}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains("has a record for another account") && detail.contains(&other.kid), "{detail}");
        assert!(!detail.contains(&client.kid), "whose it is, is not told: {detail}");
    }
}

/// The record's TTL bounds how long its proof may be used again, and looking again is cheap.
#[tokio::test]
async fn a_proof_by_dns_persist_01_is_not_used_for_the_next_order() {
    for world in worlds().await {
        let config = |kind: &str| DirectoryConfig { reuse_authorizations: Some("8h".into()), ..only(kind) };
        let client = Client::register(&world).await;
        let record = format!("ca.example; accounturi={}", client.kid);
        world.zone.lock().unwrap().insert("_validation-persist.example.org".into(), Zone::Texts(vec![record]));
        offer(&world, config("dns-persist-01")).await;
        let identifier = json!({"type": "dns", "value": "example.org"});
        let (first, _, authorization, challenge) = ordered(&client, identifier, "dns-persist-01").await;
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
        assert_eq!(client.get(&first).await.json()["status"], "ready");
        assert_eq!(client.order(&["example.org"]).await.expect(201).json()["status"], "pending");
        // the same with a method whose record is of one order alone
        offer(&world, config("http-01")).await;
        let made = client.order(&["www.example.org"]).await.expect(201).json();
        client.prove(made["authorizations"][0].as_str().unwrap()).await;
        assert_eq!(client.order(&["www.example.org"]).await.expect(201).json()["status"], "ready");
    }
}

async fn change_key(client: &mut Client<'_>, fresh: Key) {
    let to = url("key-change");
    let header = json!({"alg": "ES256", "jwk": fresh.jwk(), "url": to}).to_string();
    let payload = json!({"account": client.kid, "oldKey": client.key.jwk()}).to_string();
    let inner = fresh.jws(&header, &payload).to_string();
    client.post(&to, &inner).await.expect(200);
    client.key = fresh;
}

#[tokio::test]
async fn networks_and_ports_of_the_directory_hold_for_its_orders() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let deny =
            DirectoryConfig { deny_networks: vec!["127.0.0.0/8".parse().unwrap()], ..DirectoryConfig::default() };
        offer(&world, deny).await;
        let made = client.order(&["a.example.org"]).await.expect(201).json();
        let shown = client.prove(made["authorizations"][0].as_str().unwrap()).await;
        assert_eq!(shown["status"], "invalid");
        let detail = shown["challenges"][0]["error"]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("it is in 127.0.0.0/8 of the ACME directory's deny_networks"), "{detail}");
        offer(&world, DirectoryConfig::default()).await;
        let made = client.order(&["a.example.org"]).await.expect(201).json();
        assert_eq!(client.prove(made["authorizations"][0].as_str().unwrap()).await["status"], "valid");
    }
}

#[tokio::test]
async fn a_directory_that_needs_a_name_of_the_ca_is_refused_without_one() {
    for world in worlds().await {
        let nameless = |config: DirectoryConfig| DirectoryConfig { caa_identities: Vec::new(), ..config };
        let many = (0..11).map(|n| format!("ca{n}.example").parse_name()).collect();
        let enforce = chancery::validation::CaaMode::Enforce;
        for config in [
            nameless(only("dns-persist-01")),
            DirectoryConfig { caa: enforce, ..DirectoryConfig::default() },
            DirectoryConfig { caa_identities: many, ..DirectoryConfig::default() },
            DirectoryConfig { caa_identities: vec!["*.ca.example".parse_name()], ..DirectoryConfig::default() },
            DirectoryConfig { challenges: vec!["dns-02".into()], ..DirectoryConfig::default() },
        ] {
            let error = world.registration.change_directory(&admin(), "default", config).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unprocessable, "{error}");
            assert!(error.rule.is_some());
        }
    }
}

/// D2 for the whole way: what was wrong and is mended is found by the next order, and nothing old is remembered.
#[tokio::test]
async fn d2_a_record_that_is_mended_serves_the_next_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let place = "_acme-challenge.mend.example.org".to_owned();
        let identifier = json!({"type": "dns", "value": "mend.example.org"});
        world.zone.lock().unwrap().insert(place.clone(), Zone::Texts(vec!["old".into()]));
        let (_, _, authorization, challenge) = ordered(&client, identifier.clone(), "dns-01").await;
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "invalid");
        let (_, order, authorization, challenge) = ordered(&client, identifier, "dns-01").await;
        let text = b64(key_digest(&client, &challenge));
        world.zone.lock().unwrap().insert(place.clone(), Zone::Texts(vec![text]));
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
        issued(&client, &order, "mend.example.org").await;
        assert_eq!(world.dns.asked().iter().filter(|q| **q == (place.clone(), TXT)).count(), 2);
    }
}

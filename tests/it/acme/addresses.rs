//! IP identifiers (RFC 8738) from the order to the certificate, by http-01 on loopback over IPv4 and IPv6.

use std::net::IpAddr;

use chancery::clock::days;
use chancery::model::actor::Actor;
use chancery::model::id::{DirectoryId, ProfileId};
use chancery::store::profiles;
use chancery::store::versions::{self, Topic};
use serde_json::{Value, json};

use super::client::{Client, Key, b64, csr, leaf_der, url};
use super::world::{World, worlds};

#[tokio::test]
async fn i2_addresses_are_proved_and_certified() {
    for world in worlds().await {
        allow_loopback(&world).await;
        let client = register(&world).await;
        let asked = [("ip", "::1"), ("dns", "a.example.org"), ("ip", "127.0.0.1")];
        let identifiers: Vec<_> = asked.iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
        let payload = json!({"identifiers": identifiers}).to_string();
        let order = client.post(&to("new-order"), &payload).await.expect(201).json();
        assert_eq!(order["identifiers"], json!(identifiers));
        for authorization in order["authorizations"].as_array().unwrap() {
            let shown = client.prove(authorization.as_str().unwrap()).await;
            assert_eq!(shown["status"], "valid", "{shown}");
        }
        let finalize = order["finalize"].as_str().unwrap();
        let (wrong, _) = csr(&["a.example.org"]);
        client.post(finalize, &json!({"csr": b64(wrong)}).to_string()).await.refused(400, "badCSR");
        let (request, _) = csr(&["127.0.0.1", "::1", "a.example.org"]);
        let done = client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.expect(200).json();
        assert_eq!(done["status"], "valid", "{done}");
        let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
        let leaf = openssl::x509::X509::from_der(&leaf_der(&pem)).unwrap();
        let (mut addresses, mut hosts) = (Vec::new(), Vec::new());
        for name in leaf.subject_alt_names().unwrap() {
            match (name.ipaddress(), name.dnsname()) {
                (Some(octets), _) => addresses.push(address(octets)),
                (_, Some(host)) => hosts.push(host.to_owned()),
                _ => panic!("a name of another kind"),
            }
        }
        addresses.sort();
        assert_eq!(addresses, ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(hosts, ["a.example.org"]);
        // with an address by ACME it lives seven days at most
        let end = openssl::asn1::Asn1Time::from_unix((world.now() + days(7)).secs()).unwrap();
        assert!(leaf.not_after() < end);
    }
}

#[tokio::test]
async fn i1_addresses_are_refused_in_any_other_form() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        for (kind, value, problem) in [
            ("ip", "127.0.0.1", "rejectedIdentifier"),
            ("ip", "::1", "rejectedIdentifier"),
            ("ip", "2001:0db8::1", "malformed"),
            ("ip", "[2001:db8::1]", "malformed"),
            ("ip", "2001:DB8::1", "malformed"),
            ("ip", "192.0.2.1:80", "malformed"),
            ("ip", "192.0.2.0/24", "malformed"),
            ("ip", "fe80::1%eth0", "malformed"),
            ("ip", "a.example.org", "malformed"),
            ("dns", "192.0.2.1", "malformed"),
        ] {
            let payload = json!({"identifiers": [{"type": kind, "value": value}]}).to_string();
            let reply = client.post(&url("new-order"), &payload).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, problem), "{value}: {}", reply.text);
        }
    }
}

fn address(octets: &[u8]) -> IpAddr {
    match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
    }
}

fn to(path: &str) -> String {
    url(path).replace("/default/", "/loopback/")
}

async fn register(world: &World) -> Client<'_> {
    let mut client = Client { world, key: Key::new(), kid: String::new() };
    let reply = client.post_jwk(&to("new-account"), "{}").await.expect(201);
    client.kid = reply.header("location").to_owned();
    client
}

/// A directory `loopback` whose profile mentions the reserved addresses by themselves.
pub async fn allow_loopback(world: &World) {
    let shipped = profiles::list(&world.store).await.unwrap();
    let shipped = shipped.iter().find(|p| p.slug == "tls-server").unwrap();
    let mut config: Value = serde_json::from_str(&shipped.config).unwrap();
    config["name"] = "loopback".into();
    config["names"]["allow"] = json!(["*", "127.0.0.0/8", "::1/128"]);
    let mut tx = world.store.begin(&Actor::system("test")).await.unwrap();
    let (now, entropy) = (world.store.now(), world.store.entropy.clone());
    let profile = ProfileId::new(now, entropy.as_ref()).unwrap();
    profiles::insert(&mut tx, profile, "loopback", &config.to_string()).await.unwrap();
    let directory = DirectoryId::new(now, entropy.as_ref()).unwrap();
    let offers = json!({"profiles": ["loopback"]}).to_string();
    profiles::insert_directory(&mut tx, directory, "loopback", &offers).await.unwrap();
    versions::bump(&mut tx, Topic::Profiles).await.unwrap();
    tx.commit().await.unwrap();
    assert!(world.authority.refresh().await.unwrap());
    world.registration.reload().await.unwrap();
}

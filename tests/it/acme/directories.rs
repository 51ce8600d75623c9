//! Two directories side by side, production and development: each has its trust domain, profiles, issuers, names,
//! external account keys and DNS servers, and an account of one can do nothing in the other.

use std::net::Ipv4Addr;

use chancery::authority::hierarchy::plan::Wanted;
use chancery::model::names::NameRule;
use chancery::registration::DirectoryConfig;
use chancery::registration::external_accounts::NewEabKey;
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, leaf_der, raw, url};
use super::eab::{External, admin, external, new_key, stranger};
use super::world::{World, Zone, worlds};
use crate::hierarchy::{openssl_at, roots};
use crate::validation::support::{A, Dns, DnsServer};

fn dev(path: &str) -> String {
    url(path).replace("/default/", "/development/")
}

/// A DNS server that only development asks: it knows every name.
async fn inside() -> DnsServer {
    DnsServer::answering(|_, kind, _| match kind {
        A => Dns::Addresses(vec![Ipv4Addr::LOCALHOST.into()]),
        _ => Dns::Addresses(Vec::new()),
    })
    .await
}

async fn side_by_side(world: &World, inside: &DnsServer) {
    world.authority.create_domain(&admin(), &Wanted { domain: "dev".into(), ..Wanted::default() }).await.unwrap();
    let rules = |text: &str| vec![NameRule::parse(text).unwrap()];
    let development = DirectoryConfig {
        profiles: vec!["dev-server".into()],
        issuers: vec!["dev-1".into()],
        allow_names: rules("dev.example"),
        external_account_required: true,
        pre_authorization: true,
        resolvers: vec![inside.address],
        ..DirectoryConfig::default()
    };
    world.registration.create_directory(&admin(), "development", development).await.unwrap();
    let production = DirectoryConfig {
        issuers: vec!["tls-1".into()],
        allow_names: rules("prod.example"),
        pre_authorization: true,
        ..DirectoryConfig::default()
    };
    world.registration.change_directory(&admin(), "default", production).await.unwrap();
}

async fn bind(client: &Client<'_>, to: &str, external: &External) -> Reply {
    let header = json!({"alg": "HS256", "kid": external.id.to_string(), "url": to});
    let binding = external.jws(&header, &client.key.jwk().to_string());
    client.post_jwk(to, &json!({"externalAccountBinding": binding}).to_string()).await
}

fn names(list: &[&str]) -> String {
    json!({"identifiers": list.iter().map(|n| json!({"type": "dns", "value": n})).collect::<Vec<_>>()}).to_string()
}

/// Proves, finalizes and downloads: the order and the chain in PEM.
async fn finish(client: &Client<'_>, order: &Value, list: &[&str]) -> (Value, String) {
    client.prove(order["authorizations"][0].as_str().unwrap()).await;
    let csr = json!({"csr": b64(csr(list).0)}).to_string();
    let done = client.post(order["finalize"].as_str().unwrap(), &csr).await.expect(200).json();
    let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
    (done, pem)
}

#[tokio::test]
async fn production_and_development_stand_side_by_side() {
    for world in worlds().await {
        let inside = inside().await;
        side_by_side(&world, &inside).await;
        let shown = raw(&world, "GET", &dev("directory"), "", Vec::new()).await.expect(200).json();
        assert_eq!(shown["newOrder"], dev("new-order"));
        assert_eq!(shown["meta"]["externalAccountRequired"], true);
        assert!(
            shown["meta"]["profiles"].get("dev-server").is_some()
                && shown["meta"]["profiles"].as_object().unwrap().len() == 1
        );

        // external account keys are of one directory
        let key = |directory: &str| NewEabKey { directory: directory.into(), ..new_key(&["none.example"]) };
        let (ours, theirs) = (external(&world, &key("development")).await, external(&world, &key("default")).await);
        let mut developer = stranger(&world);
        developer.post_jwk(&dev("new-account"), "{}").await.refused(403, "externalAccountRequired");
        bind(&developer, &dev("new-account"), &theirs).await.refused(403, "unauthorized");
        bind(&developer, &url("new-account"), &ours).await.refused(403, "unauthorized");
        developer.kid = bind(&developer, &dev("new-account"), &ours).await.expect(201).header("location").to_owned();
        assert!(developer.kid.starts_with(&dev("account/")));
        let operator = Client::register(&world).await;

        // names and profiles are of one directory
        developer.post(&dev("new-order"), &names(&["a.prod.example"])).await.refused(400, "rejectedIdentifier");
        operator.post(&url("new-order"), &names(&["a.dev.example"])).await.refused(400, "rejectedIdentifier");
        let asked = |profile: &str, name: &str| {
            json!({"identifiers": [{"type": "dns", "value": name}], "profile": profile}).to_string()
        };
        developer.post(&dev("new-order"), &asked("tls-server", "a.dev.example")).await.refused(400, "invalidProfile");
        operator.post(&url("new-order"), &asked("dev-server", "a.prod.example")).await.refused(400, "invalidProfile");

        // the servers of production do not know the names of development
        world.zone.lock().unwrap().insert("a.dev.example".into(), Zone::Code(3));
        let made = developer.post(&dev("new-order"), &names(&["a.dev.example"])).await.expect(201);
        let (done, dev_pem) = finish(&developer, &made.json(), &["a.dev.example"]).await;
        assert_eq!(done["profile"], "dev-server");
        let made = operator.post(&url("new-order"), &names(&["a.prod.example"])).await.expect(201);
        let (done, prod_pem) = finish(&operator, &made.json(), &["a.prod.example"]).await;
        assert_eq!(done["profile"], "tls-server");

        // and each chains to its own root
        let judged = |text: &str, domain: &str| {
            let chain = chancery::pki::pem::certificates(text).unwrap().split_off(1);
            openssl_at(&leaf_der(text), &chain, &roots(&world.authority, domain), world.now())
        };
        assert_eq!((judged(&dev_pem, "dev").as_str(), judged(&prod_pem, "tls").as_str()), ("ok", "ok"));
        assert!(judged(&dev_pem, "tls") != "ok" && judged(&prod_pem, "dev") != "ok");
    }
}

#[tokio::test]
async fn an_account_of_one_directory_can_do_nothing_in_another() {
    for world in worlds().await {
        let inside = inside().await;
        side_by_side(&world, &inside).await;
        let key =
            external(&world, &NewEabKey { directory: "development".into(), ..new_key(&["none.example"]) }).await;
        let mut developer = stranger(&world);
        developer.kid = bind(&developer, &dev("new-account"), &key).await.expect(201).header("location").to_owned();
        let operator = Client::register(&world).await;
        let made = operator.post(&url("new-order"), &names(&["a.prod.example"])).await.expect(201);
        let order = made.json();
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = operator.challenge(&authorization, "http-01").await["url"].as_str().unwrap().to_owned();
        let issued = operator.post(&url("new-order"), &names(&["b.prod.example"])).await.expect(201);
        let (done, pem) = finish(&operator, &issued.json(), &["b.prod.example"]).await;
        let certificate = done["certificate"].as_str().unwrap().to_owned();
        let objects = [
            made.header("location").to_owned(),
            order["finalize"].as_str().unwrap().to_owned(),
            authorization.clone(),
            challenge.clone(),
            certificate.clone(),
            operator.kid.clone(),
            format!("{}/orders", operator.kid),
        ];
        let csr = json!({"csr": b64(csr(&["a.prod.example"]).0)}).to_string();
        for object in &objects {
            // at the URL of production its account is none, and below its own directory the object is not there
            for payload in ["", "{}", r#"{"status":"deactivated"}"#, csr.as_str()] {
                developer.post(object, payload).await.refused(400, "accountDoesNotExist");
                let here = object.replace("/default/", "/development/");
                let reply = developer.post(&here, payload).await;
                // an account's URL is somebody else's, whether there is one or not (A7)
                let told = if here.contains("/account/") { "unauthorized" } else { "malformed" };
                assert!([400, 403, 404].contains(&reply.status), "{here} {payload}: {} {}", reply.status, reply.text);
                assert_eq!(reply.problem(), told, "{here} {payload}");
                // the owner too finds its objects below its own directory alone
                operator.post(&here, payload).await.refused(400, "accountDoesNotExist");
            }
        }
        for path in ["new-order", "new-authz", "key-change", "revoke", "directory", "new-nonce"] {
            developer.post(&url(path), "{}").await.refused(400, "accountDoesNotExist");
            operator.post(&dev(path), "{}").await.refused(400, "accountDoesNotExist");
        }
        let revoke = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        developer.post(&dev("revoke"), &revoke).await.refused(403, "unauthorized");
        let only = r#"{"onlyReturnExisting":true}"#;
        developer.post_jwk(&url("new-account"), only).await.refused(400, "accountDoesNotExist");
        operator.post_jwk(&dev("new-account"), only).await.refused(400, "accountDoesNotExist");
        let replaces = super::replaces::renewal_id(&pem);
        let ask = json!({"identifiers": [{"type": "dns", "value": "b.dev.example"}], "replaces": replaces});
        developer.post(&dev("new-order"), &ask.to_string()).await.refused(403, "unauthorized");

        // a request for one directory is none for another: its URL is signed
        let nonce = operator.nonce().await;
        let header =
            json!({"alg": "ES256", "kid": operator.kid, "nonce": nonce, "url": dev("new-order")}).to_string();
        let body = operator.key.jws(&header, &names(&["c.prod.example"])).to_string();
        let media = "application/jose+json";
        let reply = raw(&world, "POST", &url("new-order"), media, body.into_bytes()).await;
        reply.refused(403, "unauthorized");

        // nothing of it has changed
        assert_eq!(operator.get(made.header("location")).await.json()["status"], "pending");
        assert_eq!(operator.get(&authorization).await.json()["status"], "pending");
        assert_eq!(operator.get(&operator.kid).await.json()["status"], "valid");
        assert_eq!(operator.get(&certificate).await.expect(200).text, pem);
        let (done, _) = finish(&operator, &order, &["a.prod.example"]).await;
        assert_eq!(done["status"], "valid");
    }
}

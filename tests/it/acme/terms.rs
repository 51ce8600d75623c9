//! Terms of service (A4): agreed to when an account is made, and again when the operator wants it.

use chancery::error::ErrorKind;
use chancery::registration::{DirectoryConfig, Origin};
use chancery::store::engine::q;
use serde_json::json;

use super::client::{Client, Key, b64, csr, leaf_der, url};
use super::eab::admin;
use super::state::everything;
use super::world::{EXTERNAL, World, worlds};
use crate::support::stores::plain;

async fn terms(world: &World, terms: &str, current: bool) {
    let config = DirectoryConfig {
        terms_of_service: Some(terms.into()),
        require_current_terms: current,
        ..DirectoryConfig::default()
    };
    world.registration.change_directory(&admin(), "default", config).await.unwrap();
}

const ONE: &str = "https://ca.example/terms-1";
const TWO: &str = "https://ca.example/terms-2";

/// RFC 8555 §7.3 and Pebble: 403; Boulder answers 400.
#[tokio::test]
async fn a4_a_new_account_agrees_to_the_terms() {
    for world in worlds().await {
        terms(&world, ONE, false).await;
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let before = everything(&world).await;
        for ask in ["{}", r#"{"termsOfServiceAgreed":false}"#] {
            let reply = client.post_jwk(&url("new-account"), ask).await.refused(403, "userActionRequired");
            let links: Vec<_> =
                reply.headers.get_all("link").iter().map(|l| l.to_str().unwrap().to_owned()).collect();
            assert!(links.contains(&format!("<{ONE}>;rel=\"terms-of-service\"")), "{links:?}");
        }
        client.post_jwk(&url("new-account"), r#"{"termsOfServiceAgreed":"yes"}"#).await.refused(400, "malformed");
        assert_eq!(everything(&world).await, before);
        client.post_jwk(&url("new-account"), r#"{"termsOfServiceAgreed":true}"#).await.expect(201);
    }
}

#[tokio::test]
async fn a4_changed_terms_are_agreed_to_by_a_person() {
    for world in worlds().await {
        terms(&world, ONE, false).await;
        let client = Client::register(&world).await;
        let (_, open) = client.ready_order(&["a.example.org"]).await;
        let (_, pem, _) = client.certificate(&["b.example.org"]).await;
        // other terms alone change nothing for who is there
        terms(&world, TWO, false).await;
        client.order(&["c.example.org"]).await.expect(201);
        terms(&world, TWO, true).await;
        let before = everything(&world).await;
        let reply = client.order(&["d.example.org"]).await.refused(403, "userActionRequired");
        let links: Vec<_> = reply.headers.get_all("link").iter().map(|l| l.to_str().unwrap().to_owned()).collect();
        assert!(links.contains(&format!("<{TWO}>;rel=\"terms-of-service\"")), "{links:?}");
        let body = reply.json();
        assert!(body["detail"].as_str().unwrap().contains(TWO), "{body}");
        let page = body["instance"].as_str().unwrap().strip_prefix(&format!("{EXTERNAL}/terms/")).unwrap().to_owned();
        // an update or a new registration cannot agree (RFC 8555 §7.3.1, §7.3.2)
        client.post(&client.kid, r#"{"termsOfServiceAgreed":true}"#).await.expect(200);
        client.post_jwk(&url("new-account"), r#"{"termsOfServiceAgreed":true}"#).await.expect(200);
        client.order(&["d.example.org"]).await.refused(403, "userActionRequired");
        assert_eq!(everything(&world).await, before);
        // what was begun is finished, and what is there is read and revoked
        let payload = json!({"csr": b64(csr(&["a.example.org"]).0)}).to_string();
        client.post(open["finalize"].as_str().unwrap(), &payload).await.expect(200);
        client.get(&client.kid).await.expect(200);
        client.post(&url("revoke"), &json!({"certificate": b64(leaf_der(&pem))}).to_string()).await.expect(200);

        let (account, seal) = page.split_once('/').unwrap();
        let registration = &world.registration;
        assert!(!registration.consent(account, seal).await.unwrap().is_given());
        // only who was told the address has it
        let other = Client::register(&world).await;
        let others = other.kid.rsplit('/').next().unwrap();
        for (account, seal) in [(others, seal), (account, "AAAA"), (account, ""), ("x", seal)] {
            let error = registration.agree(&Origin::default(), account, seal).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotFound, "{account} {seal}");
        }
        client.order(&["d.example.org"]).await.refused(403, "userActionRequired");
        assert!(registration.agree(&Origin::default(), account, seal).await.unwrap().is_given());
        client.order(&["d.example.org"]).await.expect(201);
        registration.agree(&Origin::default(), account, seal).await.unwrap();
        // to those terms, and to no later ones
        terms(&world, ONE, true).await;
        client.order(&["e.example.org"]).await.refused(403, "userActionRequired");
        let error = registration.agree(&Origin::default(), account, seal).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
    }
}

#[tokio::test]
async fn a4_accounts_of_before_are_asked_too() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        terms(&world, ONE, false).await;
        let agreed = Client::register(&world).await;
        // as rows were before terms_url was kept
        q(plain("UPDATE acme_accounts SET terms_url = NULL")).execute(&world.store.db).await.unwrap();
        let newer = Client::register(&world).await;
        terms(&world, ONE, true).await;
        for old in [&client, &agreed] {
            old.order(&["a.example.org"]).await.refused(403, "userActionRequired");
        }
        newer.order(&["a.example.org"]).await.expect(201);
    }
}

#[tokio::test]
async fn a_directory_without_terms_cannot_want_agreement() {
    for world in worlds().await {
        let config = DirectoryConfig { require_current_terms: true, ..DirectoryConfig::default() };
        let error = world.registration.change_directory(&admin(), "default", config).await.unwrap_err();
        assert_eq!(error.rule.unwrap().name, "directory.require_current_terms");
    }
}

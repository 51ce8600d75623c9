//! Accounts (A1–A13).

use serde_json::json;

use super::client::{Client, Key, b64, csr, send, url};
use super::world::worlds;

#[tokio::test]
async fn one_key_has_one_account() {
    for world in worlds().await {
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let only = r#"{"onlyReturnExisting":true}"#;
        client.post_jwk(&url("new-account"), only).await.refused(400, "accountDoesNotExist");
        let ask = r#"{"contact":["mailto:a@example.org"],"status":"valid","orders":"x"}"#;
        let made = client.post_jwk(&url("new-account"), ask).await.expect(201);
        assert_eq!(made.json()["contact"], json!(["mailto:a@example.org"]));
        assert!(made.json()["orders"].as_str().unwrap().starts_with(made.header("location")));
        let again = client.post_jwk(&url("new-account"), r#"{"contact":[]}"#).await.expect(200);
        assert_eq!((again.header("location"), again.text.as_str()), (made.header("location"), made.text.as_str()));
        client.post_jwk(&url("new-account"), only).await.expect(200);
    }
}

#[tokio::test]
async fn fifty_registrations_of_one_key_make_one_account() {
    for world in worlds().await {
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let target = url("new-account");
        let all = (0..50).map(|_| client.post_jwk(&target, "{}"));
        let replies = futures_util::future::join_all(all).await;
        assert_eq!(replies.iter().filter(|r| r.status == 201).count(), 1);
        let first = replies[0].header("location");
        assert!(replies.iter().all(|r| r.header("location") == first));
    }
}

#[tokio::test]
async fn contacts_are_checked_and_changed() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let update = |contact: &str| json!({"contact": [contact]}).to_string();
        client.post(&client.kid, &update("tel:+1")).await.refused(400, "unsupportedContact");
        client.post(&client.kid, &update("mailto:a@b.org,c@d.org")).await.refused(400, "invalidContact");
        let shown = client.post(&client.kid, &update("mailto:b@example.org")).await.expect(200).json();
        assert_eq!(shown["contact"], json!(["mailto:b@example.org"]));
        let shown = client.post(&client.kid, "{}").await.expect(200).json();
        assert_eq!(shown["contact"], json!(["mailto:b@example.org"]));
    }
}

#[tokio::test]
async fn a_deactivated_account_does_nothing_any_more() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        client.post(&client.kid, r#"{"status":"revoked"}"#).await.refused(400, "malformed");
        let shown = client.post(&client.kid, r#"{"status":"deactivated"}"#).await.expect(200).json();
        assert_eq!(shown["status"], "deactivated");
        let (request, _) = csr(&["a.example.org"]);
        let finalize = order["finalize"].as_str().unwrap();
        client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.refused(401, "unauthorized");
        client.get(&client.kid).await.refused(401, "unauthorized");
        client.post_jwk(&url("new-account"), "{}").await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn the_key_changes_when_both_agree() {
    for world in worlds().await {
        let mut client = Client::register(&world).await;
        let (order_url, _) = client.ready_order(&["a.example.org"]).await;
        let (fresh, stranger) = (Key::new(), Client::register(&world).await);
        let inner = |key: &Key, header: serde_json::Value, account: &str, old: serde_json::Value| {
            key.jws(&header.to_string(), &json!({"account": account, "oldKey": old}).to_string()).to_string()
        };
        let header = |key: &Key| json!({"alg": "ES256", "jwk": key.jwk(), "url": url("key-change")});
        let with_nonce = json!({"alg": "ES256", "jwk": fresh.jwk(), "url": url("key-change"), "nonce": "abc"});
        let elsewhere = json!({"alg": "ES256", "jwk": fresh.jwk(), "url": url("new-order")});
        for bad in [
            inner(&stranger.key, header(&fresh), &client.kid, client.key.jwk()),
            inner(&fresh, with_nonce, &client.kid, client.key.jwk()),
            inner(&fresh, elsewhere, &client.kid, client.key.jwk()),
            inner(&fresh, header(&fresh), &stranger.kid, client.key.jwk()),
            inner(&fresh, header(&fresh), &client.kid, stranger.key.jwk()),
            inner(&client.key, header(&client.key), &client.kid, client.key.jwk()),
            "{}".to_owned(),
        ] {
            client.post(&url("key-change"), &bad).await.refused(400, "malformed");
        }
        let taken = inner(&stranger.key, header(&stranger.key), &client.kid, client.key.jwk());
        let reply = client.post(&url("key-change"), &taken).await.expect(409);
        assert_eq!(reply.header("location"), stranger.kid);

        let good = inner(&fresh, header(&fresh), &client.kid, client.key.jwk());
        client.post(&url("key-change"), &good).await.expect(200);
        client.get(&order_url).await.refused(400, "malformed");
        client.key = fresh;
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready");
    }
}

#[tokio::test]
async fn an_unknown_or_foreign_kid_is_no_account() {
    for world in worlds().await {
        let mut client = Client::register(&world).await;
        let target = url("new-order");
        let good = client.kid.clone();
        for kid in [
            "https://evil.test/acme/default/account/acc_00000000000000000000000000".to_owned(),
            url("account/acc_00000000000000000000000000"),
            good.replace("/default/", "/other/"),
            good.replace("https", "http"),
            String::new(),
        ] {
            client.kid = kid;
            client.post(&target, "{}").await.refused(400, "accountDoesNotExist");
        }
    }
}

#[tokio::test]
async fn a_certificate_does_not_get_an_accounts_key() {
    for world in worlds().await {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut client = Client { world: &world, key: Key::from_pkcs8(&pair.serialize_der()), kid: String::new() };
        client.kid = client.post_jwk(&url("new-account"), "{}").await.expect(201).header("location").to_owned();
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        let params = rcgen::CertificateParams::new(vec!["a.example.org".to_owned()]).unwrap();
        let request = params.serialize_request(&pair).unwrap().der().to_vec();
        let payload = json!({"csr": b64(request)}).to_string();
        client.post(order["finalize"].as_str().unwrap(), &payload).await.refused(400, "badCSR");
        send(&world, &url("new-order"), "").await.refused(400, "malformed");
    }
}

//! Revocation (R1–R6).

use serde_json::json;

use super::client::{Client, Key, b64, leaf_der, send, url};
use super::world::worlds;

#[tokio::test]
async fn the_account_that_was_issued_to_may_revoke_once() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let certificate = b64(leaf_der(&pem));
        for reason in [7, 11, -1, 6, 2] {
            let payload = json!({"certificate": certificate, "reason": reason}).to_string();
            client.post(&url("revoke"), &payload).await.refused(400, "badRevocationReason");
        }
        let payload = json!({"certificate": certificate, "reason": "4"}).to_string();
        client.post(&url("revoke"), &payload).await.refused(400, "malformed");
        let payload = json!({"certificate": certificate, "reason": 4}).to_string();
        assert_eq!(client.post(&url("revoke"), &payload).await.expect(200).text, "");
        client.post(&url("revoke"), &payload).await.refused(400, "alreadyRevoked");
    }
}

#[tokio::test]
async fn the_certificates_key_may_revoke() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, key) = client.certificate(&["a.example.org"]).await;
        let payload = json!({"certificate": b64(leaf_der(&pem)), "reason": 1}).to_string();
        let sign = async |key: &Key| {
            let header =
                json!({"alg": "ES256", "jwk": key.jwk(), "nonce": client.nonce().await, "url": url("revoke")});
            send(&world, &url("revoke"), &key.jws(&header.to_string(), &payload).to_string()).await
        };
        sign(&Key::new()).await.refused(403, "unauthorized");
        sign(&Key::from_pkcs8(&key)).await.expect(200);
    }
}

#[tokio::test]
async fn another_account_may_revoke_only_what_it_controls() {
    for world in worlds().await {
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        let (_, pem, _) = owner.certificate(&["a.example.org", "b.example.org"]).await;
        let payload = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        other.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        other.ready_order(&["a.example.org"]).await;
        other.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        other.ready_order(&["b.example.org"]).await;
        other.post(&url("revoke"), &payload).await.expect(200);
    }
}

#[tokio::test]
async fn bytes_that_we_did_not_issue_are_not_found() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let mut altered = leaf_der(&pem);
        *altered.last_mut().unwrap() ^= 1;
        for bad in [altered, Vec::new(), vec![0x30, 0x82]] {
            let payload = json!({"certificate": b64(bad)}).to_string();
            client.post(&url("revoke"), &payload).await.refused(404, "malformed");
        }
    }
}

//! A signature that takes longer than a client is kept waiting: `processing`, then polling (RFC 8555 §7.4).

use chancery::error::ErrorKind;
use serde_json::json;

use super::client::{Client, b64, csr};
use super::world::worlds;
use crate::issuance::rig::SignerState;

#[tokio::test]
async fn a_slow_signature_is_processing_and_then_valid() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        *world.trouble.signer.lock().unwrap() = SignerState::Waits;
        let finalize = order["finalize"].as_str().unwrap();
        let answer = client.post(finalize, &payload).await.expect(200);
        assert_eq!(answer.json()["status"], "processing", "{}", answer.text);
        assert_eq!((answer.header("retry-after"), answer.header("location")), ("1", order_url.as_str()));
        assert!(answer.json().get("certificate").is_none());
        let polled = client.get(&order_url).await.expect(200);
        assert_eq!((&polled.json()["status"], polled.header("retry-after")), (&json!("processing"), "1"));
        client.post(finalize, &payload).await.refused(403, "orderNotReady");

        world.trouble.gate.add_permits(1);
        let done = loop {
            let polled = client.get(&order_url).await.expect(200).json();
            if polled["status"] != "processing" {
                break polled;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(done["status"], "valid", "{done}");
        client.get(done["certificate"].as_str().unwrap()).await.expect(200);
    }
}

#[tokio::test]
async fn a_signer_that_is_away_ends_the_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        *world.trouble.signer.lock().unwrap() = SignerState::Unavailable;
        let refused = client.post(order["finalize"].as_str().unwrap(), &payload).await;
        let expected = chancery::http::problem::row(ErrorKind::Unavailable);
        assert_eq!((refused.status, refused.problem().as_str()), (expected.acme_status.as_u16(), expected.acme));
        let ended = client.get(&order_url).await.expect(200).json();
        assert_eq!(ended["status"], "invalid");
        assert_eq!(ended["error"]["type"], "urn:ietf:params:acme:error:serverInternal");
    }
}

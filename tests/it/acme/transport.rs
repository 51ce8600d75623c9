//! Directory, methods, media types, headers (T1–T13).

use serde_json::json;

use super::client::{Client, raw, send, url};
use super::world::worlds;

#[tokio::test]
async fn the_directory_names_absolute_urls() {
    for world in worlds().await {
        let reply = raw(&world, "GET", &url("directory"), "", Vec::new()).await.expect(200);
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(
            reply.json(),
            json!({
                "newNonce": url("new-nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
                "revokeCert": url("revoke"), "keyChange": url("key-change"),
            })
        );
        assert!(!reply.headers.contains_key("replay-nonce") && !reply.headers.contains_key("link"));
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        raw(&world, "HEAD", &url("directory"), "", Vec::new()).await.expect(200);
        let client = Client::register(&world).await;
        assert_eq!(client.get(&url("directory")).await.expect(200).json(), reply.json());
        client.get(&url("new-nonce")).await.expect(204);
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_problems() {
    for world in worlds().await {
        for path in ["new-account", "new-order", "order/x", "certificate/x", "revoke"] {
            let reply = raw(&world, "GET", &url(path), "", Vec::new()).await.expect(405);
            assert_eq!((reply.problem().as_str(), reply.header("allow")), ("malformed", "POST"), "{path}");
            assert!(reply.header("link").contains("rel=\"index\""));
        }
        for path in ["nothing", "order", ""] {
            assert_eq!(raw(&world, "GET", &url(path), "", Vec::new()).await.expect(404).problem(), "malformed");
        }
        let other = url("directory").replace("/default/", "/other/");
        assert_eq!(raw(&world, "GET", &other, "", Vec::new()).await.expect(404).problem(), "malformed");
        raw(&world, "OPTIONS", &url("new-order"), "", Vec::new()).await.expect(204);
    }
}

#[tokio::test]
async fn bodies_have_their_media_type_and_their_size() {
    for world in worlds().await {
        for media in ["", "application/json", "text/plain"] {
            let reply = raw(&world, "POST", &url("new-order"), media, b"{}".to_vec()).await.expect(415);
            assert_eq!(reply.problem(), "malformed");
        }
        let with_parameter = "Application/JOSE+json; charset=utf-8";
        raw(&world, "POST", &url("new-order"), with_parameter, b"{}".to_vec()).await.refused(400, "malformed");
        send(&world, &url("new-order"), &"x".repeat(60_000)).await.refused(413, "malformed");
        let garbage: Vec<u8> = (0..=255).collect();
        raw(&world, "POST", &url("new-order"), "application/jose+json", garbage).await.refused(400, "malformed");
    }
}

#[tokio::test]
async fn reading_wants_an_empty_payload() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["a.example.org"]).await.expect(201);
        assert!(made.header("link").contains("rel=\"index\""));
        assert!(made.headers.contains_key("replay-nonce"));
        client.post(made.header("location"), "{}").await.refused(400, "malformed");
        client.post(&format!("{}/orders", client.kid), "{}").await.refused(400, "malformed");
        let orders = client.get(&format!("{}/orders", client.kid)).await.expect(200).json();
        assert_eq!(orders, json!({"orders": [made.header("location")]}));
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.get(&authorization).await.json()["challenges"][0]["url"].as_str().unwrap().to_owned();
        let shown = client.get(&challenge).await.expect(200);
        assert!(shown.headers.get_all("link").iter().any(|l| l.to_str().unwrap().contains(&authorization)));
    }
}

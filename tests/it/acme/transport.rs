//! Directory, methods, media types, headers (T2–T14; what needs a listener is in tests/it/server/acme_wire.rs).

use std::time::Duration;

use chancery::clock::minutes;
use chancery::registration::DirectoryConfig;
use serde_json::{Value, json};

use super::client::{Client, Reply, b64, csr, raw, send, url, with_headers};
use super::eab::admin;
use super::state::everything;
use super::world::worlds;

const JOSE: &str = "application/jose+json";

#[tokio::test]
async fn t2_the_directory_names_absolute_urls() {
    for world in worlds().await {
        let reply = raw(&world, "GET", &url("directory"), "", Vec::new()).await.expect(200);
        assert_eq!(reply.header("content-type"), "application/json");
        let shown = reply.json();
        for (name, path) in [
            ("newNonce", "new-nonce"),
            ("newAccount", "new-account"),
            ("newOrder", "new-order"),
            ("revokeCert", "revoke"),
            ("keyChange", "key-change"),
            ("renewalInfo", "renewal-info"),
        ] {
            assert_eq!(shown[name], url(path));
        }
        assert!(shown.as_object().unwrap().values().all(|value| !value.is_null()), "{shown}");
        // T9: no index link at the index itself
        assert!(!reply.headers.contains_key("replay-nonce") && !reply.headers.contains_key("link"));
        let head = raw(&world, "HEAD", &url("directory"), "", Vec::new()).await.expect(200);
        assert_eq!((head.header("content-type"), head.text.as_str()), ("application/json", ""));
    }
}

/// No strange member is put in: clients that choke on one are tested against Boulder already.
#[tokio::test]
async fn t3_meta_has_what_is_configured_and_no_nulls() {
    for world in worlds().await {
        let config = DirectoryConfig {
            terms_of_service: Some("https://ca.example/terms".into()),
            website: Some("https://ca.example/".into()),
            external_account_required: true,
            ..DirectoryConfig::default()
        };
        world.registration.change_directory(&admin(), "default", config).await.unwrap();
        let shown = raw(&world, "GET", &url("directory"), "", Vec::new()).await.expect(200).json();
        let meta = shown["meta"].as_object().unwrap();
        assert_eq!(meta["termsOfService"], "https://ca.example/terms");
        assert_eq!(meta["website"], "https://ca.example/");
        assert_eq!(meta["externalAccountRequired"], true);
        world.registration.change_directory(&admin(), "default", DirectoryConfig::default()).await.unwrap();
        let shown = raw(&world, "GET", &url("directory"), "", Vec::new()).await.expect(200).json();
        for name in ["termsOfService", "website", "externalAccountRequired"] {
            assert!(shown["meta"].get(name).is_none(), "{shown}");
        }
        assert!(
            shown
                .as_object()
                .unwrap()
                .iter()
                .chain(shown["meta"].as_object().into_iter().flatten())
                .all(|(_, v)| !v.is_null())
        );
    }
}

#[tokio::test]
async fn t4_urls_are_those_of_the_settings_whatever_a_client_says() {
    for world in worlds().await {
        let evil = [
            ("host", "evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "host=evil.test;proto=http"),
            ("x-original-url", "/acme/evil"),
        ];
        let shown = with_headers(&world, "GET", &url("directory"), &evil, Vec::new()).await.expect(200);
        assert_eq!(shown.text, raw(&world, "GET", &url("directory"), "", Vec::new()).await.text);
        let client = Client::register(&world).await;
        let nonce = client.nonce().await;
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": url("new-order")}).to_string();
        let payload = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string();
        let body = client.key.jws(&header, &payload).to_string().into_bytes();
        let headers = [&evil[..], &[("content-type", JOSE)]].concat();
        let made = with_headers(&world, "POST", &url("new-order"), &headers, body).await.expect(201);
        assert!(made.header("location").starts_with(&url("order/")) && !made.text.contains("evil"), "{}", made.text);
        assert!(made.header("link").starts_with(&format!("<{}>", url("directory"))));
    }
}

#[tokio::test]
async fn t5_get_elsewhere_is_405() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (certificate, _, _) = client.certificate(&["b.example.org"]).await;
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await["url"].as_str().unwrap().to_owned();
        let orders = format!("{}/orders", client.kid);
        let finalize = order["finalize"].as_str().unwrap().to_owned();
        let all = ["new-account", "new-order", "key-change", "revoke", "order/x", "certificate/x"].map(url);
        let real = [order_url, certificate, authorization, challenge, orders, finalize, client.kid.clone()];
        for target in all.iter().chain(&real) {
            for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"] {
                let reply = raw(&world, method, target, "", Vec::new()).await.expect(405);
                assert_eq!(reply.header("allow"), "POST", "{method} {target}");
                assert!(reply.header("link").contains("rel=\"index\""), "{method} {target}");
                assert_eq!(reply.header("content-type"), "application/problem+json");
                if method != "HEAD" {
                    assert_eq!(reply.problem(), "malformed", "{method} {target}");
                }
            }
        }
        let reply = raw(&world, "DELETE", &url("directory"), "", Vec::new()).await.expect(405);
        let mut allowed: Vec<_> = reply.header("allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    }
}

#[tokio::test]
async fn t6_reading_wants_an_empty_payload() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (certificate, _, _) = client.certificate(&["b.example.org"]).await;
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await["url"].as_str().unwrap().to_owned();
        let orders = format!("{}/orders", client.kid);
        let before = everything(&world).await;
        for target in [&order_url, &certificate, &authorization, &challenge, &orders, &client.kid, &url("directory")]
        {
            let read = client.get(target).await.expect(200);
            assert!(read.headers.contains_key("replay-nonce"), "{target}");
        }
        assert_eq!(client.get(&url("new-nonce")).await.expect(204).text, "");
        // {} changes nothing at an account and says "ready" at a challenge; elsewhere it is no reading
        for target in [&order_url, &certificate, &authorization, &orders, &url("directory"), &url("new-nonce")] {
            for payload in ["{}", "null", "\"\"", "[]", " "] {
                client.post(target, payload).await.refused(400, "malformed");
            }
        }
        // and nothing that changes is done by reading
        for target in
            [&order["finalize"].as_str().unwrap().to_owned(), &url("new-order"), &url("revoke"), &url("key-change")]
        {
            client.get(target).await.refused(400, "malformed");
        }
        assert_eq!(everything(&world).await, before);
        let shown = client.get(&challenge).await.expect(200);
        assert!(shown.headers.get_all("link").iter().any(|l| l.to_str().unwrap().contains(&authorization)));
    }
}

/// Pebble refuses a request without User-Agent; RFC 8555 §6.1 makes sending one the client's business.
#[tokio::test]
async fn t7_a_client_without_user_agent_is_served() {
    for world in worlds().await {
        let headers = [("content-type", JOSE)];
        let client = Client::register(&world).await;
        let header =
            json!({"alg": "ES256", "kid": client.kid, "nonce": client.nonce().await, "url": client.kid}).to_string();
        let body = client.key.jws(&header, "").to_string().into_bytes();
        with_headers(&world, "POST", &client.kid, &headers, body).await.expect(200);
    }
}

#[tokio::test]
async fn t8_scripts_of_other_origins_may_read_what_they_need() {
    for world in worlds().await {
        let origin = [("origin", "https://app.example")];
        for (method, path, status) in
            [("GET", "directory", 200), ("HEAD", "new-nonce", 200), ("POST", "new-order", 415)]
        {
            let reply = with_headers(&world, method, &url(path), &origin, Vec::new()).await.expect(status);
            assert_eq!(reply.header("access-control-allow-origin"), "*");
            let exposed = reply.header("access-control-expose-headers");
            for name in ["Link", "Replay-Nonce", "Location", "Retry-After"] {
                assert!(exposed.contains(name), "{exposed}");
            }
        }
        // a client that is no page gets none of it
        for (method, path, status) in
            [("GET", "directory", 200), ("HEAD", "new-nonce", 200), ("OPTIONS", "new-order", 204)]
        {
            let reply = with_headers(&world, method, &url(path), &[], Vec::new()).await.expect(status);
            assert!(
                reply.headers.keys().all(|name| !name.as_str().starts_with("access-control")),
                "{:?}",
                reply.headers
            );
        }
        let asked = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        let reply = with_headers(&world, "OPTIONS", &url("new-order"), &asked, Vec::new()).await.expect(204);
        assert!(reply.header("access-control-allow-headers").eq_ignore_ascii_case("content-type"));
        assert!(reply.header("access-control-allow-methods").contains("POST"));
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(reply.header("access-control-allow-credentials").is_empty());
    }
}

#[tokio::test]
async fn t9_every_answer_but_the_directory_links_to_it() {
    for world in worlds().await {
        let expected = format!("<{}>;rel=\"index\"", url("directory"));
        let linked = |reply: &Reply| reply.headers.get_all("link").iter().any(|l| l == expected.as_str());
        let client = Client::register(&world).await;
        let made = client.order(&["a.example.org"]).await.expect(201);
        assert!(linked(&made));
        for reply in [
            client.get(&client.kid).await.expect(200),
            client.get(&format!("{}/orders", client.kid)).await.expect(200),
            client.get(made.json()["authorizations"][0].as_str().unwrap()).await.expect(200),
            client.get(&url("order/ord_x")).await.expect(404),
            client.order(&[]).await.expect(400),
            raw(&world, "HEAD", &url("new-nonce"), "", Vec::new()).await.expect(200),
            raw(&world, "GET", &url("new-order"), "", Vec::new()).await.expect(405),
            raw(&world, "GET", &url("nothing"), "", Vec::new()).await.expect(404),
            raw(&world, "POST", &url("new-order"), "text/plain", Vec::new()).await.expect(415),
            send(&world, &url("new-order"), &"x".repeat(60_000)).await.expect(413),
        ] {
            assert!(linked(&reply), "{} {}", reply.status, reply.text);
        }
    }
}

/// Boulder answers 400; RFC 8555 §6.2 says 415.
#[tokio::test]
async fn t10_another_media_type_is_415() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let payload = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string();
        let before = everything(&world).await;
        let jws = async || {
            let nonce = client.nonce().await;
            let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": url("new-order")});
            client.key.jws(&header.to_string(), &payload).to_string().into_bytes()
        };
        for media in ["", "application/json", "text/plain", "application/jose", "application/jose+json2", "*/*", ";"]
        {
            let reply = raw(&world, "POST", &url("new-order"), media, jws().await).await.expect(415);
            assert_eq!(reply.problem(), "malformed", "{media}");
        }
        assert_eq!(everything(&world).await, before);
        // a parameter is harmless, and media types have no case (RFC 9110 §8.3.1)
        for media in
            [JOSE, "application/jose+json; charset=utf-8", "Application/JOSE+json;x=y", " application/jose+json "]
        {
            raw(&world, "POST", &url("new-order"), media, jws().await).await.expect(201);
        }
    }
}

#[tokio::test]
async fn t11_base64url_has_one_spelling() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        let (_, pem, _) = client.certificate(&["b.example.org"]).await;
        let finalize = order["finalize"].as_str().unwrap();
        let before = everything(&world).await;
        let good = b64(csr(&["a.example.org"]).0);
        for spelling in spoiled(&good) {
            client.post(finalize, &json!({"csr": spelling}).to_string()).await.refused(400, "malformed");
        }
        let leaf = b64(super::client::leaf_der(&pem));
        for spelling in spoiled(&leaf) {
            client
                .post(&url("revoke"), &json!({"certificate": spelling}).to_string())
                .await
                .refused(400, "malformed");
        }
        let header = |nonce: String, url: &str, key: &str, value: Value| {
            let mut header = json!({"alg": "ES256", "nonce": nonce, "url": url});
            header[key] = value;
            header.to_string()
        };
        let jws =
            client.key.jws(&header(client.nonce().await, &client.kid, "kid", json!(client.kid)), r#"{"contact":[]}"#);
        for name in ["protected", "payload", "signature"] {
            for spelling in spoiled(jws[name].as_str().unwrap()) {
                let mut bad = jws.clone();
                bad[name] = spelling.into();
                send(&world, &client.kid, &bad.to_string()).await.refused(400, "malformed");
            }
        }
        for spelling in spoiled(client.key.jwk()["x"].as_str().unwrap()) {
            let mut jwk = client.key.jwk();
            jwk["x"] = spelling.into();
            let header = header(client.nonce().await, &url("new-account"), "jwk", jwk);
            let reply = send(&world, &url("new-account"), &client.key.jws(&header, "{}").to_string()).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{}", reply.text);
        }
        assert_eq!(everything(&world).await, before);
    }
}

/// Padding, the other alphabet, blanks, and trailing bits that are not zero (where the length leaves some).
fn spoiled(text: &str) -> Vec<String> {
    let mut all = vec![
        format!("{text}="),
        format!("{text}=="),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{text}+"),
        format!("{text}/"),
    ];
    all.push(format!("{} {}", &text[..4], &text[4..]));
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if !text.len().is_multiple_of(4) {
        let value = alphabet.find(text.chars().last().unwrap()).unwrap();
        all.push(format!("{}{}", &text[..text.len() - 1], alphabet.chars().nth(value ^ 1).unwrap()));
    }
    all
}

#[tokio::test]
async fn t12_bodies_are_bounded_in_size_and_depth() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = everything(&world).await;
        let nonce = client.nonce().await;
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": url("new-order")}).to_string();
        let long = json!({"identifiers": [{"type": "dns", "value": "a".repeat(60_000)}]}).to_string();
        send(&world, &url("new-order"), &client.key.jws(&header, &long).to_string()).await.refused(413, "malformed");
        for body in ["x".repeat(60_000), "[".repeat(10_000), format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))]
        {
            let status = if body.len() > 50_000 { 413 } else { 400 };
            send(&world, &url("new-order"), &body).await.refused(status, "malformed");
        }
        let garbage: Vec<u8> = (0..=255).collect();
        raw(&world, "POST", &url("new-order"), JOSE, garbage).await.refused(400, "malformed");
        let deep = format!("{{\"identifiers\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        client.post(&url("new-order"), &deep).await.refused(400, "malformed");
        assert_eq!(everything(&world).await, before);
        // what was too large did not spend its nonce, and a CSR with a hundred names fits
        client.post_with(&client.kid, &nonce, "").await.expect(200);
        let names: Vec<_> = (0..100).map(|n| format!("a-rather-long-label-of-a-host-{n}.example.org")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let payload = json!({"csr": b64(csr(&names).0)}).to_string();
        client.post(&url("order/ord_00000000000000000000000000/finalize"), &payload).await.refused(404, "malformed");
    }
}

#[tokio::test]
async fn t13_every_failure_is_a_problem_document() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let other = url("directory").replace("/default/", "/other/");
        for reply in [
            raw(&world, "GET", &url("nothing"), "", Vec::new()).await.expect(404),
            raw(&world, "GET", &url("order"), "", Vec::new()).await.expect(404),
            raw(&world, "GET", &url(""), "", Vec::new()).await.expect(404),
            raw(&world, "GET", &other, "", Vec::new()).await.expect(404),
            send(&world, &url("nothing"), "{}").await.expect(404),
            client.get(&url("certificate/crt_x")).await.expect(404),
            send(&world, &url("new-order"), "{}").await.expect(400),
        ] {
            assert_eq!(reply.problem(), "malformed");
            let body = reply.json();
            assert!(body["type"].as_str().unwrap().starts_with("urn:ietf:params:acme:error:"), "{body}");
            assert!(!body["detail"].as_str().unwrap().is_empty() && !reply.text.contains('<'), "{body}");
            assert!(body["detail"].as_str().unwrap().chars().count() <= 400, "{body}");
        }
        // a browser too gets one: never a page of HTML
        let accept = [("accept", "text/html")];
        let reply = with_headers(&world, "GET", &url("nothing"), &accept, Vec::new()).await.expect(404);
        assert_eq!(reply.problem(), "malformed");
    }
}

/// smallstep/certificates#1855: a client that came back on an idle connection was told badNonce.
#[tokio::test]
async fn t14_a_nonce_outlives_an_idle_connection() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let nonce = client.nonce().await;
        world.clock.advance(Duration::from_secs(31));
        let reply = client.post_with(&client.kid, &nonce, "").await.expect(200);
        world.clock.advance(minutes(30));
        client.post_with(&client.kid, reply.header("replay-nonce"), "").await.expect(200);
    }
}

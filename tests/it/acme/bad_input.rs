//! Bad payloads in good signatures: each is refused by its RFC 8555 §6.7 type, and nothing is made or changed.

use serde_json::{Value, json};

use super::client::{Client, b64, csr, leaf_der, send, url};
use super::state::everything;
use super::world::worlds;

fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn order_of(names: impl Iterator<Item = Value>) -> String {
    json!({"identifiers": names.map(|value| json!({"type": "dns", "value": value})).collect::<Vec<_>>()}).to_string()
}

type Bad = (&'static str, String, &'static str);

/// (what, payload, type) for newOrder.
fn orders() -> Vec<Bad> {
    let hosts = |n: usize| order_of((0..n).map(|n| Value::from(format!("host-{n}.example.org"))));
    let one = |value: Value| order_of(std::iter::once(value));
    let with = |more: &str| format!(r#"{{"identifiers":[{{"type":"dns","value":"a.example.org"}}],{more}}}"#);
    vec![
        ("101 names", hosts(101), "malformed"),
        ("no name", hosts(0), "malformed"),
        ("U+0000 in a name", one("a\u{0}.example.org".into()), "malformed"),
        ("a name of 300 octets", one("a.".repeat(150).into()), "malformed"),
        ("a label of 64", one(format!("{}.example.org", "a".repeat(64)).into()), "malformed"),
        ("an underscore", one("_a.example.org".into()), "malformed"),
        ("a name in Unicode", one("b\u{fc}cher.example.org".into()), "malformed"),
        ("null for a name", one(Value::Null), "malformed"),
        ("a URI", r#"{"identifiers":[{"type":"uri","value":"urn:x"}]}"#.into(), "unsupportedIdentifier"),
        ("no type", r#"{"identifiers":[{"value":"a.example.org"}]}"#.into(), "malformed"),
        ("10,000 levels", format!("{{\"identifiers\":{}}}", deep(10_000)), "malformed"),
        ("a list", "[]".into(), "malformed"),
        ("a number", "1e999".into(), "malformed"),
        ("no JSON", "{".into(), "malformed"),
        ("an empty payload", String::new(), "malformed"),
        ("a member twice", with(r#""identifiers":[]"#), "malformed"),
        ("a bad notAfter", with(r#""notAfter":"tomorrow""#), "malformed"),
        ("a year of five digits", with(r#""notAfter":"10000-01-01T00:00:00Z""#), "malformed"),
        ("an end before the start", with(r#""notAfter":"1999-01-01T00:00:00Z""#), "malformed"),
    ]
}

fn account_changes() -> Vec<Bad> {
    let contact = |list: &[&str]| json!({"contact": list}).to_string();
    vec![
        ("U+0000 in a contact", contact(&["mailto:a\u{0}@example.org"]), "malformed"),
        ("a contact of another scheme", contact(&["tel:+1"]), "unsupportedContact"),
        ("a contact with a header", contact(&["mailto:a@b.org?subject=x"]), "invalidContact"),
        ("eleven contacts", contact(&["mailto:a@b.org"; 11]), "invalidContact"),
        ("contacts in depth", format!("{{\"contact\":{}}}", deep(10_000)), "malformed"),
        ("another status", json!({"status": "revoked"}).to_string(), "malformed"),
    ]
}

/// For an order of a.example.org.
fn finalizations() -> Vec<Bad> {
    let (good, _) = csr(&["a.example.org"]);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut table = vec![
        ("no csr", "{}".to_owned(), "malformed"),
        ("csr a number", json!({"csr": 1}).to_string(), "malformed"),
        ("csr in plain base64", json!({"csr": "MIIB+/=="}).to_string(), "malformed"),
        ("csr in depth", format!("{{\"csr\":{}}}", deep(10_000)), "malformed"),
    ];
    let requests = [
        ("an empty CSR", Vec::new()),
        ("a garbage CSR", (0..=255).cycle().take(1_000).collect()),
        ("a CSR of nested sequences", [0x30, 0x80].repeat(5_000)),
        ("a CSR that claims 2 GB", vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]),
        ("half a CSR", good[..good.len() / 2].to_vec()),
        ("a CSR without its last octet", good[..good.len() - 1].to_vec()),
        ("a CSR with one octet more", [&good[..], &[0]].concat()),
        ("a CSR with another octet", flipped),
        ("a CSR with 25 KB behind it", [&good[..], &[0; 25_000]].concat()),
        ("a CSR for another name", csr(&["b.example.org"]).0),
        ("a CSR for more names", csr(&["a.example.org", "b.example.org"]).0),
    ];
    table.extend(requests.into_iter().map(|(what, der)| (what, json!({"csr": b64(der)}).to_string(), "badCSR")));
    table
}

#[tokio::test]
async fn no_payload_of_the_table_passes_or_changes_anything() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        let finalize = order["finalize"].as_str().unwrap();
        let before = everything(&world).await;
        let new_order = url("new-order");
        let tables =
            [(new_order.as_str(), orders()), (client.kid.as_str(), account_changes()), (finalize, finalizations())];
        for (to, table) in tables {
            for (what, payload, problem) in table {
                let reply = client.post(to, &payload).await;
                assert_eq!((reply.status, reply.problem().as_str()), (400, problem), "{what}: {}", reply.text);
                assert!(reply.text.len() < 30_000, "{what}: the answer is bounded");
            }
        }
        for (what, payload, status, problem) in [
            ("garbage", json!({"certificate": b64([7; 100])}).to_string(), 404, "malformed"),
            ("nothing", json!({"certificate": ""}).to_string(), 404, "malformed"),
            ("no member", "{}".into(), 400, "malformed"),
            (
                "a reason that is none",
                json!({"certificate": "AA", "reason": 7}).to_string(),
                400,
                "badRevocationReason",
            ),
            ("in depth", format!("{{\"certificate\":{}}}", deep(10_000)), 400, "malformed"),
        ] {
            let reply = client.post(&url("revoke"), &payload).await;
            assert_eq!((reply.status, reply.problem().as_str()), (status, problem), "revoke {what}: {}", reply.text);
        }
        assert_eq!(everything(&world).await, before);
        // and the order is as good as before
        let (request, _) = csr(&["a.example.org"]);
        client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.expect(200);
    }
}

#[tokio::test]
async fn limits_are_reached_and_not_passed() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let hosts = (0..100).map(|n| Value::from(format!("host-{n}.example.org")));
        let made = client.post(&url("new-order"), &order_of(hosts)).await.expect(201).json();
        assert_eq!(made["authorizations"].as_array().unwrap().len(), 100);

        // a JWS of exactly 50,000 octets is read, one more is not
        let before = everything(&world).await;
        let one = order_of(std::iter::once("a.example.org".into()));
        let jws = async |size: usize| {
            let nonce = client.nonce().await;
            let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": url("new-order")});
            let text = client.key.jws(&header.to_string(), &one).to_string();
            format!("{text}{}", " ".repeat(size - text.len()))
        };
        send(&world, &url("new-order"), &jws(50_001).await).await.refused(413, "malformed");
        assert_eq!(everything(&world).await, before);
        send(&world, &url("new-order"), &jws(50_000).await).await.expect(201);
    }
}

#[tokio::test]
async fn what_was_sent_once_counts_once_and_what_is_cut_never() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let one = order_of(std::iter::once("a.example.org".into()));
        let nonce = client.nonce().await;
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": url("new-order")});
        let text = client.key.jws(&header.to_string(), &one).to_string();
        let nothing = everything(&world).await;
        for at in [1, 10, text.len() / 2, text.len() - 10, text.len() - 1] {
            send(&world, &url("new-order"), &text[..at]).await.refused(400, "malformed");
        }
        assert_eq!(everything(&world).await, nothing);
        send(&world, &url("new-order"), &text).await.expect(201);
        let once = everything(&world).await;
        for _ in 0..3 {
            send(&world, &url("new-order"), &text).await.refused(400, "badNonce");
        }
        assert_eq!(everything(&world).await, once);
    }
}

#[tokio::test]
async fn nobody_changes_what_is_anothers() {
    for world in worlds().await {
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        let (order_url, order) = owner.ready_order(&["a.example.org"]).await;
        let (_, pem, _) = owner.certificate(&["b.example.org"]).await;
        let pending = owner.order(&["c.example.org"]).await.expect(201).json();
        let authorization = pending["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = owner.get(&authorization).await.json()["challenges"][0]["url"].as_str().unwrap().to_owned();
        let finalize = order["finalize"].as_str().unwrap().to_owned();
        let (request, _) = csr(&["a.example.org"]);
        let ended = || json!({"status": "deactivated"}).to_string();
        let before = everything(&world).await;
        for (what, to, payload, status, problem) in [
            ("order", order_url, String::new(), 404, "malformed"),
            ("finalize", finalize, json!({"csr": b64(request)}).to_string(), 404, "malformed"),
            ("authorization", authorization.clone(), String::new(), 404, "malformed"),
            ("deactivation", authorization, ended(), 404, "malformed"),
            ("challenge", challenge, "{}".into(), 404, "malformed"),
            ("account", owner.kid.clone(), ended(), 403, "unauthorized"),
            ("orders", format!("{}/orders", owner.kid), String::new(), 403, "unauthorized"),
            (
                "revocation",
                url("revoke"),
                json!({"certificate": b64(leaf_der(&pem))}).to_string(),
                403,
                "unauthorized",
            ),
        ] {
            let reply = other.post(&to, &payload).await;
            assert_eq!((reply.status, reply.problem().as_str()), (status, problem), "{what}: {}", reply.text);
        }
        assert_eq!(everything(&world).await, before);
    }
}

//! Problem documents (E1–E5).

use chancery::error::ErrorKind;
use chancery::http::kinds;
use serde_json::json;

use super::client::{Client, b64, csr, url};
use super::eab::{External, bind, external, new_key, stranger};
use super::state::everything;
use super::world::worlds;
use crate::issuance::rig::SignerState;

/// RFC 8555 §6.7 with its status here, then RFC 9773 and the draft of profiles. `None`: nothing here can be that.
const TYPES: [(&str, Option<&[u16]>); 25] = [
    ("accountDoesNotExist", Some(&[400])),
    ("alreadyRevoked", Some(&[400])),
    ("badCSR", Some(&[400])),
    ("badNonce", Some(&[400])),
    ("badPublicKey", Some(&[400])),
    ("badRevocationReason", Some(&[400])),
    ("badSignatureAlgorithm", Some(&[400])),
    ("caa", Some(&[403])),
    ("compound", Some(&[400])),
    ("connection", Some(&[400])),
    ("dns", Some(&[400])),
    ("externalAccountRequired", Some(&[403])),
    ("incorrectResponse", Some(&[403])),
    ("invalidContact", Some(&[400])),
    ("malformed", None),
    ("orderNotReady", Some(&[403])),
    ("rateLimited", Some(&[429])),
    ("rejectedIdentifier", Some(&[400])),
    ("serverInternal", None),
    ("tls", Some(&[400])),
    ("unauthorized", Some(&[401, 403])),
    ("unsupportedContact", Some(&[400])),
    ("unsupportedIdentifier", Some(&[400])),
    ("userActionRequired", Some(&[403])),
    ("invalidProfile", Some(&[400])),
];

/// Beyond the RFC: alreadyReplaced (RFC 9773), and nothing else may call itself an ACME error (T13).
#[test]
fn e1_every_type_is_in_the_registry_with_its_status() {
    let known: Vec<_> = TYPES.iter().map(|(name, _)| *name).chain(["alreadyReplaced"]).collect();
    for kind in kinds::ALL {
        let row = kinds::row(kind);
        assert!(known.contains(&row.acme), "{kind:?} is {}, which no registry has", row.acme);
        let Some((_, Some(statuses))) = TYPES.iter().find(|(name, _)| *name == row.acme) else { continue };
        assert!(statuses.contains(&row.acme_status.as_u16()), "{kind:?}: {}", row.acme_status);
    }
    for (name, _) in TYPES {
        assert!(kinds::ALL.iter().any(|kind| kinds::row(*kind).acme == name), "{name} is never said");
    }
    // malformed stands for shapes with a status of HTTP's own, serverInternal for what is ours
    assert_eq!(kinds::row(ErrorKind::Malformed).acme_status.as_u16(), 400);
    assert_eq!(kinds::row(ErrorKind::Internal).acme_status.as_u16(), 500);
    assert_eq!(kinds::row(ErrorKind::Conflict).acme_status.as_u16(), 409);
}

#[tokio::test]
async fn e2_each_bad_name_is_a_subproblem() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = everything(&world).await;
        let ask = |names: &[(&str, &str)]| {
            let list: Vec<_> = names.iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
            json!({"identifiers": list}).to_string()
        };
        // two of one kind and a good one between them
        let payload = ask(&[("dns", "_a.example.org"), ("dns", "good.example.org"), ("dns", "a..b")]);
        let body = client.post(&url("new-order"), &payload).await.refused(400, "malformed").json();
        assert_eq!(body.get("identifier"), None);
        let parts = body["subproblems"].as_array().unwrap();
        assert_eq!(parts.len(), 2);
        for (part, value) in parts.iter().zip(["_a.example.org", "a..b"]) {
            assert_eq!(part["identifier"], json!({"type": "dns", "value": value}));
            assert_eq!(part["type"], "urn:ietf:params:acme:error:malformed");
            assert!(!part["detail"].as_str().unwrap().is_empty());
        }
        // of different kinds: compound
        let payload = ask(&[("dns", "localhost"), ("email", "a@example.org"), ("dns", "good.example.org")]);
        let body = client.post(&url("new-order"), &payload).await.refused(400, "compound").json();
        let types: Vec<_> = body["subproblems"].as_array().unwrap().iter().map(|p| p["type"].clone()).collect();
        let urn = |name: &str| format!("urn:ietf:params:acme:error:{name}");
        assert_eq!(types, [urn("rejectedIdentifier"), urn("unsupportedIdentifier")]);
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn e3_a_failed_challenge_says_why_in_challenge_and_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["a.example.org"]).await.expect(201);
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await;
        let shown = client.respond(&challenge, &authorization).await;
        assert_eq!(shown["status"], "invalid", "{shown}");
        let failed = shown["challenges"].as_array().unwrap().iter().find(|c| c["type"] == "http-01").unwrap();
        assert_eq!(failed["status"], "invalid");
        assert!(failed["error"]["type"].as_str().unwrap().starts_with("urn:ietf:params:acme:error:"), "{failed}");
        assert!(failed["error"]["detail"].as_str().unwrap().contains("404"), "what was seen: {failed}");
        assert_eq!(failed.get("validated"), None);
        let order = client.get(made.header("location")).await.expect(200).json();
        assert_eq!(order["status"], "invalid");
        assert_eq!(order["error"]["type"], failed["error"]["type"], "{order}");
    }
}

#[tokio::test]
async fn e4_a_limit_says_when_to_come_back_and_where_to_read_of_it() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let most = chancery::model::limits::Limits::default().open_orders.0.unwrap();
        let all = (0..most).map(|_| client.order(&["a.example.org"]));
        for reply in futures_util::future::join_all(all).await {
            reply.expect(201);
        }
        let before = everything(&world).await;
        let reply = client.order(&["a.example.org"]).await.refused(429, "rateLimited");
        assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
        let links: Vec<_> = reply.headers.get_all("link").iter().map(|l| l.to_str().unwrap()).collect();
        assert!(links.contains(&"<https://acme.test/errors/rate_limited>;rel=\"help\""), "{links:?}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("300"), "{}", reply.text);
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn e5_a_fault_of_ours_tells_nothing_of_our_inside() {
    for world in worlds().await {
        let (one, two) = (external(&world, &new_key(&["a"])).await, external(&world, &new_key(&["b"])).await);
        world.swap_eab_keys(one.id, two.id).await;
        let newcomer = stranger(&world);
        let mut told =
            vec![bind(&newcomer, &External { id: one.id, secret: one.secret }.binding(&newcomer.key)).await];
        let client = Client::register(&world).await;
        let (_, order) = client.ready_order(&["a.example.org"]).await;
        *world.trouble.signer.lock().unwrap() = SignerState::Unavailable;
        let payload = json!({"csr": b64(csr(&["a.example.org"]).0)}).to_string();
        told.push(client.post(order["finalize"].as_str().unwrap(), &payload).await);
        let nonce = client.nonce().await;
        world.store.db.close().await;
        told.push(
            client
                .post_with(&url("new-order"), &nonce, r#"{"identifiers":[{"type":"dns","value":"b.example.org"}]}"#)
                .await,
        );
        for reply in told {
            assert!(reply.status >= 500, "{}", reply.text);
            assert_eq!(reply.problem(), "serverInternal");
            let mut told = reply.json();
            // the letters of a request's id are chance
            told.as_object_mut().unwrap().remove("instance");
            let text = told.to_string().to_lowercase();
            for word in [
                "select",
                "insert",
                "update",
                "sqlx",
                "sqlite",
                "postgres",
                "127.0.0.1",
                "/tmp",
                ".rs",
                "pool",
                "aead",
                "seal",
                "eab_keys",
                "column",
            ] {
                assert!(!text.contains(word), "{word}: {text}");
            }
        }
    }
}

/// The longest that can be asked for: every answer is measured by the client (`client::sentences`).
#[tokio::test]
async fn the_longest_names_leave_room_for_what_is_to_be_done() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let label = |n: usize| format!("{}{n}", "x".repeat(60));
        let long = |n: usize| format!("{}.{}.{}.example.org", label(n), label(n), label(n));
        let reserved: Vec<String> = (0..9).map(|n| format!("{}.localhost", long(n))).collect();
        let names: Vec<&str> = reserved.iter().map(String::as_str).collect();
        let told = client.order(&names).await.refused(400, "rejectedIdentifier").json();
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("; and ") && detail.ends_with(" more"), "{detail}");
        assert_eq!(told["subproblems"].as_array().unwrap().len(), 9);

        // one that nobody serves: the order's error names it, and says what to do
        let name = long(1);
        let made = client.order(&[&name]).await.expect(201);
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await;
        client.respond(&challenge, &authorization).await;
        let order = client.get(made.header("location")).await.json();
        let detail = order["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("status 404") && detail.ends_with("under /.well-known/acme-challenge/"), "{detail}");

        // a CSR for other names than those of the order
        let names: Vec<String> = (0..4).map(long).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, order) = client.ready_order(&names).await;
        let others: Vec<String> = (4..8).map(long).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let body = json!({"csr": b64(csr(&others).0)}).to_string();
        let told = client.post(order["finalize"].as_str().unwrap(), &body).await.refused(400, "badCSR").json();
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.ends_with("; make the CSR for these names, or a new order"), "{detail}");
    }
}

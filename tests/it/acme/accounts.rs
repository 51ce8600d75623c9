//! Accounts (A1–A13); terms of service that change are in terms.rs.

use chancery::registration::DirectoryConfig;
use serde_json::{Value, json};

use super::client::{Client, Key, at, b64, csr, leaf_der, send, send_to, url};
use super::eab::{admin, require};
use super::signers::Signer;
use super::state::{everything, number};
use super::world::worlds;
use crate::api::room::{CERTIFICATES, Room};

#[tokio::test]
async fn a1_an_account_is_made_and_read() {
    for world in worlds().await {
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let ask = r#"{"contact":["mailto:a@example.org"],"termsOfServiceAgreed":true}"#;
        let made = client.post_jwk(&url("new-account"), ask).await.expect(201);
        assert_eq!(made.header("content-type"), "application/json");
        let kid = made.header("location").to_owned();
        assert!(kid.starts_with(&url("account/acc_")), "{kid}");
        assert_eq!(
            made.json(),
            json!({"status": "valid", "contact": ["mailto:a@example.org"], "orders": format!("{kid}/orders"),
                "termsOfServiceAgreed": true})
        );
        let client = Client { kid: kid.clone(), ..client };
        let shown = client.get(&kid).await.expect(200);
        assert_eq!(
            (shown.text, shown.headers.get("content-type")),
            (made.text.clone(), made.headers.get("content-type"))
        );
    }
}

#[tokio::test]
async fn a2_the_same_key_finds_its_account_as_it_was() {
    for world in worlds().await {
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let made = client.post_jwk(&url("new-account"), r#"{"contact":["mailto:a@example.org"]}"#).await.expect(201);
        let before = everything(&world).await;
        for ask in [
            r#"{"contact":[]}"#,
            r#"{"contact":["mailto:b@example.org"],"termsOfServiceAgreed":true}"#,
            r#"{"status":"deactivated"}"#,
            r#"{"contact":["tel:+1"]}"#,
            r#"{"externalAccountBinding":{}}"#,
            "{}",
        ] {
            let again = client.post_jwk(&url("new-account"), ask).await.expect(200);
            assert_eq!((again.header("location"), &again.text), (made.header("location"), &made.text), "{ask}");
        }
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn a3_only_return_existing_makes_nothing() {
    for world in worlds().await {
        let terms = Some("https://ca.example/terms".to_owned());
        require(&world, DirectoryConfig { terms_of_service: terms, ..DirectoryConfig::default() }).await;
        let stranger = Client { world: &world, key: Key::new(), kid: String::new() };
        let before = everything(&world).await;
        for ask in [
            r#"{"onlyReturnExisting":true}"#,
            r#"{"onlyReturnExisting":true,"termsOfServiceAgreed":true,"contact":["tel:+1"]}"#,
        ] {
            stranger.post_jwk(&url("new-account"), ask).await.refused(400, "accountDoesNotExist");
        }
        stranger.post_jwk(&url("new-account"), r#"{"onlyReturnExisting":"true"}"#).await.refused(400, "malformed");
        assert_eq!(everything(&world).await, before);
        world.registration.change_directory(&admin(), "default", DirectoryConfig::default()).await.unwrap();
        let known = Client::register(&world).await;
        let terms = Some("https://ca.example/terms".to_owned());
        require(&world, DirectoryConfig { terms_of_service: terms, ..DirectoryConfig::default() }).await;
        // found before terms or a binding is asked for
        let found = known.post_jwk(&url("new-account"), r#"{"onlyReturnExisting":true}"#).await.expect(200);
        assert_eq!(found.header("location"), known.kid);
        assert_eq!(known.post_jwk(&url("new-account"), "{}").await.expect(200).header("location"), known.kid);
    }
}

#[tokio::test]
async fn a5_contacts_are_checked() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let newcomer = Client { world: &world, key: Key::new(), kid: String::new() };
        let before = everything(&world).await;
        let many: Vec<String> = (0..11).map(|n| format!("mailto:a{n}@example.org")).collect();
        for (contact, problem) in [
            (json!(["tel:+1"]), "unsupportedContact"),
            (json!(["https://example.org"]), "unsupportedContact"),
            (json!([""]), "unsupportedContact"),
            (json!(["mailto:a@b.org,c@d.org"]), "invalidContact"),
            (json!(["mailto:a@b.org?subject=x"]), "invalidContact"),
            (json!(["mailto:"]), "invalidContact"),
            (json!(["mailto:a"]), "invalidContact"),
            (json!(["mailto:a@"]), "invalidContact"),
            (json!(["mailto:\u{e4}@example.org"]), "invalidContact"),
            (json!(["mailto:a@example.org", "mailto:x"]), "invalidContact"),
            (json!(many), "invalidContact"),
            (json!("mailto:a@example.org"), "malformed"),
            (json!([1]), "malformed"),
            (json!({}), "malformed"),
        ] {
            let payload = json!({"contact": contact}).to_string();
            client.post(&client.kid, &payload).await.refused(400, problem);
            newcomer.post_jwk(&url("new-account"), &payload).await.refused(400, problem);
        }
        assert_eq!(everything(&world).await, before);
        newcomer.post_jwk(&url("new-account"), r#"{"contact":null}"#).await.expect(201);
        let spaced = client.post(&client.kid, r#"{"contact":["mailto: ops@lab.example "]}"#).await.expect(200).json();
        assert_eq!(spaced["contact"], json!(["mailto:ops@lab.example"]));
    }
}

#[tokio::test]
async fn a6_what_a_client_may_not_say_is_ignored() {
    for world in worlds().await {
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let ask =
            r#"{"orders":"https://evil.test","status":"valid","id":1,"createdAt":"x","externalAccount":{},"x":[{}]}"#;
        let made = client.post_jwk(&url("new-account"), ask).await.expect(201);
        let kid = made.header("location").to_owned();
        assert_eq!(made.json(), json!({"status": "valid", "contact": [], "orders": format!("{kid}/orders")}));
        let client = Client { kid, ..client };
        let before = everything(&world).await;
        let update = r#"{"orders":"https://evil.test","status":"valid","termsOfServiceAgreed":true,"x":1}"#;
        assert_eq!(client.post(&client.kid, update).await.expect(200).json(), made.json());
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn a7_an_account_changes_its_own_contacts() {
    for world in worlds().await {
        let (client, other) = (Client::register(&world).await, Client::register(&world).await);
        let update = |contact: &[&str]| json!({"contact": contact}).to_string();
        let shown = client.post(&client.kid, &update(&["mailto:b@example.org"])).await.expect(200);
        assert_eq!(shown.json()["contact"], json!(["mailto:b@example.org"]));
        let before = everything(&world).await;
        // certbot never sends an empty update; Pebble refuses it, RFC 8555 §7.3.2 finds nothing to change
        assert_eq!(client.post(&client.kid, "{}").await.expect(200).text, shown.text);
        let foreign = other.post(&client.kid, &update(&[])).await.refused(403, "unauthorized");
        let missing = url("account/acc_00000000000000000000000000");
        let unknown = other.post(&missing, &update(&[])).await.refused(403, "unauthorized");
        assert_eq!(foreign.json()["detail"], unknown.json()["detail"], "told alike, whether it exists or not");
        for payload in [String::new(), r#"{"status":"deactivated"}"#.to_owned()] {
            other.post(&client.kid, &payload).await.refused(403, "unauthorized");
        }
        other.get(&format!("{}/orders", client.kid)).await.refused(403, "unauthorized");
        assert_eq!(everything(&world).await, before);
        assert_eq!(client.post(&client.kid, &update(&[])).await.expect(200).json()["contact"], json!([]));
    }
}

#[tokio::test]
async fn a8_a_deactivated_account_does_nothing_any_more() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let pending = client.order(&["b.example.org"]).await.expect(201).json();
        client.certificate(&["c.example.org"]).await;
        let before = everything(&world).await;
        for status in ["revoked", "Deactivated", "pending", ""] {
            client.post(&client.kid, &json!({"status": status}).to_string()).await.refused(400, "malformed");
        }
        client.post(&client.kid, r#"{"status":1}"#).await.refused(400, "malformed");
        assert_eq!(everything(&world).await, before);
        let shown = client.post(&client.kid, r#"{"status":"deactivated"}"#).await.expect(200).json();
        assert_eq!(shown["status"], "deactivated");
        let open = "SELECT COUNT(*) AS held FROM acme_orders WHERE status IN ('pending', 'ready')";
        let proofs = "SELECT COUNT(*) AS held FROM acme_authorizations WHERE status IN ('pending', 'valid')";
        let good =
            "SELECT COUNT(*) AS held FROM certificates WHERE status = 'valid' AND names LIKE '%c.example.org%'";
        assert_eq!((number(&world, open).await, number(&world, proofs).await), (0, 0));
        assert_eq!(number(&world, good).await, 1, "certificates stay");
        let ended = everything(&world).await;
        let (request, _) = csr(&["a.example.org"]);
        let finalize = order["finalize"].as_str().unwrap();
        client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.refused(401, "unauthorized");
        for to in [&client.kid, &order_url, &format!("{}/orders", client.kid), &url("directory")] {
            client.get(to).await.refused(401, "unauthorized");
        }
        client.get(pending["authorizations"][0].as_str().unwrap()).await.refused(401, "unauthorized");
        client.order(&["d.example.org"]).await.refused(401, "unauthorized");
        client.post(&client.kid, r#"{"status":"valid"}"#).await.refused(401, "unauthorized");
        // RFC 8555 §7.3.6 knows 401 alone; Pebble and Boulder answer 403
        for ask in ["{}", r#"{"onlyReturnExisting":true}"#] {
            client.post_jwk(&url("new-account"), ask).await.refused(401, "unauthorized");
        }
        assert_eq!(everything(&world).await, ended);
    }
}

/// The inner JWS of a key change, by `by`, with this header and payload.
fn inner(by: &Key, header: &Value, account: &str, old: &Value) -> String {
    by.jws(&header.to_string(), &json!({"account": account, "oldKey": old}).to_string()).to_string()
}

fn header_of(key: &Key) -> Value {
    json!({"alg": "ES256", "jwk": key.jwk(), "url": url("key-change")})
}

#[tokio::test]
async fn a9_what_is_open_survives_a_key_change() {
    for world in worlds().await {
        let mut client = Client::register(&world).await;
        let old = client.key.copy();
        let (order_url, _) = client.ready_order(&["a.example.org"]).await;
        let pending = client.order(&["b.example.org"]).await.expect(201);
        let authorization = pending.json()["authorizations"][0].as_str().unwrap().to_owned();
        let fresh = Key::new();
        let good = inner(&fresh, &header_of(&fresh), &client.kid, &old.jwk());
        let changed = client.post(&url("key-change"), &good).await.expect(200);
        assert_eq!(changed.header("location"), client.kid);
        client.get(&order_url).await.refused(400, "malformed");
        client
            .post_jwk(&url("new-account"), r#"{"onlyReturnExisting":true}"#)
            .await
            .refused(400, "accountDoesNotExist");
        client.key = fresh;
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready");
        let found = client.post_jwk(&url("new-account"), r#"{"onlyReturnExisting":true}"#).await.expect(200);
        assert_eq!(found.header("location"), client.kid);
        // the key authorization is that of the new key now
        let challenge = client.challenge(&authorization, "http-01").await;
        let token = challenge["token"].as_str().unwrap();
        let body = format!("{token}.{}", client.key.thumbprint());
        world.tokens.lock().unwrap().insert(token.to_owned(), body);
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "valid");
        // and that of the old one proves nothing
        let pending = client.order(&["c.example.org"]).await.expect(201);
        let authorization = pending.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.challenge(&authorization, "http-01").await;
        let token = challenge["token"].as_str().unwrap();
        let body = format!("{token}.{}", old.thumbprint());
        world.tokens.lock().unwrap().insert(token.to_owned(), body);
        assert_eq!(client.respond(&challenge, &authorization).await["status"], "invalid");
    }
}

/// What another process remembers of the account is seconds old: no word of the old key is written, and the new key is
/// good at once.
#[tokio::test]
async fn a9_at_another_replica_the_old_key_writes_nothing_and_the_new_one_is_good_at_once() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let config = DirectoryConfig { pre_authorization: true, ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", config).await.unwrap();
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let (_, ready) = client.ready_order(&["b.example.org"]).await;
        let pending = client.order(&["c.example.org"]).await.expect(201).json();
        let authorization = pending["authorizations"][0].as_str().unwrap();
        let challenge = client.challenge(authorization, "http-01").await;
        let (fresh, later) = (Key::new(), Key::new());
        let name = json!({"type": "dns", "value": "d.example.org"});
        let end = r#"{"status":"deactivated"}"#.to_owned();
        let writes = [
            (url("new-order"), json!({"identifiers": [name]}).to_string(), 400),
            (url("new-authz"), json!({"identifier": name}).to_string(), 400),
            (client.kid.clone(), r#"{"contact":["mailto:a@b.example"]}"#.to_owned(), 400),
            (challenge["url"].as_str().unwrap().to_owned(), "{}".to_owned(), 400),
            (
                ready["finalize"].as_str().unwrap().to_owned(),
                json!({"csr": b64(csr(&["b.example.org"]).0)}).to_string(),
                400,
            ),
            (url("revoke"), json!({"certificate": b64(leaf_der(&pem))}).to_string(), 400),
            (authorization.to_owned(), end.clone(), 400),
            (url("key-change"), inner(&later, &header_of(&later), &client.kid, &client.key.jwk()), 409),
            (client.kid.clone(), end, 400),
        ];
        // each at a replica of its own that has seen the account before the change
        let mut replicas = Vec::new();
        for _ in 0..=writes.len() {
            let replica = world.elsewhere().await;
            at(&replica, &client.key, &client.kid, &client.kid, "").await.expect(200);
            replicas.push(replica);
        }
        let change = inner(&fresh, &header_of(&fresh), &client.kid, &client.key.jwk());
        client.post(&url("key-change"), &change).await.expect(200);
        let before = everything(&world).await;
        for (replica, (to, payload, status)) in replicas.iter().zip(&writes) {
            let reply = at(replica, &client.key, &client.kid, to, payload).await;
            assert_eq!((reply.status, reply.problem().as_str()), (*status, "malformed"), "{to}: {}", reply.text);
            assert!(reply.json()["detail"].as_str().unwrap().contains("key"), "{}", reply.text);
            assert_eq!(everything(&world).await, before, "{to}");
        }
        let last = &replicas[writes.len()];
        at(last, &fresh, &client.kid, &url("new-order"), &writes[0].1).await.expect(201);
        at(last, &client.key, &client.kid, &client.kid, "").await.refused(400, "malformed");
        at(last, &later, &client.kid, &client.kid, "").await.refused(400, "malformed");
    }
}

#[tokio::test]
async fn a10_a_key_change_needs_both_keys_and_says_what_it_means() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (fresh, stranger) = (Key::new(), Client::register(&world).await);
        let before = everything(&world).await;
        let old = client.key.jwk();
        let with = |name: &str, value: Value| {
            let mut header = header_of(&fresh);
            header[name] = value;
            inner(&fresh, &header, &client.kid, &old)
        };
        let without = |name: &str| {
            let mut header = header_of(&fresh);
            header.as_object_mut().unwrap().remove(name);
            inner(&fresh, &header, &client.kid, &old)
        };
        let payload = |payload: Value| fresh.jws(&header_of(&fresh).to_string(), &payload.to_string()).to_string();
        let mut by_kid = header_of(&fresh);
        by_kid.as_object_mut().unwrap().remove("jwk");
        by_kid["kid"] = json!(client.kid);
        for (what, bad) in [
            ("signed by the old key", inner(&client.key, &header_of(&fresh), &client.kid, &old)),
            ("signed by a stranger", inner(&stranger.key, &header_of(&fresh), &client.kid, &old)),
            ("by kid", inner(&fresh, &by_kid, &client.kid, &old)),
            ("jwk and kid", with("kid", json!(client.kid))),
            ("no jwk", without("jwk")),
            ("a nonce", with("nonce", json!(client.nonce().await))),
            ("another url", with("url", json!(url("new-order")))),
            ("no url", without("url")),
            ("another account", inner(&fresh, &header_of(&fresh), &stranger.kid, &old)),
            ("an account that is none", inner(&fresh, &header_of(&fresh), "x", &old)),
            ("no account", payload(json!({"oldKey": old}))),
            ("account a number", payload(json!({"account": 1, "oldKey": old}))),
            ("another old key", inner(&fresh, &header_of(&fresh), &client.kid, &stranger.key.jwk())),
            ("the new key as old", inner(&fresh, &header_of(&fresh), &client.kid, &fresh.jwk())),
            ("no old key", payload(json!({"account": client.kid}))),
            ("old key a text", payload(json!({"account": client.kid, "oldKey": old.to_string()}))),
            // Pebble answers 400 too; Boulder finds the account itself and answers 409
            ("the present key again", inner(&client.key, &header_of(&client.key), &client.kid, &old)),
            ("no JWS", "{}".to_owned()),
            ("nothing", String::new()),
            ("a text", "\"x\"".to_owned()),
        ] {
            let reply = client.post(&url("key-change"), &bad).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{what}: {}", reply.text);
        }
        for alg in ["none", "HS256", "PS256"] {
            client.post(&url("key-change"), &with("alg", json!(alg))).await.refused(400, "badSignatureAlgorithm");
        }
        let weak = Signer::rs256(1024);
        let header = json!({"alg": "RS256", "jwk": weak.jwk, "url": url("key-change")}).to_string();
        let weak = weak.jws(&header, &json!({"account": client.kid, "oldKey": old}).to_string()).to_string();
        client.post(&url("key-change"), &weak).await.refused(400, "badPublicKey");
        assert_eq!(everything(&world).await, before);
        client.get(&client.kid).await.expect(200);
    }
}

#[tokio::test]
async fn a11_a_key_of_another_account_is_a_conflict_that_names_it() {
    for world in worlds().await {
        let (client, holder) = (Client::register(&world).await, Client::register(&world).await);
        let before = everything(&world).await;
        let taken = inner(&holder.key, &header_of(&holder.key), &client.kid, &client.key.jwk());
        // 409 is RFC 8555 §7.3.5's; Boulder's type `conflict` is in no registry
        let reply = client.post(&url("key-change"), &taken).await.refused(409, "malformed");
        assert_eq!(reply.header("location"), holder.kid);
        assert_eq!(everything(&world).await, before);
        // an account that ended keeps its key
        holder.post(&holder.kid, r#"{"status":"deactivated"}"#).await.expect(200);
        let reply = client.post(&url("key-change"), &taken).await.refused(409, "malformed");
        assert_eq!(reply.header("location"), holder.kid);
    }
}

#[tokio::test]
async fn a12_of_key_changes_at_once_one_wins() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let fresh: Vec<_> = (0..10).map(|_| Key::new()).collect();
        let bodies: Vec<_> =
            fresh.iter().map(|key| inner(key, &header_of(key), &client.kid, &client.key.jwk())).collect();
        let target = url("key-change");
        let all = bodies.iter().map(|body| client.post(&target, body));
        let replies = futures_util::future::join_all(all).await;
        let won: Vec<_> = replies.iter().enumerate().filter(|(_, r)| r.status == 200).map(|(n, _)| n).collect();
        assert_eq!(won.len(), 1, "{:?}", replies.iter().map(|r| r.status).collect::<Vec<_>>());
        // who comes after the change has a key of nobody; who was there at the same moment is told of the other
        for lost in replies.iter().filter(|r| r.status != 200) {
            assert!([400, 409].contains(&lost.status) && lost.problem() == "malformed", "{}", lost.text);
            if lost.status == 409 {
                assert!(lost.text.contains("the key of the account changed meanwhile"), "{}", lost.text);
            }
        }
        let changed = Client { world: &world, key: fresh[won[0]].copy(), kid: client.kid.clone() };
        changed.get(&client.kid).await.expect(200);
        // two accounts that want the same key: one gets it
        let (one, two, wanted) = (Client::register(&world).await, Client::register(&world).await, Key::new());
        let ask = |c: &Client<'_>| inner(&wanted, &header_of(&wanted), &c.kid, &c.key.jwk());
        let (a, b) = (ask(&one), ask(&two));
        let (a, b) = tokio::join!(one.post(&target, &a), two.post(&target, &b));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", a.text, b.text);
    }
}

#[tokio::test]
async fn a13_a_certificate_does_not_get_an_accounts_key() {
    for world in worlds().await {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut client = Client { world: &world, key: Key::from_pkcs8(&pair.serialize_der()), kid: String::new() };
        client.kid = client.post_jwk(&url("new-account"), "{}").await.expect(201).header("location").to_owned();
        let other = Client::register(&world).await;
        let params = rcgen::CertificateParams::new(vec!["a.example.org".to_owned()]).unwrap();
        let payload = json!({"csr": b64(params.serialize_request(&pair).unwrap().der())}).to_string();
        // neither its own nor that of any other account (RFC 8555 §11.1)
        for asking in [&client, &other] {
            let (order_url, order) = asking.ready_order(&["a.example.org"]).await;
            let before = everything(&world).await;
            asking.post(order["finalize"].as_str().unwrap(), &payload).await.refused(400, "badCSR");
            assert_eq!(everything(&world).await, before);
            assert_eq!(asking.get(&order_url).await.expect(200).json()["status"], "ready");
        }
        // nor by REST
        let room =
            Room::beside(&world.store, &world.clock, world.authority.clone(), world.registration.clone()).await;
        let pem = params.serialize_request(&pair).unwrap().pem().unwrap();
        let answer = room.post(&room.admin, CERTIFICATES, &json!({"csr": pem, "profile": "tls-server"})).await;
        assert_eq!(answer.refusal(), (422, "bad_public_key".into()));
        // nor does an account get a certificate's key: see compromise.rs for one that was reported
        send(&world, &url("new-order"), "").await.refused(400, "malformed");
    }
}

/// The server got another name; a client goes on with the URLs that it knows or with those that it is shown now.
#[tokio::test]
async fn an_account_outlives_a_change_of_the_external_url() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, _) = client.ready_order(&["a.example.org"]).await;
        let (_, router) = world.replica_at("https://new.test:8443").await;
        let fresh = |old: &str| old.replace("https://acme.test", "https://new.test:8443");
        let post = async |to: &str, signed: &str, kid: &str, payload: &str| {
            let nonce = world.registration.nonces.mint().unwrap();
            // only Postgres shares nonces; elsewhere the first answer is a badNonce with a good one
            let ask = |nonce: &str| {
                let header = json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": signed}).to_string();
                client.key.jws(&header, payload).to_string()
            };
            let reply = send_to(&router, to, &ask(&nonce)).await;
            let retry = reply.header("replay-nonce").to_owned();
            if reply.status == 400 && reply.problem() == "badNonce" {
                send_to(&router, to, &ask(&retry)).await
            } else {
                reply
            }
        };
        // the kid is the old one for ever
        let made = post(
            &url("new-order"),
            &fresh(&url("new-order")),
            &client.kid,
            &json!({"identifiers": [{"type": "dns", "value": "b.example.org"}]}).to_string(),
        )
        .await
        .expect(201);
        assert!(made.header("location").starts_with("https://new.test:8443/acme/default/order/"));
        post(&url("new-order"), &fresh(&url("new-order")), &fresh(&client.kid), "{}")
            .await
            .refused(400, "accountDoesNotExist");
        for to in [&client.kid, &order_url] {
            post(to, to, &client.kid, "").await.expect(200);
            post(to, &fresh(to), &client.kid, "").await.expect(200);
        }
        let found =
            post(&client.kid, &client.kid, &client.kid, r#"{"contact":["mailto:n@example.org"]}"#).await.expect(200);
        assert_eq!(found.header("location"), client.kid);
        assert!(found.json()["orders"].as_str().unwrap().starts_with("https://new.test:8443/"));
        // a third name is neither
        let third = order_url.replace("acme.test", "third.test");
        post(&order_url, &third, &client.kid, "").await.refused(403, "unauthorized");
        // a key change names the account by its URL, and inner and outer agree on either name
        let moved = Key::new();
        for signed in [fresh(&url("key-change")), url("key-change")] {
            let header = json!({"alg": "ES256", "jwk": moved.jwk(), "url": signed}).to_string();
            let wrong =
                moved.jws(&header, &json!({"account": fresh(&client.kid), "oldKey": client.key.jwk()}).to_string());
            post(&url("key-change"), &signed, &client.kid, &wrong.to_string()).await.refused(400, "malformed");
        }
        let header = json!({"alg": "ES256", "jwk": moved.jwk(), "url": url("key-change")}).to_string();
        let good =
            moved.jws(&header, &json!({"account": client.kid, "oldKey": client.key.jwk()}).to_string()).to_string();
        post(&url("key-change"), &fresh(&url("key-change")), &client.kid, &good).await.refused(400, "malformed");
        post(&url("key-change"), &url("key-change"), &client.kid, &good).await.expect(200);
    }
}

#[tokio::test]
async fn a2_fifty_registrations_of_one_key_make_one_account() {
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

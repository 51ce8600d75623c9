//! Orders, authorizations, challenges, finalize, download.

use chancery::clock::days;
use chancery::model::actor::Actor;
use chancery::model::limits::Limits;
use chancery::store::engine::q;
use chancery::store::{accounts, orders};
use futures_util::future::join_all;
use serde_json::json;

use super::client::{Client, b64, csr, leaf_der, url};
use super::world::worlds;
use crate::support::acme_rows::stored_order;
use crate::support::stores::plain;

#[tokio::test]
async fn a_proved_order_becomes_a_certificate_with_its_chain() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["B.example.org", "a.example.org", "b.example.org"]).await.expect(201);
        let order = made.json();
        assert_eq!(order["status"], "pending");
        let names = json!([{"type": "dns", "value": "b.example.org"}, {"type": "dns", "value": "a.example.org"}]);
        assert_eq!(order["identifiers"], names);
        assert!(order.get("certificate").is_none() && order.get("error").is_none());

        for authorization in order["authorizations"].as_array().unwrap() {
            let shown = client.prove(authorization.as_str().unwrap()).await;
            assert_eq!(shown["status"], "valid", "{shown}");
            assert!(shown["challenges"][0]["validated"].is_string());
            assert!(shown.get("wildcard").is_none());
        }
        let finalize = order["finalize"].as_str().unwrap();
        let (request, _) = csr(&["a.example.org", "b.example.org"]);
        let done = client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.expect(200);
        assert_eq!(done.header("location"), made.header("location"));
        let order = done.json();
        assert_eq!(order["status"], "valid", "{order}");

        let certificate = client.get(order["certificate"].as_str().unwrap()).await.expect(200);
        assert_eq!(certificate.header("content-type"), "application/pem-certificate-chain");
        let chain = chancery::pki::pem::certificates(&certificate.text).unwrap();
        assert_eq!(chain.len(), 2, "leaf and issuer, no root");
        assert!(!certificate.text.contains('\r') && certificate.text.starts_with("-----BEGIN CERTIFICATE-----\n"));
        let leaf = openssl::x509::X509::from_der(&chain[0]).unwrap();
        let issuer = openssl::x509::X509::from_der(&chain[1]).unwrap();
        assert!(leaf.verify(&issuer.public_key().unwrap()).unwrap());
        let again = client.get(order["certificate"].as_str().unwrap()).await.expect(200);
        assert_eq!(again.text, certificate.text);
    }
}

#[tokio::test]
async fn a_wrong_answer_ends_challenge_authorization_and_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["a.example.org"]).await.expect(201);
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.get(&authorization).await.json()["challenges"][0].clone();
        let token = challenge["token"].as_str().unwrap();
        world.tokens.lock().unwrap().insert(token.to_owned(), format!("{token}.{}", b64([7u8; 32])));
        let shown = client.respond(&challenge, &authorization).await;
        assert_eq!((&shown["status"], &shown["challenges"][0]["status"]), (&json!("invalid"), &json!("invalid")));
        assert!(shown["challenges"][0]["error"]["type"].as_str().unwrap().starts_with("urn:ietf:params:acme:error:"));
        let order = client.get(made.header("location")).await.json();
        assert_eq!(order["status"], "invalid");
        assert!(order["error"]["detail"].is_string());
        let finalize = order["finalize"].as_str().unwrap();
        let (request, _) = csr(&["a.example.org"]);
        client.post(finalize, &json!({"csr": b64(request)}).to_string()).await.refused(403, "orderNotReady");
    }
}

#[tokio::test]
async fn bad_names_are_all_named_and_nothing_is_stored() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let refused = client.order(&["kubernetes.default", "good.example.org", "localhost"]).await;
        let refused = refused.refused(400, "rejectedIdentifier").json();
        let parts = refused["subproblems"].as_array().unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0]["identifier"], json!({"type": "dns", "value": "kubernetes.default"}));
        assert!(refused.get("identifier").is_none());
        for (payload, problem) in [
            (json!({}), "malformed"),
            (json!({"identifiers": []}), "malformed"),
            (json!({"identifiers": [{"type": "dns", "value": ""}]}), "malformed"),
            (json!({"identifiers": [{"type": "email", "value": "a@b.org"}]}), "unsupportedIdentifier"),
            (json!({"identifiers": [{"type": "dns", "value": 5}]}), "malformed"),
            (json!({"identifiers": [{"type": "dns", "value": "192.0.2.7"}]}), "malformed"),
            (
                json!({"identifiers": [{"type": "dns", "value": "a.example.org"}], "notAfter": "2020-01-01T00:00:00Z"}),
                "malformed",
            ),
            (
                json!({"identifiers": [{"type": "dns", "value": "a.example.org"}], "profile": "other"}),
                "invalidProfile",
            ),
            (json!({"identifiers": vec![json!({"type": "dns", "value": "a.example.org"}); 101]}), "malformed"),
        ] {
            client.post(&url("new-order"), &payload.to_string()).await.refused(400, problem);
        }
        let orders = client.get(&format!("{}/orders", client.kid)).await.expect(200).json();
        assert_eq!(orders, json!({"orders": []}));
    }
}

#[tokio::test]
async fn a_hundred_finalizes_make_one_certificate() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        let all = (0..100).map(|_| client.post(order["finalize"].as_str().unwrap(), &payload));
        let replies = futures_util::future::join_all(all).await;
        // on a slow machine a request that waited long enough is shown the order in place of a refusal
        let (shown, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|r| r.status == 200);
        assert!(!shown.is_empty());
        assert!(shown.iter().all(|r| ["processing", "valid"].contains(&r.json()["status"].as_str().unwrap())));
        assert!(refused.iter().all(|r| r.problem() == "orderNotReady"));
        let count = plain("SELECT COUNT(*) AS n FROM certificates WHERE order_id IS NOT NULL");
        let made: i64 = q(count).fetch_one(&world.store.db).await.unwrap().get("n").unwrap();
        assert_eq!(made, 1);
        assert_eq!(client.get(&order_url).await.json()["status"], "valid");
    }
}

#[tokio::test]
async fn finalize_wants_a_ready_order_and_the_same_names() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let pending = client.order(&["a.example.org"]).await.json();
        let (right, _) = csr(&["a.example.org"]);
        let right = json!({"csr": b64(right)}).to_string();
        client.post(pending["finalize"].as_str().unwrap(), &right).await.refused(403, "orderNotReady");

        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let finalize = order["finalize"].as_str().unwrap();
        for bad in
            [csr(&["b.example.org"]).0, csr(&["a.example.org", "b.example.org"]).0, vec![0x30, 0x03], Vec::new()]
        {
            client.post(finalize, &json!({"csr": b64(bad)}).to_string()).await.refused(400, "badCSR");
        }
        client.post(finalize, "{}").await.refused(400, "malformed");
        client.post(finalize, r#"{"csr":"not base64!"}"#).await.refused(400, "malformed");
        assert_eq!(client.get(&order_url).await.json()["status"], "ready", "a bad CSR leaves the order ready");
        client.post(finalize, &right).await.expect(200);
        client.post(finalize, &right).await.refused(403, "orderNotReady");
    }
}

#[tokio::test]
async fn an_order_runs_out() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        world.clock.advance(days(8));
        assert_eq!(client.get(&order_url).await.json()["status"], "invalid");
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        client.post(order["finalize"].as_str().unwrap(), &payload).await.refused(403, "orderNotReady");
        world.registration.housekeep().await.unwrap();
        assert_eq!(client.get(&order_url).await.json()["status"], "invalid");
    }
}

#[tokio::test]
async fn foreign_and_unknown_objects_look_the_same() {
    for world in worlds().await {
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        let made = owner.order(&["a.example.org"]).await;
        let authorization = made.json()["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = owner.get(&authorization).await.json()["challenges"][0]["url"].as_str().unwrap().to_owned();
        let (certificate, ..) = owner.certificate(&["b.example.org"]).await;
        for foreign in [made.header("location"), &authorization, &challenge, &certificate, owner.kid.as_str()] {
            let last = foreign.chars().last().unwrap();
            let unknown = format!("{}{}", &foreign[..foreign.len() - 1], if last == '0' { '1' } else { '0' });
            let mut replies = Vec::new();
            for to in [foreign, unknown.as_str()] {
                // an account's own URL is that of the one that signs, or nobody's (A7)
                let (status, problem) = if foreign == owner.kid { (403, "unauthorized") } else { (404, "malformed") };
                let mut body = other.get(to).await.refused(status, problem).json();
                body.as_object_mut().unwrap().remove("instance");
                replies.push(body);
            }
            assert_eq!(replies[0], replies[1], "{foreign}");
        }
        other.post(&challenge, "{}").await.refused(404, "malformed");
        assert_eq!(owner.get(&authorization).await.json()["status"], "pending");
    }
}

#[tokio::test]
async fn a_deactivated_authorization_ends_its_order() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let authorization = order["authorizations"][0].as_str().unwrap();
        client.post(authorization, r#"{"status":"valid"}"#).await.refused(400, "malformed");
        let shown = client.post(authorization, r#"{"status":"deactivated"}"#).await.expect(200).json();
        assert_eq!(shown["status"], "deactivated");
        assert_eq!(client.get(&order_url).await.json()["status"], "invalid");
    }
}

#[tokio::test]
async fn explicit_times_are_honoured_exactly() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let until = (world.now() + days(30)).truncated();
        let payload = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}], "notAfter": until});
        let made = client.post(&url("new-order"), &payload.to_string()).await.expect(201).json();
        assert_eq!(made["notAfter"], json!(until));
        client.prove(made["authorizations"][0].as_str().unwrap()).await;
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        let done = client.post(made["finalize"].as_str().unwrap(), &payload).await.expect(200).json();
        let pem = client.get(done["certificate"].as_str().unwrap()).await.text;
        let leaf = openssl::x509::X509::from_der(&leaf_der(&pem)).unwrap();
        let expected = openssl::asn1::Asn1Time::from_unix(until.secs()).unwrap();
        assert!(leaf.not_after() == expected);
    }
}

#[tokio::test]
async fn an_explicit_start_holds_as_long_as_the_order_lives() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (from, until) = (world.now().truncated(), (world.now() + days(30)).truncated());
        let ask =
            json!({"identifiers": [{"type": "dns", "value": "a.example.org"}], "notBefore": from, "notAfter": until});
        let made = client.post(&url("new-order"), &ask.to_string()).await.expect(201).json();
        client.prove(made["authorizations"][0].as_str().unwrap()).await;
        world.clock.advance(days(6));
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        let done = client.post(made["finalize"].as_str().unwrap(), &payload).await.expect(200).json();
        let pem = client.get(done["certificate"].as_str().unwrap()).await.text;
        let leaf = openssl::x509::X509::from_der(&leaf_der(&pem)).unwrap();
        let expected = |t: chancery::clock::Timestamp| openssl::asn1::Asn1Time::from_unix(t.secs()).unwrap();
        assert!(leaf.not_before() == expected(from) && leaf.not_after() == expected(until));

        // the past before the order stays closed
        let ask = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}], "notBefore": from});
        client.post(&url("new-order"), &ask.to_string()).await.refused(400, "malformed");
    }
}

#[tokio::test]
async fn requests_at_once_do_not_pass_the_limit_of_open_orders() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let id = client.kid.rsplit('/').next().unwrap().parse().unwrap();
        let account = world.registration.account("default", id).await.unwrap().unwrap();
        for _ in 0..Limits::default().open_orders.0.unwrap() - 5 {
            stored_order(&world.store, &account, &["a.example.org"]).await;
        }
        let replies = join_all((0..20).map(|_| client.order(&["b.example.org"]))).await;
        assert_eq!(replies.iter().filter(|r| r.status == 201).count(), 5);
        assert!(
            replies
                .iter()
                .filter(|r| r.status != 201)
                .all(|r| (r.status, r.problem().as_str()) == (429, "rateLimited"))
        );
    }
}

#[tokio::test]
async fn a_deactivated_account_orders_nothing_also_at_the_same_moment() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let id = client.kid.rsplit('/').next().unwrap().parse().unwrap();
        let mut tx = world.store.begin(&Actor::system("test")).await.unwrap();
        assert!(accounts::deactivate(&mut tx, id).await.unwrap());
        // read as valid before the commit, it is not when the order would be stored
        let asked = client.order(&["a.example.org"]);
        let (reply, ()) = tokio::join!(asked, async { tx.commit().await.unwrap() });
        reply.refused(401, "unauthorized");
        let mut tx = world.store.begin(&Actor::system("test")).await.unwrap();
        let open = orders::open_of(&mut tx, std::iter::once(id)).await.unwrap();
        assert_eq!(open[&id], 0);
    }
}

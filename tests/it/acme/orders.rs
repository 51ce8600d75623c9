//! Orders, authorizations, challenges, finalize, download (O1–O13).

use chancery::clock::days;
use chancery::model::actor::Actor;
use chancery::model::limits::Limits;
use chancery::registration::DirectoryConfig;
use chancery::store::engine::q;
use chancery::store::{accounts, orders};
use futures_util::future::join_all;
use serde_json::json;

use super::client::{Client, b64, csr, leaf_der, url};
use super::eab::admin;
use super::world::worlds;
use crate::support::acme_rows::stored_order;
use crate::support::stores::plain;

#[tokio::test]
async fn o1_o2_o9_a_proved_order_becomes_a_certificate_with_its_chain() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let made = client.order(&["B.example.org", "a.example.org", "b.example.org"]).await.expect(201);
        let order = made.json();
        assert!(!made.header("location").is_empty());
        assert!(chancery::clock::Timestamp::parse_rfc3339(order["expires"].as_str().unwrap()).is_some());
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
async fn o7_a_wrong_answer_ends_challenge_authorization_and_order() {
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
async fn o2_o3_bad_names_are_all_named_and_nothing_is_stored() {
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
        // nor does one wait for the others longer than ten seconds
        assert!(refused.iter().all(|r| r.status == 503 || r.problem() == "orderNotReady"));
        let count = plain("SELECT COUNT(*) AS n FROM certificates WHERE order_id IS NOT NULL");
        let made: i64 = q(count).fetch_one(&world.store.db).await.unwrap().get("n").unwrap();
        assert_eq!(made, 1);
        assert_eq!(client.get(&order_url).await.json()["status"], "valid");
    }
}

#[tokio::test]
async fn o7_finalize_wants_a_ready_order_and_the_same_names() {
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
async fn o13_an_order_runs_out() {
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

/// A proof that was there before runs out before the week of the order that rests on it: the order goes with it.
#[tokio::test]
async fn o13_an_order_ends_with_the_first_of_its_authorizations() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let reuse = DirectoryConfig { reuse_authorizations: Some("7d".into()), ..DirectoryConfig::default() };
        world.registration.change_directory(&admin(), "default", reuse).await.unwrap();
        let (_, first) = client.ready_order(&["a.example.org"]).await;
        world.clock.advance(days(5));
        let late = client.order(&["a.example.org"]).await.expect(201);
        let order = late.json();
        assert_eq!((&order["status"], &order["authorizations"]), (&json!("ready"), &first["authorizations"]));
        assert_eq!(order["expires"], first["expires"]);
        world.clock.advance(days(3));
        let authorization = order["authorizations"][0].as_str().unwrap();
        assert_eq!(client.get(authorization).await.expect(200).json()["status"], "expired");
        assert_eq!(client.get(late.header("location")).await.json()["status"], "invalid");
        let payload = json!({"csr": b64(csr(&["a.example.org"]).0)}).to_string();
        client.post(order["finalize"].as_str().unwrap(), &payload).await.refused(403, "orderNotReady");
    }
}

/// Whatever an order's own time says, what it rests on is looked at when it is finalized.
#[tokio::test]
async fn o13_finalize_wants_every_authorization_valid_at_that_moment() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org", "b.example.org"]).await;
        let past = plain("UPDATE acme_authorizations SET expires_at = $1 WHERE value = 'b.example.org'");
        q(past).bind(world.now()).execute(&world.store.db).await.unwrap();
        let payload = json!({"csr": b64(csr(&["a.example.org", "b.example.org"]).0)}).to_string();
        let finalize = order["finalize"].as_str().unwrap();
        let refused = client.post(finalize, &payload).await.refused(403, "orderNotReady");
        assert!(refused.text.contains("b.example.org") && refused.text.contains("expired"), "{}", refused.text);
        let made = q(plain("SELECT COUNT(*) AS n FROM certificates WHERE order_id IS NOT NULL"));
        assert_eq!(made.fetch_one(&world.store.db).await.unwrap().get::<i64>("n").unwrap(), 0);
        assert_eq!(client.get(&order_url).await.expect(200).json()["status"], "ready");
        let ahead = plain("UPDATE acme_authorizations SET expires_at = $1 WHERE value = 'b.example.org'");
        q(ahead).bind(world.now() + days(1)).execute(&world.store.db).await.unwrap();
        client.post(finalize, &payload).await.expect(200);
    }
}

#[tokio::test]
async fn o10_foreign_and_unknown_objects_look_the_same() {
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
async fn o7_a_deactivated_authorization_ends_its_order() {
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
async fn o5_explicit_times_are_honoured_exactly() {
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
async fn o5_an_explicit_start_holds_as_long_as_the_order_lives() {
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
        assert!(accounts::revoke(&mut tx, id).await.unwrap());
        // read as valid before the commit, it is not when the order would be stored
        let asked = client.order(&["a.example.org"]);
        let (reply, ()) = tokio::join!(asked, async { tx.commit().await.unwrap() });
        reply.refused(401, "unauthorized");
        let mut tx = world.store.begin(&Actor::system("test")).await.unwrap();
        let open = orders::open_of(&mut tx, std::iter::once(id)).await.unwrap();
        assert_eq!(open[&id], 0);
    }
}

/// `0x7f000001` and `a.0x7f` are IPv4 addresses to whoever parses a URL (WHATWG URL §3.5): what asks DNS for them and
/// what connects would not mean the same.
#[tokio::test]
async fn o4_i1_a_name_that_ends_in_a_number_is_none() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        for name in ["0x7f000001", "a.0x7f", "*.0x7f", "a.0X", "0x", "127.1", "a.example.017"] {
            client.order(&[name]).await.refused(400, "malformed");
        }
        for name in ["0xg.example.org", "0x7f.example.org", "a.x0f", "a.0x7g"] {
            client.order(&[name]).await.expect(201);
        }
    }
}

#[tokio::test]
async fn o4_what_is_no_name_is_no_identifier() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (label, long) = ("a".repeat(64), format!("{}example.org", "a.".repeat(122)));
        for name in [
            "",
            ".",
            "a.",
            ".example.org",
            "a..example.org",
            "-a.example.org",
            "a-.example.org",
            "a_b.example.org",
            "bücher.example.org",
            "xn--zzzzzzzzzz99999.example.org",
            "192.0.2.7",
            "*",
            "*.",
            "a.*.example.org",
            "*a.example.org",
            "**.example.org",
            "*.*.example.org",
            "a b.example.org",
            "a\u{0}.example.org",
            "http://a.example.org",
            &format!("{label}.example.org"),
            &long,
        ] {
            client.order(&[name]).await.refused(400, "malformed");
        }
        for address in ["192.0.2.256", "192.0.2.07", "2001:0db8::1", "a.example.org", "192.0.2.0/24", "::1%eth0"] {
            let ask = json!({"identifiers": [{"type": "ip", "value": address}]}).to_string();
            client.post(&url("new-order"), &ask).await.refused(400, "malformed");
        }
        let orders = client.get(&format!("{}/orders", client.kid)).await.expect(200).json();
        assert_eq!(orders, json!({"orders": []}));
    }
}

async fn with_times(client: &Client<'_>, times: serde_json::Value) -> super::client::Reply {
    let mut ask = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]});
    ask.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
    client.post(&url("new-order"), &ask.to_string()).await
}

#[tokio::test]
async fn o5_times_have_any_offset_and_lose_their_fraction() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let until = (world.now() + days(30)).truncated();
        let utc = until.to_string();
        let plain = utc.strip_suffix('Z').unwrap();
        // the same moment two hours to the east, half an hour to the west, and with a fraction of nothing
        let shifted = |secs: i64| (chancery::clock::Timestamp::from_secs(until.secs() + secs)).to_string();
        let east = format!("{}+02:00", shifted(7_200).strip_suffix('Z').unwrap());
        let west = format!("{}-00:30", shifted(-1_800).strip_suffix('Z').unwrap());
        let forms = [
            format!("{plain}+00:00"),
            format!("{plain}.000Z"),
            format!("{plain}.999999999Z"),
            plain.to_lowercase() + "z",
        ];
        for text in [utc.clone(), east, west].into_iter().chain(forms) {
            let made = with_times(&client, json!({"notAfter": text})).await.expect(201);
            assert_eq!(made.json()["notAfter"], json!(until), "{text}");
            assert!(made.json().get("notBefore").is_none());
        }
        for wrong in [
            format!("{plain}.Z"),
            plain.to_owned(),
            format!("{plain}+0200"),
            "30d".to_owned(),
            plain.replace("-1", "-13-1"),
            "tomorrow".to_owned(),
        ] {
            with_times(&client, json!({"notAfter": wrong})).await.refused(400, "malformed");
            with_times(&client, json!({"notBefore": wrong})).await.refused(400, "malformed");
        }
        for wrong in [json!(until.secs()), json!([utc])] {
            with_times(&client, json!({"notAfter": wrong})).await.refused(400, "malformed");
        }
        // null is as absent, and so is what Go writes for a time that nobody gave
        for nothing in [
            json!({"notBefore": null, "notAfter": null, "replaces": null, "profile": null}),
            json!({"notBefore": "0001-01-01T00:00:00Z", "notAfter": "0001-01-01T00:00:00.000+00:00"}),
            json!({"notBefore": "", "notAfter": "", "replaces": "", "profile": ""}),
        ] {
            let made = with_times(&client, nothing).await.expect(201).json();
            assert!(made.get("notAfter").is_none() && made.get("notBefore").is_none(), "{made}");
        }
        with_times(&client, json!({"notBefore": "0001-01-01T00:00:01Z"})).await.refused(400, "malformed");
    }
}

#[tokio::test]
async fn o5_times_that_cannot_be_honoured_are_refused() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let now = world.now().truncated();
        let end = world.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().not_after;
        let second = std::time::Duration::from_secs(1);
        for (times, word) in [
            (json!({"notAfter": now}), "not_after"),
            (json!({"notAfter": now - days(1)}), "not_after"),
            (json!({"notBefore": now + days(3), "notAfter": now + days(2)}), "not_after"),
            (json!({"notBefore": now - days(1)}), "not_before"),
            // the longest life counts both ends
            (json!({"notBefore": now, "notAfter": now + days(397)}), "lifetime"),
            (json!({"notAfter": now + days(397)}), "lifetime"),
            (json!({"notAfter": end + second}), "issuer"),
            (json!({"notBefore": end + second}), "issuer"),
            (json!({"notBefore": end - days(1), "notAfter": end + second}), "issuer"),
            (json!({"notAfter": "9999-12-31T23:59:59Z"}), "issuer"),
            // the client's clock may be off by a minute, either way
            (json!({"notBefore": now - second * 61}), "not_before"),
            (json!({"notBefore": now + second * 62}), "not_before"),
            (json!({"notBefore": now + days(3), "notAfter": now + days(4)}), "not_before"),
        ] {
            let refused = with_times(&client, times.clone()).await.refused(400, "malformed").json();
            let detail = refused["detail"].as_str().unwrap();
            assert_eq!(refused["rule"], format!("validity.{word}"), "{times}: {detail}");
        }
        let orders = client.get(&format!("{}/orders", client.kid)).await.expect(200).json();
        assert_eq!(orders, json!({"orders": []}));
        with_times(&client, json!({"notBefore": now, "notAfter": now + days(397) - second})).await.expect(201);
        with_times(&client, json!({"notAfter": now + days(397) - second})).await.expect(201);
        with_times(&client, json!({"notBefore": now, "notAfter": now + second})).await.expect(201);
        with_times(&client, json!({"notBefore": now - second * 60})).await.expect(201);
        with_times(&client, json!({"notBefore": now + second * 60})).await.expect(201);
    }
}

#[tokio::test]
async fn o5_a_certificate_that_would_have_ended_is_not_made() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let until = (world.now() + days(2)).truncated();
        let made = with_times(&client, json!({"notAfter": until})).await.expect(201);
        // the order ends with what it is for
        assert_eq!(made.json()["expires"], json!(until));
        client.prove(made.json()["authorizations"][0].as_str().unwrap()).await;
        world.clock.advance(days(3));
        let (request, _) = csr(&["a.example.org"]);
        let payload = json!({"csr": b64(request)}).to_string();
        client.post(made.json()["finalize"].as_str().unwrap(), &payload).await.refused(403, "orderNotReady");
        assert_eq!(client.get(made.header("location")).await.json()["status"], "invalid");
        let count = plain("SELECT COUNT(*) AS n FROM certificates WHERE order_id IS NOT NULL");
        let issued: i64 = q(count).fetch_one(&world.store.db).await.unwrap().get("n").unwrap();
        assert_eq!(issued, 0);
    }
}

#[tokio::test]
async fn o6_a_wildcard_and_its_base_are_proved_apart() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let order = client.order(&["*.example.org", "example.org"]).await.expect(201).json();
        let list = order["authorizations"].as_array().unwrap();
        assert_eq!(list.len(), 2);
        let wildcard = client.get(list[0].as_str().unwrap()).await.json();
        let base = client.get(list[1].as_str().unwrap()).await.json();
        let name = json!({"type": "dns", "value": "example.org"});
        assert_eq!((&wildcard["identifier"], &base["identifier"]), (&name, &name));
        assert_eq!((wildcard.get("wildcard"), base.get("wildcard")), (Some(&json!(true)), None));
        let kinds = |shown: &serde_json::Value| -> Vec<String> {
            let list = shown["challenges"].as_array().unwrap().iter();
            list.map(|c| c["type"].as_str().unwrap().to_owned()).collect()
        };
        assert!(kinds(&wildcard).iter().all(|kind| kind.starts_with("dns-")), "{wildcard}");
        assert!(kinds(&base).contains(&"http-01".to_owned()));
    }
}

#[tokio::test]
async fn o8_what_an_order_is_for_never_changes() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let names = ["c.example.org", "a.example.org", "b.example.org"];
        let made = client.order(&names).await.expect(201);
        let fixed = ["identifiers", "authorizations", "finalize", "expires", "profile"];
        let same = async |moment: &str| {
            let shown = client.get(made.header("location")).await.expect(200).json();
            for member in fixed {
                assert_eq!(shown[member], made.json()[member], "{member} {moment}");
            }
        };
        same("at once").await;
        for authorization in made.json()["authorizations"].as_array().unwrap() {
            client.prove(authorization.as_str().unwrap()).await;
            same("while it is proved").await;
        }
        let payload = json!({"csr": b64(csr(&names).0)}).to_string();
        client.post(made.json()["finalize"].as_str().unwrap(), &payload).await.expect(200);
        same("when it is valid").await;
        world.clock.advance(days(30));
        same("later").await;
    }
}

#[tokio::test]
async fn o11_the_list_has_every_order_once_and_only_ones_own() {
    for world in worlds().await {
        let (client, other) = (Client::register(&world).await, Client::register(&world).await);
        let id = client.kid.rsplit('/').next().unwrap().parse().unwrap();
        let account = world.registration.account("default", id).await.unwrap().unwrap();
        let mut expected = Vec::new();
        for _ in 0..205 {
            // ids rise from one millisecond to the next
            world.clock.advance(std::time::Duration::from_millis(1));
            let (order, ..) = stored_order(&world.store, &account, &["a.example.org"]).await;
            expected.push(url(&format!("order/{}", order.id)));
        }
        let failed = client.order(&["b.example.org"]).await.expect(201);
        let authorization = failed.json()["authorizations"][0].as_str().unwrap().to_owned();
        client.post(&authorization, r#"{"status":"deactivated"}"#).await.expect(200);
        other.order(&["c.example.org"]).await.expect(201);

        let (mut found, mut next, mut pages) = (Vec::new(), format!("{}/orders", client.kid), 0);
        while !next.is_empty() && pages < 10 {
            let reply = client.get(&next).await.expect(200);
            other.get(&next).await.refused(403, "unauthorized");
            let page = reply.json();
            assert_eq!(page.as_object().unwrap().len(), 1);
            found.extend(page["orders"].as_array().unwrap().iter().map(|o| o.as_str().unwrap().to_owned()));
            let links = reply
                .headers
                .get_all("link")
                .iter()
                .filter_map(|v| v.to_str().unwrap().strip_suffix(";rel=\"next\""));
            next = links.map(|l| l[1..l.len() - 1].to_owned()).next().unwrap_or_default();
            pages += 1;
            // one that comes meanwhile disturbs nothing
            // ids rise from one millisecond to the next
            world.clock.advance(std::time::Duration::from_millis(1));
            let (order, ..) = stored_order(&world.store, &account, &["a.example.org"]).await;
            expected.push(url(&format!("order/{}", order.id)));
        }
        // the last one came after its page was read
        expected.pop();
        assert!(found == expected && pages == 3, "{} of {} in {pages}", found.len(), expected.len());
    }
}

#[tokio::test]
async fn o12_each_order_is_one_of_its_own() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (one, two) = (client.order(&["a.example.org"]).await, client.order(&["a.example.org"]).await);
        assert_ne!(one.header("location"), two.header("location"));
        assert_ne!(one.json()["authorizations"], two.json()["authorizations"]);
        client.prove(one.json()["authorizations"][0].as_str().unwrap()).await;
        assert_eq!(client.get(one.header("location")).await.json()["status"], "ready");
        assert_eq!(client.get(two.header("location")).await.json()["status"], "pending");
    }
}

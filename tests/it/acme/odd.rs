//! What clients send beside the letter of RFC 8555, each with what Boulder, Pebble and step-ca do with it, read in their
//! sources in November 2026. Ours differs where a MUST stands or two readers would understand two things: `why` says it.
//! Read as well for what they send and accept: OpenBao's ACME server, lego, acmez (Caddy) and acme4j.

use serde_json::{Map, Value, json};

use super::client::{Client, Key, b64, csr, leaf_der, raw, send, url, with_headers};
use super::world::{World, worlds};

/// What another CA does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theirs {
    Takes,
    Refuses,
    /// It has no such thing.
    Apart,
}

use Theirs::{Apart, Refuses, Takes};

struct Odd {
    what: &'static str,
    boulder: Theirs,
    pebble: Theirs,
    step_ca: Theirs,
    /// The type of the problem that refuses it here.
    ours: Result<(), &'static str>,
    /// Where ours differs from one of them.
    why: &'static str,
}

const fn odd(
    what: &'static str,
    [boulder, pebble, step_ca]: [Theirs; 3],
    ours: Result<(), &'static str>,
    why: &'static str,
) -> Odd {
    Odd { what, boulder, pebble, step_ca, ours, why }
}

impl Odd {
    fn check(&self, status: u16, problem: impl FnOnce() -> String) {
        match self.ours {
            Ok(()) => assert!(status < 300, "{}: {status}", self.what),
            Err(expected) => assert_eq!((status / 100, problem().as_str()), (4, expected), "{}", self.what),
        }
        let theirs = [self.boulder, self.pebble, self.step_ca];
        let as_ours = if self.ours.is_ok() { Takes } else { Refuses };
        let differs = theirs.iter().any(|one| ![as_ours, Apart].contains(one));
        assert_eq!(differs, !self.why.is_empty(), "{}: a reason stands where one differs, and only there", self.what);
    }
}

const ALL: [Theirs; 3] = [Takes; 3];
const NONE: [Theirs; 3] = [Refuses; 3];
const MUST_EMPTY: &str = "RFC 8555 §6.3: POST-as-GET has the empty string as its payload";
const TWO_READERS: &str = "two readers that disagree about a member are how one request passes for another";
const UNSUPPORTED: Result<(), &str> = Err("unsupportedContact");
const MALFORMED: Result<(), &str> = Err("malformed");

fn order_with(more: Value) -> String {
    let mut members =
        Map::from_iter([("identifiers".to_owned(), json!([{"type": "dns", "value": "a.example.org"}]))]);
    members.extend(more.as_object().unwrap().clone());
    Value::from(members).to_string()
}

fn order_for(kind: &str, value: &str) -> String {
    json!({"identifiers": [{"type": kind, "value": value}]}).to_string()
}

/// Payloads of newOrder.
fn orders() -> Vec<(Odd, String)> {
    let null = json!({"notBefore": null, "notAfter": null, "profile": null, "replaces": null, "status": null});
    let empty = "an empty text says nothing, as clients learned from Boulder and Pebble";
    vec![
        (odd("null for what is left out", ALL, Ok(()), ""), order_with(null)),
        (
            odd("empty times", [Takes, Takes, Refuses], Ok(()), empty),
            order_with(json!({"notBefore": "", "notAfter": ""})),
        ),
        (odd("an empty profile", ALL, Ok(()), ""), order_with(json!({"profile": ""}))),
        (odd("an empty predecessor", ALL, Ok(()), ""), order_with(json!({"replaces": ""}))),
        (odd("a member of ACME v1", ALL, Ok(()), ""), order_with(json!({"resource": "new-order"}))),
        (
            odd("members of an answer", ALL, Ok(()), ""),
            order_with(json!({"status": "pending", "expires": "2030-01-01T00:00:00Z"})),
        ),
        (
            odd("one name twice", ALL, Ok(()), ""),
            order_with(
                json!({"identifiers": [{"type": "dns", "value": "a.example.org"}, {"type": "dns", "value": "A.Example.org"}]}),
            ),
        ),
        (odd("capitals in a name", ALL, Ok(()), ""), order_for("dns", "A.Example.ORG")),
        (odd("capitals in a type", NONE, Err("unsupportedIdentifier"), ""), order_for("DNS", "a.example.org")),
        (
            odd(
                "a name that ends in a dot",
                [Refuses, Refuses, Takes],
                MALFORMED,
                "a name is written one way, so that limits, grants and certificates mean the same one",
            ),
            order_for("dns", "a.example.org."),
        ),
        (
            odd(
                "a name with letters beyond ASCII",
                [Refuses, Refuses, Takes],
                MALFORMED,
                "RFC 8555 §7.1.4: it is written as the certificate has it",
            ),
            order_for("dns", "b\u{fc}cher.example.org"),
        ),
        (odd("a blank before a name", NONE, MALFORMED, ""), order_for("dns", " a.example.org")),
        (
            odd(
                "an address in long form",
                [Refuses, Takes, Takes],
                MALFORMED,
                "RFC 8738 §3: it MUST be written as in RFC 5952 §4",
            ),
            order_for("ip", "2001:DB8:0:0:0:0:0:1"),
        ),
        (
            odd("a member twice", ALL, MALFORMED, TWO_READERS),
            r#"{"identifiers":[{"type":"dns","value":"a.example.org"}],"profile":null,"profile":null}"#.to_owned(),
        ),
        (
            odd("a member in capitals", ALL, MALFORMED, TWO_READERS),
            json!({"Identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string(),
        ),
        (odd("a byte order mark", NONE, MALFORMED, ""), format!("\u{feff}{}", order_with(json!({})))),
        (odd("white space around", ALL, Ok(()), ""), format!(" {}\r\n", order_with(json!({})))),
        (odd("null for the names", NONE, MALFORMED, ""), json!({"identifiers": null}).to_string()),
    ]
}

/// Payloads of an account update.
fn accounts() -> Vec<(Odd, String)> {
    let contact = |value: Value| json!({"contact": value}).to_string();
    let nothing = "it asks for no change, and nothing is changed";
    vec![
        (odd("a blank after mailto:", ALL, Ok(()), ""), contact(json!(["mailto: ops@example.org"]))),
        (odd("MAILTO:", ALL, Ok(()), ""), contact(json!(["MAILTO:ops@example.org"]))),
        (odd("no contacts", ALL, Ok(()), ""), contact(json!([]))),
        (odd("null for the contacts", ALL, Ok(()), ""), contact(Value::Null)),
        (odd("an empty contact", NONE, UNSUPPORTED, ""), contact(json!([""]))),
        (
            odd(
                "an address without mailto:",
                [Refuses, Refuses, Takes],
                UNSUPPORTED,
                "RFC 8555 §7.3: contacts are URLs",
            ),
            contact(json!(["ops@example.org"])),
        ),
        (odd("one contact as a text", NONE, MALFORMED, ""), contact(json!("mailto:ops@example.org"))),
        (odd("an unknown member", ALL, Ok(()), ""), json!({"resource": "reg", "contact": []}).to_string()),
        (odd("an empty object", [Takes, Refuses, Takes], Ok(()), nothing), "{}".to_owned()),
        (
            odd("the status that it has", [Takes, Refuses, Refuses], Ok(()), nothing),
            json!({"status": "valid"}).to_string(),
        ),
        (
            odd("the status that it has beside contacts", [Takes, Takes, Refuses], Ok(()), nothing),
            json!({"status": "valid", "contact": ["mailto:ops@example.org"]}).to_string(),
        ),
        (odd("another status", NONE, MALFORMED, ""), json!({"status": "revoked"}).to_string()),
    ]
}

#[tokio::test]
async fn payloads_are_read_as_clients_write_them() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        for (to, table) in [(url("new-order"), orders()), (client.kid.clone(), accounts())] {
            for (odd, payload) in table {
                let reply = client.post(&to, &payload).await;
                odd.check(reply.status, || reply.problem());
            }
        }
        // none of the empty texts stands in the order
        let made =
            client.post(&url("new-order"), &order_with(json!({"notAfter": "", "replaces": ""}))).await.expect(201);
        assert!(made.json().get("notAfter").is_none() && made.json().get("replaces").is_none(), "{}", made.text);

        let order = made.header("location").to_owned();
        for (what, payload) in [("{}", "{}"), ("null", "null")] {
            let odd = odd(what, NONE, MALFORMED, "");
            let reply = client.post(&order, payload).await;
            assert!(reply.text.contains("§6.3"), "{MUST_EMPTY}: {}", reply.text);
            odd.check(reply.status, || reply.problem());
        }
        for (name, odd, payload) in [
            (
                "c1.example.org",
                odd(
                    "a key authorization, as ACME v1 had it",
                    [Takes, Refuses, Takes],
                    Ok(()),
                    "Boulder is kind to it, and it says nothing that is used",
                ),
                json!({"keyAuthorization": "x.y"}).to_string(),
            ),
            (
                "c2.example.org",
                odd("members of ACME v1", ALL, Ok(()), ""),
                json!({"resource": "challenge"}).to_string(),
            ),
            (
                "c3.example.org",
                odd("null", ALL, MALFORMED, "RFC 8555 §7.5.1: the client sends an object"),
                "null".to_owned(),
            ),
        ] {
            let order = client.order(&[name]).await.expect(201).json();
            let authorization = client.get(order["authorizations"][0].as_str().unwrap()).await.json();
            let challenge = authorization["challenges"][0]["url"].as_str().unwrap();
            let reply = client.post(challenge, &payload).await;
            odd.check(reply.status, || reply.problem());
        }
        let (_, ready) = client.ready_order(&["b.example.org"]).await;
        let der = csr(&["b.example.org"]).0;
        let padded = format!("{}==", b64(&der));
        let reply = client.post(ready["finalize"].as_str().unwrap(), &json!({"csr": padded}).to_string()).await;
        odd(
            "a CSR with padding",
            [Takes, Refuses, Takes],
            MALFORMED,
            "RFC 8555 §6.1: what ends in = MUST be rejected",
        )
        .check(reply.status, || reply.problem());
    }
}

/// A newOrder whose JWS has more members, and whose protected header has more members.
async fn signed(world: &World, client: &Client<'_>, outer: &Value, header: &Value) -> (u16, String) {
    let to = url("new-order");
    let mut protected =
        json!({"alg": "ES256", "kid": client.kid, "nonce": world.registration.nonces.mint().unwrap(), "url": to});
    protected.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
    let mut jws = client.key.jws(&protected.to_string(), &order_with(json!({})));
    jws.as_object_mut().unwrap().extend(outer.as_object().unwrap().clone());
    let reply = send(world, &to, &jws.to_string()).await;
    let problem = if reply.status < 300 { String::new() } else { reply.problem() };
    (reply.status, problem)
}

#[tokio::test]
async fn signatures_are_read_as_libraries_write_them() {
    let unprotected = "RFC 8555 §6.2: the unprotected header MUST NOT be used";
    let flattened = "RFC 7515 §7.2.2: the flattened form MUST NOT have it";
    for world in worlds().await {
        let client = Client::register(&world).await;
        let none = json!({});
        for (odd, outer, header) in [
            (
                odd("an unknown member beside the signature (RFC 7515 §7.2.1)", ALL, Ok(()), ""),
                json!({"x": 1}),
                none.clone(),
            ),
            (odd("null for the unprotected header", ALL, Ok(()), ""), json!({"header": null}), none.clone()),
            (
                odd("an empty unprotected header", [Refuses, Refuses, Takes], MALFORMED, unprotected),
                json!({"header": {}}),
                none.clone(),
            ),
            (odd("null for the list of signatures", ALL, Ok(()), ""), json!({"signatures": null}), none.clone()),
            (odd("an empty list of signatures", ALL, MALFORMED, flattened), json!({"signatures": []}), none.clone()),
            (odd("a type", ALL, Ok(()), ""), none.clone(), json!({"typ": "JOSE", "cty": "json"})),
            (odd("an unknown parameter", ALL, Ok(()), ""), none.clone(), json!({"x": {"y": 1}})),
            (odd("null for the other of jwk and kid", ALL, Ok(()), ""), none.clone(), json!({"jwk": null})),
            (odd("null for the nonce", NONE, Err("badNonce"), ""), none.clone(), json!({"nonce": null})),
            (odd("a critical parameter", NONE, MALFORMED, ""), none.clone(), json!({"crit": ["x"], "x": 1})),
            (
                odd("a URL with an empty query", NONE, Err("unauthorized"), ""),
                none.clone(),
                json!({"url": format!("{}?", url("new-order"))}),
            ),
        ] {
            let (status, problem) = signed(&world, &client, &outer, &header).await;
            odd.check(status, || problem);
        }
        let media = "media types are written in either case and may have parameters (RFC 9110 §8.3.1)";
        for (odd, media) in [
            (odd("a parameter of the media type", NONE, Ok(()), media), "application/jose+json; charset=utf-8"),
            (odd("capitals in the media type", NONE, Ok(()), media), "Application/JOSE+JSON"),
            (odd("another media type", NONE, MALFORMED, ""), "application/json"),
        ] {
            let to = url("new-order");
            let header = json!({"alg": "ES256", "kid": client.kid, "nonce": world.registration.nonces.mint().unwrap(), "url": to});
            let body = client.key.jws(&header.to_string(), &order_with(json!({}))).to_string();
            let reply = raw(&world, "POST", &to, media, body.into_bytes()).await;
            odd.check(reply.status, || reply.problem());
        }
    }
}

/// Payloads of newAccount.
fn registrations() -> Vec<(Odd, String)> {
    let null = json!({"contact": null, "termsOfServiceAgreed": null, "onlyReturnExisting": null, "externalAccountBinding": null});
    let answer =
        json!({"status": "valid", "orders": "https://ca.example/orders", "createdAt": "2026-11-30T00:00:00Z"});
    vec![
        (odd("null for every member", ALL, Ok(()), ""), null.to_string()),
        (odd("members of an answer", ALL, Ok(()), ""), answer.to_string()),
        (odd("a text for a flag", NONE, MALFORMED, ""), json!({"termsOfServiceAgreed": "true"}).to_string()),
        (odd("no payload", NONE, MALFORMED, ""), String::new()),
    ]
}

#[tokio::test]
async fn accounts_are_made_found_and_given_other_keys_as_clients_ask() {
    for world in worlds().await {
        let known = Client::register(&world).await;
        for (odd, payload) in registrations() {
            let stranger = Client { world: &world, key: Key::new(), kid: String::new() };
            let reply = stranger.post_jwk(&url("new-account"), &payload).await;
            odd.check(reply.status, || reply.problem());
        }
        let found = json!({"onlyReturnExisting": true, "contact": ["mailto:ops@example.org"]});
        let reply = known.post_jwk(&url("new-account"), &found.to_string()).await;
        let told = "contacts change nothing about an account that is looked for";
        odd("contacts beside onlyReturnExisting", [Takes, Takes, Refuses], Ok(()), told)
            .check(reply.status, || reply.problem());
        assert_eq!(reply.json()["contact"], json!([]), "{}", reply.text);

        // a key that says more of itself
        let mut jwk = known.key.jwk();
        jwk.as_object_mut().unwrap().extend(
            json!({"kid": "my key", "use": "sig", "key_ops": ["verify"], "alg": "ES256"})
                .as_object()
                .unwrap()
                .clone(),
        );
        let nonce = world.registration.nonces.mint().unwrap();
        let header = json!({"alg": "ES256", "jwk": jwk, "nonce": nonce, "url": url("new-account")}).to_string();
        let reply = send(&world, &url("new-account"), &known.key.jws(&header, "{}").to_string()).await;
        odd("a jwk with kid, use, key_ops and alg", ALL, Ok(()), "").check(reply.status, || reply.problem());

        let must = "RFC 8555 §7.3.5: the inner JWS MUST omit it";
        for (odd, more, old) in [
            (odd("a nonce in the inner JWS", [Takes, Takes, Apart], MALFORMED, must), json!({"nonce": "AAAA"}), None),
            (odd("an oldKey that says more of itself", [Takes, Takes, Apart], Ok(()), ""), json!({}), Some(jwk)),
        ] {
            let fresh = Key::new();
            let mut header = json!({"alg": "ES256", "jwk": fresh.jwk(), "url": url("key-change")});
            header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let old = old.unwrap_or_else(|| known.key.jwk());
            let payload = json!({"account": known.kid, "oldKey": old}).to_string();
            let change = fresh.jws(&header.to_string(), &payload).to_string();
            let reply = known.post(&url("key-change"), &change).await;
            odd.check(reply.status, || reply.problem());
        }
    }
}

#[tokio::test]
async fn certificates_are_revoked_as_clients_ask() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["r.example.org"]).await;
        let certificate = b64(leaf_der(&pem));
        let with = |reason: Value| json!({"certificate": certificate, "reason": reason}).to_string();
        let padded = "RFC 8555 §6.1: what ends in = MUST be rejected";
        for (odd, payload) in [
            (odd("a reason as a text", NONE, MALFORMED, ""), with(json!("1"))),
            (odd("a reason with a fraction", NONE, MALFORMED, ""), with(json!(1.0))),
            (odd("the reason that has no meaning", NONE, Err("badRevocationReason"), ""), with(json!(7))),
            (
                odd("a certificate with padding", [Takes, Refuses, Refuses], MALFORMED, padded),
                json!({"certificate": format!("{certificate}==")}).to_string(),
            ),
            (odd("a certificate in PEM", NONE, MALFORMED, ""), json!({"certificate": pem}).to_string()),
            (odd("null for the reason", ALL, Ok(()), ""), with(Value::Null)),
        ] {
            let reply = client.post(&url("revoke"), &payload).await;
            odd.check(reply.status, || reply.problem());
        }
    }
}

#[tokio::test]
async fn requests_are_read_as_libraries_send_them() {
    let flattened = "RFC 8555 §6.2: the body is a JWS in flattened JSON";
    for world in worlds().await {
        let client = Client::register(&world).await;
        let order = client.order(&["a.example.org"]).await.expect(201).header("location").to_owned();
        let reads = "RFC 8555 §6.3: all but the directory and nonces are read by POST-as-GET";
        for (odd, method, to) in [
            (odd("HEAD of the directory", ALL, Ok(()), ""), "HEAD", url("directory")),
            (odd("GET of a nonce", ALL, Ok(()), ""), "GET", url("new-nonce")),
            (odd("GET of an order", [Takes, Refuses, Refuses], MALFORMED, reads), "GET", order),
            (odd("a path that ends in a slash", NONE, MALFORMED, ""), "POST", url("new-order/")),
        ] {
            let reply = raw(&world, method, &to, "application/jose+json", Vec::new()).await;
            odd.check(reply.status, || reply.problem());
        }
        let to = url("new-order");
        let jws = |alg: &str| {
            let nonce = world.registration.nonces.mint().unwrap();
            let header = json!({"alg": alg, "kid": client.kid, "nonce": nonce, "url": to}).to_string();
            client.key.jws(&header, &order_with(json!({})))
        };
        let part = |jws: &Value, name: &str| jws[name].as_str().unwrap().to_owned();
        let parts = jws("ES256");
        let [protected, payload, signature] = ["protected", "payload", "signature"].map(|name| part(&parts, name));
        let one = "one algorithm for a kind of key, as Boulder and Pebble have it, is enough for every client";
        for (odd, body) in [
            (
                odd("a JWS in compact form", [Refuses, Refuses, Takes], MALFORMED, flattened),
                format!("{protected}.{payload}.{signature}"),
            ),
            (
                odd("a list of one signature", [Refuses, Refuses, Takes], MALFORMED, flattened),
                json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]})
                    .to_string(),
            ),
            (
                odd("RSA with PSS", [Refuses, Refuses, Takes], Err("badSignatureAlgorithm"), one),
                jws("PS256").to_string(),
            ),
            (odd("no algorithm", NONE, Err("badSignatureAlgorithm"), ""), jws("none").to_string()),
        ] {
            let reply = send(&world, &to, &body).await;
            odd.check(reply.status, || reply.problem());
        }
        let unused = "it says nothing that is used, and proxies and libraries repeat headers";
        for (odd, headers) in [
            (
                odd("a Replay-Nonce in the request", [Refuses, Refuses, Takes], Ok(()), unused),
                &[("content-type", "application/jose+json"), ("replay-nonce", "AAAA")][..],
            ),
            (odd("no media type", NONE, MALFORMED, ""), &[]),
        ] {
            let reply = with_headers(&world, "POST", &to, headers, jws("ES256").to_string().into_bytes()).await;
            odd.check(reply.status, || reply.problem());
        }
    }
}

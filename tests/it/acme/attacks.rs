//! The JOSE attack table (J2–J34): everything is refused and nothing changes.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::client::{Client, Key, b64, send, url};
use super::world::worlds;

/// (what, protected header as text) over an otherwise good newOrder request.
fn headers(client: &Client<'_>, nonce: &str) -> Vec<(&'static str, String)> {
    let to = url("new-order");
    let good = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": to});
    let with = |changes: Value| {
        let mut header = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => header.as_object_mut().unwrap().remove(name),
                value => header.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        header.to_string()
    };
    let text = good.to_string();
    let twice = |name: &str, value: &str| format!("{{\"{name}\":{value},{}", &text[1..]);
    vec![
        ("alg none", with(json!({"alg": "none"}))),
        ("alg nOnE", with(json!({"alg": "nOnE"}))),
        ("alg HS256", with(json!({"alg": "HS256"}))),
        ("alg ES384 on P-256", with(json!({"alg": "ES384"}))),
        ("alg RS256 on P-256", with(json!({"alg": "RS256"}))),
        ("alg EdDSA on P-256", with(json!({"alg": "EdDSA"}))),
        ("alg missing", with(json!({"alg": null}))),
        ("alg a number", with(json!({"alg": 7}))),
        ("case of a name", with(json!({"alg": null, "Alg": "ES256"}))),
        ("kid missing", with(json!({"kid": null}))),
        ("jwk and kid", with(json!({"jwk": client.key.jwk()}))),
        ("jwk instead of kid", with(json!({"jwk": client.key.jwk(), "kid": null}))),
        ("url missing", with(json!({"url": null}))),
        ("url of another resource", with(json!({"url": url("revoke")}))),
        ("url with a query", with(json!({"url": format!("{to}?x=1")}))),
        ("url with a slash", with(json!({"url": format!("{to}/")}))),
        ("url of another host", with(json!({"url": to.replace("acme.test", "evil.test")}))),
        ("url of another scheme", with(json!({"url": to.replace("https", "http")}))),
        ("b64 false", with(json!({"b64": false}))),
        ("b64 false, crit", with(json!({"b64": false, "crit": ["b64"]}))),
        ("crit empty", with(json!({"crit": []}))),
        ("crit no list", with(json!({"crit": "x"}))),
        ("crit alg", with(json!({"crit": ["alg"]}))),
        ("crit absent header", with(json!({"crit": ["exp"]}))),
        ("alg twice", twice("alg", "\"none\"")),
        ("kid twice", twice("kid", "\"x\"")),
        ("nonce twice", twice("nonce", "\"x\"")),
        ("url twice", twice("url", "\"x\"")),
        ("byte order mark", format!("\u{feff}{text}")),
        ("trailing bytes", format!("{text} x")),
        ("a list", format!("[{text}]")),
        ("no JSON", "x".into()),
        ("deep", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))),
        ("U+0000", with(json!({"x": "\u{0}"}))),
    ]
}

#[tokio::test]
async fn no_header_of_the_attack_table_passes() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let payload = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string();
        let nonce = client.nonce().await;
        for (what, header) in headers(&client, &nonce) {
            let reply = send(&world, &url("new-order"), &client.key.jws(&header, &payload).to_string()).await;
            assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text);
            let problem = reply.problem();
            assert!(["malformed", "badSignatureAlgorithm"].contains(&problem.as_str()), "{what}: {problem}");
            if problem == "badSignatureAlgorithm" {
                let expected = json!(["ES256", "ES384", "ES512", "EdDSA", "RS256"]);
                assert_eq!(reply.json()["algorithms"], expected);
            }
        }
        let orders = client.get(&format!("{}/orders", client.kid)).await.json();
        assert_eq!(orders, json!({"orders": []}), "nothing was made");
        // none of them spent the nonce
        client.post_with(&url("new-order"), &nonce, &payload).await.expect(201);
    }
}

#[tokio::test]
async fn no_envelope_of_the_attack_table_passes() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let to = url("new-order");
        let payload = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string();
        let nonce = client.nonce().await;
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": to}).to_string();
        let good = client.key.jws(&header, &payload);
        let (protected, body, signature) = (
            good["protected"].as_str().unwrap(),
            good["payload"].as_str().unwrap(),
            good["signature"].as_str().unwrap(),
        );
        let victim = Client::register(&world).await;
        let stolen = json!({"alg": "ES256", "kid": victim.kid, "nonce": nonce, "url": to}).to_string();
        let hmac_header = json!({"alg": "HS256", "kid": client.kid, "nonce": nonce, "url": to}).to_string();
        let input = format!("{}.{body}", b64(&hmac_header));
        let by_hmac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, client.key.point()), input.as_bytes());
        let half = &signature[..signature.len() / 2];
        for (what, text) in [
            (
                "general",
                json!({"payload": body, "signatures": [{"protected": protected, "signature": signature}]})
                    .to_string(),
            ),
            (
                "general and flattened",
                json!({"payload": body, "protected": protected, "signature": signature, "signatures": []})
                    .to_string(),
            ),
            ("compact", format!("{protected}.{body}.{signature}")),
            (
                "unprotected header",
                json!({"protected": protected, "payload": body, "signature": signature, "header": {}}).to_string(),
            ),
            ("detached", json!({"protected": protected, "signature": signature}).to_string()),
            ("no signature", json!({"protected": protected, "payload": body}).to_string()),
            ("empty signature", json!({"protected": protected, "payload": body, "signature": ""}).to_string()),
            ("half a signature", json!({"protected": protected, "payload": body, "signature": half}).to_string()),
            (
                "zero signature",
                json!({"protected": protected, "payload": body, "signature": b64([0u8; 64])}).to_string(),
            ),
            (
                "padding",
                json!({"protected": format!("{protected}="), "payload": body, "signature": signature}).to_string(),
            ),
            ("payload twice", format!("{{\"payload\":\"e30\",{}", &good.to_string()[1..])),
            ("numbers", json!({"protected": 1, "payload": 2, "signature": 3}).to_string()),
            ("two objects", format!("{good}{good}")),
            ("another's kid", client.key.jws(&stolen, &payload).to_string()),
            ("another's key", victim.key.jws(&header, &payload).to_string()),
            (
                "HMAC by the public key",
                json!({"protected": b64(&hmac_header), "payload": body, "signature": b64(by_hmac)}).to_string(),
            ),
            (
                "another payload",
                json!({"protected": protected, "payload": b64("{}"), "signature": signature}).to_string(),
            ),
            ("a list", format!("[{good}]")),
            ("nothing", String::new()),
            ("deep", "[".repeat(40_000)),
        ] {
            let reply = send(&world, &to, &text).await;
            assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text);
            reply.problem();
        }
        for what in [&client, &victim] {
            let orders = what.get(&format!("{}/orders", what.kid)).await.json();
            assert_eq!(orders, json!({"orders": []}), "nothing was made");
        }
        send(&world, &to, &good.to_string()).await.expect(201);
        send(&world, &to, &good.to_string()).await.refused(400, "badNonce");
    }
}

#[tokio::test]
async fn bad_keys_make_no_account() {
    for world in worlds().await {
        let key = Key::new();
        let client = Client { world: &world, key: Key::new(), kid: String::new() };
        let point = key.point();
        let (x, y) = (&point[1..33], &point[33..]);
        let mut off = y.to_vec();
        off[31] ^= 1;
        for (what, jwk) in [
            ("off the curve", json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(off)})),
            ("short", json!({"kty": "EC", "crv": "P-256", "x": b64(&x[1..]), "y": b64(y)})),
            ("zero", json!({"kty": "EC", "crv": "P-256", "x": b64([0u8; 32]), "y": b64([0u8; 32])})),
            ("secp256k1", json!({"kty": "EC", "crv": "secp256k1", "x": b64(x), "y": b64(y)})),
            ("private", json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y), "d": b64(x)})),
            ("symmetric", json!({"kty": "oct", "k": b64(x)})),
            ("no key", json!({})),
        ] {
            let header =
                json!({"alg": "ES256", "jwk": jwk, "nonce": client.nonce().await, "url": url("new-account")});
            let reply = send(&world, &url("new-account"), &key.jws(&header.to_string(), "{}").to_string()).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "badPublicKey"), "{what} {}", reply.text);
        }
        let weak = |bits: usize| b64(vec![0xc5u8; bits / 8]);
        for bits in [1024, 2048, 16_384] {
            let jwk = json!({"kty": "RSA", "n": weak(bits), "e": "AQAB"});
            let header =
                json!({"alg": "RS256", "jwk": jwk, "nonce": client.nonce().await, "url": url("new-account")});
            let reply = send(&world, &url("new-account"), &key.jws(&header.to_string(), "{}").to_string()).await;
            assert!((400..500).contains(&reply.status), "{bits}: {}", reply.text);
        }
        client
            .post_jwk(&url("new-account"), r#"{"contact":[],"contact":["mailto:a@b.org"]}"#)
            .await
            .refused(400, "malformed");
        client
            .post_jwk(&url("new-account"), r#"{"onlyReturnExisting":true}"#)
            .await
            .refused(400, "accountDoesNotExist");
    }
}

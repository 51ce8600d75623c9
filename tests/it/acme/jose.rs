//! JWS as ACME has it (J1–J8); the attack list J20–J34 is in attacks.rs.

use serde_json::{Value, json};

use super::client::{Client, Key, b64, csr, leaf_der, send, url};
use super::signers::Signer;
use super::state::everything;
use super::world::{World, worlds};

fn one_name() -> String {
    json!({"identifiers": [{"type": "dns", "value": "a.example.org"}]}).to_string()
}

fn header(world: &World, alg: &str, to: &str, who: (&str, Value)) -> String {
    let mut header = json!({"alg": alg, "nonce": world.registration.nonces.mint().unwrap(), "url": to});
    header[who.0] = who.1;
    header.to_string()
}

#[tokio::test]
async fn j1_rsa_ecdsa_and_eddsa_sign_and_each_moves_to_the_next() {
    for world in worlds().await {
        let post = async |signer: &Signer, to: &str, who: (&str, Value), payload: &str| {
            send(&world, to, &signer.jws(&header(&world, signer.alg, to, who), payload).to_string()).await
        };
        let to = url("new-account");
        let mut signers = Signer::all();
        signers.push(Signer::rs256(3072));
        let mut algorithms: Vec<_> = signers.iter().map(|s| s.alg).collect();
        algorithms.dedup();
        assert_eq!(algorithms, ["RS256", "ES256", "ES384", "ES512", "EdDSA", "RS256"]);
        for signer in &signers {
            let made = post(signer, &to, ("jwk", signer.jwk.clone()), "{}").await.expect(201);
            let kid = made.header("location").to_owned();
            assert_eq!(
                post(signer, &to, ("jwk", signer.jwk.clone()), "{}").await.expect(200).header("location"),
                kid
            );
            post(signer, &url("new-order"), ("kid", json!(kid)), &one_name()).await.expect(201);
            // its key changes to one of every kind
            let next = Signer::ec("ES384");
            let inner = json!({"alg": next.alg, "jwk": next.jwk, "url": url("key-change")}).to_string();
            let inner = next.jws(&inner, &json!({"account": kid, "oldKey": signer.jwk}).to_string()).to_string();
            post(signer, &url("key-change"), ("kid", json!(kid)), &inner).await.expect(200);
            post(&next, &kid, ("kid", json!(kid)), "").await.expect(200);
            assert_eq!(post(signer, &kid, ("kid", json!(kid)), "").await.status, 400);
        }
    }
}

#[tokio::test]
async fn j2_another_algorithm_is_refused_with_the_list() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = everything(&world).await;
        for alg in ["RS384", "RS512", "PS256", "ES256K", "HS256", "none", "Ed448", "es256", "ES256 ", "RSA-OAEP", ""]
        {
            let header = header(&world, alg, &url("new-order"), ("kid", json!(client.kid)));
            let reply = send(&world, &url("new-order"), &client.key.jws(&header, &one_name()).to_string()).await;
            let body = reply.refused(400, "badSignatureAlgorithm").json();
            assert_eq!(body["algorithms"], json!(["ES256", "ES384", "ES512", "EdDSA", "RS256"]), "{alg}");
        }
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn j3_a_key_that_is_not_good_enough_is_told_why() {
    for world in worlds().await {
        let before = everything(&world).await;
        let key = Key::new();
        for (alg, jwk, why) in [
            ("RS256", Signer::rs256(1024).jwk, "2048"),
            ("ES256", json!({"kty": "EC", "crv": "secp256k1", "x": b64([1; 32]), "y": b64([1; 32])}), "P-256"),
            ("EdDSA", json!({"kty": "OKP", "crv": "Ed448", "x": b64([1; 57])}), "Ed25519"),
            ("ES256", json!({"kty": "EC", "crv": "P-256", "x": b64([1; 32]), "y": b64([1; 32])}), "curve"),
            ("ES256", json!({"kty": "oct"}), "kty"),
        ] {
            let header = header(&world, alg, &url("new-account"), ("jwk", jwk));
            let reply = send(&world, &url("new-account"), &key.jws(&header, "{}").to_string()).await;
            let body = reply.refused(400, "badPublicKey").json();
            assert!(body["detail"].as_str().unwrap().contains(why), "{body}");
        }
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn j4_a_jws_is_flattened_json_and_nothing_beside_it() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = everything(&world).await;
        let to = url("new-order");
        let text = header(&world, "ES256", &to, ("kid", json!(client.kid)));
        let good = client.key.jws(&text, &one_name());
        let (protected, payload, signature) = (&good["protected"], &good["payload"], &good["signature"]);
        let with = |name: &str, value: Value| {
            let mut jws = good.clone();
            jws[name] = value;
            jws.to_string()
        };
        let one = json!({"protected": protected, "signature": signature});
        let plain = |value: &Value| value.as_str().unwrap().to_owned();
        for (what, body) in [
            ("general", json!({"payload": payload, "signatures": [one]}).to_string()),
            ("two signatures", json!({"payload": payload, "signatures": [one, one]}).to_string()),
            ("flattened, with a list of none", with("signatures", json!([]))),
            ("flattened, with a list of one", with("signatures", json!([one]))),
            ("unprotected header", with("header", json!({"kid": client.kid}))),
            ("empty unprotected header", with("header", json!({}))),
            ("compact", format!("{}.{}.{}", plain(protected), plain(payload), plain(signature))),
            ("compact as JSON text", format!("\"{}.{}.{}\"", plain(protected), plain(payload), plain(signature))),
            ("detached", json!({"protected": protected, "signature": signature}).to_string()),
            ("payload null", with("payload", Value::Null)),
            ("a list", format!("[{good}]")),
            ("nothing", String::new()),
        ] {
            let reply = send(&world, &to, &body).await;
            assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{what}: {}", reply.text);
        }
        assert_eq!(everything(&world).await, before);
        // what is not understood is ignored (RFC 7515 §7.2.1)
        send(&world, &to, &with("x", json!(1))).await.expect(201);
    }
}

#[tokio::test]
async fn j5_exactly_one_of_jwk_and_kid_and_the_right_one() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (order_url, order) = client.ready_order(&["a.example.org"]).await;
        let (_, pem, _) = client.certificate(&["b.example.org"]).await;
        let before = everything(&world).await;
        let revocation = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        let finalize = json!({"csr": b64(csr(&["a.example.org"]).0)}).to_string();
        let orders = format!("{}/orders", client.kid);
        for (to, payload) in [
            (url("new-order"), one_name()),
            (client.kid.clone(), json!({"contact": []}).to_string()),
            (order_url, String::new()),
            (orders, String::new()),
            (order["finalize"].as_str().unwrap().to_owned(), finalize),
            (order["authorizations"][0].as_str().unwrap().to_owned(), String::new()),
            (url("key-change"), "{}".into()),
            (url("directory"), String::new()),
            (url("new-nonce"), String::new()),
        ] {
            // by a key where an account belongs
            client.post_jwk(&to, &payload).await.refused(400, "malformed");
        }
        client.post(&url("new-account"), "{}").await.refused(400, "malformed");
        for to in [url("new-account"), url("new-order"), url("revoke")] {
            let nonce = || world.registration.nonces.mint().unwrap();
            let both =
                json!({"alg": "ES256", "jwk": client.key.jwk(), "kid": client.kid, "nonce": nonce(), "url": to});
            let none = json!({"alg": "ES256", "nonce": nonce(), "url": to});
            for header in [both, none] {
                let jws = client.key.jws(&header.to_string(), &revocation).to_string();
                send(&world, &to, &jws).await.refused(400, "malformed");
            }
        }
        assert_eq!(everything(&world).await, before);
    }
}

/// RFC 8555 §6.4 says unauthorized; Pebble and Boulder say malformed.
#[tokio::test]
async fn j6_the_url_is_that_of_the_request() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let before = everything(&world).await;
        let to = url("new-order");
        let nonce = client.nonce().await;
        let send_with = async |wrong: Value| {
            let mut header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce});
            if !wrong.is_null() {
                header["url"] = wrong;
            }
            send(&world, &to, &client.key.jws(&header.to_string(), &one_name()).to_string()).await
        };
        for wrong in [
            url("revoke"),
            url("new-account"),
            to.replace("/default/", "/other/"),
            format!("{to}?x=1"),
            format!("{to}?"),
            format!("{to}#x"),
            format!("{to}/"),
            to.replace("new-order", "new%2Dorder"),
            to.replace("new-order", "NEW-ORDER"),
            to.replace("/acme/", "//acme/"),
            to.replace("/default/", "/default/../default/"),
            to.replace("acme.test", "evil.test"),
            to.replace("acme.test", "ACME.test"),
            to.replace("acme.test", "acme.test:443"),
            to.replace("acme.test", "user@acme.test"),
            to.replace("https", "http"),
            to.replace("https://acme.test", ""),
            format!(" {to}"),
            String::new(),
        ] {
            let reply = send_with(json!(wrong)).await;
            assert_eq!((reply.status, reply.problem().as_str()), (403, "unauthorized"), "{wrong}: {}", reply.text);
        }
        send_with(Value::Null).await.refused(400, "malformed");
        // a request that was sent elsewhere than it says
        for sent in [format!("{to}?x=1"), url("order/ord_00000000000000000000000000")] {
            let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": to});
            let jws = client.key.jws(&header.to_string(), "").to_string();
            send(&world, &sent, &jws).await.refused(403, "unauthorized");
        }
        assert_eq!(everything(&world).await, before);
        // none of them spent the nonce (N7)
        send_with(json!(to)).await.expect(201);
    }
}

#[tokio::test]
async fn j7_an_unknown_or_ended_account_signs_nothing() {
    for world in worlds().await {
        let mut client = Client::register(&world).await;
        let good = client.kid.clone();
        let before = everything(&world).await;
        // Pebble says malformed of a kid that does not begin as ours; RFC 8555 §6.2: it names no account here
        for kid in [
            "https://evil.test/acme/default/account/acc_00000000000000000000000000".to_owned(),
            url("account/acc_00000000000000000000000000"),
            url("account/"),
            good.replace("/default/", "/other/"),
            good.replace("https", "http"),
            good.replace("acme.test", "ACME.TEST"),
            good.to_lowercase().replace("acc_0", "ACC_0"),
            format!("{good}/"),
            format!("{good}?"),
            format!("{good}\u{20}"),
            good.rsplit('/').next().unwrap().to_owned(),
            "acc".into(),
            String::new(),
        ] {
            client.kid = kid;
            client.post(&url("new-order"), &one_name()).await.refused(400, "accountDoesNotExist");
        }
        client.kid = good;
        assert_eq!(everything(&world).await, before);
        // RFC 8555 §7.3.6: 401; Pebble and Boulder answer 403
        client.post(&client.kid, r#"{"status":"deactivated"}"#).await.expect(200);
        let ended = everything(&world).await;
        client.post(&url("new-order"), &one_name()).await.refused(401, "unauthorized");
        client.get(&client.kid).await.refused(401, "unauthorized");
        assert_eq!(everything(&world).await, ended);
    }
}

#[tokio::test]
async fn j8_strange_members_are_ignored_and_critical_ones_refused() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let to = url("new-order");
        let strange = |more: Value| {
            let nonce = world.registration.nonces.mint().unwrap();
            let mut header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": to});
            header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            client.key.jws(&header.to_string(), &one_name()).to_string()
        };
        send(&world, &to, &strange(json!({"typ": "JOSE", "cty": "json", "x": {"y": [1, null]}, "exp": 0})))
            .await
            .expect(201);
        let before = everything(&world).await;
        send(&world, &to, &strange(json!({"exp": 4_000_000_000_u64, "crit": ["exp"]})))
            .await
            .refused(400, "malformed");
        assert_eq!(everything(&world).await, before);
    }
}

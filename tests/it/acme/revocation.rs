//! Revocation (R1–R6).

use chancery::clock::days;
use chancery::registration::DirectoryConfig;
use chancery::store::certificates;
use openssl::x509::{ReasonCode, X509, X509Crl};
use serde_json::{Value, json};

use super::client::{Client, Key, Reply, b64, csr_by, leaf_der, send, url};
use super::eab::{admin, external, new_key};
use super::signers::Signer;
use super::state::{everything, number};
use super::world::{World, worlds};

async fn by_key(world: &World, key: &Key, payload: &str) -> Reply {
    let nonce = world.registration.nonces.mint().unwrap();
    let header = json!({"alg": "ES256", "jwk": key.jwk(), "nonce": nonce, "url": url("revoke")});
    send(world, &url("revoke"), &key.jws(&header.to_string(), payload).to_string()).await
}

#[tokio::test]
async fn r1_account_key_and_holder_of_all_names_may_revoke() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let asked = |pem: &str, reason: i64| json!({"certificate": b64(leaf_der(pem)), "reason": reason}).to_string();
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let reply = client.post(&url("revoke"), &asked(&pem, 4)).await.expect(200);
        assert_eq!((reply.text.as_str(), reply.header("content-type")), ("", ""));
        assert!(reply.headers.contains_key("replay-nonce"));

        let (_, pem, key) = client.certificate(&["a.example.org"]).await;
        let before = everything(&world).await;
        by_key(&world, &Key::new(), &asked(&pem, 1)).await.refused(403, "unauthorized");
        by_key(&world, &client.key, &asked(&pem, 1)).await.refused(403, "unauthorized");
        assert_eq!(everything(&world).await, before);
        assert_eq!(by_key(&world, &Key::from_pkcs8(&key), &asked(&pem, 1)).await.expect(200).text, "");
    }
}

/// Pebble lacks it; Boulder makes the reason cessationOfOperation.
#[tokio::test]
async fn r1_another_account_revokes_only_what_it_proved_in_full() {
    for world in worlds().await {
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        let (_, pem, _) = owner.certificate(&["a.example.org", "b.example.org"]).await;
        let payload = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        other.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        other.ready_order(&["a.example.org"]).await;
        other.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        // what a grant allows is no proof
        let granted = external(&world, &new_key(&["example.org"])).await.register(&world).await;
        assert_eq!(granted.order(&["a.example.org", "b.example.org"]).await.expect(201).json()["status"], "ready");
        granted.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        // nor is a proof in another directory
        world.registration.create_directory(&admin(), "other", DirectoryConfig::default()).await.unwrap();
        let elsewhere = |path: &str| url(path).replace("/default/", "/other/");
        let mut foreign = Client { world: &world, key: Key::new(), kid: String::new() };
        foreign.kid =
            foreign.post_jwk(&elsewhere("new-account"), "{}").await.expect(201).header("location").to_owned();
        let names = json!({"identifiers": [{"type": "dns", "value": "a.example.org"}, {"type": "dns", "value": "b.example.org"}]});
        let made = foreign.post(&elsewhere("new-order"), &names.to_string()).await.expect(201).json();
        for authorization in made["authorizations"].as_array().unwrap() {
            assert_eq!(foreign.prove(authorization.as_str().unwrap()).await["status"], "valid");
        }
        let before = everything(&world).await;
        foreign.post(&elsewhere("revoke"), &payload).await.refused(403, "unauthorized");
        foreign.post(&url("revoke"), &payload).await.refused(400, "accountDoesNotExist");
        assert_eq!(everything(&world).await, before);
        other.ready_order(&["b.example.org"]).await;
        other.post(&url("revoke"), &payload).await.expect(200);
    }
}

/// Who proved the names of a certificate does not hold its key, which may be that of other names too.
#[tokio::test]
async fn r1_who_only_proved_the_names_cannot_call_the_key_compromised() {
    for world in worlds().await {
        let (owner, other) = (Client::register(&world).await, Client::register(&world).await);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut of_one_key = Vec::new();
        for name in ["a.example.org", "b.example.org"] {
            let (_, order) = owner.ready_order(&[name]).await;
            let payload = json!({"csr": b64(csr_by(&key, &[name]))}).to_string();
            let done = owner.post(order["finalize"].as_str().unwrap(), &payload).await.expect(200).json();
            let pem = owner.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
            of_one_key.push(b64(leaf_der(&pem)));
        }
        other.ready_order(&["a.example.org"]).await;
        let asked = |n: usize, reason: i64| json!({"certificate": of_one_key[n], "reason": reason}).to_string();
        let before = everything(&world).await;
        let refused = other.post(&url("revoke"), &asked(0, 1)).await.refused(400, "badRevocationReason");
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            told.contains("the account that the certificate was issued to") && told.contains("sign the request"),
            "{told}"
        );
        other.post(&url("revoke"), &asked(1, 1)).await.refused(403, "unauthorized");
        assert_eq!(everything(&world).await, before, "no key is blocked and nothing revoked");
        // the certificate itself is another matter, and the key goes on
        other.post(&url("revoke"), &asked(0, 4)).await.expect(200);
        let blocked = "SELECT COUNT(*) AS held FROM blocked_keys";
        assert_eq!(number(&world, blocked).await, 0);
        owner.post(&url("revoke"), &asked(1, 1)).await.expect(200);
        assert_eq!(number(&world, blocked).await, 1);
    }
}

/// As with Boulder, a second revocation may report the key as compromised; the account that the certificate was issued to
/// may do so too.
#[tokio::test]
async fn r2_a_second_time_is_already_revoked_unless_it_reports_the_key() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, key) = client.certificate(&["a.example.org"]).await;
        let payload = json!({"certificate": b64(leaf_der(&pem)), "reason": 4}).to_string();
        client.post(&url("revoke"), &payload).await.expect(200);
        let before = everything(&world).await;
        client.post(&url("revoke"), &payload).await.refused(400, "alreadyRevoked");
        let unspecified = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        by_key(&world, &Key::from_pkcs8(&key), &unspecified).await.refused(400, "alreadyRevoked");
        let worse = json!({"certificate": b64(leaf_der(&pem)), "reason": 1}).to_string();
        by_key(&world, &Key::new(), &worse).await.refused(403, "unauthorized");
        assert_eq!(everything(&world).await, before);
        assert_eq!(by_key(&world, &Key::from_pkcs8(&key), &worse).await.expect(200).text, "");
        let before = everything(&world).await;
        by_key(&world, &Key::from_pkcs8(&key), &worse).await.refused(400, "alreadyRevoked");
        client.post(&url("revoke"), &worse).await.refused(400, "alreadyRevoked");
        assert_eq!(everything(&world).await, before);
        assert_eq!(number(&world, "SELECT COUNT(*) AS held FROM blocked_keys").await, 1);
        // the account that it was issued to
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let with = |reason: i64| json!({"certificate": b64(leaf_der(&pem)), "reason": reason}).to_string();
        client.post(&url("revoke"), &with(5)).await.expect(200);
        client.post(&url("revoke"), &with(1)).await.expect(200);
        client.post(&url("revoke"), &with(1)).await.refused(400, "alreadyRevoked");
        assert_eq!(number(&world, "SELECT COUNT(*) AS held FROM blocked_keys").await, 2);
        // of ten at once one revokes
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let payload = json!({"certificate": b64(leaf_der(&pem))}).to_string();
        let target = url("revoke");
        let all = (0..10).map(|_| client.post(&target, &payload));
        let replies = futures_util::future::join_all(all).await;
        assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 1);
        for reply in replies.into_iter().filter(|r| r.status != 200) {
            reply.refused(400, "alreadyRevoked");
        }
    }
}

#[tokio::test]
async fn r3_reasons_are_those_of_a_client_and_the_refusal_lists_them() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let certificate = b64(leaf_der(&pem));
        let before = everything(&world).await;
        let asked = |reason: Value| json!({"certificate": certificate, "reason": reason}).to_string();
        // 2 and 10 speak of CA and attribute certificates, 6 and 8 of holds, 7 of nothing
        for reason in [-1, 2, 6, 7, 8, 10, 11, 255, i64::MAX, i64::MIN] {
            let reply = client.post(&url("revoke"), &asked(json!(reason))).await.refused(400, "badRevocationReason");
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            for allowed in ["0 (unspecified)", "1 (keyCompromise)", "3 (", "4 (superseded)", "5 (", "9 ("] {
                assert!(detail.contains(allowed), "{detail}");
            }
        }
        for reason in [json!("4"), json!(1.5), json!(u64::MAX), json!([4]), json!(true)] {
            client.post(&url("revoke"), &asked(reason)).await.refused(400, "malformed");
        }
        assert_eq!(everything(&world).await, before);
        for reason in [json!(0), json!(1), json!(3), json!(4), json!(5), json!(9)] {
            let (_, pem, _) = client.certificate(&["a.example.org"]).await;
            let payload = json!({"certificate": b64(leaf_der(&pem)), "reason": reason}).to_string();
            client.post(&url("revoke"), &payload).await.expect(200);
        }
    }
}

#[tokio::test]
async fn r4_bytes_that_we_did_not_issue_or_that_are_over_are_not_revoked() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let (_, pem, _) = client.certificate(&["a.example.org"]).await;
        let good = leaf_der(&pem);
        let mut altered = good.clone();
        *altered.last_mut().unwrap() ^= 1;
        let chain = chancery::pki::pem::certificates(&pem).unwrap();
        let foreign = rcgen::generate_simple_self_signed(["a.example.org".to_owned()]).unwrap().cert.der().to_vec();
        let before = everything(&world).await;
        for (what, bad) in [
            ("altered", altered),
            ("foreign", foreign),
            ("an octet more", [&good[..], &[0]].concat()),
            ("nothing", Vec::new()),
            ("no certificate", vec![0x30, 0x82]),
            ("PEM", pem.clone().into_bytes()),
        ] {
            let payload = json!({"certificate": b64(bad)}).to_string();
            let reply = client.post(&url("revoke"), &payload).await;
            assert_eq!((reply.status, reply.problem().as_str()), (404, "malformed"), "{what}");
        }
        // the CA's own certificate is nobody's to revoke here
        let payload = json!({"certificate": b64(&chain[1])}).to_string();
        assert!([403, 404].contains(&client.post(&url("revoke"), &payload).await.status));
        for payload in ["{}", r#"{"certificate":1}"#, r#"{"certificate":null}"#, "[]"] {
            client.post(&url("revoke"), payload).await.refused(400, "malformed");
        }
        world.clock.advance(days(400));
        let payload = json!({"certificate": b64(&good)}).to_string();
        client.post(&url("revoke"), &payload).await.refused(403, "unauthorized");
        assert_eq!(everything(&world).await, before);
    }
}

#[tokio::test]
async fn r5_the_crl_lists_it_with_its_reason_and_none_for_unspecified() {
    for world in worlds().await {
        let client = Client::register(&world).await;
        let mut revoked = Vec::new();
        for reason in [None, Some(0), Some(4)] {
            let (_, pem, _) = client.certificate(&["a.example.org"]).await;
            let mut payload = json!({"certificate": b64(leaf_der(&pem))});
            if let Some(reason) = reason {
                payload["reason"] = json!(reason);
            }
            client.post(&url("revoke"), &payload.to_string()).await.expect(200);
            revoked.push((leaf_der(&pem), reason));
        }
        while world.authority.publish_due().await.unwrap() > 0 {}
        let issuer =
            certificates::find_by_fingerprint(&world.store, &openssl::sha::sha256(&revoked[0].0)).await.unwrap();
        let crl = world.authority.current_crl(&issuer.unwrap().issuer).await.unwrap();
        let crl = X509Crl::from_der(&crl.der).unwrap();
        let listed: Vec<_> = crl.get_revoked().unwrap().iter().collect();
        for (der, reason) in &revoked {
            let leaf = X509::from_der(der).unwrap();
            let number = leaf.serial_number().to_bn().unwrap();
            let entry = listed.iter().find(|e| e.serial_number().to_bn().unwrap() == number).expect("it is listed");
            let told = entry.extension::<ReasonCode>().unwrap().map(|(_, code)| code.get_i64().unwrap());
            assert_eq!(told, reason.filter(|reason| *reason != 0), "RFC 5280 §5.3.1: no code for unspecified");
        }
    }
}

#[tokio::test]
async fn r6_the_key_of_a_certificate_of_ours_is_always_good_for_its_revocation() {
    for world in worlds().await {
        for signer in Signer::all() {
            let client = Client::register(&world).await;
            let (_, order) = client.ready_order(&["a.example.org"]).await;
            let payload = json!({"csr": b64(signer.csr("a.example.org"))}).to_string();
            let done = client.post(order["finalize"].as_str().unwrap(), &payload).await.expect(200).json();
            let pem = client.get(done["certificate"].as_str().unwrap()).await.expect(200).text;
            let nonce = world.registration.nonces.mint().unwrap();
            let header =
                json!({"alg": signer.alg, "jwk": signer.jwk, "nonce": nonce, "url": url("revoke")}).to_string();
            let payload = json!({"certificate": b64(leaf_der(&pem)), "reason": 1}).to_string();
            send(&world, &url("revoke"), &signer.jws(&header, &payload).to_string()).await.expect(200);
        }
    }
}

//! Keys that are blocked without a certificate: what becomes of requests, certificates and the block itself.

use chancery::model::actor::{Actor, Role};
use chancery::store::jobs;
use openssl::pkey::PKey;
use openssl::x509::X509Req;
use serde_json::{Value, json};
use std::time::Duration;

use super::room::{Answer, CERTIFICATES, Room, csr};
use crate::on_both_engines;

const BLOCKED: &str = "/api/v1/keys/blocked";

fn spki_sha256(der: &[u8]) -> String {
    let hash = openssl::hash::hash(openssl::hash::MessageDigest::sha256(), der).unwrap();
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn key_of(csr: &str) -> PKey<openssl::pkey::Public> {
    X509Req::from_pem(csr.as_bytes()).unwrap().public_key().unwrap()
}

async fn sign(room: &Room, csr: &str) -> Answer {
    room.post(&room.admin, CERTIFICATES, &json!({"csr": csr, "profile": "tls-server"})).await
}

async fn drain(room: &Room) -> usize {
    let store = room.authority.store();
    let mut tx = store.begin(&Actor::job("test")).await.unwrap();
    let until = tx.now() + Duration::from_secs(60);
    let claimed = jobs::claim(&mut tx, until, 100).await.unwrap();
    tx.commit().await.unwrap();
    for job in &claimed {
        room.authority.revoke_compromised(job).await.unwrap();
    }
    claimed.len()
}

on_both_engines! {
    async fn a_blocked_key_gets_no_certificate_and_loses_those_that_it_has(at) {
        let room = Room::over(at).await;
        let (own, other) = (csr(&["a.lab.example"]), csr(&["b.lab.example"]));
        let first = sign(&room, &own).await.json();
        let fingerprint = spki_sha256(&key_of(&own).public_key_to_der().unwrap());
        let body = json!({"public_key": first["certificate"], "comment": " found on a stolen laptop "});
        let made = room.post(&room.admin, BLOCKED, &body).await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.json());
        let made = made.json();
        assert_eq!((&made["fingerprint"], &made["reason"], &made["comment"], &made["certificates"]),
            (&json!(fingerprint), &json!("keyCompromise"), &json!("found on a stolen laptop"), &json!(1)));
        assert_eq!(sign(&room, &own).await.refusal(), (422, "bad_public_key".into()));
        assert_eq!(sign(&room, &other).await.status.as_u16(), 201);
        assert_eq!(drain(&room).await, 1);
        let shown = room.get(&room.admin, &format!("{CERTIFICATES}/{}", first["id"].as_str().unwrap())).await.json();
        assert_eq!(shown["revocation"]["reason"], "keyCompromise");
        // twice, and what has certificates stays
        assert_eq!(room.post(&room.admin, BLOCKED, &body).await.refusal(), (409, "conflict".into()));
        assert_eq!(room.delete(&room.admin, &format!("{BLOCKED}/{fingerprint}")).await.refusal(), (409, "conflict".into()));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'key.blocked'").await, 1);
        room.authority.publish_due().await.unwrap();
        assert_eq!(room.authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_block_without_certificates_is_lifted_and_listed(at) {
        let room = Room::over(at).await;
        let one = csr(&["a.lab.example"]);
        let key = key_of(&one);
        let (pem, der) = (String::from_utf8(key.public_key_to_pem().unwrap()).unwrap(), key.public_key_to_der().unwrap());
        let fingerprint = spki_sha256(&der);
        // by its public key, its CSR and its fingerprint as people write it
        for body in [json!({"public_key": pem}), json!({"public_key": one}), json!({"fingerprint": fingerprint.to_uppercase()})] {
            let made = room.post(&room.admin, BLOCKED, &body).await;
            assert_eq!((made.status.as_u16(), &made.json()["fingerprint"]), (201, &json!(fingerprint)), "{body}");
            assert_eq!(sign(&room, &one).await.refusal().0, 422);
            let listed = room.get(&room.admin, BLOCKED).await.json();
            assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["fingerprint"]), (1, &json!(fingerprint)));
            let lifted = room.delete(&room.admin, &format!("{BLOCKED}/{fingerprint}")).await;
            assert_eq!(lifted.status.as_u16(), 200, "{}", lifted.json());
        }
        assert_eq!(room.delete(&room.admin, &format!("{BLOCKED}/{fingerprint}")).await.refusal().0, 404);
        assert_eq!(sign(&room, &one).await.status.as_u16(), 201);
        assert_eq!(drain(&room).await, 0);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'key.unblocked'").await, 3);
    }

    async fn what_is_no_key_of_others_is_not_blocked(at) {
        let room = Room::over(at).await;
        let issuer = room.get(&room.admin, "/api/v1/issuers/tls-1").await.json()["certificate"].clone();
        assert_eq!(room.post(&room.admin, BLOCKED, &json!({"public_key": issuer})).await.refusal(), (409, "conflict".into()));
        let fingerprint = "00".repeat(32);
        for (body, status) in [
            (json!({}), 400),
            (json!({"fingerprint": "00"}), 400),
            (json!({"fingerprint": 5}), 400),
            (json!({"public_key": ""}), 400),
            (json!({"public_key": "words"}), 400),
            (json!({"public_key": issuer, "fingerprint": fingerprint}), 400),
            (json!({"fingerprint": fingerprint, "reason": "superseded"}), 422),
            (json!({"fingerprint": fingerprint, "reason": "boredom"}), 422),
            (json!({"fingerprint": fingerprint, "comment": "x".repeat(501)}), 400),
            (json!({"fingerprint": fingerprint, "comment": "two\nlines"}), 400),
        ] {
            assert_eq!(room.post(&room.admin, BLOCKED, &body).await.refusal().0, status, "{body}");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM blocked_keys").await, 0);
        let requester = room.token(Role::Requester, None, None).await;
        assert_eq!(room.post(&requester, BLOCKED, &json!({"fingerprint": fingerprint})).await.refusal().0, 403);
    }

    async fn of_blocks_at_once_one_is_made(at) {
        let room = Room::over(at).await;
        let body: Value = json!({"fingerprint": "5a".repeat(32)});
        let all = futures_util::future::join_all((0..6).map(|_| room.post(&room.admin, BLOCKED, &body))).await;
        assert_eq!(all.iter().filter(|answer| answer.status.as_u16() == 201).count(), 1);
        assert!(all.iter().all(|answer| [201, 409].contains(&answer.status.as_u16())));
    }
}

//! Idempotency-Key: issuing twice by a retry is the expensive failure of a CA.

use chancery::clock::days;
use chancery::store::faults::CommitFault;
use serde_json::{Value, json};

use super::room::{Answer, CERTIFICATES, Room};

async fn post(room: &Room, key: &str, path: &str, body: &Value) -> Answer {
    room.post_raw(&room.admin, path, &[("idempotency-key", key)], body.to_string()).await
}

crate::on_both_engines! {
    async fn a_repeated_issue_is_told_again_without_its_key(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        let first = post(&room, "k1", CERTIFICATES, &body).await;
        let count = room.count().await;
        let again = post(&room, "k1", CERTIFICATES, &body).await;
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(first.json()["id"], again.json()["id"]);
        assert_eq!(first.json()["chain"], again.json()["chain"]);
        assert!(first.json()["private_key"].is_string() && again.json().get("private_key").is_none());
        assert_eq!(room.count().await, count);
    }

    async fn another_request_with_the_same_key_is_refused(at) {
        let room = Room::over(at).await;
        post(&room, "k1", CERTIFICATES, &json!({"names": ["a.lab.example"], "profile": "tls-server"})).await;
        let other = post(&room, "k1", CERTIFICATES, &json!({"names": ["b.lab.example"], "profile": "tls-server"})).await;
        assert_eq!(other.refusal(), (422, "idempotency_mismatch".into()));
        assert_eq!(post(&room, "", CERTIFICATES, &json!({})).await.refusal(), (400, "malformed".into()));
    }

    async fn requests_at_once_with_one_key_make_one_certificate(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        let before = room.count().await;
        let answers = futures_util::future::join_all((0..8).map(|_| post(&room, "k1", CERTIFICATES, &body))).await;
        let mut ids: Vec<_> = answers.iter().filter(|a| a.status == 201).map(|a| a.json()["id"].to_string()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert!(answers.iter().filter(|a| a.status != 201).all(|a| a.refusal() == (409, "conflict".into())));
        assert_eq!(room.count().await, before + 1);
    }

    async fn a_key_is_free_again_after_a_day(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        let first = post(&room, "k1", CERTIFICATES, &body).await.json();
        room.clock.advance(days(1));
        let second = post(&room, "k1", CERTIFICATES, &body).await;
        assert_eq!(second.status.as_u16(), 201);
        assert_ne!(first["id"], second.json()["id"]);
    }

    async fn tokens_and_revocations_are_told_again(at) {
        let room = Room::over(at).await;
        let first = post(&room, "t", "/api/v1/tokens", &json!({"name": "ci"})).await.json();
        let again = post(&room, "t", "/api/v1/tokens", &json!({"name": "ci"})).await;
        assert_eq!((&first["id"], again.headers["idempotent-replayed"].as_bytes()), (&again.json()["id"], &b"true"[..]));
        assert!(first["secret"].is_string() && again.json().get("secret").is_none());
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}/revocation");
        let first = post(&room, "r", &path, &json!({})).await;
        let again = post(&room, "r", &path, &json!({})).await;
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
        assert_eq!(again.headers["idempotent-replayed"], "true");
    }

    async fn a_revocation_whose_reply_was_lost_is_told_again(at) {
        let room = Room::over(at).await;
        for (fault, status) in [(CommitFault::LosesReply, "revoked"), (CommitFault::Fails, "valid")] {
            let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
            let path = format!("{CERTIFICATES}/{id}/revocation");
            at.store.commits().plan("certificate.revoked", fault);
            let first = post(&room, &id, &path, &json!({"reason": "superseded"})).await;
            assert_eq!(first.status.as_u16(), 503);
            let shown = room.get(&room.admin, &format!("{CERTIFICATES}/{id}")).await.json();
            assert_eq!(shown["status"], status);
            let again = post(&room, &id, &path, &json!({"reason": "superseded"})).await;
            assert_eq!(again.status.as_u16(), 201, "{fault:?}");
            assert_eq!(again.json()["status"], "revoked");
            assert_eq!(again.headers.contains_key("idempotent-replayed"), fault == CommitFault::LosesReply);
            let other = post(&room, "another key", &path, &json!({"reason": "superseded"})).await;
            assert_eq!(other.refusal(), (409, "already_revoked".into()));
        }
    }

    async fn an_issue_whose_reply_was_lost_is_told_again(at) {
        let room = Room::over(at).await;
        let before = room.count().await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        // both replies of the database are lost: the server reads its rows again
        at.store.commits().plan("certificate.intended", CommitFault::LosesReply);
        at.store.commits().plan("certificate.issued", CommitFault::LosesReply);
        let first = post(&room, "k", CERTIFICATES, &body).await;
        let again = post(&room, "k", CERTIFICATES, &body).await;
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
        assert_eq!(first.json()["id"], again.json()["id"]);
        assert_eq!(room.count().await, before + 1);
    }

    async fn the_key_of_a_killed_process_is_free_at_once(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        let first = post(&room, "k", CERTIFICATES, &body).await.json();
        // as if its process had been killed between the two commits: no process of that id is connected
        at.sql("UPDATE certificates SET status = 'intended', fingerprint = NULL, issued_at = NULL, replica_id = issuer_id WHERE via = 'rest'").await;
        at.sql("UPDATE idempotency_keys SET status = NULL").await;
        let second = post(&room, "k", CERTIFICATES, &body).await;
        assert_eq!(second.status.as_u16(), 201, "{:?}", second.json());
        assert!(!second.headers.contains_key("idempotent-replayed"));
        assert_ne!(first["id"], second.json()["id"]);
        // the first may have been signed: it is revoked, and the key belongs to the second
        let path = format!("{CERTIFICATES}/{}", first["id"].as_str().unwrap());
        assert_eq!(room.get(&room.admin, &path).await.json()["status"], "revoked");
        let again = post(&room, "k", CERTIFICATES, &body).await;
        assert_eq!((again.json()["id"].clone(), again.headers["idempotent-replayed"].as_bytes()), (second.json()["id"].clone(), &b"true"[..]));
    }

    async fn the_key_of_a_process_that_runs_stays_taken(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        post(&room, "k", CERTIFICATES, &body).await;
        at.sql("UPDATE certificates SET status = 'intended', fingerprint = NULL, issued_at = NULL WHERE via = 'rest'").await;
        at.sql("UPDATE idempotency_keys SET status = NULL").await;
        let count = room.count().await;
        assert_eq!(post(&room, "k", CERTIFICATES, &body).await.refusal(), (409, "conflict".into()));
        // an outcome that was committed after all is answered again, and nothing is issued twice
        at.sql("UPDATE certificates SET status = 'valid', replica_id = issuer_id WHERE via = 'rest'").await;
        at.sql("UPDATE idempotency_keys SET status = 201").await;
        let again = post(&room, "k", CERTIFICATES, &body).await;
        assert_eq!((again.status.as_u16(), again.headers["idempotent-replayed"].as_bytes()), (201, &b"true"[..]));
        assert_eq!(room.count().await, count);
    }

    async fn revocations_at_once_with_one_key_are_one(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}/revocation");
        let body = json!({});
        let all = futures_util::future::join_all((0..8).map(|_| post(&room, "r", &path, &body))).await;
        assert!(all.iter().all(|a| a.status == 201 || a.refusal() == (409, "conflict".into())), "never already_revoked");
        let first = all.iter().filter(|a| a.status == 201 && !a.headers.contains_key("idempotent-replayed"));
        assert_eq!(first.count(), 1);
    }

    async fn requests_at_once_with_one_key_make_one_token(at) {
        let room = Room::over(at).await;
        let count = async || {
            let list = room.get(&room.admin, "/api/v1/tokens?limit=500").await.json();
            list["items"].as_array().unwrap().len()
        };
        let before = count().await;
        let body = json!({"name": "ci"});
        let answers = futures_util::future::join_all((0..8).map(|_| post(&room, "t", "/api/v1/tokens", &body))).await;
        assert!(answers.iter().all(|a| a.status == 201 || a.refusal() == (409, "conflict".into())));
        assert_eq!(answers.iter().filter(|a| a.json()["secret"].is_string()).count(), 1);
        assert_eq!(count().await, before + 1);
    }
}

//! CSRs of devices and tools over REST: issued under a fitting profile and told what was left out, or refused with the reason.

use serde_json::{Value, json};

use super::room::Room;
use crate::on_both_engines;

fn file(name: &str) -> String {
    let path = format!("{}/tests/data/csr/{name}.csr", env!("CARGO_MANIFEST_DIR"));
    String::from_utf8(std::fs::read(path).unwrap()).unwrap()
}

on_both_engines! {
    async fn devices_get_their_certificates_and_are_told_what_was_left_out(at) {
        let room = Room::over(at).await;
        for (name, names, left_out) in [
            ("epson-v2", &["printer7.lab.example", "printer7"][..], &["subject O=Lab"][..]),
            ("extreq-twice", &["two.lab.example"], &[]),
            ("ms-oldext", &["ts01.corp.example", "remote.corp.example"], &["extension keyUsage"]),
            ("iis-bom", &["web01.corp.example"], &["subject O=acme", "subject OU=IT", "subject ST=Texas"]),
            ("iis-oneline", &["web01.corp.example"], &["subject O=acme"]),
            ("iis-bare-base64", &["web01.corp.example"], &["subject O=acme"]),
            ("ad-two-cn", &["web02.corp.example"], &["subject CN=Computers", "subject DC=corp"]),
            ("idrac", &["idrac-7xkq2"], &["subject O=Dell"]),
            ("ilo", &["ilo-web1.lab.example", "ilo-web1"], &["subject OU=ISS"]),
            ("opnsense-eku", &["example.lab.example"], &["subject O=test"]),
        ] {
            let body = json!({"csr": file(name), "profile": "tls-server", "issuer": null, "ttl": null, "subject": null});
            let answer = room.post(&room.admin, "/api/v1/certificates", &body).await;
            let made = answer.json();
            assert_eq!(answer.status, 201, "{name}: {made}");
            let mut found: Vec<&str> = made["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let mut names = names.to_vec();
            found.sort_unstable();
            names.sort_unstable();
            assert_eq!(found, names, "{name}");
            let told: Vec<&str> = made["left_out"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for part in left_out {
                assert!(told.contains(part), "{name}: {part} in {told:?}");
            }
        }
        // nothing was left out: nothing is told
        let plain = room.issue(&room.admin, "plain.lab.example").await;
        assert!(plain.get("left_out").is_none(), "{plain}");
        for (name, words) in [
            ("elastic-cn-othername", "otherName"),
            ("san-space", "is not a DNS name"),
            ("trailing-dot", "ends in a dot"),
            ("underscore", "letters, digits and hyphens"),
            ("vcenter", "ops@lab.example"),
        ] {
            let answer = room.post(&room.admin, "/api/v1/certificates", &json!({"csr": file(name), "profile": "tls-server"})).await;
            assert!(answer.status.is_client_error(), "{name}: {}", answer.json());
            assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{name}: {}", answer.json());
        }
    }

    async fn null_is_as_absent_and_a_patch_may_say_that_it_is_a_merge_patch(at) {
        let room = Room::over(at).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server", "csr": null, "key": null, "not_after": null});
        assert_eq!(room.post(&room.admin, "/api/v1/certificates", &body).await.status, 201);
        let id = room.issue(&room.admin, "b.lab.example").await["id"].as_str().unwrap().to_owned();
        let body = json!({"reason": null, "invalidity_date": null, "confirm": null});
        let revoked = room.post(&room.admin, &format!("/api/v1/certificates/{id}/revocation"), &body).await;
        assert_eq!(revoked.status, 201, "{}", revoked.json());
        let missing = room.post(&room.admin, "/api/v1/certificates", &json!({"names": ["c.lab.example"], "profile": null})).await;
        assert_eq!(missing.status, 400);
        let patch = async |media: &str, method: &str| {
            let request = axum::http::Request::builder()
                .method(method)
                .uri("/api/v1/profiles/tls-server")
                .header("authorization", format!("Bearer {}", room.admin))
                .header("if-match", "*")
                .header("content-type", media);
            room.send(request.body(r#"{"lifetime": {"default": "80d"}}"#.into()).unwrap()).await.status.as_u16()
        };
        assert_eq!(patch("application/merge-patch+json", "PATCH").await, 200);
        assert_eq!(patch("Application/Merge-Patch+JSON; charset=utf-8", "PATCH").await, 200);
        assert_eq!(patch("application/json", "PATCH").await, 200);
        assert_eq!(patch("application/merge-patch+json", "PUT").await, 415);
        assert_eq!(patch("application/json-patch+json", "PATCH").await, 415);
    }
}

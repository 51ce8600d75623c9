//! Issue, sign, list, read and revoke.

use std::collections::HashSet;

use axum::http::StatusCode;
use chancery::access::tokens::NewToken;
use chancery::clock::days;
use chancery::model::actor::{Actor, Role};
use openssl::x509::X509;
use serde_json::json;

use super::room::{CERTIFICATES, Room, csr};

crate::on_both_engines! {
    async fn a_wrong_clock_is_named_where_it_keeps_from_issuing(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        at.clock.jump(-600);
        let csr = csr(&["b.lab.example"]);
        for body in [
            json!({"names": ["b.lab.example"], "profile": "tls-server"}),
            json!({"csr": csr, "profile": "tls-server"}),
        ] {
            let answer = room.post(&room.admin, CERTIFICATES, &body).await;
            assert_eq!(answer.refusal(), (503, "unavailable".into()), "{}", answer.json());
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with("this server's clock is 10 minutes behind "), "{detail}");
        }
        // a revocation is recorded all the same, in the time of the reference
        let revoked = room.post(&room.admin, &format!("{CERTIFICATES}/{id}/revocation"), &json!({})).await;
        assert_eq!(revoked.status.as_u16(), 201, "{}", revoked.json());
        at.clock.jump(600);
        let shown = room.get(&room.admin, &format!("{CERTIFICATES}/{id}")).await.json();
        assert_eq!(shown["revocation"]["revoked_at"].as_str().unwrap()[..16], at.store.now().to_string()[..16], "{shown}");
    }

    async fn a_csr_is_signed_for_its_key_and_names(at) {
        let room = Room::over(at).await;
        let body = json!({"csr": csr(&["a.lab.example", "b.lab.example"]), "profile": "tls-server", "ttl": "30d"});
        let answer = room.post(&room.admin, CERTIFICATES, &body).await;
        let made = answer.json();
        assert_eq!(answer.status, StatusCode::CREATED, "{made}");
        assert_eq!(made["names"], json!(["a.lab.example", "b.lab.example"]));
        assert_eq!(
            (&made["status"], &made["issuer"], &made["profile"]),
            (&json!("valid"), &json!("tls-1"), &json!("tls-server"))
        );
        assert!(made.get("private_key").is_none());
        assert_eq!(answer.headers["location"], format!("/api/v1/certificates/{}", made["id"].as_str().unwrap()));
        let leaf = X509::from_pem(made["certificate"].as_str().unwrap().as_bytes()).unwrap();
        let issuer = X509::from_pem(made["chain"].as_str().unwrap().as_bytes()).unwrap();
        assert!(leaf.verify(&issuer.public_key().unwrap()).unwrap());
        assert_eq!(
            leaf.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase(),
            made["serial"].as_str().unwrap()
        );
    }

    async fn a_certificate_starts_before_the_token_that_asks_for_it_expires(at) {
        let room = Room::over(at).await;
        let day = |n| (at.store.now() + days(n)).truncated();
        let ask = |start| json!({"names": ["a.lab.example"], "profile": "tls-server", "not_before": start});
        for (names, role) in [(None, Role::Operator), (Some(vec!["lab.example".to_owned()]), Role::Requester)] {
            let new = NewToken {
                name: "a day".into(),
                role: Some(role),
                allow_names: names,
                expires_in: Some(days(1)),
                ..NewToken::default()
            };
            let (_, secret) = room.access.create_token(&Actor::system("test"), &new).await.unwrap();
            let late = room.post(secret.expose(), CERTIFICATES, &ask(day(2))).await;
            assert_eq!(late.refusal(), (403, "refused".into()));
            let detail = late.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("but the token that asks for it expires at"), "{detail}");
            let path = format!("{CERTIFICATES}?dry_run=true");
            assert_eq!(room.post(secret.expose(), &path, &ask(day(2))).await.refusal(), (403, "refused".into()));
            let good = room.post(secret.expose(), CERTIFICATES, &ask(day(1))).await;
            assert_eq!(good.status, StatusCode::CREATED, "{}", good.json());
            // its end is the profile's: a token of a day renews certificates of 90
            assert!(good.json()["not_after"].as_str().unwrap() > day(60).to_string().as_str());
        }
        assert_eq!(room.post(&room.admin, CERTIFICATES, &ask(day(900))).await.refusal(), (403, "refused".into()));
    }

    async fn a_uri_without_a_host_is_refused(at) {
        let room = Room::over(at).await;
        for uri in ["http:///path", "https://:8443/x", "https://user@/x", "spiffe:///workload", "ldap://?x"] {
            let body = json!({"names": [uri], "profile": "tls-server"});
            let answer = room.post(&room.admin, CERTIFICATES, &body).await;
            assert_eq!(answer.status.as_u16(), 422, "{uri}: {}", answer.json());
            assert!(answer.json()["detail"].as_str().unwrap().contains("its host is empty"), "{}", answer.json());
        }
    }

    async fn a_key_made_by_the_server_is_told_once(at) {
        let room = Room::over(at).await;
        let mut made = serde_json::Value::Null;
        for kind in ["P-256", "P-384", "P-521", "RSA-2048", "Ed25519"] {
            let body = json!({"names": ["db.lab.example", "10.0.0.7"], "profile": "tls-server", "key": kind});
            made = room.post(&room.admin, CERTIFICATES, &body).await.json();
            let pem = made["private_key"].as_str().unwrap().as_bytes();
            let key = openssl::pkey::PKey::private_key_from_pem(pem).unwrap_or_else(|e| panic!("{kind}: {e}"));
            let leaf = X509::from_pem(made["certificate"].as_str().unwrap().as_bytes()).unwrap();
            assert!(leaf.public_key().unwrap().public_eq(&key), "{kind}");
        }
        let read = room.get(&room.admin, &format!("{CERTIFICATES}/{}", made["id"].as_str().unwrap())).await.json();
        assert_eq!(read["certificate"], made["certificate"]);
        assert!(read.get("private_key").is_none());
    }

    async fn one_certificate_comes_in_four_forms(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}");
        let pem = room.get_as(&room.admin, &path, "application/pem-certificate-chain").await;
        assert_eq!(X509::stack_from_pem(&pem.bytes).unwrap().len(), 2);
        let der = room.get_as(&room.admin, &path, "application/pkix-cert").await;
        assert_eq!(der.headers["content-type"], "application/pkix-cert");
        X509::from_der(&der.bytes).unwrap();
        let p7b = room.get(&room.admin, &format!("{path}.p7b")).await;
        let p7b = openssl::pkcs7::Pkcs7::from_der(&p7b.bytes).unwrap();
        assert_eq!(p7b.signed().unwrap().certificates().unwrap().len(), 2);
        assert_eq!(room.get_as(&room.admin, &path, "image/png").await.refusal(), (406, "not_acceptable".into()));
    }

    async fn a_second_revocation_that_raises_keeps_the_first_date(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}/revocation");
        let first = room.post(&room.admin, &path, &json!({"reason": "superseded"})).await.json()["revocation"].clone();
        at.clock.advance(std::time::Duration::from_secs(60));
        let late = json!({"reason": "keyCompromise", "invalidity_date": "2100-01-01T00:00:00Z"});
        assert_eq!(room.post(&room.admin, &path, &late).await.refusal(), (422, "unprocessable".into()));
        for wrong in [json!(5), json!("yesterday"), json!("")] {
            let body = json!({"reason": "keyCompromise", "invalidity_date": wrong});
            assert_eq!(room.post(&room.admin, &path, &body).await.status.as_u16(), 400, "{wrong}");
        }
        let body = json!({"reason": "keyCompromise", "invalidity_date": "2020-02-03T04:05:06.7Z"});
        let preview = room.post(&room.admin, &format!("{path}?dry_run=true"), &body).await.json();
        assert_eq!((&preview["reason"], &preview["raised_from"]), (&json!("keyCompromise"), &json!("superseded")));
        let raised = room.post(&room.admin, &path, &body).await;
        assert_eq!(raised.status.as_u16(), 201);
        let shown = room.get(&room.admin, &path).await.json();
        let wanted = json!({"revoked_at": first["revoked_at"], "reason": "keyCompromise", "invalidity_date": "2020-02-03T04:05:06Z"});
        assert_eq!((&shown, &raised.json()["revocation"]), (&wanted, &wanted));
        assert_eq!(room.post(&room.admin, &path, &body).await.refusal(), (409, "already_revoked".into()));
        assert_eq!(room.post(&room.admin, &format!("{path}?dry_run=true"), &body).await.refusal().0, 409);
    }

    async fn who_may_not_revoke_for_others_lifts_no_hold(at) {
        let room = Room::over(at).await;
        let requester = room.token(Role::Requester, Some(&["lab.example"]), None).await;
        let id = room.issue(&requester, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}/revocation");
        assert_eq!(room.delete(&room.admin, &path).await.refusal(), (409, "conflict".into()));
        assert_eq!(room.post(&room.admin, &path, &json!({"reason": "certificateHold"})).await.status.as_u16(), 201);
        assert_eq!(room.delete(&requester, &path).await.refusal(), (403, "forbidden".into()));
        let lifted = room.delete(&room.admin, &path).await;
        assert_eq!((lifted.status.as_u16(), &lifted.json()["status"]), (200, &json!("valid")));
        assert_eq!(room.get(&room.admin, &path).await.refusal().0, 404);
        assert_eq!(room.delete(&room.admin, &format!("{CERTIFICATES}/crt_x/revocation")).await.refusal().0, 404);
    }

    async fn revoking_twice_is_a_conflict(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}/revocation");
        assert_eq!(room.get(&room.admin, &path).await.refusal(), (404, "not_found".into()));
        let first = room.post(&room.admin, &path, &json!({"reason": "keyCompromise"})).await;
        assert_eq!((first.status.as_u16(), &first.json()["status"]), (201, &json!("revoked")));
        assert_eq!(room.get(&room.admin, &path).await.json()["reason"], "keyCompromise");
        let second = room.post(&room.admin, &path, &json!({"reason": "keyCompromise"})).await;
        assert_eq!(second.refusal(), (409, "already_revoked".into()));
        let other = room.post(&room.admin, &path, &json!({"reason": "boredom"})).await;
        assert_eq!(other.refusal(), (422, "bad_revocation_reason".into()));
    }

    async fn pages_hold_each_certificate_once_while_others_are_issued(at) {
        let room = Room::over(at).await;
        for i in 0..7 {
            room.issue(&room.admin, &format!("n{i}.lab.example")).await;
            room.clock.advance(std::time::Duration::from_secs(1));
        }
        let (mut seen, mut path) = (HashSet::new(), format!("{CERTIFICATES}?limit=3&profile=tls-server"));
        loop {
            let answer = room.get(&room.admin, &path).await;
            let page = answer.json();
            for item in page["items"].as_array().unwrap() {
                assert!(seen.insert(item["id"].as_str().unwrap().to_owned()));
            }
            room.issue(&room.admin, "late.lab.example").await;
            let Some(link) = answer.headers.get("link") else { break };
            path = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
        }
        assert_eq!(seen.len(), 7);
    }

    async fn filters_narrow_the_list(at) {
        let room = Room::over(at).await;
        let www = room.issue(&room.admin, "www.lab.example").await;
        room.issue(&room.admin, "db.other.example").await;
        let count = async |query: &str| {
            let answer = room.get(&room.admin, &format!("{CERTIFICATES}?{query}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
            answer.json()["items"].as_array().unwrap().len()
        };
        assert_eq!(count(&format!("serial={}", www["serial"].as_str().unwrap())).await, 1);
        assert_eq!(count(&format!("q={}", www["serial"].as_str().unwrap())).await, 1);
        assert_eq!(count(&format!("fingerprint={}", www["fingerprint"].as_str().unwrap())).await, 1);
        assert_eq!(count(&format!("q={}", www["fingerprint"].as_str().unwrap())).await, 1);
        assert_eq!(count("q=www").await, 1);
        assert_eq!(count("name=*.lab.example").await, 1);
        assert_eq!(count("q=nobody").await, 0);
        assert_eq!(count("status=revoked").await, 0);
        assert_eq!(count("expires_before=2020-01-01").await, 0);
        room.clock.advance(days(400));
        // the administrator's token has ended with everything else
        let admin = room.token(Role::Viewer, None, None).await;
        let expired = room.get(&admin, &format!("{CERTIFICATES}?status=expired")).await.json();
        assert!(expired["items"].as_array().unwrap().len() >= 2);
    }

    async fn an_unknown_issuer_or_profile_is_refused_with_those_that_exist(at) {
        let room = Room::over(at).await;
        let get = async |query: &str| room.get(&room.admin, &format!("{CERTIFICATES}?{query}")).await;
        let rows = [
            ("issuer=nope", "issuer \"nope\" does not exist; there are tls-1, tls-root"),
            ("profile=nope", "profile \"nope\" does not exist; there are "),
            ("issuer=nope&serial=00", "issuer \"nope\" does not exist"),
        ];
        for (query, sentence) in rows {
            let answer = get(query).await;
            assert_eq!(answer.status.as_u16(), 422, "{query}: {}", answer.json());
            assert!(answer.json()["detail"].as_str().unwrap().contains(sentence), "{}", answer.json());
        }
        for query in ["issuer=tls-root", "profile=tls-server", "profile=ocsp", "profile=issuing", "profile=root"] {
            assert_eq!(get(query).await.status, StatusCode::OK, "{query}");
        }
    }

    async fn a_name_is_found_as_people_write_it(at) {
        let room = Room::over(at).await;
        room.issue(&room.admin, "xn--mnchen-3ya.lab.example").await;
        for query in ["q=m%C3%BCnchen.lab.example", "name=M%C3%9CNCHEN.lab.example", "name=xn--mnchen-3ya.lab.example"] {
            let found = room.get(&room.admin, &format!("{CERTIFICATES}?{query}")).await.json();
            assert_eq!(found["items"].as_array().unwrap().len(), 1, "{query}: {found}");
        }
        let none = room.get(&room.admin, &format!("{CERTIFICATES}?q=m%C3%BCnster.lab.example")).await.json();
        assert_eq!(none["items"].as_array().unwrap().len(), 0, "{none}");
    }

    async fn a_dry_run_issues_nothing(at) {
        let room = Room::over(at).await;
        let before = room.count().await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server", "ttl": "10d"});
        let answer = room.post(&room.admin, &format!("{CERTIFICATES}?dry_run=true"), &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["dry_run"]), (200, &json!(true)));
        assert_eq!(room.count().await, before);
    }

    async fn what_happened_to_a_certificate_is_told_in_order(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        room.clock.advance(days(1));
        room.post(&room.admin, &format!("{CERTIFICATES}/{id}/revocation"), &json!({})).await;
        let events = room.get(&room.admin, &format!("{CERTIFICATES}/{id}/events")).await.json();
        let mut actions: Vec<_> = events["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
        // the clock stood still between the first two
        actions[..2].sort_unstable();
        assert_eq!(actions, ["certificate.intended", "certificate.issued", "certificate.revoked"]);
        let all = room.get(&room.admin, "/api/v1/audit-events?limit=2").await;
        assert_eq!(all.json()["items"].as_array().unwrap().len(), 2);
        assert!(all.headers.contains_key("link"));
    }

    async fn issuers_profiles_and_domains_are_read(at) {
        let room = Room::over(at).await;
        for (path, slug) in [("issuers", "tls-1"), ("profiles", "tls-server"), ("domains", "tls")] {
            let list = room.get(&room.admin, &format!("/api/v1/{path}")).await.json();
            assert!(list["items"].as_array().unwrap().iter().any(|item| item["slug"] == slug), "{list}");
            let one = room.get(&room.admin, &format!("/api/v1/{path}/{slug}")).await;
            assert_eq!((one.status.as_u16(), &one.json()["slug"]), (200, &json!(slug)));
            assert_eq!(room.get(&room.admin, &format!("/api/v1/{path}/none")).await.refusal().0, 404);
        }
    }

    async fn the_document_and_its_page_need_no_token(at) {
        let room = Room::over(at).await;
        let json = room.get("", "/api/v1/openapi.json").await;
        assert_eq!(json.json()["openapi"], "3.1.0");
        let page = room.get("", "/api/docs").await;
        let html = String::from_utf8(page.bytes).unwrap();
        assert!(html.contains("issueCertificate"));
        assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(room.get("", "/errors/already_revoked").await.status, StatusCode::OK);
        assert_eq!(room.get("", "/errors/nothing").await.refusal(), (404, "not_found".into()));
    }
}

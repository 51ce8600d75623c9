//! Who may do what by REST.

use axum::body::Body;
use axum::http::Request;
use chancery::clock::days;
use chancery::model::actor::Role;
use chancery::store::audit;
use serde_json::json;

use super::room::{CERTIFICATES, Room};

crate::on_both_engines! {
    async fn without_a_good_token_nothing_is_read(at) {
        let room = Room::over(at).await;
        let mangled = room.admin.replace("chy_", "chy_0");
        for value in [None, Some("Bearer"), Some("Bearer x"), Some("Basic dTpw"), Some(mangled.as_str())] {
            // a body that would be refused shows that it was not looked at
            let mut head = Request::post(CERTIFICATES);
            if let Some(value) = value {
                head = head.header("authorization", value);
            }
            let answer = room.send(head.body(Body::from("{")).unwrap()).await;
            assert_eq!(answer.refusal(), (401, "unauthenticated".into()));
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        }
    }

    async fn a_token_ends_by_time_and_by_revocation(at) {
        let room = Room::over(at).await;
        let made = room
            .post(&room.admin, "/api/v1/tokens", &json!({"name": "ci", "role": "viewer", "expires": "30d"}))
            .await
            .json();
        let (secret, id) = (made["secret"].as_str().unwrap(), made["id"].as_str().unwrap());
        assert_eq!(room.get(secret, CERTIFICATES).await.status.as_u16(), 200);
        let list = room.get(&room.admin, "/api/v1/tokens").await;
        assert!(!String::from_utf8(list.bytes).unwrap().contains(secret));
        let path = format!("/api/v1/tokens/{id}/revocation");
        assert_eq!(room.post(&room.admin, &path, &json!({})).await.json()["status"], "revoked");
        assert_eq!(room.get(secret, CERTIFICATES).await.refusal().0, 401);
        assert_eq!(room.post(&room.admin, &path, &json!({})).await.refusal(), (409, "conflict".into()));
        let short = room.token(Role::Viewer, None, None).await;
        room.clock.advance(days(91));
        assert_eq!(room.get(&short, CERTIFICATES).await.refusal().0, 401);
    }

    async fn a_token_lives_a_year_at_most(at) {
        let room = Room::over(at).await;
        let answer = room.post(&room.admin, "/api/v1/tokens", &json!({"name": "ci", "expires": "366d"})).await;
        assert_eq!(answer.refusal(), (422, "unprocessable".into()));
        assert_eq!(answer.json()["rule"], "token.expires");
    }

    async fn a_scope_bounds_names_and_profiles(at) {
        let room = Room::over(at).await;
        let token = room.token(Role::Requester, Some(&["lab.example", "10.0.0.0/8"]), Some(&["tls-server"])).await;
        room.issue(&token, "a.lab.example").await;
        room.issue(&token, "10.1.2.3").await;
        let before = room.count().await;
        for name in ["a.other.example", "notlab.example", "11.0.0.1", "*.example"] {
            let answer = room.post(&token, CERTIFICATES, &json!({"names": [name], "profile": "tls-server"})).await;
            assert_eq!(answer.refusal(), (403, "rejected_identifier".into()), "{name}");
            assert_eq!(answer.json()["rule"], "grant.names");
        }
        let mixed = json!({"names": ["a.lab.example", "b.other.example"], "profile": "tls-server"});
        assert_eq!(room.post(&token, CERTIFICATES, &mixed).await.refusal().0, 403);
        assert_eq!(room.count().await, before);
        let nothing = room.token(Role::Requester, Some(&[]), None).await;
        let body = json!({"names": ["a.lab.example"], "profile": "tls-server"});
        assert_eq!(room.post(&nothing, CERTIFICATES, &body).await.refusal().0, 403);
        let bare = room.token(Role::Requester, None, None).await;
        assert_eq!(room.post(&bare, CERTIFICATES, &body).await.refusal(), (403, "forbidden".into()));
        let elsewhere = room.token(Role::Admin, None, Some(&[])).await;
        assert_eq!(room.post(&elsewhere, CERTIFICATES, &body).await.refusal(), (403, "refused".into()));
    }

    async fn a_dry_run_is_bounded_like_an_issue(at) {
        let room = Room::over(at).await;
        let token = room.token(Role::Requester, Some(&["lab.example"]), Some(&["tls-server"])).await;
        let path = format!("{CERTIFICATES}?dry_run=true");
        let elsewhere = room.token(Role::Requester, Some(&["lab.example"]), Some(&[])).await;
        for (token, name, status) in
            [(&token, "a.lab.example", 200), (&token, "a.other.example", 403), (&elsewhere, "a.lab.example", 403)]
        {
            let answer = room.post(token, &path, &json!({"names": [name], "profile": "tls-server"})).await;
            assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.json());
        }
    }

    async fn a_requester_sees_and_revokes_only_its_own(at) {
        let room = Room::over(at).await;
        let one = room.token(Role::Requester, Some(&["lab.example"]), None).await;
        let other = room.token(Role::Requester, Some(&["lab.example"]), None).await;
        let id = room.issue(&one, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}");
        assert_eq!(room.get(&other, &path).await.refusal(), (404, "not_found".into()));
        assert_eq!(room.get(&other, CERTIFICATES).await.json()["items"], json!([]));
        assert_eq!(room.post(&other, &format!("{path}/revocation"), &json!({})).await.refusal().0, 404);
        assert_eq!(room.get(&one, CERTIFICATES).await.json()["items"].as_array().unwrap().len(), 1);
        assert_eq!(room.post(&one, &format!("{path}/revocation"), &json!({})).await.status.as_u16(), 201);
    }

    async fn each_role_may_what_the_table_says(at) {
        // Role by operation: yes, or 403.
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let mut table = String::new();
        for role in Role::ALL {
            let token = room.token(role, None, None).await;
            let mut row = vec![format!("{:9}", role.name())];
            for path in ["issuers", "certificates", "audit-events", "tokens"] {
                row.push(room.get(&token, &format!("/api/v1/{path}")).await.status.as_u16().to_string());
            }
            let issue = json!({"names": ["x.lab.example"], "profile": "tls-server"});
            row.push(
                room.post(&token, &format!("{CERTIFICATES}?dry_run=true"), &issue).await.status.as_u16().to_string(),
            );
            let reason = json!({"reason": "no such reason"});
            row.push(
                room.post(&token, &format!("{CERTIFICATES}/{id}/revocation"), &reason).await.status.as_u16().to_string(),
            );
            row.push(room.post(&token, "/api/v1/tokens", &json!({"name": ""})).await.status.as_u16().to_string());
            table.push_str(&format!("{}\n", row.join(" ")));
        }
        // issuers, certificates, audit, tokens, issue, revoke (422: allowed, the reason is bad), create a token (422 alike)
        let expected = [
            "viewer    200 200 403 403 403 403 403",
            "auditor   200 200 200 200 403 403 403",
            "requester 200 200 403 403 403 404 403",
            "operator  200 200 200 403 200 422 403",
            "admin     200 200 200 200 200 422 422",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }

    async fn a_refusal_is_audited_with_its_rule(at) {
        let room = Room::over(at).await;
        let token = room.token(Role::Requester, Some(&["lab.example"]), None).await;
        room.clock.advance(std::time::Duration::from_secs(1));
        room.post(&token, CERTIFICATES, &json!({"names": ["evil.example"], "profile": "tls-server"})).await;
        let newest = room.get(&room.admin, "/api/v1/audit-events?limit=1").await.json()["items"][0].clone();
        assert_eq!((&newest["action"], &newest["outcome"]), (&json!("certificate.rejected"), &json!("refused")));
        assert_eq!(newest["detail"]["rule"], "grant.names");
    }
}

crate::on_both_engines! {
    async fn unknown_tokens_are_one_event_a_minute(at) {
        let room = Room::over(at).await;
        for _ in 0..30 {
            assert_eq!(room.get("chy_none", "/api/v1/tokens").await.refusal(), (401, "unauthenticated".into()));
        }
        at.clock.advance(chancery::clock::minutes(1));
        room.access.refusals.flush(false).await;
        let events = audit::page(&at.store, None, 500).await.unwrap();
        let details: Vec<_> = events.iter().filter(|e| e.actor == "nobody").map(|e| e.detail.clone()).collect();
        assert_eq!(details.len(), 2, "{details:?}");
        assert!(details[0].contains("\"count\":29") && details[1].contains("\"surface\":\"rest\""), "{details:?}");
    }
}

//! Every operation of the OpenAPI document by a token of every role, with and without a grant: a grant that names
//! other.example reads and changes nothing beyond it.

use axum::body::Body;
use axum::http::Request;
use chancery::model::actor::Role;
use serde_json::{Value, json};

use super::document::operations;
use super::room::{Answer, CERTIFICATES, Room};

/// The operations that a token with a grant may call at all. Each is narrowed to the grant; the second test shows how.
const NARROWED: &[&str] = &[
    "listCertificates",
    "getCertificate",
    "listCertificateEvents",
    "getRenewals",
    "getRevocation",
    "issueCertificate",
    "revokeCertificate",
    "liftHold",
    "listIssuers",
    "getIssuer",
    "listDomains",
    "getDomain",
    "listProfiles",
    "getProfile",
    "listProfileRevisions",
    "getToken",
    "getGrant",
    "listAcmeOrders",
    "getAcmeOrder",
    "getAcmeOrderTimeline",
];

/// Without a grant: (operations, the roles that may call them). Roles in the order of `Role::ALL`.
fn roles_of(id: &str) -> &'static [Role] {
    use Role::{Admin, Auditor, Operator, Requester, Viewer};
    match id {
        "getToken" | "getGrant" => &[Viewer, Auditor, Requester, Operator, Admin],
        "issueCertificate" | "revokeCertificate" => &[Requester, Operator, Admin],
        "listCertificates"
        | "getCertificate"
        | "listCertificateEvents"
        | "getRenewals"
        | "getRevocation"
        | "listIssuers"
        | "getIssuer"
        | "getIssuerDependents"
        | "listDomains"
        | "getDomain"
        | "listProfiles"
        | "getProfile"
        | "listProfileRevisions"
        | "listDirectories"
        | "getDirectory" => &[Viewer, Auditor, Requester, Operator, Admin],
        "listAcmeAccounts"
        | "getAcmeAccount"
        | "getAccountLimits"
        | "listAcmeOrders"
        | "getAcmeOrder"
        | "getAcmeOrderTimeline"
        | "listAcmeAttempts"
        | "listRenewalWindows"
        | "getRenewalWindow"
        | "getSystemChecks" => &[Viewer, Auditor, Operator, Admin],
        "listAuditEvents" | "listBlockedKeys" | "listGrants" | "listEabKeys" | "getEabKey" => {
            &[Auditor, Operator, Admin]
        }
        "listTokens" => &[Auditor, Admin],
        "revokeAcmeAccount"
        | "putAccountLimits"
        | "resumeAccount"
        | "testAcmeChallenge"
        | "createRenewalWindow"
        | "deleteRenewalWindow"
        | "liftHold"
        | "blockKey"
        | "unblockKey" => &[Operator, Admin],
        // whatever is new is an administrator's until somebody decides otherwise here
        _ => &[Admin],
    }
}

/// With a body that no handler accepts, so that a refusal shows that it was not read.
async fn call(room: &Room, token: &str, method: &str, path: &str) -> Answer {
    let path = path.replace("{slug}", "default").replace("{issuer}", "tls-1").replace("{domain}", "tls");
    let path = path.replace("{profile}", "tls-server");
    let path =
        path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
    let head = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    room.send(head.header("content-type", "text/plain").body(Body::from("{")).unwrap()).await
}

fn rule_of(answer: &Answer) -> Option<String> {
    if answer.status.as_u16() != 403 {
        return None;
    }
    Some(answer.json()["rule"].as_str().unwrap_or_default().to_owned())
}

crate::on_both_engines! {
    async fn every_operation_is_refused_to_a_bounded_token_unless_it_is_narrowed(at) {
        let room = Room::over(at).await;
        let document: Value = serde_json::from_str(chancery::api::COMMITTED).unwrap();
        let all = operations(&document);
        assert!(all.len() >= 50 && NARROWED.iter().all(|id| all.iter().any(|(.., op)| op["operationId"] == **id)));
        for role in Role::ALL {
            let free = room.token(role, None, None).await;
            let bounded = room.token(role, Some(&["other.example"]), None).await;
            for (method, path, operation) in &all {
                let id = operation["operationId"].as_str().unwrap();
                let may = roles_of(id).contains(&role);
                let answer = call(&room, &free, method, path).await;
                let expected = (!may).then(|| "role".to_owned());
                assert_eq!(rule_of(&answer), expected, "{} {id}: {}", role.name(), answer.json());
                let answer = call(&room, &bounded, method, path).await;
                let expected = match (may, NARROWED.contains(&id)) {
                    (false, _) => Some("role".to_owned()),
                    (true, true) => None,
                    (true, false) => Some("token.scope".to_owned()),
                };
                assert_eq!(rule_of(&answer), expected, "bounded {} {id}: {}", role.name(), answer.json());
                if expected.as_deref() == Some("token.scope") {
                    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                    assert!(detail.contains("token test is limited to grant grt_"), "{detail}");
                }
            }
        }
    }

    async fn a_bounded_token_finds_nothing_beyond_its_grant(at) {
        let room = Room::over(at).await;
        let theirs = room.issue(&room.admin, "www.bank.test").await["id"].as_str().unwrap().to_owned();
        let own = room.issue(&room.admin, "www.other.example").await["id"].as_str().unwrap().to_owned();
        for role in [Role::Viewer, Role::Auditor, Role::Operator, Role::Admin] {
            let token = room.token(role, Some(&["other.example"]), None).await;
            let listed = room.get(&token, CERTIFICATES).await.json();
            let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
            assert_eq!(ids, [&own], "{}", role.name());
            for part in ["", "/events", "/renewals", "/revocation"] {
                let answer = room.get(&token, &format!("{CERTIFICATES}/{theirs}{part}")).await;
                assert_eq!(answer.refusal(), (404, "not_found".into()), "{} {part}", role.name());
            }
            assert_eq!(room.get(&token, &format!("{CERTIFICATES}/{own}/events")).await.status.as_u16(), 200);
        }
        let admin = room.token(Role::Admin, Some(&["other.example"]), None).await;
        let revocation = format!("{CERTIFICATES}/{theirs}/revocation");
        assert_eq!(room.post(&admin, &revocation, &json!({})).await.refusal().0, 404);
        for name in ["www.bank.test", "*.bank.test"] {
            let answer = room.post(&admin, CERTIFICATES, &json!({"names": [name], "profile": "tls-server"})).await;
            assert_eq!(answer.refusal(), (403, "rejected_identifier".into()));
        }
        // the way around: a directory whose validation the caller steers
        let directory = json!({"slug": "mine", "resolvers": ["192.0.2.53:53"]});
        let answer = room.post(&admin, "/api/v1/acme/directories", &directory).await;
        assert_eq!(answer.refusal(), (403, "forbidden".into()));
        let directories = room.get(&room.admin, "/api/v1/acme/directories").await.json();
        assert_eq!(directories["items"].as_array().unwrap().len(), 1);
        let events = room.get(&room.admin, "/api/v1/audit-events").await.json();
        let refused = events["items"].as_array().unwrap().iter().find(|e| e["action"] == "directory.refused").unwrap();
        assert!(refused["actor"].as_str().unwrap().starts_with("token:tok_"), "{refused}");
    }

    async fn a_bounded_token_sees_the_hierarchy_of_its_grant_alone(at) {
        let room = Room::over(at).await;
        let grant = json!({"name": "other", "allow_names": ["other.example"], "issuers": ["tls-1"], "profiles": ["tls-server"]});
        let grant = room.post(&room.admin, "/api/v1/grants", &grant).await.json()["id"].as_str().unwrap().to_owned();
        let token = json!({"name": "other", "role": "operator", "grant": grant});
        let token = room.post(&room.admin, "/api/v1/tokens", &token).await.json()["secret"].as_str().unwrap().to_owned();
        let slugs = async |path: &str| {
            let page = room.get(&token, path).await.json();
            page["items"].as_array().unwrap().iter().map(|i| i["slug"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(slugs("/api/v1/issuers").await, ["tls-1"]);
        assert_eq!(slugs("/api/v1/domains").await, ["tls"]);
        assert_eq!(slugs("/api/v1/profiles").await, ["tls-server"]);
        let domain = room.get(&token, "/api/v1/domains/tls").await.json();
        assert_eq!((&domain["issuers"], &domain["profiles"]), (&json!(["tls-1"]), &json!(["tls-server"])));
        assert_eq!(room.get(&token, &format!("/api/v1/grants/{grant}")).await.status.as_u16(), 200);
        let other = json!({"name": "bank", "allow_names": ["bank.test"]});
        let other = room.post(&room.admin, "/api/v1/grants", &other).await.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(room.get(&token, &format!("/api/v1/grants/{other}")).await.refusal(), (403, "forbidden".into()));
    }

    async fn the_role_is_decided_before_the_body_is_read(at) {
        let room = Room::over(at).await;
        let viewer = room.token(Role::Viewer, None, None).await;
        for (kind, body) in [("application/json", "{"), ("text/plain", ""), ("application/json", "{\"nonsense\": 1}")] {
            for path in [CERTIFICATES, "/api/v1/tokens", "/api/v1/acme/directories", "/api/v1/grants"] {
                let answer = room.post_raw(&viewer, path, &[("x-kind", kind)], body.to_owned()).await;
                assert_eq!(answer.refusal(), (403, "forbidden".into()), "{path} {body}");
            }
        }
        // a body that never comes is not waited for
        let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
        let head = Request::post(CERTIFICATES).header("authorization", format!("Bearer {viewer}"));
        let request = head.header("content-type", "application/json").body(never).unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(60), room.send(request)).await.unwrap();
        assert_eq!(answer.refusal().0, 403);
    }
}

//! Profiles by REST: revisions, If-Match, merge patches, rules that contradict themselves, and what a dry run shows.

use axum::http::Request;
use chancery::model::actor::Role;
use serde_json::{Value, json};

use super::room::{Answer, CERTIFICATES, Room, csr};

const PROFILES: &str = "/api/v1/profiles";

fn rules() -> Value {
    json!({"name": "lab-server", "description": "Servers of the lab", "domain": "tls",
        "subject": {"common_name": "first-dns"},
        "names": {"kinds": ["dns"], "min": 1, "max": 20, "allow": ["lab.example"]},
        "keys": ["P-256", "P-384"], "lifetime": {"default": "30d", "max": "90d", "backdate": "60s"},
        "key_usage": ["digitalSignature"], "extended_key_usage": ["serverAuth"]})
}

async fn send(room: &Room, token: &str, method: &str, path: &str, tag: Option<&str>, body: &Value) -> Answer {
    let mut head = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    if let Some(tag) = tag {
        head = head.header("if-match", tag);
    }
    room.send(head.header("content-type", "application/json").body(body.to_string().into()).unwrap()).await
}

fn with(path: &str, value: Value) -> Value {
    let mut changed = rules();
    let (parent, member) = path.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { &mut changed } else { changed.pointer_mut(parent).unwrap() };
    parent[member] = value;
    changed
}

crate::on_both_engines! {
    async fn a_profile_is_made_changed_and_remembered(at) {
        let room = Room::over(at).await;
        let made = room.post(&room.admin, PROFILES, &rules()).await;
        assert_eq!((made.status.as_u16(), made.headers["etag"].to_str().unwrap()), (201, "\"1\""), "{}", made.json());
        let one = format!("{PROFILES}/lab-server");
        let body = json!({"names": ["a.lab.example"], "profile": "lab-server"});
        let issued = room.post(&room.admin, CERTIFICATES, &body).await;
        assert_eq!(issued.status.as_u16(), 201, "{}", issued.json());
        let outside = json!({"names": ["a.other.example"], "profile": "lab-server"});
        assert_eq!(room.post(&room.admin, CERTIFICATES, &outside).await.refusal().0, 403);

        let patch = json!({"names": {"allow": ["lab.example", "other.example"]}});
        let patched = send(&room, &room.admin, "PATCH", &one, Some("\"1\""), &patch).await;
        assert_eq!((patched.status.as_u16(), patched.headers["etag"].to_str().unwrap()), (200, "\"2\""));
        assert_eq!(room.post(&room.admin, CERTIFICATES, &outside).await.status.as_u16(), 201);
        // who read revision 1 has lost
        let stale = send(&room, &room.admin, "PUT", &one, Some("\"1\""), &rules()).await;
        assert_eq!(stale.refusal(), (412, "stale_revision".into()));
        assert_eq!(stale.json()["rule"], "profile.revision");
        for tag in [None, Some("1"), Some("W/\"2\""), Some("")] {
            let answer = send(&room, &room.admin, "PUT", &one, tag, &rules()).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (400, &json!("profile.if_match")), "{tag:?}");
        }
        // the same again is no revision
        let shown = room.get(&room.admin, &one).await;
        assert_eq!(shown.headers["etag"].to_str().unwrap(), "\"2\"");
        let same = send(&room, &room.admin, "PUT", &one, Some("\"2\""), &shown.json()["rules"]).await;
        assert_eq!((same.status.as_u16(), &same.json()["revision"]), (200, &json!(2)));
        let back = send(&room, &room.admin, "PUT", &one, Some("*"), &rules()).await;
        assert_eq!(back.json()["revision"], 3);
        let all = room.get(&room.admin, &format!("{one}/revisions")).await.json();
        let told: Vec<_> = all["items"].as_array().unwrap().iter().map(|r| r["revision"].clone()).collect();
        assert_eq!(told, [json!(3), json!(2), json!(1)]);
        assert_eq!(all["items"][1]["rules"]["names"]["allow"], json!(["lab.example", "other.example"]));
        assert!(all["items"][0]["actor"].as_str().unwrap().starts_with("token:tok_"));
        assert_eq!(room.post(&room.admin, PROFILES, &rules()).await.refusal(), (409, "conflict".into()));
        assert_eq!(send(&room, &room.admin, "PATCH", &format!("{PROFILES}/none"), Some("*"), &json!({})).await.refusal().0, 404);
    }

    async fn of_two_changes_at_once_one_is_made(at) {
        let room = Room::over(at).await;
        room.post(&room.admin, PROFILES, &rules()).await;
        let one = format!("{PROFILES}/lab-server");
        let (a, b) = (with("/description", "a".into()), with("/description", "b".into()));
        let (a, b) = tokio::join!(
            send(&room, &room.admin, "PUT", &one, Some("\"1\""), &a),
            send(&room, &room.admin, "PUT", &one, Some("\"1\""), &b)
        );
        let mut statuses = [a.status.as_u16(), b.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412]);
    }

    async fn a_profile_that_contradicts_itself_is_refused(at) {
        let room = Room::over(at).await;
        for (path, value, rule) in [
            ("/domain", json!("nowhere"), "profile.domain"),
            ("/name", json!("Lab Server"), "profile.name"),
            ("/lifetime/default", json!("91d"), "profile.lifetime.default"),
            ("/lifetime/max", json!("4000d"), "profile.lifetime.max"),
            ("/lifetime/backdate", json!("30d"), "profile.lifetime.backdate"),
            ("/extended_key_usage", json!([]), "profile.extended_key_usage"),
            ("/extended_key_usage", json!(["serverAuth", "timeStamping"]), "profile.extended_key_usage"),
            ("/extended_key_usage", json!(["codeSigning", "serverAuth"]), "profile.extended_key_usage"),
            ("/extended_key_usage", json!(["emailProtection"]), "profile.extended_key_usage"),
            ("/key_usage", json!([]), "profile.key_usage"),
            ("/key_usage", json!(["keyEncipherment"]), "profile.key_usage"),
            ("/keys", json!([]), "profile.keys"),
            ("/names/min", json!(0), "profile.names.min"),
            ("/names/min", json!(21), "profile.names.max"),
            ("/names/allow", json!([]), "profile.names.allow"),
            ("/names/required", json!(["ip"]), "profile.names.required"),
            ("/no_revocation", json!(true), "profile.no_revocation"),
            ("/subject/country", json!("Germany"), "profile.subject"),
        ] {
            let answer = room.post(&room.admin, PROFILES, &with(path, value.clone())).await;
            let body = answer.json();
            assert_eq!((answer.refusal().0, &body["rule"]), (422, &json!(rule)), "{path} {value}");
            assert!(["value", "allowed", "fix"].iter().all(|m| !body[*m].as_str().unwrap().is_empty()), "{body}");
        }
        for (path, value) in [("/extended_key_usage", json!(["anything"])), ("/keys", json!(["DSA"]))] {
            assert_eq!(room.post(&room.admin, PROFILES, &with(path, value)).await.refusal().0, 422);
        }
        assert_eq!(room.post(&room.admin, PROFILES, &with("/surprise", json!(1))).await.refusal().0, 400);
        let list = room.get(&room.admin, PROFILES).await.json();
        assert!(!list.to_string().contains("lab-server"), "nothing was stored");
        let made = room.post(&room.admin, PROFILES, &rules()).await;
        assert_eq!(made.status.as_u16(), 201);
        let one = format!("{PROFILES}/lab-server");
        let bad = send(&room, &room.admin, "PATCH", &one, Some("*"), &json!({"lifetime": {"max": "1d"}})).await;
        assert_eq!(bad.json()["rule"], "profile.lifetime.default");
        let renamed = send(&room, &room.admin, "PUT", &one, Some("*"), &with("/name", "other".into())).await;
        assert_eq!(renamed.json()["rule"], "profile.name");
        assert_eq!(room.get(&room.admin, &one).await.json()["revision"], 1);
    }

    async fn only_an_administrator_without_bounds_changes_profiles(at) {
        let room = Room::over(at).await;
        for role in [Role::Viewer, Role::Auditor, Role::Requester, Role::Operator] {
            let token = room.token(role, None, None).await;
            assert_eq!(room.post(&token, PROFILES, &rules()).await.refusal(), (403, "forbidden".into()));
            let one = format!("{PROFILES}/tls-server");
            assert_eq!(send(&room, &token, "PATCH", &one, Some("*"), &json!({})).await.refusal().0, 403);
        }
        let bounded = room.token(Role::Admin, Some(&["lab.example"]), None).await;
        assert_eq!(room.post(&bounded, PROFILES, &rules()).await.json()["rule"], "token.scope");
    }

    async fn a_dry_run_shows_the_certificate_or_the_rule(at) {
        let room = Room::over(at).await;
        let before = room.count().await;
        let dry = format!("{CERTIFICATES}?dry_run=true");
        let ask = |name: &str| json!({"csr": csr(&[name]), "profile": "tls-server", "ttl": "10d"});
        let seen = room.post(&room.admin, &dry, &ask("a.lab.example")).await.json();
        assert_eq!((&seen["issuer"], &seen["key_algorithm"], &seen["subject"]), (&json!("tls-1"), &json!("P-256"), &json!("CN=a.lab.example")));
        let words = |name: &str| {
            let found = seen["extensions"].as_array().unwrap().iter().find(|e| e["name"] == name).cloned();
            found.unwrap_or_else(|| panic!("no {name} in {seen}"))
        };
        assert_eq!(words("keyUsage")["critical"], true);
        assert!(words("extKeyUsage")["value"].as_str().unwrap().contains("serverAuth"), "{seen}");
        assert!(words("subjectAltName")["value"].as_str().unwrap().contains("a.lab.example"), "{seen}");
        let refused = room.post(&room.admin, &dry, &ask("localhost")).await;
        assert_eq!((refused.refusal().0, &refused.json()["rule"]), (403, &json!("names.allow")));
        // a grant that is used up refuses a dry run too
        let grant = room.post(&room.admin, "/api/v1/grants", &json!({"name": "g", "allow_names": ["*"], "max_count": 1})).await;
        let token = json!({"name": "t", "grant": grant.json()["id"]});
        let token = room.post(&room.admin, "/api/v1/tokens", &token).await.json()["secret"].as_str().unwrap().to_owned();
        assert_eq!(room.post(&token, &dry, &ask("a.lab.example")).await.status.as_u16(), 200);
        room.issue(&token, "a.lab.example").await;
        assert_eq!(room.post(&token, &dry, &ask("a.lab.example")).await.json()["rule"], "grant.count");
        assert_eq!(room.count().await, before + 1);
    }
}

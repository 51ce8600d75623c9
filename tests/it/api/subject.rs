//! The subject as asked: issued so or refused, and bounded by the grant. And the CA's checks of itself.

use chancery::clock::days;
use chancery::model::actor::{Actor, Role};
use chancery::model::id::ProfileId;
use chancery::pki::profile::{AskedField, CommonNameRule, ProfileConfig, SubjectRule, shipped};
use chancery::store::{Store, profiles};
use serde_json::{Value, json};

use super::room::{CERTIFICATES, Room, csr_of};

/// A profile of the domain `tls` that takes a common name and an organization as asked.
pub async fn with_named_servers(room: &Room) {
    let store: &Store = room.authority.store();
    let base = shipped().into_iter().find(|config| config.name == "tls-server").unwrap();
    let config = ProfileConfig {
        name: "named-server".into(),
        subject: SubjectRule {
            common_name: CommonNameRule::AsAsked,
            asked: vec![AskedField::Organization],
            ..base.subject.clone()
        },
        ..base
    };
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    let id = ProfileId::new(tx.now(), store.entropy.as_ref()).unwrap();
    let text = serde_json::to_string(&config).unwrap();
    profiles::insert(&mut tx, id, &config.name, &text).await.unwrap();
    tx.commit().await.unwrap();
    room.authority.reload().await.unwrap();
}

pub fn named(subject: Value) -> Value {
    json!({"names": ["a.lab.example"], "profile": "named-server", "subject": subject})
}

crate::on_both_engines! {
    async fn a_subject_is_issued_as_asked_or_refused(at) {
        let room = Room::over(at).await;
        with_named_servers(&room).await;
        let answer = room.post(&room.admin, CERTIFICATES, &named(json!({"common_name": "Build 1", "organization": "Lab Ltd"}))).await;
        assert_eq!(answer.json()["subject"], "CN=Build 1,O=Lab Ltd", "{}", answer.json());
        let before = room.count().await;
        let rows = [
            (named(json!({"common_name": "Build 1"})), "subject.organization"),
            (named(json!({"organization": "system:masters"})), "subject.organization"),
            (named(json!({"organization": "Lab Ltd", "country": "AT"})), "subject.country"),
            (named(json!({"organization": "Lab Ltd", "common_name": "system:node:a"})), "subject.common_name"),
            (
                json!({"names": ["a.lab.example"], "profile": "tls-server", "subject": {"organization": "Lab Ltd"}}),
                "subject.organization",
            ),
            (json!({"names": ["a.lab.example"], "profile": "tls-server", "common_name": "Build 1"}), "subject.common_name"),
        ];
        for (body, rule) in rows {
            let answer = room.post(&room.admin, CERTIFICATES, &body).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (403, &json!(rule)), "{body}");
        }
        let twice = json!({"names": ["a.lab.example"], "profile": "named-server", "common_name": "a", "subject": {"common_name": "b"}});
        let answer = room.post(&room.admin, CERTIFICATES, &twice).await;
        assert_eq!((answer.refusal().0, &answer.json()["errors"][0]["pointer"]), (422, &json!("/subject/common_name")));
        let unknown = named(json!({"organisation": "Lab Ltd"}));
        assert_eq!(room.post(&room.admin, CERTIFICATES, &unknown).await.refusal(), (400, "malformed".into()));
        assert_eq!(room.count().await, before);
    }

    async fn a_grant_bounds_what_a_subject_says(at) {
        let room = Room::over(at).await;
        with_named_servers(&room).await;
        let made = async |subjects: Value| {
            let body = json!({"name": "ci", "allow_names": ["lab.example"], "subjects": subjects});
            room.post(&room.admin, "/api/v1/tokens", &body).await.json()["secret"].as_str().unwrap().to_owned()
        };
        let narrow = made(json!(["O=Lab Ltd"])).await;
        assert_eq!(room.post(&narrow, CERTIFICATES, &named(json!({"organization": "Lab Ltd"}))).await.status.as_u16(), 201);
        for subject in [json!({"organization": "Other"}), json!({"organization": "Lab Ltd", "common_name": "root"})] {
            let answer = room.post(&narrow, CERTIFICATES, &named(subject)).await;
            assert_eq!((answer.refusal().0, &answer.json()["rule"]), (403, &json!("grant.subjects")));
        }
        let bare = room.token(Role::Requester, Some(&["lab.example"]), None).await;
        assert_eq!(room.post(&bare, CERTIFICATES, &named(json!({"organization": "Lab Ltd"}))).await.refusal().0, 403);
    }

    async fn a_common_name_of_a_csr_is_a_name_only_where_the_profile_says_so(at) {
        let room = Room::over(at).await;
        with_named_servers(&room).await;
        let csr = csr_of(Some("person"), &["a.lab.example"]);
        let sign = async |profile: &str| {
            let subject = if profile == "named-server" { json!({"organization": "Lab Ltd"}) } else { Value::Null };
            let body = json!({"csr": csr, "profile": profile, "subject": subject});
            room.post(&room.admin, CERTIFICATES, &body).await.json()
        };
        assert_eq!(sign("tls-server").await["names"], json!(["a.lab.example", "person"]));
        let made = sign("named-server").await;
        assert_eq!((&made["names"], &made["subject"]), (&json!(["a.lab.example"]), &json!("CN=person,O=Lab Ltd")));
    }

    async fn a_dry_run_of_a_revocation_revokes_nothing(at) {
        let room = Room::over(at).await;
        let id = room.issue(&room.admin, "a.lab.example").await["id"].as_str().unwrap().to_owned();
        let path = format!("{CERTIFICATES}/{id}/revocation");
        let dry = format!("{path}?dry_run=true");
        let told = room.post(&room.admin, &dry, &json!({"reason": "superseded"})).await;
        assert_eq!((told.status.as_u16(), &told.json()["names"]), (200, &json!(["a.lab.example"])));
        assert_eq!(room.post(&room.admin, &dry, &json!({"reason": "boredom"})).await.refusal().0, 422);
        assert_eq!(room.get(&room.admin, &path).await.refusal().0, 404);
        assert_eq!(room.post(&room.admin, &path, &json!({})).await.status.as_u16(), 201);
        assert_eq!(room.post(&room.admin, &dry, &json!({})).await.refusal(), (409, "already_revoked".into()));
    }

    async fn the_system_checks_itself(at) {
        let room = Room::over(at).await;
        room.authority.publish_due().await.unwrap();
        let status = async |room: &Room, token: &str| {
            let told = room.get(token, "/api/v1/system/checks").await.json();
            // the cluster of the tests may run with fsync=off, which is a warning
            let (lossy, all): (Vec<_>, Vec<_>) = told["checks"].as_array().unwrap().iter()
                .filter(|c| c["status"] != "ok").map(|c| format!("{} {}", c["name"], c["status"]))
                .partition(|found| found.starts_with("\"durability\""));
            let told = told["status"].as_str().unwrap();
            let told = if all.is_empty() && told == "warning" && !lossy.is_empty() { "ok" } else { told };
            (told.to_owned(), all.join(", "))
        };
        assert_eq!(status(&room, &room.admin).await, ("ok".into(), String::new()));
        let requester = room.token(Role::Requester, None, None).await;
        assert_eq!(room.get(&requester, "/api/v1/system/checks").await.refusal().0, 403);
        room.clock.advance(chancery::clock::hours(8));
        assert_eq!(status(&room, &room.admin).await, ("warning".into(), "\"crls\" \"warning\"".into()));
        room.clock.advance(days(30));
        let viewer = room.token(Role::Viewer, None, None).await;
        assert_eq!(status(&room, &viewer).await.0, "critical");
    }
}

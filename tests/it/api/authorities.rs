//! States and revocation of issuers over REST: what depends on one is told, and confirmed before it ends.

use chancery::authority::hierarchy::plan::Wanted;
use chancery::model::actor::{Actor, Role};
use serde_json::{Value, json};

use super::room::{CERTIFICATES, Room};

fn id_of(room: &Room, slug: &str) -> String {
    let snapshot = room.authority.snapshot();
    snapshot.issuer(slug).unwrap().certificate().unwrap().certificate_id.unwrap().to_string()
}

async fn one(room: &Room, id: &str) -> Value {
    room.get(&room.admin, &format!("{CERTIFICATES}/{id}")).await.json()
}

crate::on_both_engines! {
    async fn an_operator_revokes_no_ca(at) {
        let room = Room::over(at).await;
        let operator = room.token(Role::Operator, None, None).await;
        let path = format!("{CERTIFICATES}/{}/revocation", id_of(&room, "tls-1"));
        let confirmed = json!({"reason": "cessationOfOperation", "confirm": true});
        for path in [path.clone(), format!("{path}?dry_run=true")] {
            assert_eq!(room.post(&operator, &path, &confirmed).await.refusal(), (403, "forbidden".into()), "{path}");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 0);
    }

    async fn revoking_an_issuer_is_confirmed_and_shows_what_depends_on_it(at) {
        let room = Room::over(at).await;
        let leaf = room.issue(&room.admin, "www.lab.example").await["id"].as_str().unwrap().to_owned();
        let (id, reason) = (id_of(&room, "tls-1"), json!({"reason": "cessationOfOperation"}));
        let path = format!("{CERTIFICATES}/{id}/revocation");
        let refused = room.post(&room.admin, &path, &reason).await;
        assert_eq!(refused.refusal().0, 409);
        let told = refused.json();
        assert_eq!(told["rule"], "issuer.dependents");
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("1 valid certificates") && detail.contains("nobody would sign instead"), "{detail}");
        let preview = room.post(&room.admin, &format!("{path}?dry_run=true"), &reason).await;
        assert_eq!(preview.status.as_u16(), 200);
        let preview = preview.json();
        assert_eq!((&preview["revokes_issuer"], &preview["dependents"]["profiles"]), (&json!("tls-1"), &json!(["tls-server"])));
        assert!(preview["dependents"]["confirm_for"].as_array().unwrap().contains(&json!("revoked")));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 0);
        let confirmed = json!({"reason": "cessationOfOperation", "confirm": true});
        let done = room.post(&room.admin, &path, &confirmed).await;
        assert_eq!(done.status.as_u16(), 201, "{}", done.json());
        // the leaf is valid by itself, and the answer says what else there is
        let below = one(&room, &leaf).await;
        assert_eq!((&below["status"], &below["issuer_revocation"]["issuer"]), (&json!("valid"), &json!("tls-1")));
        let listed = room.get(&room.admin, &format!("{CERTIFICATES}?status=valid&profile=tls-server")).await.json();
        assert_eq!(listed["items"][0]["issuer_revocation"]["issuer"], "tls-1");
        let domain = room.get(&room.admin, "/api/v1/domains/tls").await.json();
        assert!(domain.get("default_issuer").is_none(), "{domain}");
        // a preview of a plain certificate has none of it
        assert!(preview["names"].as_array().unwrap().is_empty());
    }

    async fn a_revocation_that_no_crl_lists_says_what_is_to_be_done(at) {
        let room = Room::over(at).await;
        let file = room.authority.export_root("tls-root", Some(b"a long password")).unwrap();
        let host = Actor::host(0, "test");
        room.authority.take_root_offline(&host, "tls-root", &file, Some(b"a long password")).await.unwrap();
        let id = id_of(&room, "tls-1");
        let body = json!({"reason": "superseded", "confirm": true});
        let done = room.post(&room.admin, &format!("{CERTIFICATES}/{id}/revocation"), &body).await.json();
        let action = done["action_required"].as_str().unwrap();
        assert!(action.contains("clients still trust it") && action.contains("chancery ca crl sign tls-root"), "{action}");
        assert_eq!(one(&room, &id).await["action_required"].as_str(), Some(action));
        room.authority.bring_root_online(&host, &file, Some(b"a long password")).await.unwrap();
        room.authority.sign_crls(&host, "tls-root").await.unwrap();
        assert!(one(&room, &id).await.get("action_required").is_none());
    }

    async fn a_root_is_not_revoked_over_rest(at) {
        let room = Room::over(at).await;
        let path = format!("{CERTIFICATES}/{}/revocation", id_of(&room, "tls-root"));
        for path in [path.clone(), format!("{path}?dry_run=true")] {
            let refused = room.post(&room.admin, &path, &json!({"reason": "keyCompromise", "confirm": true})).await;
            assert_eq!(refused.refusal().0, 409);
            assert_eq!(refused.json()["rule"], "revocation.root");
        }
    }

    async fn the_default_is_who_signs_now(at) {
        let room = Room::over(at).await;
        let wanted = Wanted { domain: "tls".into(), ..Wanted::default() };
        at.clock.advance(chancery::clock::minutes(1));
        room.authority.create_issuer(&Actor::host(0, "test"), &wanted, None).await.unwrap();
        let put = async |slug: &str, body: Value| {
            let head = axum::http::Request::put(format!("/api/v1/issuers/{slug}/state"))
                .header("authorization", format!("Bearer {}", room.admin))
                .header("content-type", "application/json");
            room.send(head.body(body.to_string().into()).unwrap()).await
        };
        let shown = async || {
            let domain = room.get(&room.admin, "/api/v1/domains/tls").await.json();
            domain["default_issuer"].as_str().unwrap_or("-").to_owned()
        };
        let made = put("tls-2", json!({"state": "active", "default": true})).await.json();
        assert_eq!((&made["is_default"], shown().await.as_str()), (&json!(true), "tls-2"));
        assert_eq!(put("tls-2", json!({"state": "active", "default": true})).await.json()["rule"], "issuer.default");
        assert_eq!(put("tls-root", json!({"state": "active", "default": true})).await.json()["rule"], "issuer.default");
        assert_eq!(put("tls-2", json!({"state": "retiring", "default": true})).await.refusal().0, 422);
        assert_eq!(put("tls-2", json!({"state": "revoked"})).await.refusal().0, 422);
        // an older program leaves no default: whoever signs is shown
        at.sql("UPDATE issuers SET is_default = FALSE").await;
        room.authority.reload().await.unwrap();
        assert_eq!(shown().await, "tls-1");
        let retired = put("tls-1", json!({"state": "retiring"})).await.json();
        assert_eq!((&retired["signs_not"], shown().await.as_str()), (&json!("is retiring"), "tls-2"));
    }
}

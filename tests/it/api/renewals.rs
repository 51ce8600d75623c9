//! Renewal windows over REST: of one certificate, and the rules that move them.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::clock::{Timestamp, days, hours};
use chancery::keys::store::Keys;
use chancery::model::actor::Role;
use serde_json::{Value, json};

use super::room::Room;
use crate::on_both_engines;
use crate::support::stores::entropy;

const WINDOWS: &str = "/api/v1/renewal-windows";

async fn renewals(room: &Room, token: &str, id: &str) -> Value {
    let answer = room.get(token, &format!("/api/v1/certificates/{id}/renewals")).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

fn at(value: &Value) -> Timestamp {
    Timestamp::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

on_both_engines! {
    async fn an_agent_reads_when_to_renew(at_) {
        let room = Room::over(at_).await;
        let made = room.issue(&room.admin, "a.lab.example").await;
        let (id, serial) = (made["id"].as_str().unwrap(), made["serial"].as_str().unwrap());
        let told = renewals(&room, &room.admin, id).await;
        assert_eq!((&told["certificate"], &told["serial"], &told["source"]), (&made["id"], &made["serial"], &json!("life")));
        assert!(at(&told["start"]) < at(&told["end"]) && at(&told["end"]) < at(&made["not_after"]));
        assert_eq!(told["retry_after"], 21_600);
        assert!(told["renewal_id"].as_str().unwrap().contains('.'));
        for null in ["renewal_window", "reason", "explanation_url", "replaced_by"] {
            assert_eq!(told[null], Value::Null);
        }
        assert_eq!(renewals(&room, &room.admin, serial).await, told, "by serial number");
        assert_eq!(renewals(&room, &room.admin, made["fingerprint"].as_str().unwrap()).await, told);

        // whoever may not see it is told what a mistyped one is told
        let other = room.token(Role::Requester, Some(&["b.lab.example"]), None).await;
        for path in [id, serial, "crt_00000000000000000000000000", "none", "4a3f1c0b9e8d7c6b5a49"] {
            let answer = room.get(&other, &format!("/api/v1/certificates/{path}/renewals")).await;
            assert_eq!(answer.refusal(), (404, "not_found".into()), "{path}");
        }
        let revoked = room.post(&room.admin, &format!("/api/v1/certificates/{id}/revocation"), &json!({})).await;
        assert_eq!(revoked.status, 201);
        let told = renewals(&room, &room.admin, id).await;
        assert_eq!(told["source"], "revocation");
        assert!(at(&told["end"]) < at_.store.now());
    }

    async fn a_certificate_says_by_what_it_was_replaced_and_keeps_its_length(at_) {
        let room = Room::over(at_).await;
        let body = |name: &str, members: Value| {
            let mut body = json!({"names": [name], "profile": "tls-server"});
            body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            body
        };
        let post = async |token: &str, body: Value| room.post(token, "/api/v1/certificates", &body).await;
        let length = |made: &Value| at(&made["not_after"]).since(at(&made["not_before"])).as_secs() + 1;
        let first = post(&room.admin, body("a.lab.example", json!({"ttl": "1h"}))).await.json();
        // the backdate of a minute comes on top
        assert_eq!(length(&first), 3_660, "{first}");
        for replaces in [&first["id"], &first["serial"], &first["fingerprint"]] {
            room.clock.advance(hours(1) / 60);
            let next = post(&room.admin, body("a.lab.example", json!({"replaces": replaces}))).await.json();
            assert_eq!(length(&next), 3_660, "{next}");
            let told = renewals(&room, &room.admin, first["id"].as_str().unwrap()).await;
            assert_eq!(told["replaced_by"], next["id"], "the newest");
        }
        let longer = body("a.lab.example", json!({"replaces": first["id"], "ttl": "2h"}));
        assert_eq!(length(&post(&room.admin, longer).await.json()), 7_260);

        // who may not see it may not say that it replaces it, and is told what a mistyped id is told
        let own = room.token(Role::Requester, Some(&["lab.example"]), None).await;
        for (token, name, replaces) in [
            (&own, "a.lab.example", first["id"].clone()),
            (&room.admin, "a.lab.example", json!("crt_00000000000000000000000000")),
            (&room.admin, "a.lab.example", json!("")),
            (&room.admin, "a.lab.example", json!("x".repeat(5_000))),
            (&room.admin, "c.lab.example", first["id"].clone()),
        ] {
            let answer = post(token, body(name, json!({"replaces": replaces}))).await;
            assert_eq!(answer.status, 422, "{}", answer.json());
            assert_eq!(answer.json()["errors"][0]["pointer"], "/replaces", "{}", answer.json());
        }
        let wrong_type = post(&room.admin, body("a.lab.example", json!({"replaces": 7}))).await;
        assert_eq!(wrong_type.status, 400);
        let mine = post(&own, body("d.lab.example", json!({}))).await.json();
        let renewed = post(&own, body("d.lab.example", json!({"replaces": mine["id"], "not_before": null}))).await;
        assert_eq!(renewed.status, 201, "{}", renewed.json());
    }

    async fn what_stands_below_a_removed_ca_is_renewed_at_once(at_) {
        let room = Room::over(at_).await;
        let made = room.issue(&room.admin, "a.lab.example").await;
        let id = made["id"].as_str().unwrap();
        let put = async |state: &str| {
            let head = axum::http::Request::put("/api/v1/issuers/tls-1/state")
                .header("authorization", format!("Bearer {}", room.admin))
                .header("content-type", "application/json");
            let body = json!({"state": state, "confirm": true});
            let answer = room.send(head.body(body.to_string().into()).unwrap()).await;
            assert_eq!(answer.status, 200, "{}", answer.json());
        };
        put("retiring").await;
        assert_eq!(renewals(&room, &room.admin, id).await["source"], "life", "it goes on until it ends");
        put("removed").await;
        let told = renewals(&room, &room.admin, id).await;
        assert_eq!(told["source"], "removal");
        assert!(at(&told["end"]) < at_.store.now());
        put("retiring").await;
        assert_eq!(renewals(&room, &room.admin, id).await["source"], "life");
    }

    async fn an_operator_moves_windows_and_cancels(at_) {
        let room = Room::over(at_).await;
        let operator = room.token(Role::Operator, None, None).await;
        let made = room.issue(&room.admin, "a.lab.example").await;
        let id = made["id"].as_str().unwrap();
        room.clock.advance(hours(1));
        let own = renewals(&room, &operator, id).await;
        let now = at_.store.now().truncated();
        let ask = json!({"issuer": "tls-1", "profile": "tls-server", "name": "*.lab.example", "requester": made["requester"],
            "certificates": [id], "expires_before": now + days(100), "start": "now", "end": now + days(2),
            "reason": "the lab moves", "explanation_url": "https://wiki.lab.example/why", "expires": "30d"});
        let answer = room.post(&operator, WINDOWS, &ask).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let rule = answer.json();
        let path = format!("{WINDOWS}/{}", rule["id"].as_str().unwrap());
        assert_eq!(answer.headers["location"], path.as_str());
        assert_eq!((&rule["start"], &rule["end"], &rule["status"]), (&json!(now), &json!(now + days(2)), &json!("active")));
        assert_eq!(rule["expires_at"], json!(at_.store.now() + days(30)));
        assert_eq!(room.get(&operator, &path).await.json(), rule);
        assert_eq!(room.get(&operator, WINDOWS).await.json()["items"], json!([rule]));
        let told = renewals(&room, &operator, id).await;
        assert_eq!((&told["source"], &told["renewal_window"]), (&json!("rule"), &rule["id"]));
        assert_eq!((&told["start"], &told["reason"]), (&json!(now), &json!("the lab moves")));

        // another replica sees it within a poll
        let keys = Arc::new(Keys::locked(entropy()));
        let replica = Authority::open(at_.restarted().await, keys, Vec::new()).await.unwrap();
        let record = replica.certificate(id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(replica.renewal(&record, None).window.start, now);
        let cancelled = room.delete(&operator, &path).await;
        let mut ended = rule.clone();
        ended["status"] = json!("cancelled");
        assert_eq!((cancelled.status.as_u16(), cancelled.json()), (200, ended));
        replica.refresh().await.unwrap();
        assert_eq!(json!(replica.renewal(&record, None).window.start), own["start"]);
        assert_eq!(renewals(&room, &operator, id).await, own);
        assert_eq!(room.delete(&operator, &path).await.refusal(), (404, "not_found".into()));
        let events = at_.count("SELECT COUNT(*) AS n FROM audit_events WHERE action IN ('renewals.moved', 'renewals.cancelled')").await;
        assert_eq!(events, 2);
    }

    async fn who_may_not_move_windows_does_not(at_) {
        let room = Room::over(at_).await;
        let ask = json!({"issuer": "tls-1", "reason": "why"});
        for (role, names) in [
            (Role::Viewer, None),
            (Role::Auditor, None),
            (Role::Requester, Some(&["lab.example"][..])),
            // bounded by a grant: nobody moves more than is theirs
            (Role::Operator, Some(&["lab.example"])),
            (Role::Admin, Some(&["lab.example"])),
        ] {
            let token = room.token(role, names, None).await;
            assert_eq!(room.post(&token, WINDOWS, &ask).await.refusal(), (403, "forbidden".into()), "{role:?}");
            let path = format!("{WINDOWS}/rnw_00000000000000000000000000");
            assert_eq!(room.delete(&token, &path).await.refusal(), (403, "forbidden".into()), "{role:?}");
        }
        for (wrong, expected) in [
            (json!({"issuer": "tls-1"}), 400),
            (json!({"issuer": "tls-1", "reason": "why", "colour": "red"}), 400),
            (json!({"issuer": "tls-1", "reason": "why", "start": "soon"}), 400),
            (json!({"certificates": ["crt_1"], "reason": "why"}), 400),
            (json!({"account": "acc_1", "reason": "why"}), 400),
            (json!({"issuer": "tls-1", "reason": "why", "expires": "forever"}), 400),
            (json!({"reason": "everything"}), 422),
            (json!({"certificates": [], "reason": "everything"}), 422),
        ] {
            assert_eq!(room.post(&room.admin, WINDOWS, &wrong).await.status, expected, "{wrong}");
        }
        assert_eq!(at_.count("SELECT COUNT(*) AS n FROM renewal_windows").await, 0);
        assert_eq!(at_.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'renewals.refused'").await, 10);
    }

    async fn rules_are_bounded_in_number(at_) {
        let room = Room::over(at_).await;
        for n in 0..chancery::authority::renewal::MAX_RULES {
            let ask = json!({"name": format!("a{n}.lab.example"), "reason": "why", "expires": "1d"});
            assert_eq!(room.post(&room.admin, WINDOWS, &ask).await.status, 201);
        }
        let ask = json!({"name": "more.lab.example", "reason": "why"});
        assert_eq!(room.post(&room.admin, WINDOWS, &ask).await.status, 422);
        // what is over counts no more and is still listed
        room.clock.advance(days(2));
        assert_eq!(room.post(&room.admin, WINDOWS, &ask).await.status, 201);
        let page = room.get(&room.admin, &format!("{WINDOWS}?limit=500")).await.json();
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.iter().filter(|i| i["status"] == "expired").count(), items.len() - 1);
    }
}

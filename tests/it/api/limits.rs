//! Limits of directories and accounts by REST: texts that are read strictly, and who may change them.

use axum::http::Request;
use chancery::model::actor::Role;
use serde_json::{Value, json};

use super::room::Room;
use crate::support::acme_rows::stored_account;

const DIRECTORY: &str = "/api/v1/acme/directories/default";

async fn put(room: &Room, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let head = Request::builder().method("PUT").uri(path).header("content-type", "application/json");
    let head = head.header("authorization", format!("Bearer {token}"));
    let answer = room.send(head.body(body.to_string().into()).unwrap()).await;
    (answer.status.as_u16(), answer.json())
}

crate::on_both_engines! {
    async fn a_directory_says_and_takes_its_limits(at) {
        let room = Room::over(at).await;
        let mut rules = room.get(&room.admin, DIRECTORY).await.json();
        rules.as_object_mut().unwrap().remove("slug");
        assert_eq!((&rules["limits"]["new_orders"], &rules["limits"]["open_orders"]), (&json!("3000/3h"), &json!("300")));
        rules["limits"] = json!({"new_orders": "20/90m", "pause": "none"});
        let (status, changed) = put(&room, &room.admin, DIRECTORY, &rules).await;
        assert_eq!(status, 200, "{changed}");
        let limits = &changed["limits"];
        assert_eq!((&limits["new_orders"], &limits["pause"]), (&json!("20/90m"), &json!("none")));
        assert_eq!(limits["new_accounts"], "500/3h", "what is absent has its default");
        for (name, wrong) in [("new_orders", "20"), ("new_accounts", "0/1h"), ("open_orders", "20/1h"), ("pause", "x")] {
            rules["limits"] = json!({name: wrong});
            let (status, refused) = put(&room, &room.admin, DIRECTORY, &rules).await;
            assert_eq!(status, 422, "{refused}");
            let detail = refused["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("limits.{name}: \"{wrong}\" is no limit: write a count")), "{detail}");
        }
        rules["limits"] = json!({"new_order": "1/1h"});
        assert_eq!(put(&room, &room.admin, DIRECTORY, &rules).await.0, 400);
    }

    async fn an_administrator_sets_the_limits_of_an_account(at) {
        let room = Room::over(at).await;
        let account = stored_account(&at.store).await;
        let path = format!("/api/v1/acme/accounts/{}/limits", account.id);
        let empty = json!({"limits": {}, "paused": []});
        assert_eq!(room.get(&room.admin, &path).await.json(), empty);
        let own = json!({"new_orders": "none", "open_orders": "5000"});
        let (status, set) = put(&room, &room.admin, &path, &own).await;
        assert_eq!((status, &set["limits"]), (200, &own), "{set}");
        assert_eq!(room.get(&room.admin, &path).await.json()["limits"], own);
        let auditor = room.token(Role::Auditor, None, None).await;
        assert_eq!(put(&room, &auditor, &path, &json!({})).await.0, 403);
        assert_eq!(put(&room, &room.admin, &path, &json!({"open_orders": "-1"})).await.0, 422);
        assert_eq!(put(&room, &room.admin, &path, &json!({"new_accounts": "1/1h"})).await.0, 400);
        assert_eq!(room.get(&room.admin, &path).await.json()["limits"], own, "a refusal changes nothing");
        assert_eq!(put(&room, &room.admin, &path, &json!({})).await.1, empty);
        for missing in ["acc_00000000000000000000000000", "nobody"] {
            let path = format!("/api/v1/acme/accounts/{missing}");
            assert_eq!(put(&room, &room.admin, &format!("{path}/limits"), &own).await.0, 404);
            assert_eq!(room.post(&room.admin, &format!("{path}/resume"), &json!({})).await.status.as_u16(), 404);
        }
        let resume = format!("/api/v1/acme/accounts/{}/resume", account.id);
        assert_eq!(room.post(&room.admin, &resume, &json!({"name": "a.test"})).await.status.as_u16(), 404);
        assert_eq!(room.post(&room.admin, &resume, &json!({})).await.json(), json!({"names": []}));
    }
}

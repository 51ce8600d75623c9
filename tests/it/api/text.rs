//! Text that hides, turns around or steers what stands beside it: refused in names and subjects of ours, and escaped
//! where it was stored before.

use chancery::store::audit;
use serde_json::json;

use super::room::{CERTIFICATES, Room};
use super::subject::{named, with_named_servers};

/// An escape, right-to-left override and mark, no width, nothing at all, a noncharacter.
const DECEPTIVE: [&str; 6] = ["\u{1b}[2J", "\u{202e}", "\u{61c}", "\u{200b}", "\u{3164}", "\u{ffff}"];

crate::on_both_engines! {
    async fn names_that_hide_or_turn_text_are_refused(at) {
        let room = Room::over(at).await;
        with_named_servers(&room).await;
        let before = room.count().await;
        for deceptive in DECEPTIVE {
            let name = format!("ci{deceptive}x");
            for path in ["/api/v1/tokens", "/api/v1/grants", "/api/v1/acme/eab-keys"] {
                let answer = room.post(&room.admin, path, &json!({"name": name})).await;
                assert_eq!(answer.refusal().0, 422, "{path} {}", answer.json());
                let subjects = json!({"name": "ci", "subjects": [name], "allow_names": ["lab.example"]});
                assert_eq!(room.post(&room.admin, path, &subjects).await.json()["rule"], "grant.subjects", "{path}");
            }
            for subject in [
                json!({"common_name": name, "organization": "Lab Ltd"}),
                json!({"common_name": "Build 1", "organization": name}),
            ] {
                let answer = room.post(&room.admin, CERTIFICATES, &named(subject)).await;
                assert!([400, 403, 422].contains(&answer.refusal().0), "{}", answer.json());
                let told = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(!told.chars().any(chancery::model::text::is_deceptive), "{told:?}");
            }
            let host = json!({"names": [format!("a{deceptive}.lab.example")], "profile": "tls-server"});
            assert!(room.post(&room.admin, CERTIFICATES, &host).await.refusal().0 < 500);
        }
        assert_eq!(room.count().await, before);
        let refusals = audit::page(&at.store, None, 500).await.unwrap();
        assert!(refusals.iter().any(|event| event.action == "certificate.rejected"));
    }
}

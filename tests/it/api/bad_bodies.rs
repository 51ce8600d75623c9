//! Every operation that takes a body, as the document lists them, against bodies that are none: a 4xx problem each
//! time, never a 5xx, and nothing changed. A new operation is in this table without being named.

use axum::body::Body;
use axum::http::Request;
use chancery::model::actor::Role;
use serde_json::json;

use super::document::operations;
use super::room::{Answer, Room};

/// An id that nothing has.
const NOBODY: &str = "crt_01KAQ5V2X8J4M6N7P9R1S3T5V7";

struct Operation {
    method: String,
    path: String,
    /// The members of its body.
    members: Vec<String>,
}

fn with_bodies() -> Vec<Operation> {
    let document = serde_json::to_value(chancery::api::document()).unwrap();
    let with_body = operations(&document).into_iter().filter(|(_, _, o)| !o["requestBody"].is_null());
    with_body
        .map(|(method, path, operation)| {
            let target = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
            let schema = document.pointer(target.trim_start_matches('#')).unwrap();
            let members =
                schema["properties"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
            let path =
                path.split('/').map(|part| if part.starts_with('{') { NOBODY } else { part }).collect::<Vec<_>>();
            Operation { method, path: path.join("/"), members }
        })
        .collect()
}

impl Operation {
    async fn send(&self, room: &Room, token: &str, media: Option<&str>, body: impl Into<Body>) -> Answer {
        let mut head = Request::builder().method(self.method.as_str()).uri(&self.path);
        if !token.is_empty() {
            head = head.header("authorization", format!("Bearer {token}"));
        }
        if let Some(media) = media {
            head = head.header("content-type", media);
        }
        room.send(head.body(body.into()).unwrap()).await
    }
}

const JSON: Option<&str> = Some("application/json");

async fn everything(room: &Room) -> Vec<usize> {
    let mut counts = Vec::new();
    for path in ["certificates", "tokens", "domains", "issuers", "profiles"] {
        let page = room.get(&room.admin, &format!("/api/v1/{path}")).await.json();
        counts.push(page["items"].as_array().unwrap().len());
    }
    counts
}

crate::on_both_engines! {
    async fn what_is_no_body_is_refused_by_every_operation(at) {
        let room = Room::over(at).await;
        let viewer = room.token(Role::Viewer, None, None).await;
        let before = everything(&room).await;
        let deep = "[".repeat(10_000);
        let bodies: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", Vec::new()),
            ("blanks", b"  \n ".to_vec()),
            ("a list", b"[]".to_vec()),
            ("null", b"null".to_vec()),
            ("a number", b"7".to_vec()),
            ("a string", b"\"x\"".to_vec()),
            ("half", b"{\"a\":".to_vec()),
            ("two", b"{}{}".to_vec()),
            ("a member twice", br#"{"x":1,"x":1}"#.to_vec()),
            ("an unknown member", br#"{"no_such_member":1}"#.to_vec()),
            ("deep", deep.clone().into_bytes()),
            ("deep inside", format!("{{\"x\":{deep}").into_bytes()),
            ("U+0000", br#"{"x":"\u0000"}"#.to_vec()),
            ("U+0000 as a key", br#"{"\u0000":1}"#.to_vec()),
            ("a half surrogate", br#"{"x":"\ud800"}"#.to_vec()),
            ("not UTF-8", b"{\"x\":\"\xff\"}".to_vec()),
            ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
            ("DER", vec![0x30, 0x82, 0xff, 0xff, 0x02]),
        ];
        for operation in with_bodies() {
            let at = format!("{} {}", operation.method, operation.path);
            for (what, body) in &bodies {
                let answer = operation.send(&room, &room.admin, JSON, body.clone()).await;
                assert_eq!(answer.refusal(), (400, "malformed".into()), "{at}: {what}: {}", answer.json());
            }
            let large = operation.send(&room, &room.admin, JSON, vec![b' '; 2 << 20]).await;
            assert_eq!(large.refusal(), (413, "too_large".into()), "{at}");
            for media in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
                let answer = operation.send(&room, &room.admin, media, "{}").await;
                assert_eq!(answer.refusal(), (415, "unsupported_media_type".into()), "{at}: {media:?}");
            }
            // the credential is judged before a byte of the body
            assert_eq!(operation.send(&room, "", JSON, "{").await.refusal(), (401, "unauthenticated".into()), "{at}");
            // a member of a wrong kind, or with a value of wrong form: whatever it is, it is refused
            for member in &operation.members {
                for value in [json!({"a": [1]}), json!(-1), json!("\u{202e}\u{7f}"), json!([[[]]]), json!(1e300), json!("x".repeat(70_000))] {
                    let answer = operation.send(&room, &room.admin, JSON, json!({member: value}).to_string()).await;
                    let (status, _) = answer.refusal();
                    assert!((400..500).contains(&status), "{at}: {member} {value}: {}", answer.json());
                }
            }
            let denied = operation.send(&room, &viewer, JSON, "{}").await.refusal().0;
            assert!((400..500).contains(&denied), "{at}: a viewer got {denied}");
        }
        assert_eq!(everything(&room).await, before);
    }
}

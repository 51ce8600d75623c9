//! /api/docs and /errors: they read without a token, without a script and without a network, under a strict policy.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use super::document::operations;
use super::room::Room;
use crate::support::stores::At;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readable_document_has_every_operation_and_a_strict_policy() {
    let at = At::sqlite().await;
    let room = Room::over(&at).await;
    for path in ["/api/docs", "/errors", "/errors/refused"] {
        let answer = room.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        let html = String::from_utf8(answer.bytes).unwrap();
        for forbidden in ["<style", " style=", "onclick", "<script>", "=\"http", "=\"//"] {
            assert!(!html.contains(forbidden), "{path}: {forbidden}");
        }
        assert!(!html.contains('`'), "{path}: a backtick is left");
        if path != "/api/docs" {
            continue;
        }
        let document: Value = serde_json::from_str(chancery::api::COMMITTED).unwrap();
        for (_, path, operation) in operations(&document) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(html.contains(&format!("id=\"{id}\"")) && html.contains(&path), "{id}");
        }
        for (name, _) in document["components"]["schemas"].as_object().unwrap() {
            assert!(html.contains(&format!("id=\"shape-{name}\"")), "{name}");
        }
    }
    at.end().await;
}

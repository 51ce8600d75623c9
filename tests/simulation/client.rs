//! Requests and answers of REST and of status, without a connection in between.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt;

pub const CERTIFICATES: &str = "/api/v1/certificates";

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What a refusal says, for the story.
    pub fn told(&self) -> String {
        let body = self.json();
        let detail = body["detail"].as_str().map(str::to_owned);
        format!("{} {}", self.status, detail.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned()))
    }

    /// A text member that must be there.
    #[track_caller]
    pub fn text(&self, member: &str) -> String {
        let body = self.json();
        body[member].as_str().unwrap_or_else(|| panic!("no {member} in {body}")).to_owned()
    }
}

pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.expect("a router answers");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 64 << 20).await.expect("a body that ends").to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub fn get(token: &str, path: &str) -> Request<Body> {
    let head = Request::get(path).header("authorization", format!("Bearer {token}"));
    head.body(Body::empty()).unwrap()
}

pub fn post(token: &str, path: &str, key: Option<&str>, body: &str) -> Request<Body> {
    let mut head = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    if let Some(key) = key {
        head = head.header("idempotency-key", key);
    }
    head.body(Body::from(body.to_owned())).unwrap()
}

/// Of status, which knows no callers.
pub fn fetch(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

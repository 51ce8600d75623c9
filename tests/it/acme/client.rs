//! A small ACME client: signs with P-256, keeps its nonce, shows whole responses.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use chancery::registration::Registration;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::world::{EXTERNAL, World};
use crate::issuance::rig::SignerState;
pub use crate::support::acme_key::{Key, b64, csr, csr_by};
use crate::support::wait;

pub fn url(path: &str) -> String {
    format!("{EXTERNAL}/acme/default/{path}")
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// `malformed` of `urn:ietf:params:acme:error:malformed`.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{} {}", self.status, self.text);
        assert_eq!(self.json()["status"], self.status);
        self.json()["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn refused(self, status: u16, problem: &str) -> Self {
        assert_eq!((self.status, self.problem().as_str()), (status, problem), "{}", self.text);
        assert!(self.headers.contains_key("replay-nonce"), "an error carries a nonce");
        self
    }
}

pub struct Client<'w> {
    pub world: &'w World,
    pub key: Key,
    pub kid: String,
}

/// Signed by `key` for the account, at another process.
pub async fn at(
    (registration, router): &(Arc<Registration>, Router),
    key: &Key,
    kid: &str,
    to: &str,
    payload: &str,
) -> Reply {
    let nonce = registration.nonces.mint().unwrap();
    let header = json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": to}).to_string();
    send_to(router, to, &key.jws(&header, payload).to_string()).await
}

impl<'w> Client<'w> {
    pub async fn register(world: &'w World) -> Client<'w> {
        let mut client = Client { world, key: Key::new(), kid: String::new() };
        let reply = client.post_jwk(&url("new-account"), r#"{"termsOfServiceAgreed":true}"#).await.expect(201);
        client.kid = reply.header("location").to_owned();
        client
    }

    pub async fn nonce(&self) -> String {
        raw(self.world, "HEAD", &url("new-nonce"), "", Vec::new()).await.header("replay-nonce").to_owned()
    }

    /// Signed by the account. On a busy machine a certificate may take longer than a client is kept waiting: it is polled
    /// for, unless the test keeps its signature.
    pub async fn post(&self, to: &str, payload: &str) -> Reply {
        let post = async |to: &str, payload: &str| self.post_with(to, &self.nonce().await, payload).await;
        let first = post(to, payload).await;
        let kept = *self.world.trouble.signer.lock().unwrap() == SignerState::Waits;
        let processing = |reply: &Reply| reply.json()["status"] == "processing";
        if kept || first.status != 200 || !to.ends_with("/finalize") || !processing(&first) {
            return first;
        }
        wait::until("the certificate", async || {
            let polled = post(first.header("location"), "").await;
            (!processing(&polled)).then(|| Reply { headers: first.headers.clone(), ..polled })
        })
        .await
    }

    pub async fn post_with(&self, to: &str, nonce: &str, payload: &str) -> Reply {
        let header = json!({"alg": "ES256", "kid": self.kid, "nonce": nonce, "url": to}).to_string();
        send(self.world, to, &self.key.jws(&header, payload).to_string()).await
    }

    pub async fn get(&self, to: &str) -> Reply {
        self.post(to, "").await
    }

    /// Signed by the key itself.
    pub async fn post_jwk(&self, to: &str, payload: &str) -> Reply {
        let nonce = self.nonce().await;
        let header = json!({"alg": "ES256", "jwk": self.key.jwk(), "nonce": nonce, "url": to}).to_string();
        send(self.world, to, &self.key.jws(&header, payload).to_string()).await
    }

    pub async fn order(&self, names: &[&str]) -> Reply {
        let identifiers: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
        self.post(&url("new-order"), &json!({"identifiers": identifiers}).to_string()).await
    }

    /// An order whose names are all proved.
    pub async fn ready_order(&self, names: &[&str]) -> (String, Value) {
        let made = self.order(names).await.expect(201);
        let order_url = made.header("location").to_owned();
        for authorization in made.json()["authorizations"].as_array().unwrap() {
            self.prove(authorization.as_str().unwrap()).await;
        }
        let order = self.get(&order_url).await.expect(200).json();
        assert_eq!(order["status"], "ready", "{order}");
        (order_url, order)
    }

    pub async fn challenge(&self, authorization: &str, kind: &str) -> Value {
        let shown = self.get(authorization).await.expect(200).json();
        let found = shown["challenges"].as_array().unwrap().iter().find(|c| c["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {shown}")).clone()
    }

    /// Serves the right answer, says so, and waits for the verdict.
    pub async fn prove(&self, authorization: &str) -> Value {
        let challenge = self.challenge(authorization, "http-01").await;
        let token = challenge["token"].as_str().unwrap();
        let body = format!("{token}.{}", self.key.thumbprint());
        self.world.tokens.lock().unwrap().insert(token.to_owned(), body);
        self.respond(&challenge, authorization).await
    }

    pub async fn respond(&self, challenge: &Value, authorization: &str) -> Value {
        self.post(challenge["url"].as_str().unwrap(), "{}").await.expect(200);
        let ended = async {
            loop {
                let shown = self.get(authorization).await.expect(200).json();
                if shown["status"] != "pending" {
                    return shown;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect("the validation ends")
    }

    /// A finished certificate: (its URL, the PEM chain, the key's PKCS#8).
    pub async fn certificate(&self, names: &[&str]) -> (String, String, Vec<u8>) {
        let (_, order) = self.ready_order(names).await;
        let (csr, key) = csr(names);
        let done = self.post(order["finalize"].as_str().unwrap(), &json!({"csr": b64(csr)}).to_string()).await;
        let done = done.expect(200).json();
        assert_eq!(done["status"], "valid", "{done}");
        let certificate = done["certificate"].as_str().unwrap().to_owned();
        let pem = self.get(&certificate).await.expect(200).text;
        (certificate, pem, key)
    }
}

pub fn leaf_der(pem: &str) -> Vec<u8> {
    chancery::pki::pem::certificates(pem).unwrap().swap_remove(0)
}

pub async fn send(world: &World, to: &str, body: &str) -> Reply {
    raw(world, "POST", to, "application/jose+json", body.as_bytes().to_vec()).await
}

pub async fn raw(world: &World, method: &str, to: &str, media_type: &str, body: Vec<u8>) -> Reply {
    let headers = [("content-type", media_type)];
    with_headers(world, method, to, if media_type.is_empty() { &[] } else { &headers }, body).await
}

pub async fn with_headers(world: &World, method: &str, to: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let path = to.strip_prefix(EXTERNAL).unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    shown(world.send(request.body(Body::from(body)).unwrap()).await).await
}

/// To another replica's router.
pub async fn send_to(router: &Router, to: &str, body: &str) -> Reply {
    let request = Request::post(to.strip_prefix(EXTERNAL).unwrap()).header("content-type", "application/jose+json");
    shown(router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()).await
}

async fn shown(response: Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    if let Ok(told) = serde_json::from_slice::<Value>(&bytes) {
        sentences(&told);
    }
    Reply { status: parts.status.as_u16(), headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

/// What a client is told why, wherever it stands in an answer, has at most 400 characters on one line.
fn sentences(told: &Value) {
    match told {
        Value::Object(members) => {
            if let Some(detail) = members.get("detail").and_then(Value::as_str) {
                let length = detail.chars().count();
                assert!((1..=400).contains(&length), "{length} characters: {detail}");
                assert!(!detail.contains(char::is_control), "{detail:?}");
            }
            members.values().for_each(sentences);
        }
        Value::Array(items) => items.iter().for_each(sentences),
        _ => {}
    }
}

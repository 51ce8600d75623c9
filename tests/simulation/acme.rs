//! A client of ACME whose account acts under a grant: its names need no challenge, so that a certificate takes an order,
//! a finalization and a download.

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::acme_key::{Key, b64, csr};
use crate::client::{Answer, post, send};
use crate::node::Node;
use crate::place::EXTERNAL;

/// What the external account key is called, and the names that it may get.
pub const KEY_NAME: &str = "simulation-acme";
pub const ZONE: &str = "acme.example";
/// A client asks an order that is processing so often again.
const POLLS: usize = 20;

/// An account that outlasts every server.
pub struct AcmeIdentity {
    key: Key,
    kid: String,
}

fn url(path: &str) -> String {
    format!("{EXTERNAL}/acme/default/{path}")
}

impl AcmeIdentity {
    pub fn register(node: &Node, token: &str) -> AcmeIdentity {
        let wanted = json!({"name": KEY_NAME, "allow_names": [ZONE]}).to_string();
        let made = node.ask(post(token, "/api/v1/acme/eab-keys", None, &wanted)).expect("nothing kills it");
        assert_eq!(made.status, 201, "{}", made.told());
        let secret = URL_SAFE_NO_PAD.decode(made.text("hmac_key")).unwrap();
        let key = Key::new();
        let header = json!({"alg": "HS256", "kid": made.text("id"), "url": url("new-account")});
        let (protected, payload) = (b64(header.to_string()), b64(key.jwk().to_string()));
        let signing = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let mac = b64(hmac::sign(&signing, format!("{protected}.{payload}").as_bytes()));
        let binding = json!({"protected": protected, "payload": payload, "signature": mac});
        let payload = json!({"termsOfServiceAgreed": true, "externalAccountBinding": binding}).to_string();
        let router = node.router();
        let made = node.run(async {
            let nonce = nonce(&router).await?;
            let header = json!({"alg": "ES256", "jwk": key.jwk(), "nonce": nonce, "url": url("new-account")});
            Ok::<_, Answer>(send_to(&router, &url("new-account"), &key.jws(&header.to_string(), &payload)).await)
        });
        let made = made.expect("nothing kills it").unwrap_or_else(|answer| panic!("{}", answer.told()));
        assert_eq!(made.status, 201, "{}", made.told());
        AcmeIdentity { kid: made.header("location").to_owned(), key }
    }

    /// The certificate of a new key in DER, or the answer that ended the attempt.
    pub async fn obtain(&self, router: &Router, name: &str) -> Result<Vec<u8>, Answer> {
        let identifiers = json!({"identifiers": [{"type": "dns", "value": name}]}).to_string();
        let made = self.post(router, &url("new-order"), &identifiers, 201).await?;
        let order = made.header("location").to_owned();
        let (request, _) = csr(&[name]);
        let finalize = made.text("finalize");
        let mut answer = self.post(router, &finalize, &json!({"csr": b64(request)}).to_string(), 200).await?;
        for _ in 0..POLLS {
            if answer.json()["status"] != "processing" {
                break;
            }
            answer = self.post(router, &order, "", 200).await?;
        }
        let Value::String(certificate) = answer.json()["certificate"].take() else { return Err(answer) };
        let chain = self.post(router, &certificate, "", 200).await?;
        Ok(openssl::x509::X509::from_pem(&chain.body).expect("a chain in PEM").to_der().unwrap())
    }

    pub async fn revoke(&self, router: &Router, certificate: &[u8]) -> Answer {
        let payload = json!({"certificate": b64(certificate), "reason": 4}).to_string();
        match self.post(router, &url("revoke"), &payload, 200).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    /// Another status than the expected one is what ended the attempt.
    async fn post(&self, router: &Router, to: &str, payload: &str, status: u16) -> Result<Answer, Answer> {
        let nonce = nonce(router).await?;
        let header = json!({"alg": "ES256", "kid": self.kid, "nonce": nonce, "url": to}).to_string();
        let answer = send_to(router, to, &self.key.jws(&header, payload)).await;
        if answer.status == status { Ok(answer) } else { Err(answer) }
    }
}

async fn nonce(router: &Router) -> Result<String, Answer> {
    let request = Request::head(path(&url("new-nonce"))).body(Body::empty()).unwrap();
    let answer = send(router.clone(), request).await;
    if answer.status == 200 { Ok(answer.header("replay-nonce").to_owned()) } else { Err(answer) }
}

async fn send_to(router: &Router, to: &str, jws: &Value) -> Answer {
    let request = Request::post(path(to)).header("content-type", "application/jose+json");
    send(router.clone(), request.body(Body::from(jws.to_string())).unwrap()).await
}

fn path(url: &str) -> String {
    url.strip_prefix(EXTERNAL).expect("a URL of this CA").to_owned()
}

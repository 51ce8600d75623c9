//! The REST room over a CA of its own, without a listener.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chancery::access::Access;
use chancery::access::tokens::NewToken;
use chancery::acme;
use chancery::api::{Api, room};
use chancery::authority::Authority;
use chancery::clock::ManualClock;
use chancery::http::layers::Manners;
use chancery::model::actor::{Actor, Role};
use chancery::registration::Registration;
use chancery::store::Store;
use chancery::validation::{ValidationConfig, Validator};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::stores::{At, founded};

pub struct Room {
    pub authority: Arc<Authority>,
    pub router: Router,
    pub access: Arc<Access>,
    pub clock: ManualClock,
    /// The secret of an administrator's token.
    pub admin: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// (status, code): what a refusal is told by. It must be a problem document.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json", "{body}");
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["instance"], self.headers["x-request-id"].to_str().unwrap());
        assert!(!body["detail"].as_str().unwrap().is_empty());
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }
}

impl Room {
    pub async fn over(at: &At) -> Room {
        let (authority, _) = founded(&at.store).await;
        let validator = Validator::new(ValidationConfig::default(), Vec::new(), Arc::new(at.clock.clone())).unwrap();
        let registration = Registration::open(authority.clone(), Arc::new(validator), acme::describe).await.unwrap();
        Room::beside(&at.store, &at.clock, authority, registration).await
    }

    /// Over a CA that is there already.
    pub async fn beside(
        store: &Store,
        clock: &ManualClock,
        authority: Arc<Authority>,
        registration: Arc<Registration>,
    ) -> Room {
        let access = Access::new(store.clone());
        let manners = Manners {
            external_url: "https://ca.test:8443".into(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::clone(&store.entropy),
        };
        let router = room(Api { authority: authority.clone(), access: access.clone(), registration }, manners);
        let mut made = Room { authority, router, access, clock: clock.clone(), admin: String::new() };
        made.admin = made.token(Role::Admin, None, None).await;
        made
    }

    pub async fn token(&self, role: Role, names: Option<&[&str]>, profiles: Option<&[&str]>) -> String {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let new = NewToken {
            name: "test".into(),
            role: Some(role),
            allow_names: names.map(texts),
            profiles: profiles.map(texts),
            ..NewToken::default()
        };
        let (_, secret) = self.access.create_token(&Actor::system("test"), &new).await.unwrap();
        secret.expose().to_owned()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.get_as(token, path, "*/*").await
    }

    pub async fn get_as(&self, token: &str, path: &str, accept: &str) -> Answer {
        let head = Request::get(path).header("authorization", format!("Bearer {token}")).header("accept", accept);
        self.send(head.body(Body::empty()).unwrap()).await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        let head = Request::delete(path).header("authorization", format!("Bearer {token}"));
        self.send(head.body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.post_raw(token, path, &[], body.to_string()).await
    }

    pub async fn post_raw(&self, token: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut head = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        self.send(head.body(body.into()).unwrap()).await
    }

    /// A certificate for `name` with a key made by the server.
    pub async fn issue(&self, token: &str, name: &str) -> Value {
        let answer = self.post(token, CERTIFICATES, &json!({"names": [name], "profile": "tls-server"})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        answer.json()
    }

    /// How many certificates there are: what a refusal may not change.
    pub async fn count(&self) -> usize {
        let page = self.get(&self.admin, "/api/v1/certificates?limit=500").await.json();
        page["items"].as_array().unwrap().len()
    }
}

pub const CERTIFICATES: &str = "/api/v1/certificates";

/// A CSR in PEM with a fresh P-256 key, made by OpenSSL.
pub fn csr(names: &[&str]) -> String {
    csr_of(None, names)
}

/// The same with a CN in its subject.
pub fn csr_of(common_name: Option<&str>, names: &[&str]) -> String {
    use openssl::{ec, hash::MessageDigest, nid::Nid, pkey::PKey, stack::Stack, x509};
    let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = x509::X509ReqBuilder::new().unwrap();
    builder.set_pubkey(&key).unwrap();
    if let Some(text) = common_name {
        let mut subject = x509::X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", text).unwrap();
        builder.set_subject_name(&subject.build()).unwrap();
    }
    let mut san = x509::extension::SubjectAlternativeName::new();
    for name in names {
        san.dns(name);
    }
    let mut extensions = Stack::new().unwrap();
    extensions.push(san.build(&builder.x509v3_context(None)).unwrap()).unwrap();
    builder.add_extensions(&extensions).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

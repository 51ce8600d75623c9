//! The REST room over a real store, without a listener: each test gets a CA of its own on SQLite and, when
//! `CHANCERY_TEST_POSTGRES` names a server, one on Postgres.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chancery::access::Access;
use chancery::access::tokens::NewToken;
use chancery::api::{Api, room};
use chancery::authority::Authority;
use chancery::authority::hierarchy::{Founding, initialise};
use chancery::clock::{Clock, ManualClock, Timestamp};
use chancery::entropy::{Entropy, SystemEntropy};
use chancery::http::layers::Manners;
use chancery::keys::seal::KeyMaterial;
use chancery::keys::store::Keys;
use chancery::model::actor::{Actor, Role};
use chancery::store::engine::Db;
use chancery::store::{Store, migrate};
use serde_json::{Value, json};
use tower::ServiceExt;

pub struct Room {
    pub router: Router,
    pub access: Arc<Access>,
    pub clock: ManualClock,
    /// The secret of an administrator's token.
    pub admin: String,
    _directory: tempfile::TempDir,
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
    pub async fn on_sqlite() -> Room {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&directory.path().join("ca.db")).await.unwrap();
        Room::over(db, directory).await
    }

    async fn over(db: Db, directory: tempfile::TempDir) -> Room {
        migrate::run(&db).await.unwrap();
        let clock = ManualClock::at(Timestamp::from_secs(1_795_000_000));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let store = Store::new(db, Arc::new(clock.clone()), entropy.clone()).unwrap();
        let material = || KeyMaterial::generate(entropy.as_ref()).unwrap();
        let keys = Keys::locked(entropy.clone()).with_unlock(&material()).unwrap().with_root(&material()).unwrap();
        let key_check = keys.key_check().unwrap();
        let (status, status_key) = keys.new_status_key().unwrap();
        let keys = Arc::new(keys.with_status(&status).unwrap());
        let founding = Founding { status_url: "http://ca.test:8080".into(), key_check, status_key };
        assert!(initialise(&store, keys.as_ref(), &founding).await.unwrap());
        let authority = Authority::open(store.clone(), keys, vec!["ca.test".into()]).await.unwrap();
        let access = Access::new(store);
        let manners = Manners {
            external_url: "https://ca.test:8443".into(),
            clock: Arc::new(clock.clone()) as Arc<dyn Clock>,
            entropy,
        };
        let router = room(Api { authority, access: access.clone() }, manners);
        let mut made = Room { router, access, clock, admin: String::new(), _directory: directory };
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
    use openssl::{ec, hash::MessageDigest, nid::Nid, pkey::PKey, stack::Stack, x509};
    let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = x509::X509ReqBuilder::new().unwrap();
    builder.set_pubkey(&key).unwrap();
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

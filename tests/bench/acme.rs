//! Full ACME orders with real http-01: new order, challenge answered by a real listener, finalize, download.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::load::{Connection, Run, request, run};

/// Where an ACME directory is, whoever serves it.
#[derive(Debug, Clone)]
pub struct Directory {
    pub https: String,
    pub root: Vec<u8>,
    pub path: &'static str,
}

pub const HTTP01_PORT: u16 = 15_080;
pub const RESOLVER: &str = "127.0.0.1:15053";
/// Names are numbered over the whole process, so that every order is of a name of its own.
static NAMES: AtomicUsize = AtomicUsize::new(0);

/// Signed requests of one order beside polls: new order, authorization, challenge, its state, finalize, download.
pub const REQUESTS: f64 = 6.0;

/// One ACME client: a kept connection, an account, the nonce of the last answer.
struct Client {
    connection: Connection,
    new_order: String,
    new_account: String,
    new_nonce: String,
    key: EcdsaKeyPair,
    jwk: Value,
    kid: String,
    nonce: String,
}

/// `workers` clients make `total` orders.
pub async fn orders(at: &Directory, workers: usize, total: usize) -> Run {
    let mut clients = Vec::new();
    for _ in 0..workers {
        clients.push(Client::register(at).await);
    }
    run(workers, total, clients, |mut client, _| async move {
        client.order().await;
        client
    })
    .await
}

/// Orders that are made and left open.
pub async fn open_orders(at: &Directory, total: usize) -> Run {
    let client = Client::register(at).await;
    run(1, total, vec![client], |mut client, _| async move {
        client.new_order().await;
        client
    })
    .await
}

/// Nonces by HEAD, and accounts, each of a key of its own.
pub async fn nonces(at: &Directory, workers: usize, total: usize) -> Run {
    let mut clients = Vec::new();
    for _ in 0..workers {
        clients.push(Client::connect(at).await);
    }
    run(workers, total, clients, |mut client, _| async move {
        client.fetch_nonce().await;
        client
    })
    .await
}

pub async fn accounts(at: &Directory, workers: usize, total: usize) -> Run {
    let mut clients = Vec::new();
    for _ in 0..workers {
        clients.push(Client::connect(at).await);
    }
    run(workers, total, clients, |mut client, _| async move {
        client.new_key();
        client.make_account().await;
        client
    })
    .await
}

impl Client {
    async fn register(at: &Directory) -> Client {
        let mut client = Client::connect(at).await;
        client.make_account().await;
        client
    }

    async fn connect(at: &Directory) -> Client {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("a key");
        let point = key.public_key().as_ref();
        let jwk =
            json!({"crv": "P-256", "kty": "EC", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
        let mut connection = Connection::tls(&at.https, &at.root).await;
        let (_, _, directory) = connection.send(request("GET", at.path, &[], Vec::new())).await;
        let directory: Value = serde_json::from_slice(&directory).expect("a directory");
        let url = |name: &str| directory[name].as_str().expect(name).to_owned();
        let (new_order, new_account, (_, new_nonce)) = (url("newOrder"), url("newAccount"), split(&url("newNonce")));
        let (kid, nonce) = (String::new(), String::new());
        let mut client = Client { connection, new_order, new_account, new_nonce, key, jwk, kid, nonce };
        client.fetch_nonce().await;
        client
    }

    fn new_key(&mut self) {
        self.key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = self.key.public_key().as_ref();
        self.jwk =
            json!({"crv": "P-256", "kty": "EC", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
        self.kid.clear();
    }

    async fn fetch_nonce(&mut self) {
        let (_, headers, _) = self.connection.send(request("HEAD", &self.new_nonce, &[], Vec::new())).await;
        self.nonce = headers["replay-nonce"].to_str().expect("a nonce").to_owned();
    }

    async fn make_account(&mut self) {
        let to = self.new_account.clone();
        let (status, headers, body) = self.post(&to, &json!({"termsOfServiceAgreed": true}).to_string()).await;
        assert_eq!(status, 201, "newAccount: {}", String::from_utf8_lossy(&body));
        self.kid = headers["location"].to_str().expect("a location").to_owned();
    }

    async fn post(&mut self, url: &str, payload: &str) -> (u16, hyper::HeaderMap, Vec<u8>) {
        let mut protected = json!({"alg": "ES256", "nonce": self.nonce, "url": url});
        if self.kid.is_empty() {
            protected["jwk"] = self.jwk.clone();
        } else {
            protected["kid"] = json!(self.kid);
        }
        let protected = B64.encode(protected.to_string());
        let payload = B64.encode(payload);
        let message = format!("{protected}.{payload}");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        let body = json!({"protected": protected, "payload": payload, "signature": B64.encode(signature.as_ref())});
        let (_, path) = split(url);
        let headers = [("content-type", "application/jose+json")];
        let request = request("POST", &path, &headers, body.to_string().into_bytes());
        let (status, headers, body) = self.connection.send(request).await;
        if let Some(nonce) = headers.get("replay-nonce") {
            self.nonce = nonce.to_str().expect("a nonce").to_owned();
        }
        (status, headers, body.to_vec())
    }

    async fn json(&mut self, url: &str, payload: &str) -> (Value, hyper::HeaderMap) {
        let (status, headers, body) = self.post(url, payload).await;
        assert!(status < 300, "{url}: {status} {}", String::from_utf8_lossy(&body));
        (serde_json::from_slice(&body).expect("JSON"), headers)
    }

    /// Its name, the order, its URL.
    async fn new_order(&mut self) -> (String, Value, String) {
        let name = format!("n{}.bench.test", NAMES.fetch_add(1, Ordering::Relaxed));
        let new_order = self.new_order.clone();
        let wanted = json!({"identifiers": [{"type": "dns", "value": name}]}).to_string();
        let (order, headers) = self.json(&new_order, &wanted).await;
        (name, order, headers["location"].to_str().expect("a location").to_owned())
    }

    async fn order(&mut self) {
        let (name, order, order_url) = self.new_order().await;
        let authorization = order["authorizations"][0].as_str().expect("an authorization").to_owned();
        let (authorization_body, _) = self.json(&authorization, "").await;
        let challenges = authorization_body["challenges"].as_array().expect("challenges").clone();
        let http = challenges.iter().find(|c| c["type"] == "http-01").expect("http-01");
        expect_challenge(http["token"].as_str().expect("a token"), &self.jwk);
        self.json(http["url"].as_str().expect("a URL"), "{}").await;
        loop {
            let (state, _) = self.json(&authorization, "").await;
            match state["status"].as_str() {
                Some("valid") => break,
                Some("pending") => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
                other => panic!("the authorization is {other:?}: {state}"),
            }
        }
        let csr = csr(&name);
        let finalize = json!({"csr": B64.encode(csr)}).to_string();
        let (mut order, _) = self.json(order["finalize"].as_str().expect("finalize"), &finalize).await;
        while order["status"] == "processing" {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            order = self.json(&order_url, "").await.0;
        }
        let certificate = order["certificate"].as_str().expect("a certificate").to_owned();
        let (status, _, chain) = self.post(&certificate, "").await;
        assert!(status == 200 && chain.starts_with(b"-----BEGIN"), "{status}");
    }
}

/// A fresh CSR; the key is made once, because making keys is the client's cost.
pub fn csr(name: &str) -> Vec<u8> {
    static KEY: std::sync::LazyLock<rcgen::KeyPair> =
        std::sync::LazyLock::new(|| rcgen::KeyPair::generate().expect("a key"));
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.serialize_request(&*KEY).expect("a CSR").der().to_vec()
}

fn split(url: &str) -> (String, String) {
    let start = url.find("://").map_or(0, |i| i + 3);
    let end = url[start..].find('/').map_or(url.len(), |i| start + i);
    (url[..end].to_owned(), url[end..].to_owned())
}

/// Answers every http-01 challenge that a client of this process expects.
pub async fn challenge_listener() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", HTTP01_PORT)).await.expect("the http-01 port is free");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 2_048];
                let n = socket.read(&mut buffer).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                let token =
                    text.split_whitespace().nth(1).and_then(|p| p.rsplit('/').next()).unwrap_or("").to_owned();
                let body = format!("{token}.{}", thumbprint_of(&token));
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
}

/// Tokens that clients have told the listener about.
static THUMBPRINTS: std::sync::LazyLock<std::sync::Mutex<std::collections::HashMap<String, String>>> =
    std::sync::LazyLock::new(Default::default);

fn thumbprint_of(token: &str) -> String {
    THUMBPRINTS.lock().expect("no panic holds it").get(token).cloned().unwrap_or_default()
}

/// The client's part of preparing a challenge (RFC 7638 thumbprint of its key).
fn expect_challenge(token: &str, jwk: &Value) {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    let thumbprint = B64.encode(digest(&SHA256, canonical.as_bytes()));
    THUMBPRINTS.lock().expect("no panic holds it").insert(token.to_owned(), thumbprint);
}

/// A resolver on loopback that answers 127.0.0.1 for every A question and nothing for others.
pub fn resolver() {
    let socket = Arc::new(UdpSocket::bind(RESOLVER).expect("the resolver's port is free"));
    std::thread::spawn(move || {
        let mut question = [0; 1_232];
        while let Ok((n, from)) = socket.recv_from(&mut question) {
            let Some(answer) = answer(&question[..n]) else { continue };
            let _ = socket.send_to(&answer, from);
        }
    });
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += usize::from(question[end]) + 1;
    }
    let asks_a = question.get(end + 1..end + 3)? == [0, 1];
    let mut answer = question.get(..end + 5)?.to_vec();
    answer[2..12].copy_from_slice(&[0x85, 0x80, 0, 1, 0, u8::from(asks_a), 0, 0, 0, 0]);
    if asks_a {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

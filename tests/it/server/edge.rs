//! The first things that a listener decides about a request: its Host, how long a connection may wait for the next
//! one, and what becomes of a body that nobody wants.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use chancery::clock::monotonic;
use chancery::server::listen::{self, Connections, Limits, Stop};
use chancery::server::proxies::{ListenerName, Proxies};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::on_both_servers;
use crate::support::drip::drip;
use crate::support::wait::pause;
use crate::support::wire::{self, Reply};

const HEADERS: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(10);

async fn listening() -> (SocketAddr, watch::Sender<Stop>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { headers: HEADERS, idle: IDLE, ..Limits::default() };
    let router = Router::new().route("/", get(|| async { "hello" }));
    let (stop, watched) = watch::channel(Stop::Running);
    let proxies = Proxies::none(ListenerName::Http);
    tokio::spawn(listen::serve(listener, None, router, watched, Connections::default(), limits, proxies));
    (address, stop)
}

/// The bytes as they are, and the first answer to them.
async fn raw(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    wire::parse(&answer).expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let (address, _stop) = listening().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    wire::keep_alive(&mut stream, "/").await;
    pause(HEADERS * 3).await;
    assert_eq!(wire::keep_alive(&mut stream, "/").await.text(), "hello");
    let (start, mut rest) = (monotonic(), Vec::new());
    tokio::time::timeout(IDLE * 4, stream.read_to_end(&mut rest)).await.expect("the server closes it").unwrap();
    assert!(rest.is_empty() && start.elapsed() > IDLE / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_a_further_request_has_its_time_too() {
    let (address, _stop) = listening().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    wire::keep_alive(&mut stream, "/").await;
    let start = monotonic();
    // drops of bytes keep a connection busy and do not finish a head
    tokio::time::timeout(IDLE * 4, drip(stream, "GET / HTTP/1.1\r\n", "X-A: b\r\n"))
        .await
        .expect("the server closes it");
    assert!(start.elapsed() < IDLE, "{:?}", start.elapsed());
}

#[test]
fn http_1_waits_a_minute_for_the_next_request() {
    assert_eq!(Limits::default().idle, Duration::from_secs(60));
}

/// Sends a body that is too large in one go and looks for the answer only then, as most programs do.
const WRITES_ON: &str = r#"
import http.client, ssl, sys, urllib.error, urllib.request
url, root, bearer = sys.argv[1:4]
context = ssl.create_default_context(cafile=root)
body = b" " * (24 << 20)
for path, token, kind, want in [
    ("/api/v1/certificates", bearer, "application/json", 413),
    ("/api/v1/certificates", bearer, "text/plain", 415),
    ("/api/v1/certificates", "Bearer chy_wrong", "application/json", 401),
    ("/api/v1/tokens", bearer, "application/json", 403),
    ("/api/v1/nope", bearer, "application/json", 404),
    ("/acme/default/new-order", bearer, "application/jose+json", 413),
    ("/sign-in", bearer, "application/x-www-form-urlencoded", None),
]:
    headers = {"Authorization": token, "Content-Type": kind}
    request = urllib.request.Request(url + path, data=body, headers=headers, method="POST")
    try:
        urllib.request.urlopen(request, context=context, timeout=60)
        sys.exit(f"{path}: accepted")
    except urllib.error.HTTPError as answer:
        text = answer.read()
        assert answer.code == want or want is None and 400 <= answer.code < 500, (path, want, answer.code)
        assert text, path
# chunked: nothing announces the size
host = url.removeprefix("https://")
connection = http.client.HTTPSConnection(host, context=context, timeout=60)
pieces = (b" " * 65536 for _ in range(200))
connection.request("POST", "/api/v1/certificates", body=pieces, encode_chunked=True,
    headers={"Authorization": bearer, "Content-Type": "application/json", "Transfer-Encoding": "chunked"})
assert connection.getresponse().status == 413
print("ok")
"#;

on_both_servers! {
    async fn http_1_1_has_one_host_that_is_a_host(server) {
        for address in [server.running().addresses.http] {
            let status = async |head: &str| raw(address, &format!("GET /root.pem {head}\r\n\r\n")).await.status;
            assert_eq!(status("HTTP/1.1\r\nHost: ca.example:8080\r\nConnection: close").await, 200);
            assert_eq!(status("HTTP/1.1\r\nConnection: close").await, 400);
            assert_eq!(status("HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close").await, 400);
            assert_eq!(status("HTTP/1.1\r\nHost: a b\r\nConnection: close").await, 400);
            assert_eq!(status("HTTP/1.1\r\nHost: user@a\r\nConnection: close").await, 400);
            assert_eq!(status("HTTP/1.1\r\nHost:\r\nConnection: close").await, 400);
            assert_eq!(status("HTTP/1.0").await, 200);
            let told = raw(address, "GET /root.pem HTTP/1.1\r\nConnection: close\r\n\r\n").await;
            assert!(told.text().contains("HTTP/1.1 requires one") && told.header("x-request-id").is_some(), "{told:?}");
        }
        let mut stream = server.tls().await;
        stream.write_all(b"GET /api/v1/certificates HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let reply = wire::parse(&answer).unwrap();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("malformed")));
    }

    async fn a_client_that_writes_on_gets_its_answer(server) {
        let new = chancery::access::tokens::NewToken {
            name: "ci".into(),
            role: Some(chancery::model::actor::Role::Operator),
            ..Default::default()
        };
        let actor = chancery::model::actor::Actor::system("test");
        let (_, secret) = server.app().access.create_token(&actor, &new).await.unwrap();
        let root = server.data().join("root-of-the-test.pem");
        std::fs::write(&root, server.root_pem().await).unwrap();
        let url = format!("https://localhost:{}", server.running().addresses.https.port());
        let bearer = format!("Bearer {}", secret.expose());
        let output = tokio::task::spawn_blocking(move || {
            Command::new("python3").args(["-c", WRITES_ON, &url]).arg(root).arg(bearer).output().unwrap()
        });
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    async fn hsts_is_for_the_external_name_alone(server) {
        let ask = async |server: &crate::support::server::TestServer, host: &str| {
            let mut stream = server.tls().await;
            let request = format!("GET /sign-in HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            wire::parse(&answer).unwrap().header("strict-transport-security").map(str::to_owned)
        };
        assert_eq!(ask(server, "localhost").await, None, "off by default");
        let external = ("CHANCERY_EXTERNAL_URL", "https://ca.example:8443");
        server.restart_with(&[("CHANCERY_HSTS", "180d"), external, ("CHANCERY_STATUS_URL", "http://pki.example")]).await;
        assert_eq!(ask(server, "ca.example:8443").await.as_deref(), Some("max-age=15552000"));
        for other in ["localhost", "127.0.0.1:8443", "pki.example", "other.example"] {
            assert_eq!(ask(server, other).await, None, "{other}");
        }
        server.restart_with(&[("CHANCERY_STATUS_URL", "http://ca.example")]).await;
        assert_eq!(ask(server, "ca.example").await, None, "CRL links of this host are plain HTTP");
    }
}

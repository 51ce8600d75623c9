//! Half-open, slow and idle connections end within their time, and a listener takes no more than its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use chancery::clock::monotonic;
use chancery::server::listen::{self, Connections, Limits, Stop};
use chancery::server::proxies::{ListenerName, Proxies};
use chancery::server::tls::{HotCertificate, ephemeral, server_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::drip::drip;
use crate::support::wait::pause;
use crate::support::wire;

const SHORT: Limits = Limits {
    connections: 2,
    handshake: Duration::from_millis(300),
    headers: Duration::from_millis(300),
    idle: Duration::from_millis(400),
};
/// More than each of these, and far less than for ever.
const SOON: Duration = Duration::from_secs(8);
const HUGE: usize = 64 << 20;

struct Listening {
    address: SocketAddr,
    connections: Connections,
    stop: watch::Sender<Stop>,
}

async fn listening(secure: bool) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls =
        secure.then(|| server_config(HotCertificate::new(ephemeral(vec!["localhost".into()]).unwrap())).unwrap());
    let router =
        Router::new().route("/", get(|| async { "hello" })).route("/huge", get(|| async { vec![0u8; HUGE] }));
    let (stop, watched) = watch::channel(Stop::Running);
    let connections = Connections::default();
    let proxies = Proxies::none(ListenerName::Http);
    tokio::spawn(listen::serve(listener, tls, router, watched, connections.clone(), SHORT, proxies));
    Listening { address, connections, stop }
}

/// Reads until the other side closes; fails when it does not.
async fn closed(mut stream: TcpStream) {
    let start = monotonic();
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the server closes it").unwrap_or(0);
    assert!(start.elapsed() < SOON);
}

async fn gone(listening: &Listening) {
    let emptied = async {
        while listening.connections.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, emptied).await.expect("no connection is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nothing_or_too_little_is_closed() {
    let plain = listening(false).await;
    // nothing at all; half of HTTP/2's preface; a head that never ends
    for start in ["", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = TcpStream::connect(plain.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        closed(stream).await;
    }
    let secure = listening(true).await;
    for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(secure.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        closed(stream).await;
    }
    gone(&plain).await;
    gone(&secure).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_of_bytes_buy_no_time() {
    let plain = listening(false).await;
    for start in ["", "GET / HTTP/1.1\r\n"] {
        let stream = TcpStream::connect(plain.address).await.unwrap();
        tokio::time::timeout(SOON, drip(stream, start, "X-A: b\r\n")).await.expect("the server closes it");
    }
    gone(&plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_idle_or_does_not_take_its_answer_is_closed() {
    let plain = listening(false).await;
    let mut stream = TcpStream::connect(plain.address).await.unwrap();
    assert_eq!(wire::keep_alive(&mut stream, "/").await.text(), "hello");
    assert_eq!(wire::keep_alive(&mut stream, "/").await.text(), "hello");
    closed(stream).await;
    let mut greedy = TcpStream::connect(plain.address).await.unwrap();
    greedy.write_all(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    gone(&plain).await;
    drop(greedy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let plain = listening(false).await;
    let mut stream = TcpStream::connect(plain.address).await.unwrap();
    stream.write_all(b"GET /huge HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let (start, mut taken, mut piece) = (monotonic(), 0, vec![0; 1 << 20]);
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        taken += read;
        if start.elapsed() < SHORT.idle * 3 {
            // slower than the server sends, and never still for long
            pause(Duration::from_millis(30)).await;
        }
    }
    assert!(taken > HUGE && start.elapsed() > SHORT.idle * 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_takes_no_more_than_its_limit() {
    let plain = listening(false).await;
    let open = async || {
        let mut stream = TcpStream::connect(plain.address).await.unwrap();
        wire::keep_alive(&mut stream, "/").await;
        stream
    };
    let (first, _second) = (open().await, open().await);
    let mut third = TcpStream::connect(plain.address).await.unwrap();
    third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let early = tokio::time::timeout(Duration::from_millis(100), third.read_to_end(&mut answer)).await;
    assert!(early.is_err() && plain.connections.count() == 2, "the third one waits");
    drop(first);
    tokio::time::timeout(SOON, third.read_to_end(&mut answer)).await.expect("its turn comes").unwrap();
    assert_eq!(wire::parse(&answer).unwrap().text(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_full_can_be_stopped() {
    let plain = Arc::new(listening(false).await);
    let mut held = Vec::new();
    for _ in 0..SHORT.connections {
        let mut stream = TcpStream::connect(plain.address).await.unwrap();
        wire::keep_alive(&mut stream, "/").await;
        held.push(stream);
    }
    plain.stop.send_replace(Stop::Draining);
    gone(&plain).await;
    // the listener is gone, or about to be
    let refused = async { while TcpStream::connect(plain.address).await.is_ok() {} };
    tokio::time::timeout(SOON, refused).await.expect("it listens no more");
}

#[test]
fn the_limits_of_a_real_listener_are_bounded() {
    let real = Limits::default();
    assert!(real.connections <= 10_000);
    assert!(real.handshake.max(real.headers).max(real.idle) <= Duration::from_secs(60));
}

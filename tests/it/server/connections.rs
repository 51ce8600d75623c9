//! Half-open, slow and idle connections end within their time, and a listener takes no more than its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use chancery::clock::monotonic;
use chancery::http::client_address::TrustedProxies;
use chancery::model::network::IpNetwork;
use chancery::server::listen::{self, Connections, Limits, Stop};
use chancery::server::proxies::{ListenerName, Proxies};
use chancery::server::tls::{HotCertificate, ephemeral, server_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::support::drip::drip;
use crate::support::wait::pause;
use crate::support::wire;

const SHORT: Limits = Limits {
    connections: 2,
    handshake: Duration::from_secs(2),
    headers: Duration::from_secs(2),
    // a busy machine may hold up a client that is not idle
    idle: Duration::from_secs(2),
};
/// More than each of these, and far less than for ever.
const SOON: Duration = Duration::from_secs(30);
const HUGE: usize = 64 << 20;

struct Listening {
    address: SocketAddr,
    connections: Connections,
    stop: watch::Sender<Stop>,
    /// Requests in the handler of `/work`, which one `end_work` each lets go.
    working: Arc<AtomicUsize>,
    end_work: Arc<Notify>,
}

async fn listening(secure: bool) -> Listening {
    listening_within(secure, SHORT, Proxies::none(ListenerName::Https)).await
}

async fn listening_within(secure: bool, limits: Limits, proxies: Proxies) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls =
        secure.then(|| server_config(HotCertificate::new(ephemeral(vec!["localhost".into()]).unwrap())).unwrap());
    let (working, end_work) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, end) = (working.clone(), end_work.clone());
    let work = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        end.notified().await;
        "done"
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/work", get(work))
        .route("/body", post(|body: axum::body::Bytes| async move { body }))
        .route("/huge", get(|| async { vec![0u8; HUGE] }));
    let (stop, watched) = watch::channel(Stop::Running);
    let connections = Connections::default();
    tokio::spawn(listen::serve(listener, tls, router, watched, connections.clone(), limits, proxies));
    Listening { address, connections, stop, working, end_work }
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
        // little enough that the answer lasts
        let at_once = if start.elapsed() < SHORT.idle * 3 { piece.len() / 4 } else { piece.len() };
        let read = stream.read(&mut piece[..at_once]).await.unwrap();
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
    let work = async || {
        let mut stream = TcpStream::connect(plain.address).await.unwrap();
        stream.write_all(b"GET /work HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        stream
    };
    let (first, _second) = (work().await, work().await);
    while plain.working.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let mut third = TcpStream::connect(plain.address).await.unwrap();
    third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let early = tokio::time::timeout(Duration::from_millis(300), third.read_to_end(&mut answer)).await;
    assert!(
        early.is_err() && plain.connections.count() == 2,
        "handlers at work are not cut off: the third one waits"
    );
    plain.end_work.notify_one();
    tokio::time::timeout(SOON, third.read_to_end(&mut answer)).await.expect("its turn comes").unwrap();
    assert_eq!(wire::parse(&answer).unwrap().text(), "hello");
    drop(first);
}

/// A connection from one of this machine's addresses.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_with_the_most_connections_makes_way_for_others() {
    const PLACES: usize = 8;
    let roomy = Limits { connections: PLACES, handshake: SOON, headers: SOON, idle: SOON };
    let plain = listening_within(false, roomy, Proxies::none(ListenerName::Https)).await;
    let mut quiet = from("127.0.0.2", plain.address).await;
    assert_eq!(wire::keep_alive(&mut quiet, "/").await.text(), "hello");
    // idle ones, one that never asks and half a body
    let mut crowd = Vec::new();
    for number in 0..PLACES * 3 {
        let mut stream = from("127.0.0.1", plain.address).await;
        match number % 3 {
            0 => assert_eq!(wire::keep_alive(&mut stream, "/").await.text(), "hello"),
            1 => {}
            _ => stream.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap(),
        }
        crowd.push(stream);
        assert!(plain.connections.count() <= PLACES);
    }
    let mut other = from("127.0.0.3", plain.address).await;
    assert_eq!(wire::keep_alive(&mut other, "/").await.text(), "hello", "a third client is served");
    assert_eq!(wire::keep_alive(&mut quiet, "/").await.text(), "hello", "the one who was there first is still there");
    closed(crowd.swap_remove(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_each_connection_counts_by_itself() {
    let roomy = Limits { connections: 3, handshake: SOON, headers: SOON, idle: SOON };
    let trusted = TrustedProxies::new(vec![IpNetwork::parse("127.0.0.1").unwrap()]);
    let plain = listening_within(false, roomy, Proxies::new(trusted, false, ListenerName::Https)).await;
    let mut oldest = from("127.0.0.9", plain.address).await;
    assert_eq!(wire::keep_alive(&mut oldest, "/").await.text(), "hello");
    let mut proxy = Vec::new();
    for _ in 0..3 {
        let mut stream = from("127.0.0.1", plain.address).await;
        assert_eq!(wire::keep_alive(&mut stream, "/").await.text(), "hello");
        proxy.push(stream);
    }
    // the quietest of equals, and not the proxy because it has three
    closed(oldest).await;
    for stream in &mut proxy {
        assert_eq!(wire::keep_alive(stream, "/").await.text(), "hello");
    }
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

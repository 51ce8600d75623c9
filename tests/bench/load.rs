//! The load: N workers, each with one kept TLS connection, each sending its next request when it has its answer.

use std::future::Future;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

/// What one run showed.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub operations: usize,
}

impl Run {
    pub fn line(&self) -> String {
        format!(
            "{:>8.0}/s  p50 {:>6.2} ms  p99 {:>6.2} ms",
            self.per_second,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3
        )
    }
}

/// One kept connection.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn tls(base: &str, root: &[u8]) -> Connection {
        let address = base.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(root.to_vec())).expect("our root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(&address).await.expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("TLS");
        let (send, drive) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(drive);
        Connection(send)
    }

    pub async fn plain(base: &str) -> Connection {
        let address = base.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let socket = TcpStream::connect(&address).await.expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        let (send, drive) = handshake(TokioIo::new(socket)).await.expect("HTTP/1.1");
        tokio::spawn(drive);
        Connection(send)
    }

    /// Sends one request and returns status, headers and body.
    pub async fn send(&mut self, request: hyper::Request<Full<Bytes>>) -> (u16, hyper::HeaderMap, Bytes) {
        self.0.ready().await.expect("the connection is kept");
        let answer = self.0.send_request(request).await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.into_body().collect().await.expect("a body").to_bytes())
    }
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> hyper::Request<Full<Bytes>> {
    let mut request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body))).expect("a request")
}

/// Runs `work` in `workers` tasks until `total` operations are done. `work` gets worker and operation numbers.
pub async fn run<S, W, F>(workers: usize, total: usize, mut states: Vec<S>, work: W) -> Run
where
    S: Send + 'static,
    W: Fn(S, usize) -> F + Clone + Send + 'static,
    F: Future<Output = S> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for mut state in states.drain(..).take(workers) {
        let (next, work) = (Arc::clone(&next), work.clone());
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= total {
                    return times;
                }
                let began = Instant::now();
                state = work(state, n).await;
                times.push(began.elapsed());
            }
        }));
    }
    let mut times = Vec::with_capacity(total);
    for task in tasks {
        times.extend(task.await.expect("a worker ends well"));
    }
    let elapsed = started.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Run { per_second: times.len() as f64 / elapsed, p50: at(0.5), p99: at(0.99), operations: times.len() }
}

/// One GET without a runtime, for set-up.
pub fn get_plain(base: &str, path: &str) -> Vec<u8> {
    let address = base.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = std::net::TcpStream::connect(address).expect("connect");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("send");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("headers end") + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
    let body = answer[end..].to_vec();
    if head.contains("transfer-encoding: chunked") { unchunk(&body) } else { body }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("a size").trim(), 16).expect("hex");
        if size == 0 {
            break;
        }
        plain.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    plain
}

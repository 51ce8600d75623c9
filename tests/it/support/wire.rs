//! HTTP/1.1 over a socket, plain or TLS, byte for byte: what a client sees, with the certificate that it was shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery::clock::Timestamp;
use chancery::server::tls::provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// One request on a connection of its own, over plain HTTP.
pub async fn plain(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    ask(stream, method, path, headers, body).await.expect("an answer")
}

pub async fn get(address: SocketAddr, path: &str) -> Reply {
    plain(address, "GET", path, &[], b"").await
}

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.0.secs()).unwrap())))
    }
}

/// A TLS connection to `localhost` that trusts this root alone and judges certificates at this time.
pub async fn tls(address: SocketAddr, root_pem: &[u8], now: Timestamp) -> std::io::Result<TlsStream<TcpStream>> {
    tls_with(address, root_pem, now, &[]).await
}

/// The same, offering these protocols by ALPN.
pub async fn tls_with(
    address: SocketAddr,
    root_pem: &[u8],
    now: Timestamp,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(address).await?, root_pem, now, protocols).await
}

/// The same over a connection that has begun already.
pub async fn tls_over(
    stream: TcpStream,
    root_pem: &[u8],
    now: Timestamp,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(root_pem).map(Result::unwrap));
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(At(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// The chain that a server showed, leaf first.
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<Vec<u8>> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().unwrap().iter().map(|c| c.to_vec()).collect()
}

/// Sends one request and reads until the other side closes. `None` when nothing came back.
pub async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    // rustls reports a close without its alert as an error after the bytes
    let _ = stream.read_to_end(&mut answer).await;
    parse(&answer)
}

/// One request on a connection that stays open.
pub async fn keep_alive(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> Reply {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    next_answer(stream).await
}

/// Reads one whole answer on a connection that stays open.
pub async fn next_answer(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 4_096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
        let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if answer.len() >= end + 4 + length {
            return parse(&answer).unwrap();
        }
    }
}

/// A whole answer; panics when it was cut off, because that is never right.
pub fn parse(answer: &[u8]) -> Option<Reply> {
    if answer.is_empty() {
        return None;
    }
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer whose head is whole");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let reply = Reply { status, head, body: answer[end + 4..].to_vec() };
    if let Some(length) = reply.header("content-length") {
        assert_eq!(reply.body.len(), length.parse::<usize>().unwrap(), "an answer that is cut off");
    }
    Some(reply)
}

//! Does a CRL's address answer, as a verifier sees it from this host?

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::http;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks for the CRL by HEAD; of an https address only the connection is tried. What went wrong comes as words.
pub async fn crl(address: &str) -> Result<(), String> {
    let late = |_| format!("no answer within {} seconds", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, ask(address)).await.map_err(late)?
}

async fn ask(address: &str) -> Result<(), String> {
    let url = Url::parse(address).map_err(|e| e.to_string())?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let told = |e: &dyn std::error::Error| e.to_string();
    let name = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((name, port)).await.map_err(|e| told(&e))?;
    if url.scheme() != "http" {
        return Ok(());
    }
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| told(&e))?;
    let driver = tokio::spawn(connection);
    let authority = if url.port().is_some() { format!("{host}:{port}") } else { host };
    let request = http::Request::head(url.path()).header(http::header::HOST, authority).body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.map_err(|e| told(&e))?).await;
    driver.abort();
    match answer.map_err(|e| told(&e))?.status() {
        http::StatusCode::OK => Ok(()),
        other => Err(format!("it answers with status {other}")),
    }
}

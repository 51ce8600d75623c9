//! A public file over plain HTTP, such as a CRL: signed by itself, so that nothing of the way needs to be trusted.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::http;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use crate::error::{Error, ErrorKind, Result};

const TIME: Duration = Duration::from_secs(10);
const LIMIT: usize = 32 * 1024 * 1024;

/// The body of a 200.
pub async fn plain(url: &str) -> Result<Vec<u8>> {
    let failed =
        |why: &dyn std::fmt::Display| Error::new(ErrorKind::Unavailable, format!("{url} gave nothing: {why}"));
    let parsed = Url::parse(url).map_err(|e| failed(&e))?;
    match tokio::time::timeout(TIME, get(&parsed)).await {
        Ok(outcome) => outcome.map_err(|e| failed(&e)),
        Err(_) => Err(failed(&"no answer within 10 seconds")),
    }
}

async fn get(url: &Url) -> std::io::Result<Vec<u8>> {
    let other = std::io::Error::other::<Box<dyn std::error::Error + Send + Sync>>;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| other(e.into()))?;
    let driver = tokio::spawn(connection);
    let request = http::Request::get(url.path())
        .header(http::header::HOST, format!("{host}:{port}"))
        .body(Empty::<Bytes>::new())
        .map_err(|e| other(e.into()))?;
    let response = sender.send_request(request).await.map_err(|e| other(e.into()))?;
    if response.status() != http::StatusCode::OK {
        return Err(std::io::Error::other(format!("it answered {}", response.status())));
    }
    let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(other)?;
    driver.abort();
    Ok(body.to_bytes().to_vec())
}

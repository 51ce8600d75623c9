//! One POST over TLS to an address that the operator set.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use url::Url;

use super::https;

/// Any answer of 2xx is a receipt. The certificate must stand under a root that this system trusts.
pub async fn post(url: &Url, content_type: &str, body: &str) -> std::io::Result<()> {
    let request = hyper::Request::post("/")
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(std::io::Error::other)?;
    let status = https::send(url, &https::system_roots()?, request).await?.status;
    if status.is_success() { Ok(()) } else { Err(std::io::Error::other(format!("it answered {status}"))) }
}

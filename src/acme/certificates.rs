//! Certificate download and revocation (RFC 8555 §7.4.2, §7.6).

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::base64url;
use super::envelope::Envelope;
use super::headers::link;
use super::json::string;
use crate::error::{Error, Result};
use crate::pki::key_policy::KeyPolicy;
use crate::pki::pem;
use crate::registration::revoke::Revoker;

const CHAIN: &str = "application/pem-certificate-chain";

/// Leaf first, each certifies the one before, without the root; LF line ends and nothing between the blocks. The other
/// chains stand in links, and each of them lists the others. It is given in this form whatever Accept says: it is issued and
/// counted, and a client that asks with the media type of another call would never get it.
pub async fn download(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    payload.expect_empty()?;
    let id = request.id("certificate")?;
    let registration = &request.acme.registration;
    let download = registration.certificate(&account, id).await?;
    let asked = match request.part("chain") {
        None => 0,
        Some(name) => {
            let found = download.chains.iter().position(|chain| chain.name() == name);
            found.ok_or_else(|| Error::not_found("certificate"))?
        }
    };
    registration.note_download(&request.origin, download.certificate.order_id).await;
    let (mut body, mut headers) = (pem::encode("CERTIFICATE", &download.der), HeaderMap::new());
    for (n, chain) in download.chains.iter().enumerate() {
        match n {
            _ if n == asked => chain.ders.iter().for_each(|der| body.push_str(&pem::encode("CERTIFICATE", der))),
            0 => link(&mut headers, &request.urls.certificate(id), "alternate"),
            _ => link(&mut headers, &request.urls.chain(id, &chain.name()), "alternate"),
        }
    }
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, CHAIN)], headers, body).into_response())
}

pub async fn revoke(request: Envelope) -> Result<Response> {
    let (registration, directory) = (&request.acme.registration, request.directory.slug.as_str());
    if request.signed_by_key() {
        // whatever key we certified may revoke its certificate
        let (key, payload) = request.by_key(&KeyPolicy::with_any_rsa_length()).await?;
        let (der, reason) = asked(&payload.object()?)?;
        registration.revoke(&request.origin, directory, &Revoker::Key(&key.public_key), &der, reason).await?;
    } else {
        let (account, payload) = request.by_account().await?;
        let (der, reason) = asked(&payload.object()?)?;
        registration.revoke(&request.origin, directory, &Revoker::Account(&account), &der, reason).await?;
    }
    Ok(StatusCode::OK.into_response())
}

fn asked(members: &serde_json::Map<String, serde_json::Value>) -> Result<(Vec<u8>, Option<i64>)> {
    let text = string(members, "certificate", "the payload")?
        .ok_or_else(|| Error::malformed("the payload has no \"certificate\""))?;
    let reason = match members.get("reason") {
        None => None,
        Some(value) => {
            Some(value.as_i64().ok_or_else(|| Error::malformed("\"reason\" must be an integer (RFC 5280 §5.3.1)"))?)
        }
    };
    Ok((base64url::decode(text, "\"certificate\"")?, reason))
}

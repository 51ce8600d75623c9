//! The first trust of a host in a server: its root is fetched over a connection that proves nothing, compared with a
//! fingerprint that came another way, and only then is the server itself verified under that root.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use hyper::http;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::remote::Remote;
use super::{Answer, Transport};
use crate::error::{Error, ErrorKind, Result};

/// Where the fingerprint of a root is found. After a change of the root it is that of the new one.
pub const WHERE: &str = "`chancery ca show ROOT` on the server shows F as sha256, with ROOT as `chancery ca list` names it, such as tls-root-2";

/// SHA-256 of a certificate, in any spelling that people paste: colons, spaces, upper case, `SHA256:` before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub fn of(der: &[u8]) -> Fingerprint {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest(&SHA256, der).as_ref());
        Fingerprint(octets)
    }

    pub fn parse(text: &str) -> Result<Fingerprint> {
        let lower = text.trim().to_ascii_lowercase();
        let hex = ["sha256 fingerprint=", "sha-256:", "sha256:", "sha256="]
            .iter()
            .find_map(|prefix| lower.strip_prefix(prefix))
            .unwrap_or(&lower);
        let digits: Vec<u8> = hex.bytes().filter(|b| !b": -\t\n".contains(b)).collect();
        let mut octets = [0; 32];
        let whole = digits.len() == 64
            && octets.iter_mut().zip(digits.chunks(2)).all(|(octet, pair)| {
                let parsed = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
                parsed.map(|p| *octet = p).is_some()
            });
        if whole { Ok(Fingerprint(octets)) } else { Err(not_a_fingerprint(text)) }
    }
}

fn not_a_fingerprint(text: &str) -> Error {
    Error::malformed(format!(
        "\"{text}\" is not a SHA-256 fingerprint F: 64 hexadecimal digits; colons, spaces and SHA256: are allowed; {WHERE}"
    ))
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The root of the server at `base` in DER, believed by nobody yet.
pub async fn fetch_root(base: &str) -> Result<Vec<u8>> {
    let answer = get(&Remote::unverified(base)?, "/root.der").await?;
    if answer.status == 200 && is_certificate(&answer.body) {
        return Ok(answer.body);
    }
    let detail =
        format!("{base}/root.der is no root certificate (status {}); is this a Chancery server?", answer.status);
    Err(Error::new(ErrorKind::Unavailable, detail))
}

/// Fetches the root, holds it against the fingerprint, and sees that the server's own certificate stands under it.
pub async fn pinned_root(base: &str, expected: Fingerprint) -> Result<Vec<u8>> {
    let root = fetch_root(base).await?;
    let found = Fingerprint::of(&root);
    if found != expected {
        let allowed = format!("the fingerprint given, {expected}");
        let fix = "do not trust this server; ask whoever runs it for the fingerprint, by another way than this network: \
             `chancery ca show ROOT` on the server shows it as sha256, and after a change of the root it is that of the new one, \
             such as tls-root-2";
        return Err(Error::refused(ErrorKind::Refused, "bootstrap.fingerprint", found, allowed, fix)
            .explained(format!("the root of this server has the fingerprint {found}, and {expected} was given")));
    }
    verify(base, &root).await?;
    Ok(root)
}

/// Does a server answer at `base`, whoever it is? The reason why not is the system's.
pub async fn answers(base: &str) -> Result<()> {
    let asked = async { get(&Remote::unverified(base)?, "/livez").await.map(drop) };
    let late = |_| Error::new(ErrorKind::Unavailable, "no answer within 3 seconds");
    tokio::time::timeout(Duration::from_secs(3), asked).await.map_err(late)?
}

/// True TLS, under this root alone.
pub async fn verify(base: &str, root: &[u8]) -> Result<()> {
    get(&Remote::anonymous(base, root)?, "/livez").await.map(drop)
}

/// A public resource of the server, under this root alone.
pub async fn read(base: &str, root: &[u8], path: &str) -> Result<Answer> {
    get(&Remote::anonymous(base, root)?, path).await
}

async fn get(remote: &Remote, path: &str) -> Result<Answer> {
    let request = http::Request::builder()
        .uri(path)
        .body(Vec::new())
        .map_err(|e| Error::internal("a request could not be made", e))?;
    remote.send(request).await
}

fn is_certificate(der: &[u8]) -> bool {
    matches!(x509_parser::parse_x509_certificate(der), Ok(([], _)))
}

/// A verifier that checks the handshake's signature and believes any name: what it lets in must be pinned.
#[derive(Debug)]
pub(super) struct Anyone(WebPkiSupportedAlgorithms);

impl Anyone {
    pub(super) fn new() -> Anyone {
        Anyone(rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_in_every_usual_spelling() {
        let plain = Fingerprint::of(b"x").to_string();
        let pairs: Vec<String> =
            plain.as_bytes().chunks(2).map(|p| String::from_utf8_lossy(p).to_uppercase()).collect();
        let groups: Vec<String> =
            plain.as_bytes().chunks(8).map(|p| String::from_utf8_lossy(p).into_owned()).collect();
        for spelling in [
            plain.clone(),
            pairs.join(":"),
            groups.join(" "),
            format!("SHA256:{plain}"),
            format!("sha256 Fingerprint={}", pairs.join(":")),
            format!("  {plain}\n"),
        ] {
            assert_eq!(Fingerprint::parse(&spelling).unwrap().to_string(), plain, "{spelling}");
        }
        for wrong in ["", "7f3a", &plain[..63], &format!("{plain}00"), &plain.replace(&plain[..1], "g")] {
            assert!(Fingerprint::parse(wrong).unwrap_err().detail.contains("64 hexadecimal digits"), "{wrong}");
        }
    }
}

//! tls-alpn-01 (RFC 8737; addresses RFC 8738 §6): a TLS handshake that offers `acme-tls/1` alone and asks for the
//! name, and a certificate made for this challenge. Nothing is sent behind the handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, InvalidMessage, PeerIncompatible, PeerMisbehaved};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::acme_certificate::judge;
use super::attempt::{Attempt, Connected, StepKind};
use super::bounded::{Bounded, is_over};
use super::claim::Claim;
use super::error::{AlpnFailure, ValidationError, place};
use super::tls::ACME_TLS;
use crate::model::identifier::Identifier;

const METHOD: &str = "tls-alpn-01";
/// All that a server may send until the handshake is done: the most that it can make us hold.
const MAX_HANDSHAKE: usize = 64 * 1024;

pub(super) async fn prove(attempt: &mut Attempt<'_>, claim: &Claim<'_>) -> Result<(), ValidationError> {
    claim.check()?;
    let (host, server_name) = whom(claim.name).ok_or_else(|| claim.unsupported(METHOD))?;
    let Connected { stream, target, place: _held } = attempt.connect(&host, attempt.ports().tls_alpn01).await?;
    let shaken = handshake(attempt, stream, server_name).await;
    let seen = shaken.as_ref().map_or_else(|failure| failure.words(), |_| "done".to_owned());
    attempt.note(StepKind::Tls, format!("handshake with {} for acme-tls/1: {seen}", place(target)));
    let mut tls = shaken.map_err(|failure| ValidationError::Alpn { target, failure })?;
    let verdict = examine(&tls, target, claim);
    // close_notify and the end of the connection, if the other side lets us
    let _ = attempt.within(tls.shutdown()).await;
    verdict
}

/// Whom to connect to, and the name in the ClientHello: an address asks for its name in the reverse zones.
fn whom(name: &Identifier) -> Option<(Host<String>, ServerName<'static>)> {
    let (host, text) = match name {
        Identifier::Dns(name) if !name.is_wildcard() => (Host::Domain(name.to_string()), name.to_string()),
        Identifier::Ip(address @ IpAddr::V4(v4)) => (Host::Ipv4(*v4), reverse(*address)),
        Identifier::Ip(address @ IpAddr::V6(v6)) => (Host::Ipv6(*v6), reverse(*address)),
        Identifier::Dns(_) | Identifier::Email(_) | Identifier::Uri(_) => return None,
    };
    ServerName::try_from(text).ok().map(|server_name| (host, server_name))
}

/// `4.3.2.1.in-addr.arpa`, and 32 nibbles in front of `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

async fn handshake(
    attempt: &Attempt<'_>,
    stream: tokio::net::TcpStream,
    server_name: ServerName<'static>,
) -> Result<TlsStream<Bounded<tokio::net::TcpStream>>, AlpnFailure> {
    let connector = TlsConnector::from(attempt.validator.alpn.clone());
    let stream = Bounded::new(stream, MAX_HANDSHAKE);
    match attempt.within(connector.connect(server_name, stream)).await {
        Some(Ok(tls)) => Ok(tls),
        Some(Err(error)) => Err(failure(&error)),
        None => Err(AlpnFailure::Timeout),
    }
}

fn examine<S>(tls: &TlsStream<S>, target: SocketAddr, claim: &Claim<'_>) -> Result<(), ValidationError> {
    let (_, session) = tls.get_ref();
    let failed = |failure| ValidationError::Alpn { target, failure };
    if session.alpn_protocol() != Some(ACME_TLS) {
        return Err(failed(AlpnFailure::NoProtocol));
    }
    let leaf = session.peer_certificates().and_then(<[_]>::first).ok_or(failed(AlpnFailure::NoCertificate))?;
    judge(leaf, claim.name, claim.key_authorization).map_err(|seen| ValidationError::Certificate { target, seen })
}

fn failure(error: &io::Error) -> AlpnFailure {
    use rustls::Error as Tls;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
        return if is_over(error) { AlpnFailure::TooLarge } else { AlpnFailure::Closed };
    };
    match tls {
        Tls::AlertReceived(AlertDescription::NoApplicationProtocol) => AlpnFailure::NoProtocol,
        Tls::AlertReceived(AlertDescription::ProtocolVersion) => AlpnFailure::Version,
        Tls::AlertReceived(alert) => AlpnFailure::Alert(u8::from(*alert)),
        Tls::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => AlpnFailure::Version,
        Tls::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => AlpnFailure::OtherProtocol,
        Tls::InvalidMessage(
            InvalidMessage::CertificatePayloadTooLarge
            | InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::MessageTooLarge,
        ) => AlpnFailure::TooLarge,
        Tls::InvalidMessage(_) => AlpnFailure::NotTls,
        // the only thing that our verifier refuses
        Tls::InvalidCertificate(_) => AlpnFailure::Signature,
        Tls::NoCertificatesPresented => AlpnFailure::NoCertificate,
        _ => AlpnFailure::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_addresses_ask_for_their_reverse_names() {
        let asked = |text: &str| {
            let (host, name) = whom(&Identifier::ip(text).unwrap()).unwrap();
            (host.to_string(), name.to_str().into_owned())
        };
        assert_eq!(asked("192.0.2.7"), ("192.0.2.7".to_owned(), "7.2.0.192.in-addr.arpa".to_owned()));
        // the example of RFC 3596 §2.5
        let (host, name) = asked("4321:0:1:2:3:4:567:89ab");
        assert_eq!(host, "[4321:0:1:2:3:4:567:89ab]");
        assert_eq!(name, "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa");
    }

    #[test]
    fn l4_wildcards_cannot_be_asked_for() {
        assert!(whom(&Identifier::dns("*.a.test").unwrap()).is_none());
        assert!(whom(&Identifier::email("a@a.test").unwrap()).is_none());
    }
}

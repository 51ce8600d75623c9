//! tls-alpn-01 (RFC 8737, RFC 8738 §6): checklist L1 to L3 and I2.

use std::time::Duration;

use chancery::error::ErrorKind;
use chancery::validation::error::{AlpnFailure, CertificateSeen, DialFailure};
use chancery::validation::guard::Denial;
use chancery::validation::{Method, Outcome, Rules, StepKind, ValidationConfig, ValidationError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::alpn::*;
use super::support::{Dns, DnsServer, Target, attempt_by, hasty, validator};
use crate::support::ports::Refusing;

const NAME: &str = "www.example.test";

fn settings(port: u16, dns: &DnsServer) -> ValidationConfig {
    ValidationConfig {
        tls_alpn01_port: port,
        resolvers: vec![dns.address],
        allow_loopback: true,
        ..ValidationConfig::default()
    }
}

async fn zone() -> DnsServer {
    DnsServer::answering(|_, _, _| Dns::Addresses(vec!["127.0.0.1".parse().unwrap()])).await
}

async fn tried(server: &AlpnServer, name: &str) -> Outcome {
    let dns = zone().await;
    attempt_by(&validator(settings(server.address.port(), &dns)), Method::TlsAlpn01, &Rules::default(), name).await
}

async fn shown(leaf: Leaf) -> Result<(), ValidationError> {
    let server = AlpnServer::start("127.0.0.1:0", leaf, Manner::default()).await;
    tried(&server, NAME).await.result
}

fn seen(result: Result<(), ValidationError>) -> CertificateSeen {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncorrectResponse, "{error}");
    match error {
        ValidationError::Certificate { seen, .. } => seen,
        other => panic!("not about a certificate: {other:?}"),
    }
}

fn refused(result: Result<(), ValidationError>) -> AlpnFailure {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    match error {
        ValidationError::Alpn { failure, .. } => failure,
        other => panic!("not about a handshake: {other:?}"),
    }
}

#[tokio::test]
async fn l1_l3_one_handshake_for_the_name_with_one_protocol_and_no_data() {
    for versions in [TLS12, TLS13] {
        let manner = Manner { versions, ..Manner::default() };
        let server = AlpnServer::start("127.0.0.1:0", Leaf::right(dns(NAME)), manner).await;
        let outcome = tried(&server, NAME).await;
        assert_eq!(outcome.result, Ok(()));
        let steps: Vec<StepKind> = outcome.timeline.iter().map(|s| s.what).collect();
        assert_eq!(steps, [StepKind::Resolve, StepKind::Dial, StepKind::Tls, StepKind::Result]);
        let expected = Heard {
            server_name: Some(NAME.to_owned()),
            protocols: vec!["acme-tls/1".to_owned()],
            rsa_first: true,
            data: 0,
            closed_cleanly: true,
        };
        assert_eq!(server.heard().await, expected);
    }
}

#[tokio::test]
async fn l1_a_server_that_does_not_choose_the_protocol_proves_nothing() {
    let with = |protocols: &[&'static str]| Manner { protocols: protocols.to_vec(), ..Manner::default() };
    for manner in [with(&[]), with(&["h2", "http/1.1"]), with(&["acme-tls/1.1"])] {
        let server = AlpnServer::start("127.0.0.1:0", Leaf::right(dns(NAME)), manner).await;
        assert_eq!(refused(tried(&server, NAME).await.result), AlpnFailure::NoProtocol);
    }
    let server = AlpnServer::start("127.0.0.1:0", Leaf::right(dns(NAME)), with(&["h2", "acme-tls/1"])).await;
    assert_eq!(tried(&server, NAME).await.result, Ok(()), "what else it could do is its own");
}

#[tokio::test]
async fn l2_the_certificate_has_this_name_and_no_other() {
    let named = |names: Vec<rcgen::SanType>| Leaf { names, ..Leaf::right(dns(NAME)) };
    assert_eq!(shown(named(vec![dns("WWW.Example.TEST")])).await, Ok(()), "case means nothing in names");
    let mail = rcgen::SanType::Rfc822Name("a@example.test".try_into().unwrap());
    let uri = rcgen::SanType::URI("https://www.example.test/".try_into().unwrap());
    for (names, expected) in [
        (vec![], CertificateSeen::NoName),
        (vec![dns("example.test")], CertificateSeen::OtherName),
        (vec![dns("*.example.test")], CertificateSeen::OtherName),
        (vec![dns("www.example.test.")], CertificateSeen::OtherName),
        (vec![dns(NAME), dns("b.example.test")], CertificateSeen::SeveralNames),
        (vec![dns("b.example.test"), dns(NAME)], CertificateSeen::SeveralNames),
        (vec![dns(NAME), dns(NAME)], CertificateSeen::SeveralNames),
        (vec![dns(NAME), ip("127.0.0.1")], CertificateSeen::SeveralNames),
        (vec![dns(NAME), mail.clone()], CertificateSeen::SeveralNames),
        (vec![mail], CertificateSeen::OtherKind { seen: "rfc822Name" }),
        (vec![uri], CertificateSeen::OtherKind { seen: "uniformResourceIdentifier" }),
        (vec![ip("127.0.0.1")], CertificateSeen::OtherKind { seen: "iPAddress" }),
    ] {
        let text = format!("{names:?}");
        assert_eq!(seen(shown(named(names)).await), expected, "{text}");
    }
}

#[tokio::test]
async fn l2_acme_identifier_is_critical_whole_and_there_once() {
    let with = |identifiers: Vec<(Vec<u8>, bool)>| Leaf { identifiers, ..Leaf::right(dns(NAME)) };
    let digest = expected_digest();
    let right = octets(&digest);
    let mut other = digest.clone();
    other[31] ^= 1;
    let set = |tag: u8| [&[tag], &right[1..]].concat();
    let bad = CertificateSeen::BadAcmeIdentifier;
    for (identifiers, expected) in [
        (vec![], CertificateSeen::NoAcmeIdentifier),
        (vec![(right.clone(), false)], CertificateSeen::NotCritical),
        (vec![(octets(&digest[..31]), true)], bad),
        (vec![(octets(&[&digest[..], &[0]].concat()), true)], bad),
        (vec![(octets(&[]), true)], bad),
        (vec![(digest.clone(), true)], bad),
        (vec![([&right[..], &[0]].concat(), true)], bad),
        (vec![(set(0x03), true)], bad),
        (vec![([&[0x04, 0x81, 0x20], &digest[..]].concat(), true)], bad),
        (vec![(octets(&other), true)], CertificateSeen::OtherDigest),
    ] {
        let text = format!("{identifiers:?}");
        assert_eq!(seen(shown(with(identifiers)).await), expected, "{text}");
    }
    let twice = seen(shown(with(vec![(right.clone(), true), (right.clone(), true)])).await);
    assert!(matches!(twice, CertificateSeen::Der(e) if e.to_string().contains("twice")), "{twice:?}");
}

#[tokio::test]
async fn l2_the_certificate_signs_itself_and_followers_mean_nothing() {
    for signed in [Signed::ByAnother, Signed::UnderAnotherName, Signed::Wrongly] {
        let leaf = Leaf { signed, ..Leaf::right(dns(NAME)) };
        assert_eq!(seen(shown(leaf).await), CertificateSeen::NotSelfSigned);
    }
    assert_eq!(shown(Leaf { followers: 2, ..Leaf::right(dns(NAME)) }).await, Ok(()));
}

#[tokio::test]
async fn l2_the_handshake_is_signed_with_the_certificate_s_key() {
    for versions in [TLS12, TLS13] {
        let manner = Manner { versions, stolen: true, ..Manner::default() };
        let server = AlpnServer::start("127.0.0.1:0", Leaf::right(dns(NAME)), manner).await;
        assert_eq!(refused(tried(&server, NAME).await.result), AlpnFailure::Signature);
    }
}

#[tokio::test]
async fn l3_expiry_is_not_looked_at_and_size_is() {
    assert_eq!(shown(Leaf { expired: true, ..Leaf::right(dns(NAME)) }).await, Ok(()));
    assert_eq!(shown(Leaf { ballast: 8_000, ..Leaf::right(dns(NAME)) }).await, Ok(()));
    let big = Leaf { ballast: 20_000, ..Leaf::right(dns(NAME)) };
    assert_eq!(seen(shown(big).await), CertificateSeen::TooLarge { limit: 16 * 1024 });
    for ballast in [70_000, 1_000_000] {
        let huge = Leaf { ballast, ..Leaf::right(dns(NAME)) };
        assert_eq!(refused(shown(huge).await), AlpnFailure::TooLarge, "{ballast}");
    }
}

#[tokio::test]
async fn l3_what_is_no_new_tls_is_told_apart() {
    let cases: [(&'static [u8], AlpnFailure); 6] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", AlpnFailure::NotTls),
        (b"\x15\x03\x01\x00\x02\x02\x46", AlpnFailure::Version),
        (b"\x15\x03\x03\x00\x02\x02\x78", AlpnFailure::NoProtocol),
        (b"\x15\x03\x03\x00\x02\x02\x28", AlpnFailure::Alert(40)),
        (b"\x15\x03\x03\x00\x02\x02\x70", AlpnFailure::Alert(112)),
        (b"", AlpnFailure::Closed),
    ];
    for (bytes, expected) in cases {
        let server = after_hello(bytes).await;
        let dns = zone().await;
        let validator = validator(settings(server.address.port(), &dns));
        let outcome = attempt_by(&validator, Method::TlsAlpn01, &Rules::default(), NAME).await;
        let error = outcome.result.clone().unwrap_err();
        assert!(error.detail().starts_with(&format!("127.0.0.1 port {} ", server.address.port())), "{error}");
        assert_eq!(refused(outcome.result), expected, "{bytes:?}");
    }
}

#[tokio::test]
async fn l3_a_server_that_says_nothing_ends_with_the_time() {
    let server = Target::scripted("127.0.0.1:0", |mut stream, _| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    let dns = zone().await;
    let hasty = validator(hasty(settings(server.port(), &dns)));
    let outcome = attempt_by(&hasty, Method::TlsAlpn01, &Rules::default(), NAME).await;
    assert_eq!(refused(outcome.result), AlpnFailure::Timeout);
}

/// Reads something, answers with these bytes, and closes.
async fn after_hello(bytes: &'static [u8]) -> Target {
    use tokio::net::TcpListener;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let raw = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4_096];
        let _ = stream.read(&mut hello).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut hello)).await;
    };
    Target::task(address, raw)
}

#[tokio::test]
async fn i2_an_address_is_asked_for_by_its_reverse_name_and_shown_as_an_address() {
    let reverse6 = format!("1.{}ip6.arpa", "0.".repeat(31));
    for (bind, name, reverse) in
        [("127.0.0.1:0", "127.0.0.1", "1.0.0.127.in-addr.arpa"), ("[::1]:0", "::1", reverse6.as_str())]
    {
        let server = AlpnServer::start(bind, Leaf::right(ip(name)), Manner::default()).await;
        assert_eq!(tried(&server, name).await.result, Ok(()), "{name}");
        assert_eq!(server.heard().await.server_name.as_deref(), Some(reverse));
    }
    for (leaf, expected) in [
        (Leaf::right(ip("127.0.0.2")), CertificateSeen::OtherName),
        (Leaf::right(ip("::ffff:127.0.0.1")), CertificateSeen::OtherName),
        (Leaf::right(dns("127.0.0.1")), CertificateSeen::OtherKind { seen: "dNSName" }),
        (Leaf::right(dns("1.0.0.127.in-addr.arpa")), CertificateSeen::OtherKind { seen: "dNSName" }),
    ] {
        let server = AlpnServer::start("127.0.0.1:0", leaf, Manner::default()).await;
        assert_eq!(seen(tried(&server, "127.0.0.1").await.result), expected);
    }
}

#[tokio::test]
async fn l4_wildcards_and_mail_addresses_are_not_dialled() {
    let server = AlpnServer::start("127.0.0.1:0", Leaf::right(dns("*.example.test")), Manner::default()).await;
    for name in ["*.example.test", "a@example.test"] {
        let error = tried(&server, name).await.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedIdentifier, "{name}");
    }
}

#[tokio::test]
async fn the_guard_and_the_closed_port_are_those_of_every_method() {
    let server = AlpnServer::start("127.0.0.1:0", Leaf::right(dns(NAME)), Manner::default()).await;
    let dns = zone().await;
    let closed = ValidationConfig { allow_loopback: false, ..settings(server.address.port(), &dns) };
    let outcome = attempt_by(&validator(closed), Method::TlsAlpn01, &Rules::default(), NAME).await;
    assert!(matches!(outcome.result, Err(ValidationError::Denied { denial: Denial::Loopback, .. })));
    let nobody = Refusing::on_loopback();
    let outcome =
        attempt_by(&validator(settings(nobody.address.port(), &dns)), Method::TlsAlpn01, &Rules::default(), NAME)
            .await;
    let refused = matches!(outcome.result, Err(ValidationError::Dial { failure: DialFailure::Refused, .. }));
    assert!(refused, "{:?}", outcome.result);
}

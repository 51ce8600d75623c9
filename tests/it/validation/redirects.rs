//! Redirects: followed within bounds, each hop checked like the first.

use std::sync::Arc;

use chancery::error::ErrorKind;
use chancery::validation::ValidationError;
use chancery::validation::error::{RedirectFailure, TlsFailure};
use chancery::validation::guard::Denial;

use super::support::*;

/// A target whose first answer is a redirect to `location`, with `PORT` replaced by its own port.
async fn redirecting(status: u16, location: &str) -> (Target, chancery::validation::Outcome) {
    let location = location.to_owned();
    let port = Arc::new(std::sync::OnceLock::<u16>::new());
    let known = port.clone();
    let target = Target::answering(move |path| {
        if path.starts_with("/.well-known/") {
            redirect(status, &location.replace("PORT", &known.get().unwrap().to_string()))
        } else {
            ok(&key_authorization())
        }
    })
    .await;
    port.set(target.port()).unwrap();
    let outcome = prove(&target).await;
    (target, outcome)
}

fn failure(outcome: chancery::validation::Outcome) -> RedirectFailure {
    match outcome.result.unwrap_err() {
        ValidationError::Redirect { failure, .. } => failure,
        other => panic!("not a redirect's failure: {other:?}"),
    }
}

#[tokio::test]
async fn h2_the_five_kinds_of_redirect_are_followed_with_get() {
    for status in [301, 302, 303, 307, 308] {
        let (target, outcome) = redirecting(status, "http://127.0.0.1:PORT/elsewhere?a=b#part").await;
        assert_eq!(outcome.result, Ok(()), "{status}");
        assert_eq!(target.connections(), 2, "a fresh connection for each request");
        assert!(target.requests()[1].starts_with("GET /elsewhere?a=b HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn a_relative_location_is_followed() {
    let (_target, outcome) = redirecting(302, "/elsewhere").await;
    assert_eq!(outcome.result, Ok(()));
}

#[tokio::test]
async fn a_redirect_to_itself_or_back_is_a_loop() {
    let (target, outcome) = redirecting(302, &format!("/.well-known/acme-challenge/{TOKEN}")).await;
    assert_eq!(failure(outcome), RedirectFailure::Loop { to: format!("http://127.0.0.1:{}", target.port()) });
    assert_eq!(target.connections(), 1);

    let target = Target::answering(|path| redirect(302, if path == "/b" { "/c" } else { "/b" })).await;
    let error = failure(prove(&target).await);
    assert!(matches!(error, RedirectFailure::Loop { .. }), "{error:?}");
    assert_eq!(target.connections(), 3);
}

#[tokio::test]
async fn h2_ten_redirects_are_followed_and_eleven_are_not() {
    for (last, proved, requests) in [(10, true, 11), (11, false, 11)] {
        let target = Target::answering(move |path| {
            let hop: u32 = path.strip_prefix("/hop").map_or(0, |n| n.parse().unwrap());
            if hop == last { ok(&key_authorization()) } else { redirect(302, &format!("/hop{}", hop + 1)) }
        })
        .await;
        let outcome = prove(&target).await;
        assert_eq!(target.connections(), requests);
        if proved {
            assert_eq!(outcome.result, Ok(()));
        } else {
            assert_eq!(failure(outcome), RedirectFailure::TooMany { limit: 10 });
        }
    }
}

#[tokio::test]
async fn h2_schemes_other_than_http_are_refused() {
    for (location, scheme) in [
        ("file:///etc/passwd", "file"),
        ("gopher://127.0.0.1:PORT/_x", "gopher"),
        ("ftp://127.0.0.1:PORT/", "ftp"),
        ("javascript:alert(1)", "javascript"),
        ("data:text/plain,CANARY", "data"),
        ("ws://127.0.0.1:PORT/", "ws"),
    ] {
        let (target, outcome) = redirecting(302, location).await;
        assert_eq!(outcome.result.as_ref().unwrap_err().kind(), ErrorKind::Connection);
        assert_eq!(failure(outcome), RedirectFailure::Scheme { scheme: scheme.to_owned() });
        assert_eq!(target.connections(), 1);
    }
}

#[tokio::test]
async fn user_and_password_are_refused_and_not_repeated() {
    for location in
        ["http://CANARY@127.0.0.1:PORT/x", "http://u:CANARY@127.0.0.1:PORT/x", "http://:CANARY@127.0.0.1/"]
    {
        let (target, outcome) = redirecting(302, location).await;
        assert!(!outcome.result.as_ref().unwrap_err().detail().contains("CANARY"));
        let seen = failure(outcome);
        assert!(matches!(seen, RedirectFailure::UserInfo { .. }), "{seen:?}");
        assert_eq!(target.connections(), 1);
    }
}

#[tokio::test]
async fn h2_other_ports_are_refused_and_not_dialled() {
    let trap = Target::answering(|_| ok(&key_authorization())).await;
    let port = trap.port();
    let target = Target::answering(move |_| redirect(302, &format!("http://127.0.0.1:{port}/CANARY"))).await;
    let outcome = prove(&target).await;
    assert_eq!(failure(outcome), RedirectFailure::Port { to: format!("http://127.0.0.1:{port}"), port });
    assert_eq!(trap.connections(), 0);

    let mut open = config(target.port());
    open.tls_alpn01_port = port;
    assert_eq!(attempt(&validator(open), "127.0.0.1").await.result, Ok(()), "the configured port is followed");
    assert_eq!(trap.connections(), 1);
}

#[tokio::test]
async fn a_bad_location_is_refused() {
    let (_t, outcome) = redirecting(302, "http://127.0.0.1.well-known/acme-challenge/x").await;
    assert_eq!(failure(outcome), RedirectFailure::MissingSlash { to: "http://127.0.0.1.well-known".to_owned() });
    let (_t, outcome) = redirecting(302, "http://name.test.well-known/acme-challenge/x").await;
    assert_eq!(failure(outcome), RedirectFailure::MissingSlash { to: "http://name.test.well-known".to_owned() });
    for location in
        ["http://", "http://[fe80::1%25eth0]/", "http://[::1", "http://a b/", "http://./", "http://\u{e9}/"]
    {
        let (_t, outcome) = redirecting(302, location).await;
        assert_eq!(failure(outcome), RedirectFailure::BadLocation, "{location}");
    }
    let long = Target::answering(|_| redirect(302, &format!("/{}", "a".repeat(2_000)))).await;
    assert_eq!(failure(prove(&long).await), RedirectFailure::BadLocation);
    let none = Target::answering(|_| b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    assert_eq!(failure(prove(&none).await), RedirectFailure::NoLocation);
    let two = b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n";
    let several = Target::answering(|_| two.to_vec()).await;
    assert_eq!(failure(prove(&several).await), RedirectFailure::SeveralLocations);
}

#[tokio::test]
async fn a_redirect_to_our_own_listener_is_never_dialled() {
    let own = Target::answering(|_| ok(&key_authorization())).await;
    let port = own.port();
    let target = Target::answering(move |_| redirect(302, &format!("http://127.0.0.1:{port}/x"))).await;
    let mut settings = config(target.port());
    settings.tls_alpn01_port = port;
    for forbidden in
        [own.address, format!("[::]:{port}").parse().unwrap(), format!("0.0.0.0:{port}").parse().unwrap()]
    {
        let error = attempt(&guarded(settings.clone(), vec![forbidden]), "127.0.0.1").await.result.unwrap_err();
        let expected = ValidationError::Denied {
            host: "127.0.0.1".to_owned(),
            target: own.address,
            denial: Denial::OwnListener,
        };
        assert_eq!(error, expected, "{forbidden}");
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
    assert_eq!(own.connections(), 0);
    let opened = guarded(settings, vec![own.address]);
    opened.set_forbidden_listeners(Vec::new());
    assert_eq!(attempt(&opened, "127.0.0.1").await.result, Ok(()));
    assert_eq!(own.connections(), 1);
}

#[tokio::test]
async fn no_spelling_of_a_denied_address_gets_through() {
    let trap = Target::answering_on("127.0.0.2:0", |_| ok(&key_authorization())).await;
    let trap6 = Target::answering_on(&format!("[::1]:{}", trap.port()), |_| ok(&key_authorization())).await;
    let spellings = [
        "127.0.0.2",
        "127.0.0.2.",
        "2130706434",
        "0x7f000002",
        "0x7f.0.0.2",
        "0177.0.0.2",
        "017700000002",
        "127.2",
        "127.0.2",
        "%31%32%37.0.0.2",
        "\u{ff11}27.0.0.2",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "[::127.0.0.2]",
        "[64:ff9b::127.0.0.2]",
        "[64:ff9b:1::127.0.0.2]",
        "[2002:7f00:2::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
    ];
    let port = trap.port();
    for spelling in spellings {
        let target = Target::answering(move |_| redirect(302, &format!("http://{spelling}:{port}/"))).await;
        let mut settings = config(target.port());
        settings.tls_alpn01_port = port;
        settings.deny_networks = vec!["127.0.0.2/32".parse().unwrap(), "::1".parse().unwrap()];
        let error = attempt(&validator(settings), "127.0.0.1").await.result.unwrap_err();
        let refused = matches!(
            error,
            ValidationError::Denied { denial: Denial::DeniedNetwork(_), .. }
                | ValidationError::Redirect { failure: RedirectFailure::BadLocation, .. }
        );
        assert!(refused, "{spelling}: {error:?}");
    }
    assert_eq!((trap.connections(), trap6.connections()), (0, 0));

    let target = Target::answering(move |_| redirect(302, &format!("http://2130706434:{port}/"))).await;
    let mut open = config(target.port());
    open.tls_alpn01_port = port;
    assert_eq!(attempt(&validator(open), "127.0.0.1").await.result, Ok(()), "the trap does answer");
    assert_eq!(trap.connections(), 1);
}

#[tokio::test]
async fn h2_https_with_a_self_signed_certificate_is_followed() {
    let secure = Target::tls(self_signed(), |_| ok(&key_authorization())).await;
    let port = secure.port();
    let target = Target::answering(move |_| redirect(301, &format!("https://127.0.0.1:{port}/x"))).await;
    let mut settings = config(target.port());
    settings.tls_alpn01_port = port;
    assert_eq!(attempt(&validator(settings), "127.0.0.1").await.result, Ok(()));
    assert!(secure.requests()[0].to_lowercase().contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")));
}

#[tokio::test]
async fn https_to_what_speaks_no_tls_is_a_tls_error() {
    let cases: [(&'static [u8], TlsFailure); 3] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsFailure::Handshake),
        (b"\x15\x03\x01\x00\x02\x02\x46", TlsFailure::Handshake),
        (b"", TlsFailure::Closed),
    ];
    for (bytes, expected) in cases {
        let plain = raw(bytes).await;
        let port = plain.port();
        let target = Target::answering(move |_| redirect(301, &format!("https://127.0.0.1:{port}/x"))).await;
        let mut settings = config(target.port());
        settings.tls_alpn01_port = port;
        let error = attempt(&validator(settings), "127.0.0.1").await.result.unwrap_err();
        assert_eq!(error, ValidationError::Tls { target: plain, failure: expected });
        assert_eq!(error.kind(), ErrorKind::Tls);
    }
}

/// Answers the first bytes of any connection with `bytes`, and closes.
async fn raw(bytes: &'static [u8]) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4_096];
        let _ = stream.read(&mut hello).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut hello).await;
    });
    address
}

fn self_signed() -> tokio_rustls::TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["someone-else.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Arc::new(config).into()
}

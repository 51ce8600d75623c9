//! One request and its answer: what proves control, and what each kind of bad server is told.

use std::time::Duration;

use chancery::error::{Error, ErrorKind};
use chancery::model::identifier::Identifier;
use chancery::validation::error::{BodySeen, DialFailure, HttpFailure};
use chancery::validation::{Claim, Method, Outcome, Rules, StepKind, ValidationError, Validator, check_token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;
use crate::support::drip::drip;
use crate::support::ports::Refusing;

#[tokio::test]
async fn the_key_authorization_proves_control() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let outcome = prove(&target).await;
    assert_eq!(outcome.result, Ok(()));
    let steps: Vec<StepKind> = outcome.timeline.iter().map(|s| s.what).collect();
    assert_eq!(steps, [StepKind::Dial, StepKind::Request, StepKind::Response, StepKind::Result]);
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn h1_h5_the_request_is_a_plain_get_with_host_and_agent() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    prove(&target).await.result.unwrap();
    let request = target.requests().remove(0).to_lowercase();
    let path = format!("get /.well-known/acme-challenge/{} http/1.1\r\n", TOKEN.to_lowercase());
    assert!(request.starts_with(&path), "{request}");
    assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", target.port())), "{request}");
    assert!(request.contains("\r\nuser-agent: chancery/"), "{request}");
    assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
    for absent in ["cookie", "authorization", "accept-encoding", "proxy"] {
        assert!(!request.contains(&format!("\r\n{absent}")), "{request}");
    }
}

#[tokio::test]
async fn h1_white_space_behind_the_key_authorization_is_ignored() {
    for tail in ["\n", "\r\n", " \t\r\n\n"] {
        let target = Target::answering(move |_| ok(&format!("{}{tail}", key_authorization()))).await;
        assert_eq!(prove(&target).await.result, Ok(()), "{tail:?}");
    }
}

#[tokio::test]
async fn a_chunked_answer_and_one_that_ends_with_the_connection_are_read() {
    let authorization = key_authorization();
    let (first, second) = authorization.split_at(20);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let old = format!("HTTP/1.0 200 OK\r\n\r\n{authorization}");
    for answer in [chunked, old] {
        let bytes = answer.clone().into_bytes();
        let target = Target::answering(move |_| bytes.clone()).await;
        assert_eq!(prove(&target).await.result, Ok(()), "{answer}");
    }
}

#[tokio::test]
async fn h6_every_other_body_is_an_incorrect_response() {
    let other_account = format!("{TOKEN}.{}", "A".repeat(43));
    let other_token = format!("{}.{THUMBPRINT}", "B".repeat(43));
    let cases: Vec<(String, BodySeen)> = vec![
        (String::new(), BodySeen::Empty),
        ("\n \n".to_owned(), BodySeen::Empty),
        (format!(" {}", key_authorization()), BodySeen::LeadingWhitespace),
        (format!("\n{}", key_authorization()), BodySeen::LeadingWhitespace),
        (TOKEN.to_owned(), BodySeen::TokenOnly),
        (other_account, BodySeen::OtherAccount),
        (format!("{}x", key_authorization()), BodySeen::OtherAccount),
        (other_token, BodySeen::OtherToken),
        ("<html>CANARY</html>".to_owned(), BodySeen::Html),
        ("CANARY".to_owned(), BodySeen::Other),
        (key_authorization().to_uppercase(), BodySeen::Other),
        (format!("{}\0", &key_authorization()[1..]), BodySeen::Other),
    ];
    for (body, expected) in cases {
        let served = body.clone();
        let target = Target::answering(move |_| ok(&served)).await;
        let error = prove(&target).await.result.unwrap_err();
        assert_eq!(error, ValidationError::Body { target: target.address, seen: expected }, "{body:?}");
        let error = Error::from(error);
        assert_eq!(error.kind, ErrorKind::IncorrectResponse);
        assert!(error.detail.starts_with(&format!("127.0.0.1 port {}", target.port())), "{}", error.detail);
        assert!(error.detail.contains("the CA server"), "{}", error.detail);
    }
}

#[tokio::test]
async fn a_server_that_echoes_the_path_proves_nothing() {
    let whole = Target::answering(ok).await;
    let error = prove(&whole).await.result.unwrap_err();
    assert_eq!(error, ValidationError::Body { target: whole.address, seen: BodySeen::Other });
    let last = Target::answering(|path| ok(path.rsplit('/').next().unwrap())).await;
    let error = prove(&last).await.result.unwrap_err();
    assert_eq!(error, ValidationError::Body { target: last.address, seen: BodySeen::TokenOnly });
}

#[tokio::test]
async fn h3_only_status_200_counts_even_with_the_right_body() {
    for status in [201, 204, 206, 300, 304, 400, 401, 403, 404, 500, 503] {
        let body = if matches!(status, 204 | 304) { String::new() } else { key_authorization() };
        let target = Target::answering(move |_| {
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        })
        .await;
        let error = prove(&target).await.result.unwrap_err();
        assert_eq!(error, ValidationError::Status { target: target.address, status });
        assert_eq!(error.kind(), ErrorKind::IncorrectResponse);
        assert!(error.detail().contains(&format!("status {status}")), "{}", error.detail());
    }
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_by_its_announced_length() {
    let target = Target::scripted("127.0.0.1:0", |mut stream, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n{}", key_authorization());
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let limit = key_authorization().len() + 128;
    let error = prove(&target).await.result.unwrap_err();
    assert_eq!(error, ValidationError::Body { target: target.address, seen: BodySeen::TooLong { limit } });
}

#[tokio::test]
async fn h3_endless_bodies_are_cut_at_the_cap_and_the_connection_closed() {
    for head in ["Transfer-Encoding: chunked\r\n", ""] {
        let (told, closed) = tokio::sync::oneshot::channel();
        let told = std::sync::Mutex::new(Some(told));
        let target = Target::scripted("127.0.0.1:0", move |mut stream, _| {
            let told = told.lock().unwrap().take();
            async move {
                let start = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
                stream.write_all(start.as_bytes()).await.unwrap();
                let piece = if head.is_empty() { key_authorization() } else { "4\r\nAAAA\r\n".repeat(100) };
                while stream.write_all(piece.as_bytes()).await.is_ok() {}
                let _ = told.unwrap().send(());
            }
        })
        .await;
        let limit = key_authorization().len() + 128;
        let error = prove(&target).await.result.unwrap_err();
        assert_eq!(error, ValidationError::Body { target: target.address, seen: BodySeen::TooLong { limit } });
        tokio::time::timeout(Duration::from_secs(60), closed).await.expect("closed by us").unwrap();
    }
}

#[tokio::test]
async fn a_wrong_content_length_never_proves_anything() {
    let long = Target::answering(|_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 120\r\n\r\n{}", key_authorization()).into_bytes()
    })
    .await;
    let error = prove(&long).await.result.unwrap_err();
    assert_eq!(error, ValidationError::Http { target: long.address, failure: HttpFailure::ClosedInBody });

    let short = Target::answering(|_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n{}", key_authorization()).into_bytes()
    })
    .await;
    let error = prove(&short).await.result.unwrap_err();
    assert_eq!(error, ValidationError::Body { target: short.address, seen: BodySeen::TokenOnly });

    for nonsense in ["-1", "1e3", "18446744073709551616", "5, 6"] {
        let target = Target::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {nonsense}\r\n\r\n{}", key_authorization()).into_bytes()
        })
        .await;
        let error = prove(&target).await.result.unwrap_err();
        assert_eq!(error, ValidationError::Http { target: target.address, failure: HttpFailure::NotHttp });
    }
}

#[tokio::test]
async fn what_is_not_http_1_is_told_apart_from_silence() {
    let preface: &[u8] = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04";
    let cases: [(&'static [u8], HttpFailure); 5] = [
        (preface, HttpFailure::NotHttp),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HttpFailure::NotHttp),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", HttpFailure::NotHttp),
        (b"", HttpFailure::ClosedBeforeHeader),
        (b"HTTP/1.1 200 OK\r\nContent-Le", HttpFailure::ClosedBeforeHeader),
    ];
    for (bytes, expected) in cases {
        let target = Target::answering(move |_| bytes.to_vec()).await;
        let error = prove(&target).await.result.unwrap_err();
        assert_eq!(error, ValidationError::Http { target: target.address, failure: expected }, "{bytes:?}");
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
}

#[tokio::test]
async fn a_header_that_does_not_end_is_refused_at_16_kb() {
    let fields = Target::answering(|_| {
        let many: String = (0..200).map(|n| format!("X-{n}: CANARY\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{many}\r\n{}", key_authorization()).into_bytes()
    })
    .await;
    let wide = Target::scripted("127.0.0.1:0", |mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Wide: ").await;
        while stream.write_all(&[b'A'; 4_096]).await.is_ok() {}
    })
    .await;
    let sized = |bytes: usize| {
        Target::answering(move |_| {
            let field = "A".repeat(bytes);
            format!("HTTP/1.1 200 OK\r\nX-Wide: {field}\r\n\r\n{}", key_authorization()).into_bytes()
        })
    };
    assert_eq!(prove(&sized(12_000).await).await.result, Ok(()));
    for target in [fields, wide, sized(20_000).await] {
        let error = prove(&target).await.result.unwrap_err();
        let expected = HttpFailure::HeaderTooLarge;
        assert_eq!(error, ValidationError::Http { target: target.address, failure: expected });
    }
}

#[tokio::test]
async fn h3_slow_and_silent_servers_end_with_the_time() {
    let silent = Target::scripted("127.0.0.1:0", |mut stream, _| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    let header_drip = Target::scripted("127.0.0.1:0", |stream, _| async move {
        drip(stream, "HTTP/1.1 200 OK\r\nX: ", "a").await;
    })
    .await;
    let body_drip = Target::scripted("127.0.0.1:0", |stream, _| async move {
        drip(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "a").await;
    })
    .await;
    let endless_hints = Target::scripted("127.0.0.1:0", |stream, _| async move {
        drip(stream, "", "HTTP/1.1 103 Early Hints\r\n\r\n").await;
    })
    .await;
    let header = HttpFailure::HeaderTimeout;
    let body = HttpFailure::BodyTimeout;
    for (target, failure) in [(silent, header), (header_drip, header), (body_drip, body), (endless_hints, header)] {
        let settings = hasty(config(target.port()));
        let error = attempt(&validator(settings), "127.0.0.1").await.result.unwrap_err();
        assert_eq!(error, ValidationError::Http { target: target.address, failure });
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let nobody = Refusing::on_loopback();
    let address = nobody.address;
    let error = attempt(&validator(config(address.port())), "127.0.0.1").await.result.unwrap_err();
    let expected = ValidationError::Dial {
        host: "127.0.0.1".to_owned(),
        target: address,
        failure: DialFailure::Refused,
        tried: 1,
    };
    assert_eq!(error, expected);
    let error = Error::from(error);
    assert_eq!(error.kind, ErrorKind::Connection);
    let start = format!("127.0.0.1 port {} (127.0.0.1) refused the connection from the CA server", address.port());
    assert!(error.detail.starts_with(&start), "{}", error.detail);
}

#[tokio::test]
async fn h1_i2_an_ipv6_address_is_dialled_and_named_in_brackets() {
    let target = Target::answering_on("[::1]:0", |_| ok(&key_authorization())).await;
    let outcome = attempt(&validator(config(target.port())), "::1").await;
    assert_eq!(outcome.result, Ok(()));
    let request = target.requests().remove(0).to_lowercase();
    assert!(request.contains(&format!("\r\nhost: [::1]:{}\r\n", target.port())), "{request}");
}

#[tokio::test]
async fn wildcards_and_mail_addresses_cannot_be_proved_by_http() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    for name in ["*.example.test", "a@example.test", "https://example.test/"] {
        let error = attempt(&validator(config(target.port())), name).await.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedIdentifier, "{name}");
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_never_fetched() {
    let target = Target::answering(|_| ok(&key_authorization())).await;
    let validator = validator(config(target.port()));
    for token in ["", "a", "../../../../etc/passwd", &format!("{TOKEN}="), &format!("{}/x", &TOKEN[..40])] {
        assert_eq!(check_token(token), Err(ValidationError::BadToken), "{token}");
        let outcome = fetched(&validator, token, &format!("{token}.{THUMBPRINT}")).await;
        assert_eq!(outcome.result, Err(ValidationError::BadToken), "{token}");
    }
    let outcome = fetched(&validator, TOKEN, &format!("{}.{THUMBPRINT}", "B".repeat(43))).await;
    assert_eq!(outcome.result, Err(ValidationError::BadToken));
    assert_eq!(target.connections(), 0);
    assert_eq!(chancery::validation::key_authorization(TOKEN, "short"), Err(ValidationError::BadToken));
}

async fn fetched(validator: &Validator, token: &str, key_authorization: &str) -> Outcome {
    let name = &Identifier::ip("127.0.0.1").unwrap();
    let claim = Claim { name, token, key_authorization, account_url: ACCOUNT, subdomains: false };
    validator.prove(Method::Http01, &Rules::default(), &claim).await
}

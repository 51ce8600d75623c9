//! GET of a document of others: bounded in size and time, behind the guard, redirects not followed.

use chancery::validation::ValidationError;
use chancery::validation::error::{BodySeen, HttpFailure};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::support::*;

const LIMIT: usize = 1_000;

async fn download(target: &Target) -> Result<Vec<u8>, ValidationError> {
    let url = Url::parse(&format!("http://127.0.0.1:{}/a.crl?b=c", target.port())).unwrap();
    validator(hasty(config(1))).download(&url, LIMIT).await
}

fn failure(outcome: Result<Vec<u8>, ValidationError>) -> HttpFailure {
    match outcome.unwrap_err() {
        ValidationError::Http { failure, .. } => failure,
        other => panic!("not a failure of HTTP: {other:?}"),
    }
}

fn is_too_long(outcome: &Result<Vec<u8>, ValidationError>) -> bool {
    matches!(outcome, Err(ValidationError::Body { seen: BodySeen::TooLong { limit: LIMIT }, .. }))
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_taken_whole() {
    let target = Target::answering(|_| ok(&"x".repeat(LIMIT))).await;
    assert_eq!(download(&target).await.unwrap(), vec![b'x'; LIMIT]);
    assert!(target.requests()[0].starts_with("GET /a.crl?b=c HTTP/1.1\r\n"), "{:?}", target.requests());
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_announced_or_not() {
    let target = Target::answering(|_| ok(&"x".repeat(LIMIT + 1))).await;
    assert!(is_too_long(&download(&target).await));
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(3));
    let target = Target::answering(move |_| chunked.clone().into_bytes()).await;
    assert!(is_too_long(&download(&target).await));
    // a body that ends with the connection
    let target = Target::answering(|_| format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(5_000)).into_bytes()).await;
    assert!(is_too_long(&download(&target).await));
}

#[tokio::test]
async fn a_slow_server_ends_with_the_deadline() {
    let silent = Target::scripted("127.0.0.1:0", |stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    assert_eq!(failure(download(&silent).await), HttpFailure::HeaderTimeout);
    let stalled = Target::scripted("127.0.0.1:0", |mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nx").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(failure(download(&stalled).await), HttpFailure::BodyTimeout);
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let inside = Target::answering(|_| ok("CANARY")).await;
    let to = format!("http://127.0.0.1:{}/secret", inside.port());
    for status in [301, 302, 303, 307, 308] {
        let to = to.clone();
        let target = Target::answering(move |_| redirect(status, &to)).await;
        let refused = download(&target).await;
        assert!(
            matches!(&refused, Err(ValidationError::Status { status: seen, .. }) if *seen == status),
            "{refused:?}"
        );
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn denied_addresses_are_not_connected_to() {
    let target = Target::answering(|_| ok("CANARY")).await;
    let url = Url::parse(&format!("http://127.0.0.1:{}/", target.port())).unwrap();
    let forbidden = guarded(config(1), vec![target.address]);
    assert!(matches!(forbidden.download(&url, LIMIT).await, Err(ValidationError::Denied { .. })));
    let metadata = Url::parse("http://169.254.169.254/latest/meta-data").unwrap();
    let refused = validator(config(1)).download(&metadata, LIMIT).await;
    assert!(matches!(refused, Err(ValidationError::Denied { .. })), "{refused:?}");
    assert_eq!(target.connections(), 0);
}

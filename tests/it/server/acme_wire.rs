//! ACME over the sockets of a running server (T1, T14): HTTPS alone, HTTP/1.1 and HTTP/2, connections that were idle.

use std::time::Duration;

use chancery::server::listen::Limits;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;

use crate::on_both_servers;
use crate::support::wire;

on_both_servers! {
    async fn t1_acme_is_spoken_over_https_alone(server) {
        let shown = server.https("GET", "/acme/default/directory", &[], b"").await;
        assert_eq!(shown.status, 200);
        for url in ["newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"] {
            let url = shown.json()[url].as_str().unwrap().to_owned();
            assert!(url.starts_with("https://"), "{url}");
        }
        // the plain listener serves status and knows no ACME, nor does the one for metrics
        for address in [server.running().addresses.http, server.running().addresses.ops] {
            for (method, path) in [
                ("GET", "/acme/default/directory"),
                ("GET", "/acme/default/new-nonce"),
                ("POST", "/acme/default/new-account"),
                ("POST", "/acme/default/new-order"),
            ] {
                let headers = [("content-type", "application/jose+json")];
                let reply = wire::plain(address, method, path, &headers, b"{}").await;
                assert_eq!(reply.status, 404, "{method} {path}");
                assert!(reply.header("replay-nonce").is_none());
            }
        }
    }

    async fn t14_both_versions_of_http_and_headers_in_any_case(server) {
        let mut stream = server.tls().await;
        // two requests on one connection, names of headers in any case
        for _ in 0..2 {
            let request = "POST /acme/default/new-order HTTP/1.1\r\nhOsT: localhost\r\nCONTENT-type: application/JOSE+json\r\ncontent-LENGTH: 2\r\n\r\n{}";
            stream.write_all(request.as_bytes()).await.unwrap();
            let reply = wire::next_answer(&mut stream).await;
            assert!(reply.head.starts_with("HTTP/1.1 400 ") && reply.header("replay-nonce").is_some(), "{reply:?}");
        }

        let root = server.root_pem().await;
        let address = server.running().addresses.https;
        let stream = wire::tls_with(address, &root, chancery::clock::Clock::now(&server.clock), &[b"h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let ask = |method: &str, path: &str, body: &'static str| {
            let request = hyper::Request::builder().method(method).uri(format!("https://localhost{path}"));
            request.header("Content-Type", "application/jose+json").body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
        };
        let shown = sender.send_request(ask("GET", "/acme/default/directory", "")).await.unwrap();
        assert_eq!((shown.status().as_u16(), shown.version()), (200, hyper::Version::HTTP_2));
        let body = shown.into_body().collect().await.unwrap().to_bytes();
        assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["newNonce"].is_string());
        let nonce = sender.send_request(ask("HEAD", "/acme/default/new-nonce", "")).await.unwrap();
        assert!(nonce.headers().contains_key("replay-nonce"));
        let refused = sender.send_request(ask("POST", "/acme/default/new-order", "{}")).await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["content-type"]), (400, &"application/problem+json".parse().unwrap()));
        drop(sender);
        driver.await.unwrap().unwrap();
    }

    // curl 7.88 loses an answer whose stream is reset because its body was not read
    async fn t14_over_http_2_a_body_that_nobody_wants_is_read_all_the_same(server) {
        let root = server.root_pem().await;
        let address = server.running().addresses.https;
        let stream = wire::tls_with(address, &root, chancery::clock::Clock::now(&server.clock), &[b"h2"]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { connection.await.map_err(|e| e.to_string()) });
        for (method, path, status) in [
            ("POST", "/api/v1/nope", 404),
            ("PUT", "/api/v1/acme/orders", 405),
            ("PUT", "/acme/default/directory", 405),
            ("POST", "/acme/default/new-order", 413),
        ] {
            // far more than a stream's window, so that it ends only when somebody reads
            let (told, ended) = tokio::sync::oneshot::channel();
            let pieces = (0..60).map(|_| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b' '; 16_384]))));
            let body = futures_util::stream::iter(pieces).chain(futures_util::stream::once(async move {
                let _ = told.send(());
                Ok(Frame::data(Bytes::new()))
            }));
            let request = hyper::Request::builder().method(method).uri(format!("https://localhost{path}"));
            let request = request.header("content-type", "application/jose+json").body(StreamBody::new(Box::pin(body))).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method} {path}");
            assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
            assert!(tokio::time::timeout(Duration::from_secs(30), ended).await.is_ok_and(|told| told.is_ok()), "{method} {path}");
        }
        drop(sender);
        driver.await.unwrap().unwrap();
    }
}

/// smallstep/certificates#1855: clients keep a connection for half a minute and longer. That a nonce lasts is in
/// acme/transport.rs.
#[test]
fn t14_a_connection_may_be_idle_for_more_than_half_a_minute() {
    assert!(Limits::default().idle > Duration::from_secs(30));
}

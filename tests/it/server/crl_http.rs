//! CRLs over HTTP: validators, and what is served while the database is away.

use chancery::clock::minutes;

use crate::support::server::TestServer;
use crate::support::wait;
use crate::support::wire;

async fn ask(server: &TestServer, method: &str, headers: &[(&str, &str)]) -> wire::Reply {
    let stream = tokio::net::TcpStream::connect(server.running().addresses.http).await.unwrap();
    wire::ask(stream, method, "/crl/tls-1.crl", headers, b"").await.unwrap()
}

/// The headers alone.
async fn head(server: &TestServer) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.running().addresses.http).await.unwrap();
    stream.write_all(b"HEAD /crl/tls-1.crl HTTP/1.1\r\nHost: ca.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

crate::on_both_servers! {
    async fn a_crl_has_validators_that_change_with_its_bytes(server) {
        let first = ask(server, "GET", &[]).await;
        let etag = first.header("etag").unwrap().to_owned();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &first.body);
        let hash: String = hash.as_ref().iter().take(16).map(|b| format!("{b:02x}")).collect();
        assert_eq!(etag, format!("\"{hash}\""));
        let modified = first.header("last-modified").unwrap().to_owned();
        assert_eq!(first.header("cache-control").unwrap(), "public, max-age=5");
        let head = head(server).await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains(&format!("etag: {etag}\r\n")), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", first.body.len())), "{head}");
        for (headers, status) in [
            (vec![("If-None-Match", etag.as_str())], 304),
            (vec![("If-None-Match", "\"x\", *")], 304),
            (vec![("If-None-Match", "\"x\"")], 200),
            (vec![("If-Modified-Since", modified.as_str())], 304),
            (vec![("If-Modified-Since", "Sun, 01 Nov 2020 00:00:00 GMT")], 200),
            (vec![("If-Modified-Since", "Sun, 01 Nov 2099 00:00:00 GMT")], 200),
            (vec![("If-Modified-Since", "nonsense")], 200),
            (vec![("If-None-Match", "\"x\""), ("If-Modified-Since", modified.as_str())], 200),
        ] {
            let reply = ask(server, "GET", &headers).await;
            assert_eq!((reply.status, reply.header("etag")), (status, Some(etag.as_str())), "{headers:?}");
        }
        server.clock.advance(chancery::authority::crl::CRL_EVERY + minutes(1));
        let second = wait::until("another CRL", async || {
            let reply = ask(server, "GET", &[("If-None-Match", &etag), ]).await;
            (reply.status == 200).then_some(reply)
        }).await;
        assert_ne!(second.header("etag").unwrap(), etag);
        assert_eq!(ask(server, "GET", &[("If-Modified-Since", &modified)]).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crl_is_served_on_while_the_database_is_away() {
    let mut server = TestServer::sqlite().await;
    let before = ask(&server, "GET", &[]).await;
    assert_eq!(before.status, 200);
    server.app().store.db.close().await;
    for _ in 0..20 {
        let during = ask(&server, "GET", &[]).await;
        assert_eq!((during.status, &during.body), (200, &before.body));
    }
    server.clock.advance(chancery::authority::crl::CRL_LIFE + minutes(1));
    assert_eq!(ask(&server, "GET", &[]).await.status, 503, "past its nextUpdate it is worth nothing");
    server.running.take().unwrap().stop().await;
}

//! CRLs over HTTP: validators, and what is served while the database is away.

use chancery::clock::minutes;

use crate::support::server::TestServer;
use crate::support::wait;
use crate::support::wire;

async fn ask(server: &TestServer, method: &str, headers: &[(&str, &str)]) -> wire::Reply {
    let stream = tokio::net::TcpStream::connect(server.running().addresses.http).await.unwrap();
    wire::ask(stream, method, "/crl/tls-1.crl", headers, b"").await.unwrap()
}

async fn head(server: &TestServer) -> String {
    head_of(server, "/crl/tls-1.crl").await
}

/// The headers alone.
async fn head_of(server: &TestServer, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.running().addresses.http).await.unwrap();
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: ca.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

crate::on_both_servers! {
    async fn a_crl_in_pem_is_the_same_and_is_cached_the_same(server) {
        let server: &TestServer = server;
        let ask = |method: &'static str, path: &'static str, headers: Vec<(&'static str, String)>| async move {
            let stream = tokio::net::TcpStream::connect(server.running().addresses.http).await.unwrap();
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            wire::ask(stream, method, path, &headers, b"").await.unwrap()
        };
        let (der, pem) = (ask("GET", "/crl/tls-1.crl", vec![]).await, ask("GET", "/crl/tls-1.pem", vec![]).await);
        let read = openssl::x509::X509Crl::from_pem(&pem.body).unwrap();
        assert_eq!(read.to_der().unwrap(), der.body);
        assert_eq!(pem.header("content-type"), Some("application/x-pem-file"));
        for name in ["cache-control", "last-modified"] {
            assert_eq!(pem.header(name).unwrap(), der.header(name).unwrap(), "{name}");
        }
        let etag = pem.header("etag").unwrap().to_owned();
        assert_ne!(etag, der.header("etag").unwrap(), "other bytes");
        for (name, value) in [("If-None-Match", etag.clone()), ("If-Modified-Since", pem.header("last-modified").unwrap().to_owned())] {
            let reply = ask("GET", "/crl/tls-1.pem", vec![(name, value)]).await;
            assert_eq!((reply.status, reply.header("etag")), (304, Some(etag.as_str())), "{name}");
        }
        for path in ["/crl/tls-1", "/crl/tls-1.der", "/crl/nobody.pem", "/crl/.pem"] {
            assert_eq!(ask("GET", path, vec![]).await.status, 404, "{path}");
        }
        // every CRL up to the root, which programs want that check each certificate of a chain
        let bundle = ask("GET", "/bundles/tls.crl.pem", vec![]).await;
        let text = String::from_utf8(bundle.body).unwrap();
        assert_eq!(text.matches("BEGIN X509 CRL").count(), 2, "{text}");
        assert!(text.contains(std::str::from_utf8(&pem.body).unwrap()));
        for path in ["/crl/tls-1.pem", "/bundles/tls.crl.pem"] {
            let head = head_of(server, path).await;
            assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
            assert!(head.contains("content-length: ") && head.contains("etag: "), "{head}");
        }
    }

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

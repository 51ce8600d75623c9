//! Behind proxies the client's address is what a trusted proxy reports, and nobody else can write one.

use std::net::SocketAddr;

use chancery::clock::Clock;
use chancery::store::audit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::wire;

/// PROXY protocol v2 over TCP and IPv4, from 203.0.113.9.
const FROM_CLIENT: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x0a\0\0\x01\x30\x39\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Asks with a bad token and returns the address that the audit names, after a restart with these settings: a new
/// process writes the first refusal of its kind at once.
async fn refused_from(
    server: &mut TestServer,
    proxies: &[(&str, &str)],
    start: &[u8],
    headers: &[(&str, &str)],
) -> String {
    server.restart_with(&[("CHANCERY_PROXY_PROTOCOL", ""), ("CHANCERY_TRUSTED_PROXIES", "")]).await;
    let root = server.root_pem().await;
    server.restart_with(proxies).await;
    // the newest event is found by its time
    server.clock.advance(std::time::Duration::from_secs(1));
    let mut stream = TcpStream::connect(server.running().addresses.https).await.unwrap();
    stream.write_all(start).await.unwrap();
    let stream = wire::tls_over(stream, &root, server.clock.now(), &[]).await.unwrap();
    let headers = [headers, &[("Authorization", "Bearer chy_wrong")]].concat();
    let reply = wire::ask(stream, "GET", "/api/v1/certificates", &headers, b"").await.unwrap();
    assert_eq!(reply.status, 401);
    let events = audit::page(&server.app().store, None, 10).await.unwrap();
    let refused = events.iter().find(|event| event.action == "request.refused").expect("a refusal in the audit");
    let detail: serde_json::Value = serde_json::from_str(&refused.detail).unwrap();
    detail["from"].as_str().unwrap().to_owned()
}

/// Whether the server closes a connection that begins like this, without a word.
async fn is_closed(address: SocketAddr, start: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(start).await.unwrap();
    let mut answer = Vec::new();
    // a reset is a close too
    let _ = stream.read_to_end(&mut answer).await;
    answer.is_empty()
}

on_both_servers! {
    async fn a_header_names_the_client_only_where_the_peer_is_trusted(server) {
        let headers = [("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.2.2.2")];
        let none = refused_from(server, &[("CHANCERY_TRUSTED_PROXIES", "")], b"", &headers).await;
        assert_eq!(none, "127.0.0.1");
        let other = refused_from(server, &[("CHANCERY_TRUSTED_PROXIES", "10.0.0.0/8")], b"", &headers).await;
        assert_eq!(other, "127.0.0.1");
        let trusted = [("CHANCERY_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")];
        assert_eq!(refused_from(server, &trusted, b"", &headers).await, "203.0.113.7");
        let standard = [("Forwarded", "for=1.1.1.1, for=\"[2001:db8::7]:4711\";proto=https, for=10.2.2.2")];
        assert_eq!(refused_from(server, &trusted, b"", &standard).await, "2001:db8::7");
        assert_eq!(refused_from(server, &trusted, b"", &[]).await, "127.0.0.1");
    }

    async fn where_the_proxy_protocol_is_set_it_is_mandatory_and_never_guessed(server) {
        let on = [("CHANCERY_PROXY_PROTOCOL", "https,http"), ("CHANCERY_TRUSTED_PROXIES", "")];
        assert_eq!(refused_from(server, &on, FROM_CLIENT, &[]).await, "203.0.113.9");
        assert_eq!(refused_from(server, &on, LOCAL, &[]).await, "127.0.0.1");
        // the client behind the load balancer is no trusted proxy
        let spoofed = [("X-Forwarded-For", "1.1.1.1")];
        assert_eq!(refused_from(server, &on, FROM_CLIENT, &spoofed).await, "203.0.113.9");
        let both = [on[0], ("CHANCERY_TRUSTED_PROXIES", "127.0.0.0/8,203.0.113.0/24")];
        assert_eq!(refused_from(server, &both, FROM_CLIENT, &spoofed).await, "1.1.1.1");

        let http = server.running().addresses.http;
        let with_header = [FROM_CLIENT, b"GET /root.pem HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
        assert!(!is_closed(http, &with_header).await);
        let version_1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 12345 443\r\nGET /root.pem HTTP/1.1\r\nHost: a\r\n\r\n";
        for start in [&b"GET /root.pem HTTP/1.1\r\nHost: a\r\n\r\n"[..], version_1] {
            assert!(is_closed(http, start).await, "{start:?}");
        }
        // TLS without a header
        assert!(is_closed(server.running().addresses.https, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcdefgh").await);
        let refused = server.ops("/metrics").await.text();
        let count = refused.lines().find_map(|line| line.strip_prefix("chancery_proxy_headers_refused_total "));
        assert!(count.unwrap().parse::<u32>().unwrap() >= 3, "{count:?}");

        let elsewhere = [on[0], ("CHANCERY_TRUSTED_PROXIES", "10.0.0.0/8")];
        server.restart_with(&elsewhere).await;
        assert!(is_closed(server.running().addresses.http, &with_header).await, "its peer is not trusted");
    }
}

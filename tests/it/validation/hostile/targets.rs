//! The targets: names that lead to forbidden addresses, redirects to them, bodies, zones, and TLS servers.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use chancery::error::ErrorKind;
use chancery::validation::{Method, Rules};

use super::super::alpn::{self, Leaf, Manner, Signed, TLS12, dns, expected_digest, ip, octets};
use super::super::support::{
    A, AAAA, CNAME, Dns, THUMBPRINT, TOKEN, TXT, key_authorization, ok, redirect, strings, wire_name,
};
use super::stage::Wire;
use crate::support::drip::drip;

/// What this server says of itself: API, metrics, database.
pub const OWN: [&str; 3] = ["10.0.0.2:8443", "10.0.0.2:9443", "10.0.0.3:5432"];

/// Ports with listeners on every address.
pub const PORTS: [u16; 8] = [80, 443, 25, 5432, 6379, 8443, 9443, 8080];

/// Places that at least one target leads to when the rules are open.
pub const FORBIDDEN: [&str; 19] = [
    "127.0.0.1:80",
    "127.0.0.1:443",
    "127.8.8.8:80",
    "[::1]:80",
    "169.254.169.254:80",
    "169.254.169.254:443",
    "169.254.170.2:80",
    "169.254.7.7:80",
    "168.63.129.16:80",
    "100.100.100.200:80",
    "[fd00:ec2::254]:80",
    "[fd20:ce::254]:80",
    "[64:ff9b::a9fe:a9fe]:80",
    "[2002:7f00:1::]:80",
    "10.99.0.1:80",
    "203.0.113.66:80",
    "10.0.0.2:8443",
    "10.0.0.3:5432",
    "10.1.200.1:25",
];

pub type Play = Arc<dyn Fn(Wire) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
pub type Zone = Arc<dyn Fn(u16, usize) -> Dns + Send + Sync>;

#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub method: Method,
    pub identifier: String,
    /// What its own address answers on 80 and 443.
    pub address: IpAddr,
    pub play: Play,
    pub zones: Vec<(String, Zone)>,
    pub rules: Rules,
    /// The same with what held it back taken away.
    pub opened: Rules,
    /// Where it leads when nothing holds it back.
    pub forbidden: Option<SocketAddr>,
    pub kind: ErrorKind,
    /// What the sentence says of it.
    pub words: &'static str,
}

pub fn all() -> Vec<Target> {
    let mut list = Vec::new();
    addresses(&mut list);
    own_listeners(&mut list);
    redirects(&mut list);
    bodies(&mut list);
    zones(&mut list);
    certificates(&mut list);
    for (n, target) in list.iter_mut().enumerate() {
        let [_, _, high, low] = (n as u32 + 1).to_be_bytes();
        let own = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
        target.address = own;
        // a name that nothing else is said of has its own address
        let identifier = target.identifier.clone();
        if !target.zones.iter().any(|(name, _)| *name == identifier) {
            target.zones.push((identifier, address_zone(own)));
        }
        // redirects to its own name, at the second answer
        for (_, zone) in &mut target.zones {
            let inner = zone.clone();
            *zone = Arc::new(move |kind, before| match inner(kind, before) {
                Dns::Addresses(list) if list == [OWN_ADDRESS] && kind == A => Dns::Addresses(vec![own]),
                Dns::Addresses(list) if list == [OWN_ADDRESS] => Dns::Addresses(Vec::new()),
                other => other,
            });
        }
    }
    list
}

/// Stands for the address that the target will get.
const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn address_zone(address: IpAddr) -> Zone {
    Arc::new(move |kind, _| match (address, kind) {
        (IpAddr::V4(_), A) | (IpAddr::V6(_), AAAA) => Dns::Addresses(vec![address]),
        _ => Dns::Addresses(Vec::new()),
    })
}

fn zone(answer: impl Fn(u16, usize) -> Dns + Send + Sync + 'static) -> Zone {
    Arc::new(answer)
}

fn play<F, Fut>(script: F) -> Play
where
    F: Fn(Wire) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |wire| Box::pin(script(wire)))
}

/// Reads the request, then sends these bytes.
fn saying(bytes: Vec<u8>) -> Play {
    play(move |mut wire| {
        let bytes = bytes.clone();
        async move {
            wire.request().await;
            wire.send(&bytes).await;
        }
    })
}

fn target(name: &str) -> Target {
    Target {
        name: name.to_owned(),
        method: Method::Http01,
        identifier: format!("{name}.test"),
        address: OWN_ADDRESS,
        play: saying(ok(&key_authorization())),
        zones: Vec::new(),
        rules: Rules::default(),
        opened: Rules::default(),
        forbidden: None,
        kind: ErrorKind::Connection,
        words: "",
    }
}

fn at(place: &str) -> Option<SocketAddr> {
    Some(place.parse().unwrap())
}

// ---- names whose address is the trap

fn addresses(list: &mut Vec<Target>) {
    let cases: [(&str, &str, Option<&str>, &str); 29] = [
        ("loopback", "127.0.0.1", Some("127.0.0.1:80"), "loopback"),
        ("loopback-far", "127.8.8.8", Some("127.8.8.8:80"), "loopback"),
        ("loopback-v6", "::1", Some("[::1]:80"), "loopback"),
        ("unspecified", "0.0.0.1", Some("0.0.0.1:80"), "unspecified"),
        ("unspecified-v6", "::", None, "unspecified"),
        ("aws", "169.254.169.254", Some("169.254.169.254:80"), "cloud metadata"),
        ("ecs", "169.254.170.2", Some("169.254.170.2:80"), "cloud metadata"),
        ("link-local", "169.254.7.7", Some("169.254.7.7:80"), "link-local"),
        ("azure", "168.63.129.16", Some("168.63.129.16:80"), "cloud metadata"),
        ("alibaba", "100.100.100.200", Some("100.100.100.200:80"), "cloud metadata"),
        ("oracle", "192.0.0.192", Some("192.0.0.192:80"), "cloud metadata"),
        ("aws-v6", "fd00:ec2::254", Some("[fd00:ec2::254]:80"), "cloud metadata"),
        ("gcp-v6", "fd20:ce::254", Some("[fd20:ce::254]:80"), "cloud metadata"),
        ("scaleway-v6", "fd00:42::42", Some("[fd00:42::42]:80"), "cloud metadata"),
        ("mapped-loopback", "::ffff:127.0.0.1", Some("127.0.0.1:80"), "loopback"),
        ("mapped-aws", "::ffff:169.254.169.254", Some("169.254.169.254:80"), "cloud metadata"),
        ("compatible", "::127.0.0.1", Some("[::127.0.0.1]:80"), "loopback"),
        ("nat64", "64:ff9b::7f00:1", Some("[64:ff9b::7f00:1]:80"), "loopback"),
        ("nat64-aws", "64:ff9b::a9fe:a9fe", Some("[64:ff9b::a9fe:a9fe]:80"), "cloud metadata"),
        ("nat64-local", "64:ff9b:1::7f00:1", Some("[64:ff9b:1::7f00:1]:80"), "loopback"),
        ("6to4", "2002:7f00:1::", Some("[2002:7f00:1::]:80"), "loopback"),
        ("6to4-aws", "2002:a9fe:a9fe::1", Some("[2002:a9fe:a9fe::1]:80"), "cloud metadata"),
        ("teredo", "2001:0:1:2:3:4:80ff:fffe", Some("[2001:0:1:2:3:4:80ff:fffe]:80"), "loopback"),
        ("denied-network", "10.99.0.1", Some("10.99.0.1:80"), "10.99.0.0/16 of acme.deny_networks"),
        ("denied-mapped", "::ffff:10.99.0.1", Some("10.99.0.1:80"), "10.99.0.0/16 of acme.deny_networks"),
        ("multicast", "224.0.0.1", None, "multicast"),
        ("multicast-v6", "ff02::1", None, "multicast"),
        ("broadcast", "255.255.255.255", None, "broadcast"),
        ("link-local-v6", "fe80::1", None, "link-local"),
    ];
    for (name, address, forbidden, words) in cases {
        let zones = vec![(format!("{name}.test"), address_zone(address.parse().unwrap()))];
        list.push(Target { zones, forbidden: forbidden.and_then(at), words, ..target(name) });
    }
    // what one directory is kept to
    let narrow = Rules { allow_networks: vec!["10.0.0.0/8".parse().unwrap()], ..Rules::default() };
    list.push(Target {
        zones: vec![("outside.test".into(), address_zone("203.0.113.66".parse().unwrap()))],
        rules: narrow,
        forbidden: at("203.0.113.66:80"),
        words: "none of the ACME directory's allow_networks",
        ..target("outside")
    });
    let deny = Rules { deny_networks: vec!["198.51.100.0/24".parse().unwrap()], ..Rules::default() };
    list.push(Target {
        zones: vec![("directory-denied.test".into(), address_zone("198.51.100.7".parse().unwrap()))],
        rules: deny,
        forbidden: at("198.51.100.7:80"),
        words: "198.51.100.0/24 of the ACME directory's deny_networks",
        ..target("directory-denied")
    });
    // addresses as identifiers
    for (name, identifier, forbidden, words) in [
        ("id-loopback", "127.0.0.1", "127.0.0.1:80", "loopback"),
        ("id-aws", "169.254.169.254", "169.254.169.254:80", "cloud metadata"),
        ("id-loopback-v6", "::1", "[::1]:80", "loopback"),
    ] {
        list.push(Target { identifier: identifier.into(), forbidden: at(forbidden), words, ..target(name) });
    }
    // the handshake of tls-alpn-01
    for (name, identifier, address, forbidden, words) in [
        ("alpn-loopback", "alpn-loopback.test", "127.0.0.1", "127.0.0.1:443", "loopback"),
        ("alpn-aws", "alpn-aws.test", "169.254.169.254", "169.254.169.254:443", "cloud metadata"),
        ("alpn-id", "127.0.0.1", "127.0.0.1", "127.0.0.1:443", "loopback"),
    ] {
        list.push(Target {
            method: Method::TlsAlpn01,
            identifier: identifier.into(),
            zones: vec![(identifier.into(), address_zone(address.parse().unwrap()))],
            forbidden: at(forbidden),
            words,
            ..target(name)
        });
    }
}

fn own_listeners(list: &mut Vec<Target>) {
    let ports = |http01: Option<u16>, tls_alpn01: Option<u16>| Rules {
        http01_port: http01,
        tls_alpn01_port: tls_alpn01,
        ..Rules::default()
    };
    let words = "a listener of this CA server or its database";
    for (name, method, address, rules, forbidden) in [
        ("own-api", Method::TlsAlpn01, "10.0.0.2", ports(None, Some(8443)), "10.0.0.2:8443"),
        ("own-api-by-http", Method::Http01, "10.0.0.2", ports(Some(8443), None), "10.0.0.2:8443"),
        ("own-api-elsewhere", Method::TlsAlpn01, "10.7.7.7", ports(None, Some(8443)), "10.7.7.7:8443"),
        ("own-api-mapped", Method::TlsAlpn01, "::ffff:10.0.0.2", ports(None, Some(8443)), "10.0.0.2:8443"),
        ("own-metrics", Method::Http01, "10.0.0.2", ports(Some(9443), None), "10.0.0.2:9443"),
        ("own-database", Method::Http01, "10.0.0.3", ports(Some(5432), None), "10.0.0.3:5432"),
        ("own-database-forwarded", Method::Http01, "10.0.0.1", ports(Some(5432), None), "10.0.0.1:5432"),
    ] {
        list.push(Target {
            method,
            zones: vec![(format!("{name}.test"), address_zone(address.parse().unwrap()))],
            rules: rules.clone(),
            opened: rules,
            forbidden: at(forbidden),
            words,
            ..target(name)
        });
    }
}

// ---- redirects

fn redirects(list: &mut Vec<Target>) {
    for (name, location, forbidden, words) in [
        ("to-loopback", "http://127.0.0.1/CANARY", "127.0.0.1:80", "loopback"),
        ("to-loopback-v6", "http://[::1]/CANARY", "[::1]:80", "loopback"),
        ("to-loopback-https", "https://127.0.0.1/CANARY", "127.0.0.1:443", "loopback"),
        ("to-aws", "http://169.254.169.254/latest/meta-data/CANARY", "169.254.169.254:80", "cloud metadata"),
        ("to-aws-https", "https://169.254.169.254/CANARY", "169.254.169.254:443", "cloud metadata"),
        ("to-aws-v6", "http://[fd00:ec2::254]/CANARY", "[fd00:ec2::254]:80", "cloud metadata"),
        ("to-mapped", "http://[::ffff:169.254.169.254]/CANARY", "169.254.169.254:80", "cloud metadata"),
        ("to-nat64", "http://[64:ff9b::169.254.169.254]/CANARY", "[64:ff9b::a9fe:a9fe]:80", "cloud metadata"),
        ("to-decimal", "http://2130706433/CANARY", "127.0.0.1:80", "loopback"),
        ("to-hexadecimal", "http://0x7f000001/CANARY", "127.0.0.1:80", "loopback"),
        ("to-octal", "http://0177.0.0.1/CANARY", "127.0.0.1:80", "loopback"),
        ("to-short", "http://127.1/CANARY", "127.0.0.1:80", "loopback"),
        ("to-percent", "http://%31%32%37.0.0.1/CANARY", "127.0.0.1:80", "loopback"),
        ("to-name", "http://trap.to-name.test/CANARY", "169.254.169.254:80", "cloud metadata"),
        ("to-denied", "http://10.99.0.1/CANARY", "10.99.0.1:80", "10.99.0.0/16 of acme.deny_networks"),
    ] {
        let trap = (format!("trap.{name}.test"), address_zone("169.254.169.254".parse().unwrap()));
        list.push(Target {
            play: saying(redirect(302, location)),
            zones: vec![trap],
            forbidden: at(forbidden),
            words,
            ..target(name)
        });
    }
    // an https URL of our own API, and ports that only open rules lead to
    let alpn_port = |port| Rules { tls_alpn01_port: Some(port), ..Rules::default() };
    for (name, location, rules, opened, forbidden, words) in [
        (
            "to-own-api",
            "https://10.0.0.2:8443/api/v1/CANARY",
            alpn_port(8443),
            alpn_port(8443),
            "10.0.0.2:8443",
            "a listener of this CA server",
        ),
        ("to-smtp", "http://10.1.200.1:25/CANARY", alpn_port(443), alpn_port(25), "10.1.200.1:25", "port 25"),
        ("to-redis", "http://10.1.200.1:6379/", alpn_port(443), alpn_port(6379), "10.1.200.1:6379", "port 6379"),
        ("to-database", "http://10.0.0.3:5432/", alpn_port(443), alpn_port(5432), "10.0.0.3:5432", "port 5432"),
        ("to-other-port", "http://10.1.200.1:8080/", alpn_port(443), alpn_port(8080), "10.1.200.1:8080", "port 8080"),
    ] {
        let play = saying(redirect(302, location));
        list.push(Target { play, rules, opened, forbidden: at(forbidden), words, ..target(name) });
    }
    // the last hop of several, each to a path of the same name
    list.push(Target {
        play: play(|mut wire| async move {
            let request = wire.request().await;
            let next = match request.split(' ').nth(1).unwrap_or_default() {
                "/one" => "/two",
                "/two" => "http://169.254.169.254/CANARY",
                _ => "/one",
            };
            wire.send(&redirect(307, next)).await;
        }),
        forbidden: at("169.254.169.254:80"),
        words: "cloud metadata",
        ..target("to-aws-at-last")
    });
    for (name, location, words) in [
        ("to-file", "file:///etc/passwd", "file URL"),
        ("to-gopher", "gopher://127.0.0.1:6379/_CANARY", "gopher URL"),
        ("to-ftp", "ftp://127.0.0.1/CANARY", "ftp URL"),
        ("to-data", "data:text/plain,CANARY", "data URL"),
        ("to-user", "http://CANARY@10.1.200.1/", "with user or password"),
        ("to-password", "http://u:CANARY@10.1.200.1/", "with user or password"),
        ("to-glued", "http://to-glued.test.well-known/acme-challenge/CANARY", "slash between host name and path"),
        ("to-empty", "http:///", "not a URL"),
        ("to-zone", "http://[fe80::1%25lo]/CANARY", "not a URL"),
        ("to-itself", &format!("/.well-known/acme-challenge/{TOKEN}"), "end the loop"),
    ] {
        list.push(Target { play: saying(redirect(303, location)), words, ..target(name) });
    }
    list.push(Target {
        play: play(|mut wire| async move {
            let request = wire.request().await;
            let next = if request.starts_with("GET /back") { "/forth" } else { "/back" };
            wire.send(&redirect(301, next)).await;
        }),
        words: "end the loop",
        ..target("to-and-fro")
    });
    list.push(Target {
        play: play(|mut wire| async move {
            let request = wire.request().await;
            let path = request.split(' ').nth(1).unwrap_or_default();
            let hop: u32 = path.strip_prefix("/hop").and_then(|n| n.parse().ok()).unwrap_or(0);
            let last = if hop == 11 { ok(&key_authorization()) } else { redirect(308, &format!("/hop{}", hop + 1)) };
            wire.send(&last).await;
        }),
        words: "after 10 others",
        ..target("eleven-redirects")
    });
    list.push(Target {
        play: saying(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
        words: "without a Location",
        ..target("no-location")
    });
    list.push(Target {
        play: saying(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: http://127.0.0.1/\r\n\r\n".to_vec()),
        words: "several Location",
        ..target("two-locations")
    });
}

// ---- answers

fn bodies(list: &mut Vec<Target>) {
    let incorrect = |name: &str, bytes: Vec<u8>, words: &'static str| Target {
        play: saying(bytes),
        kind: ErrorKind::IncorrectResponse,
        words,
        ..target(name)
    };
    let connection = |name: &str, play: Play, words: &'static str| Target { play, words, ..target(name) };
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes();
    list.push(incorrect("echo", Vec::new(), ""));
    list.last_mut().unwrap().play = play(|mut wire| async move {
        let request = wire.request().await;
        wire.send(&ok(&request)).await;
    });
    list.push(incorrect("token-alone", ok(TOKEN), "the token alone"));
    list.push(incorrect("other-account", ok(&format!("{TOKEN}.{}", "A".repeat(43))), "another account key"));
    list.push(incorrect("other-token", ok(&format!("{}.{THUMBPRINT}", "B".repeat(43))), "another token"));
    list.push(incorrect("page", ok("<html><script>CANARY</script></html>"), "an HTML page"));
    list.push(incorrect("behind", ok(&format!("CANARY {}", key_authorization())), "another token"));
    list.push(incorrect("before", ok(&format!(" {}", key_authorization())), "white space"));
    list.push(incorrect("status", b"HTTP/1.1 500 CANARY\r\nContent-Length: 6\r\n\r\nCANARY".to_vec(), "status 500"));
    let gzip: Vec<u8> = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].into_iter().chain([0xff; 10_000]).collect();
    let bomb = [head("Content-Encoding: gzip\r\nContent-Length: 10010\r\n"), gzip].concat();
    list.push(incorrect("gzip-bomb", bomb, "longer than"));
    let garbage = format!("{}{}", key_authorization(), "CANARY".repeat(200_000));
    list.push(incorrect("a-megabyte-behind", ok(&garbage), "longer than"));
    let ten = [head(""), b"CANARY".repeat(1_700_000)].concat();
    list.push(incorrect("ten-megabytes", ten, "longer than"));
    list.push(Target {
        kind: ErrorKind::IncorrectResponse,
        ..connection("endless-body", endless("", "AAAAAAAA"), "longer than")
    });
    list.push(Target {
        kind: ErrorKind::IncorrectResponse,
        ..connection("endless-chunks", endless("Transfer-Encoding: chunked\r\n", "8\r\nAAAAAAAA\r\n"), "longer than")
    });
    list.push(connection("endless-header", forever("HTTP/1.1 200 OK\r\nX: ", "AAAAAAAA"), "16 KB"));
    list.push(connection("endless-fields", forever("HTTP/1.1 200 OK\r\n", "X: CANARY\r\n"), "16 KB"));
    list.push(connection("endless-hints", forever("", "HTTP/1.1 103 Early Hints\r\n\r\n"), ""));
    list.push(connection(
        "slow-header",
        dripping("HTTP/1.1 200 OK\r\nX: ", "A"),
        "no complete response header in time",
    ));
    list.push(connection(
        "slow-body",
        dripping("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", "A"),
        "body did not end",
    ));
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    list.push(connection("slow-chunks", dripping(chunks, "1\r\nA\r\n"), "body did not end"));
    let silent = play(|mut wire| async move { wire.wait().await });
    list.push(connection("silent", silent, "no complete response header in time"));
    let short = [head("Content-Length: 120\r\n"), key_authorization().into_bytes()].concat();
    list.push(connection("length-too-long", saying(short), "before it sent the whole body"));
    list.push(incorrect(
        "length-too-short",
        [head("Content-Length: 43\r\n"), key_authorization().into_bytes()].concat(),
        "the token alone",
    ));
    let twice = [head("Content-Length: 87\r\nContent-Length: 5\r\n"), key_authorization().into_bytes()].concat();
    list.push(connection("length-twice", saying(twice), "not an HTTP/1.1 response"));
    let preface = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04".to_vec();
    list.push(connection("http2", saying(preface), "not an HTTP/1.1 response"));
    list.push(connection("ssh", saying(b"SSH-2.0-CANARY\r\n\r\n".to_vec()), "not an HTTP/1.1 response"));
    list.push(connection("nothing", saying(Vec::new()), "closed the connection before it sent a response"));
    let reset = play(|mut wire| async move {
        wire.request().await;
        wire.reset();
    });
    list.push(connection("reset", reset, "closed the connection"));
}

fn endless(fields: &'static str, piece: &'static str) -> Play {
    play(move |mut wire| async move {
        wire.request().await;
        wire.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).await;
        let many = piece.repeat(1_000);
        while wire.send(many.as_bytes()).await {}
    })
}

fn forever(start: &'static str, piece: &'static str) -> Play {
    play(move |mut wire| async move {
        wire.request().await;
        wire.send(start.as_bytes()).await;
        let many = piece.repeat(1_000);
        while wire.send(many.as_bytes()).await {}
    })
}

fn dripping(start: &'static str, piece: &'static str) -> Play {
    play(move |mut wire| async move {
        wire.request().await;
        drip(wire, start, piece).await;
    })
}

// ---- zones

fn zones(list: &mut Vec<Target>) {
    let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
    let a = |kind: u16, addresses: Vec<IpAddr>| Dns::Addresses(if kind == A { addresses } else { Vec::new() });
    // the first answer is harmless, the second one is asked for by the redirect
    list.push(Target {
        play: saying(redirect(302, "http://rebinding.test/CANARY")),
        zones: vec![(
            "rebinding.test".into(),
            zone(move |kind, before| a(kind, vec![if before == 0 { OWN_ADDRESS } else { loopback }])),
        )],
        forbidden: at("127.0.0.1:80"),
        words: "loopback",
        ..target("rebinding")
    });
    list.push(Target {
        play: saying(redirect(302, "http://rebinding-aws.test/CANARY")),
        zones: vec![(
            "rebinding-aws.test".into(),
            zone(move |kind, before| match (kind, before) {
                (A, 0) => Dns::Addresses(vec![OWN_ADDRESS]),
                (AAAA, 1..) => Dns::Addresses(vec!["fd00:ec2::254".parse().unwrap()]),
                _ => Dns::Addresses(Vec::new()),
            }),
        )],
        forbidden: at("[fd00:ec2::254]:80"),
        words: "cloud metadata",
        ..target("rebinding-aws")
    });
    // nothing is asked twice for one connection: a second answer would be the trap
    list.push(Target {
        play: play(|mut wire| async move {
            wire.request().await;
            wire.reset();
        }),
        zones: vec![(
            "rebinding-retry.test".into(),
            zone(move |kind, before| a(kind, vec![if before == 0 { OWN_ADDRESS } else { loopback }])),
        )],
        words: "closed the connection",
        ..target("rebinding-retry")
    });
    let alias = |to: &'static str| zone(move |_, _| Dns::Alias(to));
    list.push(Target {
        zones: vec![
            ("alias-to-aws.test".into(), alias("one.alias-to-aws.test")),
            ("one.alias-to-aws.test".into(), alias("two.alias-to-aws.test")),
            ("two.alias-to-aws.test".into(), address_zone("169.254.169.254".parse().unwrap())),
        ],
        forbidden: at("169.254.169.254:80"),
        words: "cloud metadata",
        ..target("alias-to-aws")
    });
    let failing = |name: &str, zones: Vec<(String, Zone)>| Target { zones, kind: ErrorKind::Dns, ..target(name) };
    // localhost is never asked of a DNS server (RFC 6761 §6.3)
    list.push(failing(
        "alias-to-localhost",
        vec![("alias-to-localhost.test".into(), alias("localhost")), ("localhost".into(), address_zone(loopback))],
    ));
    list.push(failing(
        "alias-loop",
        vec![
            ("alias-loop.test".into(), alias("back.alias-loop.test")),
            ("back.alias-loop.test".into(), alias("alias-loop.test")),
        ],
    ));
    let chain = (0..30).map(|n| {
        let name = if n == 0 { "alias-chain.test".to_owned() } else { format!("n{n}.alias-chain.test") };
        let next: &'static str = Box::leak(format!("n{}.alias-chain.test", n + 1).into_boxed_str());
        (name, alias(next))
    });
    list.push(failing("alias-chain", chain.collect()));
    for (name, answer) in [
        ("nxdomain", (|_, _| Dns::Code(3)) as fn(u16, usize) -> Dns),
        ("servfail", |_, _| Dns::Code(2)),
        ("refused", |_, _| Dns::Code(5)),
        ("dns-silent", |_, _| Dns::Silence),
        ("truncated-loop", |_, _| Dns::Truncated),
        ("no-address", |_, _| Dns::Addresses(Vec::new())),
        ("other-owner", |_, _| Dns::Foreign("elsewhere.test", vec![(A, vec![127, 0, 0, 1])])),
        ("not-an-address", |_, _| Dns::Foreign("not-an-address.test", vec![(A, vec![127, 0, 0])])),
    ] {
        list.push(failing(name, vec![(format!("{name}.test"), zone(answer))]));
    }
    // sixty closed ports, of which eight are tried
    let many: Vec<IpAddr> = (1..=60).map(|n| Ipv4Addr::new(10, 2, 0, n).into()).collect();
    list.push(Target {
        zones: vec![("port-scan.test".into(), zone(move |kind, _| a(kind, many.clone())))],
        rules: Rules { http01_port: Some(81), ..Rules::default() },
        words: "as the last of 8 addresses",
        ..target("port-scan")
    });
    // TXT
    let txt = |name: &str, answer: fn() -> Dns| {
        let place = format!("_acme-challenge.{name}.test");
        let answer = zone(move |kind, _| if kind == TXT { answer() } else { Dns::Addresses(Vec::new()) });
        Target {
            method: Method::Dns01,
            zones: vec![(place, answer)],
            kind: ErrorKind::IncorrectResponse,
            ..target(name)
        }
    };
    list.push(txt("txt-64k", || Dns::TextsOverTcp(vec!["CANARY".repeat(10_000)])));
    list.push(txt("txt-many", || Dns::TextsOverTcp((0..1_200).map(|n| format!("CANARY{n:030}")).collect())));
    list.push(txt("txt-other", || Dns::Texts(vec!["CANARY".into()])));
    list.push(txt("txt-foreign", || {
        Dns::Foreign("_acme-challenge.elsewhere.test", vec![(TXT, strings("CANARY", 255))])
    }));
    let led_away = txt("txt-alias-foreign", || {
        Dns::Records(vec![
            ("_acme-challenge.txt-alias-foreign.test".into(), CNAME, wire_name("a.test")),
            ("b.test".into(), TXT, strings("CANARY", 255)),
        ])
    });
    list.push(Target { kind: ErrorKind::Dns, ..led_away });
    list.push(Target { kind: ErrorKind::Dns, ..txt("txt-truncated", || Dns::Truncated) });
    list.push(Target { kind: ErrorKind::Dns, ..txt("txt-silent", || Dns::Silence) });
}

// ---- TLS servers

fn certificates(list: &mut Vec<Target>) {
    let served = |name: &str, leaf: Leaf, manner: Manner, kind: ErrorKind, words: &'static str| {
        let config = alpn::config(&leaf, &manner);
        let play = play(move |wire| {
            let (config, manner) = (config.clone(), manner.clone());
            async move {
                alpn::serve(wire, config, &manner).await;
            }
        });
        Target { method: Method::TlsAlpn01, play, kind, words, ..target(name) }
    };
    let digest = expected_digest();
    let right = |name: &str| Leaf::right(dns(&format!("{name}.test")));
    let with = |name: &str, identifiers: Vec<(Vec<u8>, bool)>| Leaf { identifiers, ..right(name) };
    let mut other = digest.clone();
    other[0] ^= 1;
    let wrong: Vec<(&str, Leaf, &'static str)> = vec![
        (
            "two-names",
            Leaf { names: vec![dns("two-names.test"), dns("b.test")], ..right("two-names") },
            "several names",
        ),
        (
            "name-and-address",
            Leaf { names: vec![dns("name-and-address.test"), ip("10.0.0.1")], ..right("x") },
            "several names",
        ),
        ("wrong-name", right("another"), "another name"),
        ("wildcard-name", Leaf::right(dns("*.test")), "another name"),
        ("address-name", Leaf::right(ip("10.1.0.1")), "another kind"),
        ("no-name", Leaf { names: Vec::new(), ..right("no-name") }, "without a subjectAltName"),
        ("no-identifier", with("no-identifier", Vec::new()), "without acmeIdentifier"),
        ("not-critical", with("not-critical", vec![(octets(&digest), false)]), "not critical"),
        ("31-octets", with("31-octets", vec![(octets(&digest[..31]), true)]), "32 octets"),
        ("33-octets", with("33-octets", vec![(octets(&[&digest[..], &[0]].concat()), true)]), "32 octets"),
        ("no-octet-string", with("no-octet-string", vec![(digest.clone(), true)]), "32 octets"),
        ("trailing", with("trailing", vec![([octets(&digest), vec![5, 0]].concat(), true)]), "32 octets"),
        ("twice", with("twice", vec![(octets(&digest), true), (octets(&digest), true)]), "twice"),
        ("twice-other", with("twice-other", vec![(octets(&other), true), (octets(&digest), true)]), "twice"),
        ("other-digest", with("other-digest", vec![(octets(&other), true)]), "another token"),
        ("by-a-ca", Leaf { signed: Signed::ByAnother, ..right("by-a-ca") }, "not signed by itself"),
        ("broken-signature", Leaf { signed: Signed::Wrongly, ..right("broken-signature") }, "not signed by itself"),
        ("20-kilobytes", Leaf { ballast: 20_000, ..right("20-kilobytes") }, "over 16384 bytes"),
    ];
    for (name, leaf, words) in wrong {
        list.push(served(name, leaf, Manner::default(), ErrorKind::IncorrectResponse, words));
    }
    let chatter = Manner { chatter: true, ..Manner::default() };
    list.push(served("chatter", with("chatter", Vec::new()), chatter, ErrorKind::IncorrectResponse, ""));
    let protocols = |list: &[&'static str]| Manner { protocols: list.to_vec(), ..Manner::default() };
    let handshakes: Vec<(&str, Leaf, Manner, &'static str)> = vec![
        ("a-megabyte", Leaf { ballast: 1_000_000, ..right("a-megabyte") }, Manner::default(), "more than 64 KB"),
        ("h2-alone", right("h2-alone"), protocols(&["h2"]), "did not choose"),
        ("no-protocol", right("no-protocol"), protocols(&[]), "did not choose"),
        ("stolen", right("stolen"), Manner { stolen: true, ..Manner::default() }, "did not sign"),
        (
            "stolen-12",
            right("stolen-12"),
            Manner { stolen: true, versions: TLS12, ..Manner::default() },
            "did not sign",
        ),
    ];
    for (name, leaf, manner, words) in handshakes {
        list.push(served(name, leaf, manner, ErrorKind::Tls, words));
    }
    let raw = |name: &str, bytes: Vec<u8>, words: &'static str| Target {
        method: Method::TlsAlpn01,
        play: play(move |mut wire| {
            let bytes = bytes.clone();
            async move {
                wire.hello().await;
                wire.send(&bytes).await;
                wire.wait().await;
            }
        }),
        kind: ErrorKind::Tls,
        words,
        ..target(name)
    };
    list.push(raw("tls-1-1", server_hello(0x02), "nothing newer than TLS 1.1"));
    list.push(raw("tls-1-0", server_hello(0x01), "nothing newer than TLS 1.1"));
    list.push(raw("plain-http", b"HTTP/1.1 200 CANARY\r\n\r\n".to_vec(), "not TLS"));
    list.push(raw("tls-silent", Vec::new(), "did not answer in time"));
    list.push(raw("tls-alert", b"\x15\x03\x03\x00\x02\x02\x70".to_vec(), "UnrecognisedName"));
    list.push(Target {
        play: play(|mut wire| async move {
            wire.hello().await;
            // records that end nothing
            let record = b"\x14\x03\x03\x00\x01\x01".repeat(1_000);
            while wire.send(&record).await {}
        }),
        ..raw("endless-records", Vec::new(), "")
    });
}

/// A ServerHello of an old version, whole and well-formed.
fn server_hello(minor: u8) -> Vec<u8> {
    let hello = [&[3, minor][..], &[7; 32], &[0], &[0, 0x2f], &[0]].concat();
    let message = [&[2, 0, 0, hello.len() as u8][..], &hello].concat();
    [&[22, 3, minor, 0, message.len() as u8][..], &message].concat()
}

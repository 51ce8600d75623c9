//! Loopback servers that answer, misbehave and count: an HTTP target and a DNS server, both gone when dropped.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery::clock::{ManualClock, Timestamp};
use chancery::model::identifier::Identifier;
use chancery::validation::{Claim, Method, Outcome, Rules, ValidationConfig, Validator};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
pub const THUMBPRINT: &str = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

pub fn key_authorization() -> String {
    chancery::validation::key_authorization(TOKEN, THUMBPRINT).unwrap()
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a target does with one connection, given the request header that it read.
type Script = Arc<dyn Fn(Box<dyn Stream>, String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A TCP server on a loopback address.
pub struct Target {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    arrived: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Target {
    /// Reads a request header, then runs `script` on the stream.
    pub async fn scripted<F, Fut>(bind: &str, script: F) -> Target
    where
        F: Fn(Box<dyn Stream>, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Target::start(bind, None, Arc::new(move |stream, request| Box::pin(script(stream, request)))).await
    }

    /// Answers each request with the bytes that `answer` makes of its path, and closes.
    pub async fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Target {
        Target::answering_on("127.0.0.1:0", answer).await
    }

    pub async fn answering_on(bind: &str, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Target {
        Target::start(bind, None, reply_script(answer)).await
    }

    /// The same behind TLS.
    pub async fn tls(
        acceptor: tokio_rustls::TlsAcceptor,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Target {
        Target::start("127.0.0.1:0", Some(acceptor), reply_script(answer)).await
    }

    async fn start(bind: &str, tls: Option<tokio_rustls::TlsAcceptor>, script: Script) -> Target {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(Notify::new());
        let (counter, log, bell) = (connections.clone(), requests.clone(), arrived.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (script, log, bell, tls) = (script.clone(), log.clone(), bell.clone(), tls.clone());
                open.spawn(async move {
                    let mut stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let request = read_header(&mut stream).await;
                    log.lock().unwrap().push(request.clone());
                    bell.notify_one();
                    script(stream, request).await;
                });
            }
        });
        Target { address, connections, requests, arrived, _tasks: tasks }
    }

    /// Whatever `work` does at `address`, for as long as this lives.
    pub fn task(address: SocketAddr, work: impl Future<Output = ()> + Send + 'static) -> Target {
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let (connections, requests, arrived) = Default::default();
        Target { address, connections, requests, arrived, _tasks: tasks }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next request header that arrives whole.
    pub async fn requested(&self) {
        self.arrived.notified().await;
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn reply_script(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Script {
    Arc::new(move |mut stream, request| {
        let bytes = answer(request.split(' ').nth(1).unwrap_or_default());
        Box::pin(async move {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        })
    })
}

async fn read_header(stream: &mut Box<dyn Stream>) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub fn redirect(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 6\r\n\r\nCANARY").into_bytes()
}

/// Loopback allowed, http-01 on the target's port, time enough for a machine under load.
pub fn config(port: u16) -> ValidationConfig {
    let mut config = ValidationConfig { http01_port: port, allow_loopback: true, ..Default::default() };
    config.timeouts.total = Duration::from_secs(8);
    config.timeouts.queue = Duration::from_millis(300);
    config
}

/// The same with time limits that a test can wait for.
pub fn hasty(mut config: ValidationConfig) -> ValidationConfig {
    config.timeouts.total = Duration::from_secs(3);
    config.timeouts.resolve = Duration::from_secs(2);
    config
}

pub fn validator(config: ValidationConfig) -> Validator {
    guarded(config, Vec::new())
}

pub fn guarded(config: ValidationConfig, forbidden: Vec<SocketAddr>) -> Validator {
    let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    Validator::new(config, forbidden, Arc::new(clock)).unwrap()
}

/// One attempt, which must end by itself and must not show a byte of what targets sent in bodies and headers.
pub async fn attempt(validator: &Validator, name: &str) -> Outcome {
    attempt_by(validator, Method::Http01, &Rules::default(), name).await
}

pub const ACCOUNT: &str = "https://ca.example/acme/default/account/01";

/// The same by another method and with a directory's rules.
pub async fn attempt_by(validator: &Validator, method: Method, rules: &Rules, name: &str) -> Outcome {
    let identifier = Identifier::guess(name).unwrap();
    let authorization = key_authorization();
    let claim = Claim {
        name: &identifier,
        token: TOKEN,
        key_authorization: &authorization,
        account_url: ACCOUNT,
        subdomains: false,
    };
    let attempt = validator.prove(method, rules, &claim);
    let outcome = tokio::time::timeout(Duration::from_secs(15), attempt).await.expect("the attempt ends in time");
    let shown = format!("{outcome:?} {}", outcome.result.as_ref().map_or_else(|e| e.detail(), |()| String::new()));
    assert!(!shown.contains("CANARY"), "a body is shown: {shown}");
    assert!(outcome.result.as_ref().map_or_else(|e| e.detail().chars().count(), |()| 0) <= 400);
    outcome
}

/// http-01 for 127.0.0.1 on the target's port.
pub async fn prove(target: &Target) -> Outcome {
    attempt(&validator(config(target.port())), "127.0.0.1").await
}

pub enum Dns {
    Addresses(Vec<IpAddr>),
    Alias(&'static str),
    /// A response code: 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    Silence,
    /// No records, with the truncation flag set.
    Truncated,
    /// TXT records of one string each.
    Texts(Vec<String>),
    /// A TXT record whose text is cut into strings of a few characters.
    Pieces(String),
    /// The same, but UDP says only that it is truncated.
    TextsOverTcp(Vec<String>),
    /// Flags, tag, value.
    Caa(Vec<(u8, String, String)>),
    /// Records of any type whose owner is this other name, in the answer to the question.
    Foreign(&'static str, Vec<(u16, Vec<u8>)>),
    /// As the server sees fit: whole records with whole owners.
    Records(Vec<(String, u16, Vec<u8>)>),
}

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const TXT: u16 = 16;
pub const CNAME: u16 = 5;
pub const CAA: u16 = 257;

/// A DNS server on loopback, UDP and TCP; `answer` gets name, type and how often this pair was asked before.
pub struct DnsServer {
    pub address: SocketAddr,
    pub queries: Arc<Mutex<Vec<(String, u16)>>>,
    _tasks: JoinSet<()>,
}

impl DnsServer {
    pub async fn answering(answer: impl Fn(&str, u16, usize) -> Dns + Send + Sync + 'static) -> DnsServer {
        let (socket, listener) = sockets().await;
        DnsServer::on(socket, listener, answer)
    }

    /// One that gets names as they were written.
    pub async fn letter_by_letter(answer: impl Fn(&str, u16, usize) -> Dns + Send + Sync + 'static) -> DnsServer {
        let (socket, listener) = sockets().await;
        DnsServer::start(socket, listener, question, answer)
    }

    /// On sockets of the caller's, which have one address.
    pub fn on(
        socket: UdpSocket,
        listener: TcpListener,
        answer: impl Fn(&str, u16, usize) -> Dns + Send + Sync + 'static,
    ) -> DnsServer {
        let in_lower_case = |packet: &[u8]| {
            let (name, kind, end) = question(packet);
            (name.to_lowercase(), kind, end)
        };
        DnsServer::start(socket, listener, in_lower_case, answer)
    }

    fn start(
        socket: UdpSocket,
        listener: TcpListener,
        question: fn(&[u8]) -> (String, u16, usize),
        answer: impl Fn(&str, u16, usize) -> Dns + Send + Sync + 'static,
    ) -> DnsServer {
        let address = socket.local_addr().unwrap();
        let queries: Arc<Mutex<Vec<(String, u16)>>> = Arc::default();
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        let (log, by_tcp) = (queries.clone(), answer.clone());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, by_tcp) = (log.clone(), by_tcp.clone());
                open.spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut packet = vec![0; usize::from(length)];
                        stream.read_exact(&mut packet).await.unwrap();
                        let (name, kind, question_end) = question(&packet);
                        log.lock().unwrap().push((name.clone(), kind));
                        if let Some(reply) = reply(&packet[..question_end], kind, by_tcp(&name, kind, 0), true) {
                            // the other side may have enough of it
                            let _ = stream.write_u16(reply.len() as u16).await;
                            let _ = stream.write_all(&reply).await;
                        }
                    }
                });
            }
        });
        let log = queries.clone();
        tasks.spawn(async move {
            let mut packet = [0; 1_500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                let (name, kind, question_end) = question(&packet[..length]);
                let before = log.lock().unwrap().iter().filter(|q| **q == (name.clone(), kind)).count();
                log.lock().unwrap().push((name.clone(), kind));
                if let Some(reply) = reply(&packet[..question_end], kind, answer(&name, kind, before), false) {
                    socket.send_to(&reply, peer).await.unwrap();
                }
            }
        });
        DnsServer { address, queries, _tasks: tasks }
    }

    pub fn asked(&self) -> Vec<(String, u16)> {
        self.queries.lock().unwrap().clone()
    }
}

fn question(packet: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        labels.push(String::from_utf8(packet[at + 1..at + 1 + length].to_vec()).unwrap());
        at += length + 1;
    }
    (labels.join("."), u16::from_be_bytes([packet[at + 1], packet[at + 2]]), at + 5)
}

/// One port for both.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
}

fn reply(query: &[u8], kind: u16, answer: Dns, tcp: bool) -> Option<Vec<u8>> {
    let texts = |list: Vec<String>| list.iter().map(|t| own(TXT, strings(t, 255))).collect::<Vec<_>>();
    let (code, truncated, records): (u8, bool, Vec<Whole>) = match answer {
        Dns::Silence => return None,
        Dns::Code(code) => (code, false, Vec::new()),
        Dns::Truncated => (0, true, Vec::new()),
        Dns::TextsOverTcp(_) if !tcp => (0, true, Vec::new()),
        Dns::Texts(list) | Dns::TextsOverTcp(list) => (0, false, texts(list)),
        Dns::Pieces(text) => (0, false, vec![own(TXT, strings(&text, 7))]),
        Dns::Alias(name) => (0, false, vec![own(CNAME, wire_name(name))]),
        Dns::Addresses(list) => {
            (0, false, list.into_iter().filter_map(|ip| address_record(ip, kind)).map(|(k, d)| own(k, d)).collect())
        }
        Dns::Caa(list) if kind == CAA => {
            (0, false, list.iter().map(|(f, t, v)| own(CAA, property(*f, t, v))).collect())
        }
        Dns::Caa(_) => (0, false, Vec::new()),
        Dns::Foreign(owner, list) => (0, false, list.into_iter().map(|(k, d)| (wire_name(owner), k, d)).collect()),
        Dns::Records(list) => (0, false, list.into_iter().map(|(owner, k, d)| (wire_name(&owner), k, d)).collect()),
    };
    let mut packet = query.to_vec();
    packet[2] = 0x81 | if truncated { 0x02 } else { 0 };
    packet[3] = 0x80 | code;
    packet[4..6].copy_from_slice(&[0, 1]);
    packet[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    packet[8..12].copy_from_slice(&[0, 0, 0, 0]);
    for (owner, kind, data) in records {
        packet.extend_from_slice(&owner);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        packet.extend_from_slice(&(data.len() as u16).to_be_bytes());
        packet.extend_from_slice(&data);
    }
    Some(packet)
}

/// Owner on the wire, type, data.
type Whole = (Vec<u8>, u16, Vec<u8>);

/// A record of the name that was asked for.
fn own(kind: u16, data: Vec<u8>) -> Whole {
    (vec![0xc0, 12], kind, data)
}

/// RFC 8659 §4.1.
fn property(flags: u8, tag: &str, value: &str) -> Vec<u8> {
    [&[flags, tag.len() as u8], tag.as_bytes(), value.as_bytes()].concat()
}

fn address_record(ip: IpAddr, kind: u16) -> Option<(u16, Vec<u8>)> {
    match (ip, kind) {
        (IpAddr::V4(v4), A) => Some((A, v4.octets().to_vec())),
        (IpAddr::V6(v6), AAAA) => Some((AAAA, v6.octets().to_vec())),
        _ => None,
    }
}

/// The character-strings of a TXT record (RFC 1035 §3.3.14).
pub fn strings(text: &str, length: usize) -> Vec<u8> {
    text.as_bytes().chunks(length).flat_map(|part| [&[part.len() as u8], part].concat()).collect()
}

pub fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

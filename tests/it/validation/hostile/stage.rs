//! The listeners and the DNS server of the battery. A connection to a target's own address is played by the target;
//! any other one is counted and answered with the right key authorization, so that a leak would even succeed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::super::support::{A, AAAA, Dns, DnsServer, TXT, key_authorization, ok};
use super::targets::{PORTS, Play, Target, Zone};
use crate::support::wait::until;

pub const NAME_SERVER: &str = "10.0.0.53:53";
/// Small, so that what a target sends is soon held up by what nobody reads.
const SEND_BUFFER: u32 = 64 * 1024;

type Counts = Arc<Mutex<HashMap<SocketAddr, usize>>>;

pub struct Stage {
    counts: Counts,
    sent: HashMap<IpAddr, Arc<AtomicU64>>,
    _dns: DnsServer,
    _tasks: JoinSet<()>,
}

impl Stage {
    pub async fn set(targets: &[Target]) -> Stage {
        let counts = Counts::default();
        let sent: HashMap<_, _> = targets.iter().map(|t| (t.address, Arc::new(AtomicU64::new(0)))).collect();
        let plays: HashMap<IpAddr, Play> = targets.iter().map(|t| (t.address, t.play.clone())).collect();
        let plays = Arc::new(plays);
        let mut tasks = JoinSet::new();
        for port in PORTS {
            let listener = listen(port).await;
            tasks.spawn(accept(listener, counts.clone(), plays.clone(), sent.clone()));
        }
        Stage { counts, sent, _dns: name_server(targets).await, _tasks: tasks }
    }

    pub fn counts(&self) -> HashMap<SocketAddr, usize> {
        self.counts.lock().unwrap().clone()
    }

    pub fn count(&self, place: SocketAddr) -> usize {
        self.counts().get(&place).copied().unwrap_or(0)
    }

    pub fn sent(&self, address: IpAddr) -> u64 {
        self.sent[&address].load(Ordering::SeqCst)
    }
}

/// For both families. The stage before may still be closing its listeners.
async fn listen(port: u16) -> TcpListener {
    let free = async || {
        let socket = TcpSocket::new_v6().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_send_buffer_size(SEND_BUFFER).unwrap();
        socket.bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).ok()?;
        socket.listen(1_024).ok()
    };
    until("a port that the stage before gives back", free).await
}

async fn accept(
    listener: TcpListener,
    counts: Counts,
    plays: Arc<HashMap<IpAddr, Play>>,
    sent: HashMap<IpAddr, Arc<AtomicU64>>,
) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(place) = stream.local_addr() else { continue };
        let place = SocketAddr::new(place.ip().to_canonical(), place.port());
        *counts.lock().unwrap().entry(place).or_default() += 1;
        let counter = sent.get(&place.ip()).cloned().unwrap_or_default();
        let wire = Wire { stream, sent: counter };
        match plays.get(&place.ip()).filter(|_| matches!(place.port(), 80 | 443)) {
            Some(play) => open.spawn(play(wire)),
            None => open.spawn(trap(wire)),
        };
    }
}

async fn trap(mut wire: Wire) {
    wire.request().await;
    wire.send(&ok(&key_authorization())).await;
}

/// A connection that counts what is written to it.
pub struct Wire {
    stream: TcpStream,
    sent: Arc<AtomicU64>,
}

impl Wire {
    /// Reads a request header, or what comes of it.
    pub async fn request(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") && bytes.len() < 4_096 {
            match self.stream.read_u8().await {
                // a ClientHello has no end that is looked for here
                Ok(0x16) if bytes.is_empty() => break,
                Ok(byte) => bytes.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Some bytes of a ClientHello.
    pub async fn hello(&mut self) {
        let _ = self.stream.read(&mut [0; 4_096]).await;
    }

    /// False when the other side is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.write_all(bytes).await.is_ok()
    }

    /// Until the other side is gone.
    pub async fn wait(&mut self) {
        let mut bytes = [0; 1_024];
        while matches!(self.stream.read(&mut bytes).await, Ok(n) if n > 0) {}
    }

    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &outcome {
            self.sent.fetch_add(*n as u64, Ordering::SeqCst);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn name_server(targets: &[Target]) -> DnsServer {
    let zones: HashMap<String, Zone> =
        targets.iter().flat_map(|t| t.zones.iter().map(|(name, zone)| (name.clone(), zone.clone()))).collect();
    let free = async || Some((UdpSocket::bind(NAME_SERVER).await.ok()?, TcpListener::bind(NAME_SERVER).await.ok()?));
    let (socket, listener) = until("the name server's port", free).await;
    DnsServer::on(socket, listener, move |name, kind, before| match zones.get(name) {
        Some(zone) => zone(kind, before),
        None if matches!(kind, A | AAAA | TXT) => Dns::Code(3),
        None => Dns::Addresses(Vec::new()),
    })
}

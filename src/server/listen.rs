//! Sockets: bind with a sentence when that fails, accept within limits, TLS handshake and headers within a time,
//! HTTP/1.1 and HTTP/2, and a stop that lets requests in flight finish.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::config::{Config, Listen, Only};
use super::crowd::{Crowd, Seat, Seated};
use super::proxies::Proxies;
use super::stall::{Activity, Arriving, Watched};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client_address::TrustedProxies;

/// For the last bytes of a connection that stood still.
const FAREWELL: Duration = Duration::from_secs(1);
/// For those of one that makes way for another.
const QUICK_FAREWELL: Duration = Duration::from_millis(100);
/// Between two looks for connections that can make way.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What HTTP/2 keeps of bodies that nobody has read yet, for a stream and for a connection. hyper's own figure is a
/// megabyte, times thousands of connections.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
const HTTP2_STREAMS: u32 = 128;
const MANY: usize = 256;

/// What one listener bears with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. When a sixteenth is left, connections that wait for their client make way for new ones;
    /// where none does, new ones wait in the backlog of the system.
    pub connections: usize,
    pub handshake: Duration,
    /// From the end of the handshake to the first request, and from a request's first byte to the end of its headers.
    pub headers: Duration,
    /// Silence between two requests, and a client that does not take its answer.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4_096,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(20),
            idle: Duration::from_secs(60),
        }
    }
}

/// The sockets, bound and not yet served.
#[derive(Debug)]
pub struct Sockets {
    /// HTTPS and plain HTTP; none of a worker.
    pub web: Option<(TcpListener, TcpListener)>,
    pub ops: TcpListener,
}

/// What they are bound to: port 0 has become a port.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub ops: SocketAddr,
    /// False in a worker: then `https` and `http` are those of the settings, which other processes serve.
    pub web: bool,
}

impl Addresses {
    /// Those of the settings, for URLs that are shown without a listener.
    pub fn configured(config: &Config) -> Self {
        let (https, http) = (config.listen.address, config.listen_http.address);
        Addresses { https, http, ops: config.listen_ops.address, web: false }
    }
}

impl Sockets {
    pub async fn bind(config: &Config) -> Result<Sockets> {
        let web = if config.only == Only::Worker {
            None
        } else {
            let https = bind(config.listen, "HTTPS", "--listen").await?;
            Some((https, bind(config.listen_http, "plain HTTP", "--listen-http").await?))
        };
        Ok(Sockets { web, ops: bind(config.listen_ops, "metrics and health", "--listen-ops").await? })
    }

    pub fn addresses(&self, config: &Config) -> Result<Addresses> {
        let of = |listener: &TcpListener| {
            listener.local_addr().map_err(|e| Error::internal("a bound socket has no address", e))
        };
        let configured = Addresses { ops: of(&self.ops)?, ..Addresses::configured(config) };
        match &self.web {
            Some((https, http)) => Ok(Addresses { https: of(https)?, http: of(http)?, web: true, ..configured }),
            None => Ok(configured),
        }
    }
}

async fn bind(listen: Listen, what: &str, flag: &str) -> Result<TcpListener> {
    let mut outcome = TcpListener::bind(listen.address).await;
    let without_ipv6 =
        |e: &io::Error| e.kind() == io::ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(libc::EAFNOSUPPORT);
    if listen.may_fall_back && listen.address.is_ipv6() && outcome.as_ref().is_err_and(without_ipv6) {
        outcome = TcpListener::bind((Ipv4Addr::UNSPECIFIED, listen.address.port())).await;
    }
    outcome.map_err(|e| {
        let (why, fix) = match e.kind() {
            io::ErrorKind::AddrInUse => ("the port is in use", "stop the program that has it or"),
            io::ErrorKind::PermissionDenied => ("ports below 1024 need CAP_NET_BIND_SERVICE", "grant it or"),
            io::ErrorKind::AddrNotAvailable => ("this machine has no such address", "name one that it has or"),
            _ => ("the system refuses", "check the address or"),
        };
        let detail =
            format!("cannot listen on {} for {what}: {why}; {fix} choose another with {flag} ADDR", listen.address);
        Error::new(ErrorKind::Unavailable, detail).because(e)
    })
}

/// How far a stop has come. Every listener and connection watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Running,
    /// No new connections; requests in flight finish.
    Draining,
}

/// Connections that are open now, over all listeners.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    /// Most that were open since `many_ended` was last true.
    peak: AtomicUsize,
}

impl Connections {
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Whether hundreds ended since this was last true: their memory is free then, in pieces.
    pub fn many_ended(&self) -> bool {
        let open = self.count();
        let many = self.0.peak.load(Ordering::SeqCst) >= open + MANY;
        if many {
            self.0.peak.store(open, Ordering::SeqCst);
        }
        many
    }

    fn enter(&self) -> Entered {
        let now = self.0.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.peak.fetch_max(now, Ordering::SeqCst);
        gauge(now);
        Entered(self.clone())
    }
}

struct Entered(Connections);

impl Drop for Entered {
    fn drop(&mut self) {
        gauge(self.0.0.open.fetch_sub(1, Ordering::SeqCst) - 1);
    }
}

fn gauge(open: usize) {
    metrics::gauge!("chancery_connections").set(u32::try_from(open).map_or(f64::MAX, f64::from));
}

/// Serves `router` on `listener` until a stop; returns when it no longer accepts. Connections go on in tasks of
/// their own and count in `connections`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    mut stop: watch::Receiver<Stop>,
    connections: Connections,
    limits: Limits,
    proxies: Proxies,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let crowd = Crowd::new(proxies.listener_name(), limits.connections);
    let acceptor = tls.map(TlsAcceptor::from);
    for id in 0.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of file descriptors, or a client that went away between SYN and accept
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let seated = crowd.enter(id);
        if proxies.shows_client(peer.ip()) {
            seated.seat().is_of(peer.ip());
        }
        let permit = tokio::select! {
            permit = place(&places, &crowd, &seated) => permit,
            () = stopped(&mut stop) => return,
        };
        let (acceptor, router, stop, proxies) = (acceptor.clone(), router.clone(), stop.clone(), proxies.clone());
        let entered = connections.enter();
        tokio::spawn(async move {
            connection(stream, peer.ip(), seated.seat(), acceptor, router, stop, limits, proxies).await;
            // the place last: whoever gets it finds this connection gone
            drop((entered, seated, permit));
        });
    }
}

/// A place for a new connection, for which others make way where they can. A connection that works now may be quiet
/// in a moment.
async fn place(places: &Arc<Semaphore>, crowd: &Crowd, newcomer: &Seated) -> Option<OwnedSemaphorePermit> {
    loop {
        crowd.make_way(newcomer);
        let waited = tokio::time::timeout(LOOK_AGAIN, Arc::clone(places).acquire_owned()).await;
        if let Ok(permit) = waited {
            return permit.ok();
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "what a connection has of its listener")]
async fn connection(
    mut stream: TcpStream,
    peer: IpAddr,
    seat: &Seat,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    mut stop: watch::Receiver<Stop>,
    limits: Limits,
    proxies: Proxies,
) {
    // small answers must not wait for Nagle; a socket that refuses the option is about to fail anyway
    let _ = stream.set_nodelay(true);
    let peer = tokio::select! {
        address = proxies.address(&mut stream, peer, limits.handshake) => address,
        () = stopped(&mut stop) => return,
        () = seat.closed() => return,
    };
    let Some(peer) = peer else { return };
    if !proxies.trusted.contains(peer) {
        seat.is_of(peer);
    }
    let trusted = proxies.trusted;
    let Some(acceptor) = acceptor else { return speak(stream, peer, seat, trusted, router, stop, limits).await };
    let handshake = tokio::select! {
        outcome = tokio::time::timeout(limits.handshake, acceptor.accept(stream)) => outcome,
        () = stopped(&mut stop) => return,
        () = seat.closed() => return,
    };
    match handshake {
        Ok(Ok(stream)) => speak(stream, peer, seat, trusted, router, stop, limits).await,
        Ok(Err(error)) => {
            metrics::counter!("chancery_tls_handshake_failures_total").increment(1);
            tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => metrics::counter!("chancery_tls_handshake_failures_total").increment(1),
    }
}

/// `peer` is the other side of the connection, or who a load balancer says it is.
async fn speak<S>(
    stream: S,
    peer: IpAddr,
    seat: &Seat,
    trusted: Arc<TrustedProxies>,
    router: Router,
    mut stop: watch::Receiver<Stop>,
    limits: Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::start();
    seat.speaks(&activity);
    let stream = Watched::new(stream, activity.clone());
    let requests = activity.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = trusted.client_of(peer, request.headers());
        request.extensions_mut().insert(client);
        let in_flight = Arc::new(requests.enter(request.version()));
        let request = request.map(|body| Body::new(Arriving::new(body, Arc::clone(&in_flight))));
        let answer = router.clone().oneshot(request);
        async move {
            let answer = answer.await;
            drop(in_flight);
            answer
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // hyper would count the silence between two requests as the time of a head; `activity` tells them apart
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits.headers))
        .keep_alive_timeout(limits.handshake)
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(32 * 1024);
    let conversation = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(conversation);
    let outcome = tokio::select! {
        outcome = conversation.as_mut() => outcome,
        () = stopped(&mut stop) => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
        () = activity.stalled(limits.headers, limits.idle) => {
            // a client that is idle is told; one that does not take its answer is left
            conversation.as_mut().graceful_shutdown();
            tokio::time::timeout(FAREWELL, conversation).await.unwrap_or(Ok(()))
        }
        () = seat.closed() => {
            conversation.as_mut().graceful_shutdown();
            tokio::time::timeout(QUICK_FAREWELL, conversation).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

/// A sender that is gone counts as a stop.
async fn stopped(stop: &mut watch::Receiver<Stop>) {
    drop(stop.wait_for(|s| *s != Stop::Running).await);
}

//! When a connection has stood still for too long: before its first request, between requests, or while its client
//! does not take what it asked for. What runs in a handler is not cut: handlers have time limits of their own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::clock::monotonic;

/// What one connection did, shared between its stream, its requests and its watch.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    /// Milliseconds after `start` at which bytes last moved, either way.
    moved: AtomicU64,
    in_flight: AtomicUsize,
    /// Requests of `in_flight` whose body is still to come.
    arriving: AtomicUsize,
    requests: AtomicU64,
    /// Milliseconds after `start` at which the head of a further request over HTTP/1 began to arrive; 0 between requests.
    head_began: AtomicU64,
    /// Over HTTP/2 bytes between requests are frames of the connection, not the beginning of a head.
    is_multiplexed: AtomicBool,
    head: Notify,
}

impl Activity {
    pub fn start() -> Arc<Self> {
        Arc::new(Activity {
            start: monotonic(),
            moved: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            head_began: AtomicU64::new(0),
            is_multiplexed: AtomicBool::new(false),
            head: Notify::new(),
        })
    }

    /// A request is in a handler until the guard is dropped.
    pub fn enter(self: &Arc<Self>, version: Version) -> InFlight {
        if version == Version::HTTP_2 {
            self.is_multiplexed.store(true, Ordering::SeqCst);
        }
        self.head_began.store(0, Ordering::SeqCst);
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }

    /// How long nothing has moved on a connection that waits for its client; `None` while a handler works.
    pub fn quiet_for(&self) -> Option<Duration> {
        if self.in_flight.load(Ordering::SeqCst) > self.arriving.load(Ordering::SeqCst) {
            return None;
        }
        let moved = Duration::from_millis(self.moved.load(Ordering::SeqCst));
        Some(self.start.elapsed().saturating_sub(moved))
    }

    /// Returns when the first request, or the rest of a head that began, did not come within `head`, or nothing has
    /// moved for `idle`.
    pub async fn stalled(&self, head: Duration, idle: Duration) {
        loop {
            let left = self.left(head, idle);
            if left.is_zero() {
                return;
            }
            // a head that begins shortens the time
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.head.notified() => {}
            }
        }
    }

    fn left(&self, first: Duration, idle: Duration) -> Duration {
        let now = self.start.elapsed();
        if self.in_flight.load(Ordering::SeqCst) > 0 {
            return idle;
        }
        // drops of bytes do not buy time for a first request
        if self.requests.load(Ordering::SeqCst) == 0 {
            return first.saturating_sub(now);
        }
        let began = self.head_began.load(Ordering::SeqCst);
        if began > 0 {
            return (Duration::from_millis(began) + first).saturating_sub(now);
        }
        let moved = Duration::from_millis(self.moved.load(Ordering::SeqCst));
        (moved + idle).saturating_sub(now)
    }

    fn touch(&self) {
        self.moved.store(self.millis(), Ordering::SeqCst);
    }

    /// Bytes came in. Between two requests over HTTP/1 they are the beginning of a head.
    fn arrived(&self) {
        self.touch();
        let between = self.requests.load(Ordering::SeqCst) > 0 && self.in_flight.load(Ordering::SeqCst) == 0;
        if between && !self.is_multiplexed.load(Ordering::SeqCst) && self.head_began.load(Ordering::SeqCst) == 0 {
            self.head_began.store(self.millis().max(1), Ordering::SeqCst);
            self.head.notify_one();
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
pub struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        // an answer that took long to make is not idleness
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request whose body is still to come.
#[derive(Debug)]
struct Coming(Arc<Activity>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The body of a request, which is in flight until it is read or dropped.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    coming: Option<Coming>,
    _in_flight: Arc<InFlight>,
}

impl Arriving {
    pub fn new(body: Incoming, in_flight: Arc<InFlight>) -> Self {
        let coming = (!body.is_end_stream()).then(|| {
            in_flight.0.arriving.fetch_add(1, Ordering::SeqCst);
            Coming(Arc::clone(&in_flight.0))
        });
        Arriving { body, coming, _in_flight: in_flight }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let outcome = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(outcome, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.coming = None;
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that notes when bytes move.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Watched { stream, activity }
    }

    fn note(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            self.activity.touch();
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.arrived();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

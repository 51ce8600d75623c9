//! What a handler leaves of a body is read and thrown away, so that a client which goes on writing still gets the
//! answer: a connection that is closed with unread data is reset, and the reset overtakes the answer (RFC 9112 §9.6).
//! Over HTTP/2 it is read before the answer goes: a server that answers early resets the stream, and clients such as
//! curl 7.88 then lose the answer (RFC 9113 §8.1 lets a server ask them not to). Over HTTP/1 it is read while and
//! after the answer goes, because most clients look for one only when they have written everything.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// What a client may still send of a body that nobody wants.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: usize,
    /// For all of it.
    time: Duration,
    /// Between two pieces.
    silence: Duration,
}

/// Before the answer: the client waits meanwhile.
const HTTP_2: Bounds =
    Bounds { bytes: 4 * 1024 * 1024, time: Duration::from_secs(2), silence: Duration::from_secs(2) };

/// Beside the answer: it costs a connection and no memory.
const HTTP_1: Bounds =
    Bounds { bytes: 256 * 1024 * 1024, time: Duration::from_secs(30), silence: Duration::from_secs(5) };

/// The body of a request, as long as its handler has not taken all of it.
#[derive(Debug)]
pub(super) struct Rest {
    body: Arc<Lent>,
    version: Version,
    /// The client sends its body only when somebody begins to read it.
    waits: bool,
}

/// The request with a body that leaves its rest behind; `None` where nothing needs to be left. Over HTTP/1 the
/// outermost layer alone keeps it.
pub(super) fn keep(request: Request, outermost: bool) -> (Request, Option<Rest>) {
    let version = request.version();
    let wanted = version == Version::HTTP_2 || outermost;
    if !wanted || request.body().is_end_stream() {
        return (request, None);
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let body = Arc::new(Lent { body: Mutex::new(body), is_read: AtomicBool::new(false) });
    let rest = Rest { body: Arc::clone(&body), version, waits };
    (Request::from_parts(parts, Body::new(Shared(body))), Some(rest))
}

impl Rest {
    /// Reads what is left within bounds; returns when the answer may go.
    pub async fn drain(self) {
        // a task that outlives its request still reads: it keeps the body
        let Some(lent) = Arc::into_inner(self.body) else { return };
        let is_read = lent.is_read.into_inner();
        let body = lent.body.into_inner().unwrap_or_else(PoisonError::into_inner);
        if body.is_end_stream() || (self.waits && !is_read) {
            return;
        }
        if self.version == Version::HTTP_2 {
            discard(body, HTTP_2).await;
        } else {
            tokio::spawn(discard(body, HTTP_1));
        }
    }
}

/// What does not come within the bounds is not waited for: the connection is then closed.
async fn discard(mut body: Body, bounds: Bounds) {
    let read = async {
        let mut seen = 0;
        while seen < bounds.bytes
            && let Ok(Some(Ok(frame))) = tokio::time::timeout(bounds.silence, body.frame()).await
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = tokio::time::timeout(bounds.time, read).await;
}

#[derive(Debug)]
struct Lent {
    body: Mutex<Body>,
    is_read: AtomicBool,
}

struct Shared(Arc<Lent>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.is_read.store(true, Ordering::Relaxed);
        Pin::new(&mut *self.0.body.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

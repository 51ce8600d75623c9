//! What a handler leaves of a body is read and thrown away before the answer goes: over HTTP/2 a server that answers
//! early resets the stream, and clients such as curl 7.88 then lose the answer (RFC 9113 §8.1 lets a server ask them
//! not to).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Version;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// More is not read: the client has to do with a reset.
const BYTES: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);

/// The body of a request, as long as its handler has not taken all of it.
#[derive(Debug)]
pub(super) struct Rest(Arc<Mutex<Body>>);

/// The request with a body that leaves its rest behind; `None` where nothing needs to be left.
pub(super) fn keep(request: Request) -> (Request, Option<Rest>) {
    if request.version() != Version::HTTP_2 || request.body().is_end_stream() {
        return (request, None);
    }
    let (parts, body) = request.into_parts();
    let shared = Arc::new(Mutex::new(body));
    (Request::from_parts(parts, Body::new(Lent(Arc::clone(&shared)))), Some(Rest(shared)))
}

impl Rest {
    /// Reads what is left, within bounds of bytes and time.
    pub async fn drain(self) {
        // a task that outlives its request still reads: it keeps the body
        let Some(body) = Arc::into_inner(self.0) else { return };
        let mut body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        let read = async {
            let mut seen = 0;
            while seen < BYTES
                && let Some(Ok(frame)) = body.frame().await
            {
                seen += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // what does not come in time is not waited for
        let _ = tokio::time::timeout(PATIENCE, read).await;
    }
}

struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

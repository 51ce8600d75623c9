//! A server that is slow on purpose: the one place where a test lets real time pass on the wire.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Sends `start`, then `piece` over and over until the other side closes.
pub async fn drip(mut stream: impl AsyncWrite + Unpin, start: &str, piece: &str) {
    let mut sent = stream.write_all(start.as_bytes()).await;
    while sent.is_ok() {
        // the pause is what the other side must bear: it has no clock of ours to move
        tokio::time::sleep(Duration::from_millis(50)).await;
        sent = stream.write_all(piece.as_bytes()).await;
    }
}

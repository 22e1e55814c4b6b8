//! Finds out whether the reader of a live response has left.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Bytes;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// A comment, which readers of events ignore (HTML, section 9.2.6).
const PROBE: &[u8] = b":\n\n";

/// Between the two probes: the reset by a peer that has left takes a round trip.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The client's state as seen from the read side of its connection.
///
/// The end of the read side means that the client has left, or that it has closed its side after
/// its last request and still reads. Two probes tell: the first one makes the kernel of a client
/// that has left reset the connection, and the second one then fails.
#[derive(Debug, Default)]
pub(super) struct ClientWatch(Input);

#[derive(Debug, Default)]
enum Input {
    #[default]
    Open,
    /// The client has sent something, which is left in the socket.
    Pipelined,
    /// The read side has ended.
    Ended,
    /// The first probe has been sent.
    Probed(Pin<Box<Sleep>>),
    /// Both probes have been sent.
    HalfClosed,
}

impl ClientWatch {
    /// Whether the connection could serve another request.
    pub(super) fn is_reusable(&self) -> bool {
        matches!(self.0, Input::Open)
    }

    /// Ready when the connection is broken.
    pub(super) fn poll_gone(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.0, Input::Open) {
            return Poll::Pending;
        }
        let mut space = [0; 1];
        let mut buf = ReadBuf::new(&mut space);
        match ready!(Pin::new(io).poll_read(cx, &mut buf)) {
            Ok(()) if buf.filled().is_empty() => self.0 = Input::Ended,
            Ok(()) => self.0 = Input::Pipelined,
            Err(_) => return Poll::Ready(()),
        }
        Poll::Pending
    }

    /// The next probe, if it is due.
    pub(super) fn poll_probe(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        match &mut self.0 {
            Input::Open | Input::Pipelined | Input::HalfClosed => return None,
            Input::Ended => {
                let mut timer = Box::pin(sleep(PROBE_INTERVAL));
                // Registers the waker.
                let _ = timer.as_mut().poll(cx);
                self.0 = Input::Probed(timer);
            }
            Input::Probed(timer) => {
                if timer.as_mut().poll(cx).is_pending() {
                    return None;
                }
                self.0 = Input::HalfClosed;
            }
        }
        Some(Bytes::from_static(PROBE))
    }
}

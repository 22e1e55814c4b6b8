//! Live answers on HTTP/1.1: chunks straight from the body to the socket, nothing copied and
//! nothing kept between them.

use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};
use http_body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::metered::{ESTIMATE, is_large, patiently};
use super::responses::{Budget, Charge, Reservation};
use super::state::Live;
use crate::clock;

/// A comment, which readers of events ignore (HTML, section 9.2.6).
const PROBE: &[u8] = b":\n\n";

/// After the first probe. The answer to a probe that reaches nobody takes a round trip.
const SECOND_PROBE: Duration = Duration::from_secs(1);

/// Room for a chunk's size in hexadecimal.
const CHUNK_HEAD: usize = 18;

/// How a live answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In full, and the peer has said nothing in the meantime: the connection can go on.
    Reusable,
    /// In full, but the connection has to end.
    Last,
    /// The peer left, or the body broke off: there is nothing to be said any more.
    Broken,
}

/// Writes one live answer to `io`. Resolves when the answer is over.
pub(super) struct Writer<'a, I> {
    io: &'a mut I,
    body: Body,
    keep: bool,
    responses: &'a Arc<Budget>,
    /// The chunk under way: its frame's head, its bytes, its frame's end.
    head: Vec<u8>,
    data: Bytes,
    /// How much of `data` is sent.
    sent: usize,
    /// For the next event of a backlog.
    room: Option<Box<Room>>,
    /// Of `data`, once the socket has not taken it at once.
    charge: Option<Arc<Charge>>,
    tail: &'static [u8],
    /// Written, but perhaps still in the TLS layer.
    unflushed: bool,
    /// The last chunk is under way.
    finished: bool,
    /// The peer has sent something; it is left where it is.
    spoken: bool,
    input: Input,
}

/// Room for an event of a backlog, which is made when it is asked for.
enum Room {
    Awaited(Pin<Box<dyn Future<Output = Option<Reservation>> + Send>>),
    Reserved { _room: Reservation },
}

/// What the read side of the connection tells about the peer.
enum Input {
    Open,
    /// It has ended, so the peer has left, or has nothing more to ask: a probe tells.
    Ended,
    /// A probe was sent; the next one finds out.
    Probed(Pin<Box<Sleep>>),
    /// The peer takes what is sent to it.
    HalfClosed,
}

impl<'a, I: AsyncRead + AsyncWrite + Unpin> Writer<'a, I> {
    pub(super) fn new(io: &'a mut I, live: Live, responses: &'a Arc<Budget>) -> Self {
        let (parts, body) = live.response.into_parts();
        let keep = live.keep && !closes(&parts.headers);
        Self {
            io,
            body,
            keep,
            responses,
            head: head(&parts.headers, keep),
            data: Bytes::new(),
            sent: 0,
            room: None,
            charge: None,
            tail: b"",
            unflushed: true,
            finished: false,
            spoken: false,
            input: Input::Open,
        }
    }

    fn chunk(&mut self, data: Bytes) {
        self.head.clear();
        // Writing to a vector cannot fail.
        let _ = write!(self.head, "{:x}\r\n", data.len());
        self.data = data;
        self.sent = 0;
        self.tail = b"\r\n";
    }

    /// Ready with room for what the body makes next, or with nothing when there was none in time.
    /// Small events need none: many readers share them, and they must not wait.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        if self.room.is_none() && !is_large(&self.body.size_hint()) {
            return Poll::Ready(Some(()));
        }
        let responses = self.responses;
        let room = self
            .room
            .get_or_insert_with(|| Box::new(Room::Awaited(Box::pin(patiently(Arc::clone(responses), ESTIMATE)))));
        if let Room::Awaited(awaited) = &mut **room {
            let Some(reserved) = ready!(awaited.as_mut().poll(cx)) else {
                return Poll::Ready(None);
            };
            **room = Room::Reserved { _room: reserved };
        }
        Poll::Ready(Some(()))
    }

    /// Sends what is under way.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.data.get(self.sent..).unwrap_or_default();
            if self.head.is_empty() && rest.is_empty() && self.tail.is_empty() {
                break;
            }
            let pieces = [&self.head, rest, self.tail].map(IoSlice::new);
            let outcome = Pin::new(&mut *self.io).poll_write_vectored(cx, &pieces);
            if outcome.is_pending() && self.charge.is_none() && !rest.is_empty() {
                self.charge = Some(self.responses.charge(&self.data));
            }
            let written = ready!(outcome)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head.len());
            let of_data = (written - of_head).min(rest.len());
            let of_tail = written - of_head - of_data;
            self.head.drain(..of_head);
            self.sent += of_data;
            self.tail = self.tail.get(of_tail..).unwrap_or_default();
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *self.io).poll_flush(cx))?;
            self.unflushed = false;
            // Between events nothing is held: neither the answer's head nor the event.
            if self.head.capacity() > CHUNK_HEAD {
                self.head = Vec::with_capacity(CHUNK_HEAD);
            }
            self.data = Bytes::new();
            self.sent = 0;
            self.charge = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the peer has left.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.spoken || !matches!(self.input, Input::Open) {
            return Poll::Pending;
        }
        let mut space = [0; 1];
        let mut buf = ReadBuf::new(&mut space);
        match ready!(Pin::new(&mut *self.io).poll_read(cx, &mut buf)) {
            Ok(()) if buf.filled().is_empty() => {
                self.keep = false;
                self.input = Input::Ended;
                Poll::Pending
            }
            Ok(()) => {
                self.spoken = true;
                Poll::Pending
            }
            Err(_) => Poll::Ready(()),
        }
    }

    /// Two comments, a moment apart, for a peer whose side has ended: the first one makes the
    /// kernel of a peer that has left reset the connection, which the second one meets.
    fn poll_probe(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        match &mut self.input {
            Input::Open | Input::HalfClosed => return None,
            Input::Ended => self.input = Input::Probed(Box::pin(sleep(SECOND_PROBE))),
            Input::Probed(timer) => {
                if timer.as_mut().poll(cx).is_pending() {
                    return None;
                }
                self.input = Input::HalfClosed;
            }
        }
        if let Input::Probed(timer) = &mut self.input {
            // It only has to be registered.
            let _ = timer.as_mut().poll(cx);
        }
        Some(Bytes::from_static(PROBE))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Future for Writer<'_, I> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        if this.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Broken);
        }
        // As much at a time as tokio's own budget for a task: others want to run too.
        for _ in 0..64 {
            if ready!(this.poll_send(cx)).is_err() {
                return Poll::Ready(End::Broken);
            }
            if this.finished {
                let reusable = this.keep && !this.spoken;
                return Poll::Ready(if reusable { End::Reusable } else { End::Last });
            }
            if let Some(probe) = this.poll_probe(cx) {
                this.chunk(probe);
                continue;
            }
            if ready!(this.poll_room(cx)).is_none() {
                return Poll::Ready(End::Broken);
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    // An empty chunk would be the end.
                    Ok(data) if !data.is_empty() => {
                        if this.room.take().is_some() {
                            this.charge = Some(this.responses.charge(&data));
                        }
                        this.chunk(data);
                    }
                    _ => {}
                },
                Some(Err(_)) => return Poll::Ready(End::Broken),
                None => {
                    this.finished = true;
                    this.tail = b"0\r\n\r\n";
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn closes(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn head(headers: &HeaderMap, keep: bool) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
    if !keep {
        head.extend_from_slice(b"connection: close\r\n");
    }
    if !headers.contains_key(header::DATE) {
        let now = UNIX_EPOCH + Duration::from_secs(clock::now_secs());
        let _ = write!(head, "date: {}\r\n", httpdate::fmt_http_date(now));
    }
    let ours = [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONNECTION];
    for (name, value) in headers {
        if !ours.contains(name) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

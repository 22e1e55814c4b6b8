//! Writes a live response on HTTP/1.1: chunks straight from the body to the socket, without a copy
//! and without a buffer between events.

use std::{
    future::Future,
    io::{self, IoSlice, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};
use http_body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{client_watch::ClientWatch, takeover::LiveResponse};
use crate::listener::response::{
    body::{FRAME_ESTIMATE, has_large_frame, reserve_in_time},
    budget::{Charge, Reservation, ResponseBudget},
};

/// Room for a chunk's size in hexadecimal and its line end.
const MAX_CHUNK_HEADER: usize = 18;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Events that are written before the task yields: tokio's own budget for a task.
const MAX_EVENTS_PER_POLL: usize = 64;

/// How a live response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listener) enum Outcome {
    /// In full, and the connection can serve another request.
    KeepAlive,
    /// In full, and the connection has to close.
    Close,
    /// The client left, or the body failed.
    Aborted,
}

/// Writes one live response to `io`; resolves when it is over.
pub(in crate::listener) struct LiveWriter<'a, IO> {
    io: &'a mut IO,
    body: Body,
    keep_alive: bool,
    budget: &'a Arc<ResponseBudget>,
    client: ClientWatch,
    /// The chunk that is being sent. The response's head is data without header and trailer.
    header: ChunkHeader,
    data: Bytes,
    data_sent: usize,
    /// How much of [`Self::trailer`] is still to be sent.
    trailer_left: u8,
    /// For `data`, once the socket has not accepted it at once.
    charge: Option<Arc<Charge>>,
    /// For the next event of a backlog.
    room: Option<Box<Room>>,
    /// Written, but perhaps still in the TLS layer.
    unflushed: bool,
    /// The last chunk is being sent.
    finished: bool,
}

/// The rest of a chunk's header: the length of its data in hexadecimal, and a line end.
#[derive(Default)]
struct ChunkHeader {
    text: [u8; MAX_CHUNK_HEADER],
    start: u8,
    end: u8,
}

impl ChunkHeader {
    /// Written from the end. Every event of every reader has one: `write!` would take longer.
    fn new(length: usize) -> Self {
        let mut text = [0; MAX_CHUNK_HEADER];
        let mut start = MAX_CHUNK_HEADER;
        let mut left = length;
        let mut digits_left = true;
        for place in text.iter_mut().rev() {
            let from_end = MAX_CHUNK_HEADER - start;
            *place = match from_end {
                0 => b'\n',
                1 => b'\r',
                _ if !digits_left => break,
                _ => {
                    let digit = HEX_DIGITS.get(left % 16).copied().unwrap_or_default();
                    left /= 16;
                    digits_left = left > 0;
                    digit
                }
            };
            start -= 1;
        }
        Self {
            text,
            start: start as u8,
            end: MAX_CHUNK_HEADER as u8,
        }
    }

    fn rest(&self) -> &[u8] {
        let range = usize::from(self.start)..usize::from(self.end);
        self.text.get(range).unwrap_or_default()
    }

    /// Counts bytes as sent; returns how many of them were the header's.
    fn advance(&mut self, sent: usize) -> usize {
        let own = sent.min(self.rest().len());
        self.start += u8::try_from(own).unwrap_or_default();
        own
    }
}

/// Room for an event of a backlog, which the body makes when it is polled.
enum Room {
    Awaited(Pin<Box<dyn Future<Output = Option<Reservation>> + Send>>),
    Reserved { _reservation: Reservation },
}

impl<'a, IO: AsyncRead + AsyncWrite + Unpin> LiveWriter<'a, IO> {
    /// `now` is in seconds since the Unix epoch.
    pub(in crate::listener) fn new(
        io: &'a mut IO,
        live: LiveResponse,
        budget: &'a Arc<ResponseBudget>,
        now: u64,
    ) -> Self {
        let (parts, body) = live.response.into_parts();
        let keep_alive = live.keep_alive && !asks_to_close(&parts.headers);
        Self {
            io,
            body,
            keep_alive,
            budget,
            client: ClientWatch::default(),
            header: ChunkHeader::default(),
            data: response_head(&parts.headers, keep_alive, now).into(),
            data_sent: 0,
            trailer_left: 0,
            charge: None,
            room: None,
            unflushed: true,
            finished: false,
        }
    }

    fn start_chunk(&mut self, data: Bytes) {
        self.header = ChunkHeader::new(data.len());
        self.data = data;
        self.data_sent = 0;
        self.start_trailer();
    }

    fn start_trailer(&mut self) {
        self.trailer_left = u8::try_from(self.trailer().len()).unwrap_or_default();
    }

    fn trailer(&self) -> &'static [u8] {
        if self.finished { b"0\r\n\r\n" } else { b"\r\n" }
    }

    /// Ready with room for the body's next event, or with nothing without room in time. A small
    /// event needs none: many readers share it, and it must not wait.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        if self.room.is_none() && !has_large_frame(&self.body.size_hint()) {
            return Poll::Ready(Some(()));
        }
        let budget = self.budget;
        let room = self.room.get_or_insert_with(|| {
            let reservation = reserve_in_time(Arc::clone(budget), FRAME_ESTIMATE);
            Box::new(Room::Awaited(Box::pin(reservation)))
        });
        if let Room::Awaited(awaited) = &mut **room {
            let Some(reservation) = ready!(awaited.as_mut().poll(cx)) else {
                return Poll::Ready(None);
            };
            **room = Room::Reserved {
                _reservation: reservation,
            };
        }
        Poll::Ready(Some(()))
    }

    /// Writes and flushes the current chunk.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let header = self.header.rest();
            let rest = self.data.get(self.data_sent..).unwrap_or_default();
            let trailer = self.trailer();
            let trailer = trailer
                .get(trailer.len() - usize::from(self.trailer_left)..)
                .unwrap_or_default();
            if header.is_empty() && rest.is_empty() && trailer.is_empty() {
                break;
            }
            let slices = [header, rest, trailer].map(IoSlice::new);
            let outcome = Pin::new(&mut *self.io).poll_write_vectored(cx, &slices);
            if outcome.is_pending() && self.charge.is_none() && !rest.is_empty() {
                self.charge = Some(self.budget.charge(&self.data));
            }
            let written = ready!(outcome)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_data = (written - written.min(header.len())).min(rest.len());
            let of_trailer = written - self.header.advance(written) - of_data;
            self.data_sent += of_data;
            self.trailer_left = self
                .trailer_left
                .saturating_sub(u8::try_from(of_trailer).unwrap_or(u8::MAX));
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *self.io).poll_flush(cx))?;
            self.unflushed = false;
            self.release_chunk();
        }
        Poll::Ready(Ok(()))
    }

    /// Frees the memory of the response's head or of the event.
    fn release_chunk(&mut self) {
        self.data = Bytes::new();
        self.data_sent = 0;
        self.charge = None;
    }

    /// Starts the chunk of the body's next frame, or the last one. `None`: the body failed, or
    /// there was no room in time.
    fn poll_next_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        if ready!(self.poll_room(cx)).is_none() {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                // An empty chunk would end the response.
                Ok(data) if !data.is_empty() => {
                    if self.room.take().is_some() {
                        self.charge = Some(self.budget.charge(&data));
                    }
                    self.start_chunk(data);
                }
                _ => {}
            },
            Some(Err(_)) => return Poll::Ready(None),
            None => {
                self.finished = true;
                self.start_trailer();
            }
        }
        Poll::Ready(Some(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for LiveWriter<'_, IO> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        if this.client.poll_gone(this.io, cx).is_ready() {
            return Poll::Ready(Outcome::Aborted);
        }
        for _ in 0..MAX_EVENTS_PER_POLL {
            if ready!(this.poll_send(cx)).is_err() {
                return Poll::Ready(Outcome::Aborted);
            }
            if this.finished {
                let keep_alive = this.keep_alive && this.client.is_reusable();
                return Poll::Ready(if keep_alive { Outcome::KeepAlive } else { Outcome::Close });
            }
            if let Some(probe) = this.client.poll_probe(cx) {
                this.start_chunk(probe);
                continue;
            }
            if ready!(this.poll_next_chunk(cx)).is_none() {
                return Poll::Ready(Outcome::Aborted);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn response_head(headers: &HeaderMap, keep_alive: bool, now: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
    if !keep_alive {
        head.extend_from_slice(b"connection: close\r\n");
    }
    if !headers.contains_key(header::DATE) {
        let now = UNIX_EPOCH + Duration::from_secs(now);
        let _ = write!(head, "date: {}\r\n", httpdate::fmt_http_date(now));
    }
    let framing = [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONNECTION];
    for (name, value) in headers {
        if !framing.contains(name) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_header_is_its_length_in_hexadecimal() {
        for length in [0, 1, 9, 15, 16, 255, 256, 0x1234, 1 << 20, usize::MAX - 1, usize::MAX] {
            let mut header = ChunkHeader::new(length);
            assert_eq!(header.rest(), format!("{length:x}\r\n").as_bytes());
            assert_eq!(header.advance(1), 1);
            assert_eq!(header.rest(), &format!("{length:x}\r\n").as_bytes()[1..]);
        }
    }
}

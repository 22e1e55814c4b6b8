//! The bodies of responses, charged to a budget until the client has taken them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use bytes::Buf;
use futures_util::FutureExt;
use http::{Response, header};
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

use super::refusal;
use super::responses::{Budget, Charge, Reservation, SMALL};
use super::state::Open;
use super::taking::Taking;

/// The largest part of a frame that HTTP/2 is given at once. A client that takes less than this
/// in `write_timeout_secs` counts as taking nothing.
const PART: usize = 16 * 1024;

/// Reserved for a frame of unknown size before the body is asked for it.
pub(super) const ESTIMATE: usize = 1024 * 1024;

/// How a connection's responses are charged.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    pub(super) budget: Arc<Budget>,
}

/// A response's body.
pub(super) struct Metered {
    body: Body,
    /// `None` for a body that is empty from the start.
    metering: Option<Metering>,
}

struct Metering {
    meter: Meter,
    open: Open,
    /// On HTTP/2: how the client takes the body.
    taking: Option<Arc<Taking>>,
    /// The frame at hand, as far as it has not been passed on, and its charge.
    rest: Bytes,
    charge: Option<Arc<Charge>>,
    /// The body has no more frames.
    ended: bool,
    /// The body broke off before its response was sent.
    error: Option<axum::Error>,
    source: Source,
    reservation: Option<Reservation>,
    waiting: Option<Waiting>,
}

/// Where a body's frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// They are in memory.
    Memory,
    /// They are read when the body is asked for them, so room is reserved first.
    Store,
    /// They are events, mostly small and shared, and it may be long until the next one: room is
    /// reserved only for those of a backlog, and otherwise the connection must have some.
    Events,
}

/// Ready with room, or with nothing when there was none in time.
type Waiting = Pin<Box<dyn Future<Output = Option<Option<Reservation>>> + Send>>;

/// A part of a response's body. It is charged until the connection has sent or dropped it.
pub(super) struct Piece {
    bytes: Bytes,
    _charge: Option<Arc<Charge>>,
    /// On HTTP/1.1: the connection is busy as long as it has pieces.
    _open: Option<Open>,
    taking: Option<Arc<Taking>>,
}

impl Buf for Piece {
    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(taking) = &self.taking {
            taking.count_taken();
        }
    }
}

impl Meter {
    /// Charges a response, or replaces it by a 503 when there is no room for it.
    pub(super) fn apply(&self, response: Response<Body>, open: Open, cx: &mut Context<'_>) -> Response<Metered> {
        let is_live = is_event_stream(&response);
        let mut response = self.wrap(response, open);
        if is_live {
            if let Some(metering) = &mut response.body_mut().metering {
                metering.source = Source::Events;
            }
            return response;
        }
        if response.body_mut().admit(cx) {
            return response;
        }
        let refused = refusal::overloaded(response.headers());
        match response.into_body().metering {
            Some(Metering { open, .. }) => self.wrap(refused, open),
            None => refused.map(|body| Metered { body, metering: None }),
        }
    }

    /// Charges a response whatever room there is.
    pub(super) fn wrap(&self, response: Response<Body>, open: Open) -> Response<Metered> {
        let taking = Taking::current();
        if response.body().is_end_stream() {
            if let Some(taking) = taking {
                taking.complete();
            }
            return response.map(|body| Metered { body, metering: None });
        }
        response.map(|body| Metered {
            body,
            metering: Some(Metering {
                meter: self.clone(),
                open,
                taking,
                rest: Bytes::new(),
                charge: None,
                ended: false,
                error: None,
                source: Source::Memory,
                reservation: None,
                waiting: None,
            }),
        })
    }
}

impl Metered {
    /// Whether there is room for the body. One that is in memory as a whole is charged at once.
    fn admit(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(this) = &mut self.metering else { return true };
        let budget = &this.meter.budget;
        match self.body.size_hint().exact() {
            Some(size) if size <= SMALL as u64 => return budget.has_room_beside_connection(SMALL),
            None => {
                this.source = Source::Store;
                return budget.has_room_beside_connection(ESTIMATE);
            }
            Some(_) => {}
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => this.source = Source::Store,
            Poll::Ready(None) => this.ended = true,
            Poll::Ready(Some(Err(error))) => this.error = Some(error),
            Poll::Ready(Some(Ok(frame))) => {
                this.rest = frame.into_data().unwrap_or_default();
                this.ended = self.body.is_end_stream();
                if this.ended {
                    this.charge = budget.admit(&this.rest);
                } else if budget.may_begin(ESTIMATE) {
                    this.source = Source::Store;
                    this.charge = Some(budget.charge(&this.rest));
                }
                return this.charge.is_some();
            }
        }
        budget.has_room_beside_connection(ESTIMATE)
    }
}

impl Metering {
    /// Waits for room for the body's next frame.
    fn poll_room(&mut self, hint: &SizeHint, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.waiting.is_none() {
            self.waiting = self.room(hint);
        }
        let Some(waiting) = &mut self.waiting else {
            return Poll::Ready(Ok(()));
        };
        let outcome = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(match outcome {
            Some(reservation) => {
                self.reservation = reservation;
                Ok(())
            }
            None => Err(axum::Error::new(NoRoom)),
        })
    }

    /// Takes the room there is; `Some` when it has to be waited for.
    fn room(&mut self, hint: &SizeHint) -> Option<Waiting> {
        let budget = &self.meter.budget;
        let patience = budget.patience();
        match self.source {
            Source::Memory => None,
            Source::Events if !is_large(hint) => budget.is_connection_full().then(|| {
                let room = Arc::clone(budget).connection_room();
                Box::pin(async move { timeout(patience, room).await.ok().map(|()| None) }) as Waiting
            }),
            Source::Store | Source::Events => {
                if self.reservation.is_some() {
                    return None;
                }
                let exact = hint.exact().and_then(|size| usize::try_from(size).ok());
                let size = exact.map_or(ESTIMATE, |size| size.min(ESTIMATE));
                self.reservation = budget.try_reserve(size);
                self.reservation
                    .is_none()
                    .then(|| Box::pin(patiently(Arc::clone(budget), size).map(|room| room.map(Some))) as Waiting)
            }
        }
    }

    /// The next piece of the frame at hand.
    fn piece(&mut self) -> Piece {
        let (bytes, open) = match &self.taking {
            Some(taking) => {
                taking.count_handed();
                (self.rest.split_to(self.rest.len().min(PART)), None)
            }
            None => (std::mem::take(&mut self.rest), Some(self.open.clone())),
        };
        let charge = if self.rest.is_empty() {
            self.charge.take()
        } else {
            self.charge.clone()
        };
        Piece {
            bytes,
            _charge: charge,
            _open: open,
            taking: self.taking.clone(),
        }
    }
}

impl HttpBody for Metered {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        let Some(metering) = &mut this.metering else {
            return Poll::Ready(None);
        };
        loop {
            if !metering.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(metering.piece()))));
            }
            if let Some(error) = metering.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if metering.ended {
                // A stream on HTTP/2 that has ended can no longer be reset, so its end is held
                // back until the connection has sent the rest.
                if let Some(taking) = &metering.taking {
                    ready!(taking.poll_all_taken(cx));
                    taking.complete();
                }
                return Poll::Ready(None);
            }
            ready!(metering.poll_room(&this.body.size_hint(), cx))?;
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => metering.ended = true,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    // Trailers are not used.
                    let data = frame.into_data().unwrap_or_default();
                    metering.charge = Some(metering.meter.budget.charge(&data));
                    metering.rest = data;
                    metering.reservation = None;
                    metering.ended = this.body.is_end_stream();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.metering {
            None => true,
            Some(metering) => metering.rest.is_empty() && metering.ended && metering.taking.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let rest = self.metering.as_ref().map_or(0, |metering| metering.rest.len() as u64);
        match hint.exact() {
            Some(size) => SizeHint::with_exact(size + rest),
            None => SizeHint::default(),
        }
    }
}

/// Whether a body of events has a backlog, of which it makes events that are not small.
pub(super) fn is_large(hint: &SizeHint) -> bool {
    hint.lower() > SMALL as u64
}

/// Waits for room as long as a body may; `None` when there was none.
pub(super) async fn patiently(budget: Arc<Budget>, bytes: usize) -> Option<Reservation> {
    let patience = budget.patience();
    timeout(patience, budget.reserve(bytes)).await.ok()
}

/// There was no memory for the rest of a response in time.
#[derive(Debug, thiserror::Error)]
#[error("limits.max_response_bytes was reached for too long")]
struct NoRoom;

pub(super) fn is_event_stream(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

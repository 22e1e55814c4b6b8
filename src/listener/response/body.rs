//! Response bodies that are charged to a budget until the client has read them.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes, HttpBody};
use futures_util::FutureExt;
use http::{Response, header};
use http_body::{Frame, SizeHint};
use tokio::time::timeout;

use super::{
    budget::{Charge, MAX_SMALL_FRAME, Reservation, ResponseBudget},
    chunk::Chunk,
    progress::BodyProgress,
};
use crate::listener::{connection::state::InFlight, refusal};

/// The largest chunk that HTTP/2 gets at once. A client that reads less than this in
/// `write_timeout_secs` counts as stalled.
const MAX_HTTP2_CHUNK: usize = 16 * 1024;

/// Reserved for a frame of unknown size before the body produces it.
pub(in crate::listener) const FRAME_ESTIMATE: usize = 1024 * 1024;

/// The body of a response.
pub(in crate::listener) struct MeteredBody {
    body: Body,
    /// `None` for a body that was empty from the start.
    metering: Option<Metering>,
}

struct Metering {
    budget: Arc<ResponseBudget>,
    in_flight: InFlight,
    /// On HTTP/2.
    progress: Option<Arc<BodyProgress>>,
    /// The rest of the current frame, and the frame's charge.
    frame: Bytes,
    charge: Option<Arc<Charge>>,
    /// The body has no more frames.
    ended: bool,
    /// The body failed before the response was sent.
    error: Option<axum::Error>,
    source: Source,
    reservation: Option<Reservation>,
    waiting: Option<WaitForRoom>,
}

/// Where a body's frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Memory,
    /// Frames are read from the store on demand, so room is reserved first.
    Store,
    /// Events are mostly small and shared, and the next one may be far off: room is reserved for
    /// those of a backlog only. The others just wait for room on their connection.
    Events,
}

/// Resolves to a reservation if one is needed, or to `None` without room in time.
type WaitForRoom = Pin<Box<dyn Future<Output = Option<Option<Reservation>>> + Send>>;

impl MeteredBody {
    /// Charges a response if there is room for it, and otherwise replaces it by a 503.
    pub(in crate::listener) fn admit(
        response: Response<Body>,
        budget: &Arc<ResponseBudget>,
        in_flight: InFlight,
        progress: Option<Arc<BodyProgress>>,
        cx: &mut Context<'_>,
    ) -> Response<Self> {
        let is_live = is_event_stream(&response);
        let mut response = Self::charge(response, budget, in_flight, progress);
        if is_live {
            if let Some(metering) = &mut response.body_mut().metering {
                metering.source = Source::Events;
            }
            return response;
        }
        if response.body_mut().try_start(cx) {
            return response;
        }
        let refused = refusal::overloaded(response.headers());
        match response.into_body().metering {
            Some(Metering {
                in_flight, progress, ..
            }) => Self::charge(refused, budget, in_flight, progress),
            None => refused.map(|body| Self { body, metering: None }),
        }
    }

    /// Charges a response even without room for it.
    pub(in crate::listener) fn charge(
        response: Response<Body>,
        budget: &Arc<ResponseBudget>,
        in_flight: InFlight,
        progress: Option<Arc<BodyProgress>>,
    ) -> Response<Self> {
        if response.body().is_end_stream() {
            if let Some(progress) = progress {
                progress.set_complete();
            }
            return response.map(|body| Self { body, metering: None });
        }
        response.map(|body| Self {
            body,
            metering: Some(Metering {
                budget: Arc::clone(budget),
                in_flight,
                progress,
                frame: Bytes::new(),
                charge: None,
                ended: false,
                error: None,
                source: Source::Memory,
                reservation: None,
                waiting: None,
            }),
        })
    }

    /// Whether there is room for the body. A body that is in memory as a whole is charged at once.
    fn try_start(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(this) = &mut self.metering else { return true };
        let budget = &this.budget;
        match self.body.size_hint().exact() {
            Some(size) if size <= MAX_SMALL_FRAME as u64 => return budget.has_room_above_connection(MAX_SMALL_FRAME),
            None => {
                this.source = Source::Store;
                return budget.has_room_above_connection(FRAME_ESTIMATE);
            }
            Some(_) => {}
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => this.source = Source::Store,
            Poll::Ready(None) => this.ended = true,
            Poll::Ready(Some(Err(error))) => this.error = Some(error),
            Poll::Ready(Some(Ok(frame))) => {
                this.frame = frame.into_data().unwrap_or_default();
                this.ended = self.body.is_end_stream();
                if this.ended {
                    this.charge = budget.try_charge(&this.frame);
                } else if budget.may_start(FRAME_ESTIMATE) {
                    this.source = Source::Store;
                    this.charge = Some(budget.charge(&this.frame));
                }
                return this.charge.is_some();
            }
        }
        budget.has_room_above_connection(FRAME_ESTIMATE)
    }
}

impl Metering {
    /// Waits for room for the body's next frame.
    fn poll_room(&mut self, hint: &SizeHint, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.waiting.is_none() {
            self.waiting = self.wait_for_room(hint);
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

    /// Reserves room now (`None`), or returns what to wait for.
    fn wait_for_room(&mut self, hint: &SizeHint) -> Option<WaitForRoom> {
        let budget = &self.budget;
        match self.source {
            Source::Memory => None,
            Source::Events if !has_large_frame(hint) => budget.is_connection_full().then(|| {
                let (max_wait, room) = (budget.max_wait(), Arc::clone(budget).connection_room());
                Box::pin(async move { timeout(max_wait, room).await.ok().map(|()| None) }) as WaitForRoom
            }),
            Source::Store | Source::Events => {
                if self.reservation.is_some() {
                    return None;
                }
                let exact = hint.exact().and_then(|size| usize::try_from(size).ok());
                let size = exact.map_or(FRAME_ESTIMATE, |size| size.min(FRAME_ESTIMATE));
                self.reservation = budget.try_reserve(size);
                self.reservation.is_none().then(|| {
                    let reserved = reserve_in_time(Arc::clone(budget), size);
                    Box::pin(reserved.map(|reservation| reservation.map(Some))) as WaitForRoom
                })
            }
        }
    }

    /// The next chunk of the current frame.
    fn next_chunk(&mut self) -> Chunk {
        let (bytes, in_flight) = match &self.progress {
            Some(progress) => {
                progress.count_queued();
                (self.frame.split_to(self.frame.len().min(MAX_HTTP2_CHUNK)), None)
            }
            None => (std::mem::take(&mut self.frame), Some(self.in_flight.clone())),
        };
        let charge = if self.frame.is_empty() {
            self.charge.take()
        } else {
            self.charge.clone()
        };
        Chunk {
            bytes,
            _charge: charge,
            _in_flight: in_flight,
            progress: self.progress.clone(),
        }
    }
}

impl HttpBody for MeteredBody {
    type Data = Chunk;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, axum::Error>>> {
        let this = &mut *self;
        let Some(metering) = &mut this.metering else {
            return Poll::Ready(None);
        };
        loop {
            if !metering.frame.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(metering.next_chunk()))));
            }
            if let Some(error) = metering.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if metering.ended {
                // An HTTP/2 stream cannot be reset after its end, so the end is withheld until the
                // connection has sent everything else.
                if let Some(progress) = &metering.progress {
                    ready!(progress.poll_all_sent(cx));
                    progress.set_complete();
                }
                return Poll::Ready(None);
            }
            ready!(metering.poll_room(&this.body.size_hint(), cx))?;
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => metering.ended = true,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    // No response has trailers.
                    let data = frame.into_data().unwrap_or_default();
                    metering.charge = Some(metering.budget.charge(&data));
                    metering.frame = data;
                    metering.reservation = None;
                    metering.ended = this.body.is_end_stream();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.metering {
            None => true,
            Some(metering) => metering.frame.is_empty() && metering.ended && metering.progress.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let left = self.metering.as_ref().map_or(0, |metering| metering.frame.len() as u64);
        match hint.exact() {
            Some(size) => SizeHint::with_exact(size + left),
            None => SizeHint::default(),
        }
    }
}

/// Whether the next frame of a body of events is large, because it comes from a backlog.
pub(in crate::listener) fn has_large_frame(hint: &SizeHint) -> bool {
    hint.lower() > MAX_SMALL_FRAME as u64
}

/// Waits for room; `None` without room in time.
pub(in crate::listener) async fn reserve_in_time(budget: Arc<ResponseBudget>, bytes: usize) -> Option<Reservation> {
    let max_wait = budget.max_wait();
    timeout(max_wait, budget.reserve(bytes)).await.ok()
}

/// There was no memory for the rest of a response in time.
#[derive(Debug, thiserror::Error)]
#[error("limits.max_response_bytes was reached for too long")]
struct NoRoom;

pub(in crate::listener) fn is_event_stream(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

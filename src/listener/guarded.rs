use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::state::ConnectionState;
use super::taking::Stall;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a closed connection is still read from, so that a peer in the middle of sending
/// sees our last answer (a 413, say) and not a reset (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How much is read and thrown away in that time.
const LINGER_BYTES: usize = 1024 * 1024;

/// A socket whose peer must keep taking what we write: when nothing has been taken for
/// `write_timeout` while bytes are pending, the write fails with `TimedOut`; sooner when the memory
/// for responses is used up. While nothing is pending there is no timer. Closing lingers for a
/// moment.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    io: T,
    write_timeout: Duration,
    state: Arc<ConnectionState>,
    stall: Stall,
    /// Runs while a close lingers.
    linger: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    /// Our side's end has been sent.
    sent: bool,
    discarded: usize,
}

impl<T> Guarded<T> {
    pub(super) fn new(io: T, write_timeout: Duration, state: Arc<ConnectionState>) -> Self {
        Self {
            io,
            write_timeout,
            state,
            stall: Stall::default(),
            linger: None,
            closing: None,
        }
    }

    /// Whether the close has lingered long enough.
    fn lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER)));
        linger.as_mut().poll(cx).is_ready()
    }

    /// Passes a write's outcome on, or fails it when it has waited too long.
    fn bounded<R>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        self.state.set_stuck(outcome.is_pending());
        if outcome.is_ready() {
            self.stall.end();
            return outcome;
        }
        if self
            .stall
            .poll(cx, self.write_timeout, &self.state.responses)
            .is_ready()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer stopped taking what it asked for",
            )));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.count_read();
        }
        outcome
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.bounded(cx, outcome)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.bounded(cx, outcome)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing of its own to flush, so a flush is no sign of progress and
        // must not stop the timer.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let closing = this.closing.get_or_insert_with(|| {
            this.stall.end();
            Closing {
                sent: false,
                discarded: 0,
            }
        });
        if !closing.sent {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            closing.sent = true;
        }
        let mut space = [std::mem::MaybeUninit::uninit(); 4096];
        while closing.discarded < LINGER_BYTES {
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => closing.discarded += buf.filled().len(),
                // The peer is done too, or gone.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    return if this.lingered(cx) {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

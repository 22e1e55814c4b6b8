//! A socket whose peer must read what it asked for.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::state::ConnectionState;
use crate::listener::response::stall::StallTimer;

/// How long a closed connection is still read from, so that a peer in the middle of sending
/// receives our last response (a 413, say) and not a reset (RFC 9112, section 9.6).
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How much is read and discarded in that time.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Buffers of at most this length together are copied and written as one: several cost the kernel
/// more than the copy.
const MAX_JOINED: usize = 2048;

/// Fails a write with `TimedOut` when the peer has read nothing for `write_timeout`; sooner while
/// the memory for responses is used up. Without pending bytes there is no timer. Closing lingers.
#[derive(Debug)]
pub(in crate::listener) struct WriteTimeout<IO> {
    io: IO,
    write_timeout: Duration,
    state: Arc<ConnectionState>,
    stall: StallTimer,
    closing: Option<Box<Closing>>,
}

#[derive(Debug)]
struct Closing {
    /// Our end of the stream has been sent.
    end_sent: bool,
    discarded: usize,
    linger: Option<Pin<Box<Sleep>>>,
}

impl Closing {
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER_TIMEOUT)));
        linger.as_mut().poll(cx)
    }
}

impl<IO> WriteTimeout<IO> {
    pub(in crate::listener) fn new(io: IO, write_timeout: Duration, state: Arc<ConnectionState>) -> Self {
        Self {
            io,
            write_timeout,
            state,
            stall: StallTimer::default(),
            closing: None,
        }
    }

    /// Passes on the outcome of a write, or fails it after the timeout.
    fn poll_in_time<R>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        self.state.set_write_blocked(outcome.is_pending());
        if outcome.is_ready() {
            self.stall.stop();
            return outcome;
        }
        let budget = &self.state.responses;
        ready!(self.stall.poll_elapsed(cx, self.write_timeout, budget));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer stopped reading the response",
        )))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for WriteTimeout<IO> {
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

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteTimeout<IO> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.poll_in_time(cx, outcome)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= MAX_JOINED {
            let mut space = [MaybeUninit::uninit(); MAX_JOINED];
            let mut joined = ReadBuf::uninit(&mut space);
            bufs.iter().for_each(|buf| joined.put_slice(buf));
            return self.poll_write(cx, joined.filled());
        }
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.poll_in_time(cx, outcome)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush, so a flush is no progress and must not stop the timer.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let closing = this.closing.get_or_insert_with(|| {
            this.stall.stop();
            Box::new(Closing {
                end_sent: false,
                discarded: 0,
                linger: None,
            })
        });
        if !closing.end_sent {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            closing.end_sent = true;
        }
        let mut space = [MaybeUninit::uninit(); 4096];
        while closing.discarded < MAX_LINGER_BYTES {
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => closing.discarded += buf.filled().len(),
                // The peer has closed its side or is gone.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.poll_linger(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::listener::{peer::PeerAddr, response::budget::ResponseBudget};

    fn peer() -> PeerAddr {
        PeerAddr("192.0.2.1:1".parse().unwrap())
    }

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn with_timeout<IO>(io: IO) -> WriteTimeout<IO> {
        let budget = Arc::new(ResponseBudget::new(1 << 20, TIMEOUT));
        WriteTimeout::new(io, TIMEOUT, Arc::new(ConnectionState::new(peer(), budget)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_fails_the_write_and_a_slow_one_does_not() {
        let (ours, mut theirs) = duplex(1000);
        let mut io = with_timeout(ours);
        let start = Instant::now();
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                theirs.read_exact(&mut [0; 500]).await.unwrap();
            }
            theirs
        });
        io.write_all(&[0; 5000]).await.unwrap();
        let _theirs = slow.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 200);
        let start = Instant::now();
        let error = io.write_all(&[0; 5000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_lingers_until_the_peer_closes_and_not_for_ever() {
        let (ours, theirs) = duplex(1000);
        let start = Instant::now();
        with_timeout(ours).shutdown().await.unwrap();
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
        drop(theirs);

        let (ours, theirs) = duplex(1000);
        drop(theirs);
        let start = Instant::now();
        with_timeout(ours).shutdown().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

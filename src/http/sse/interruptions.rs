//! What ends or moves a live read besides its stream.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use tokio::time::{Instant, Sleep};

use crate::{signal::Signal, wakers::Place};

pin_project_lite::pin_project! {
    /// The timer and the signals of one reader. Looking at them takes no lock and registers nothing:
    /// they have the waker of the reader's task, which seldom changes.
    pub(super) struct Interruptions {
        #[pin]
        timer: Sleep,
        server: Watch,
        key: Option<Watch>,
        waker: Option<Waker>,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The server stops, or the store has been handed over.
    Server,
    KeyWithdrawn,
    Timer,
}

impl Interruptions {
    /// `timer_end` is the first one.
    pub(super) fn new(server: &Arc<Signal>, key: Option<&Arc<Signal>>, timer_end: Instant) -> Self {
        Self {
            timer: tokio::time::sleep_until(timer_end),
            server: Watch::new(server),
            key: key.map(Watch::new),
            waker: None,
        }
    }

    /// What has happened; `heeds_server` is false once the reader knows that the server stops.
    /// The task of `cx` is woken by what happens later.
    pub(super) fn look(self: Pin<&mut Self>, heeds_server: bool, cx: &mut Context<'_>) -> Option<Interruption> {
        let mut this = self.project();
        if this.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *this.waker = Some(cx.waker().clone());
            // Registers the waker. If the time has come, `is_elapsed` says that too.
            let _ = this.timer.as_mut().poll(cx);
            this.server.register(cx.waker());
            if let Some(key) = this.key {
                key.register(cx.waker());
            }
        }
        if heeds_server && this.server.signal.is_sent() {
            return Some(Interruption::Server);
        }
        if this.key.as_ref().is_some_and(|key| key.signal.is_sent()) {
            return Some(Interruption::KeyWithdrawn);
        }
        this.timer.is_elapsed().then_some(Interruption::Timer)
    }

    pub(super) fn set_timer(self: Pin<&mut Self>, end: Instant) {
        let this = self.project();
        this.timer.reset(end);
        // A timer that has run out no longer has it.
        *this.waker = None;
    }
}

/// A signal, and this reader's registration with it.
struct Watch {
    signal: Arc<Signal>,
    place: Option<Place>,
}

impl Watch {
    fn new(signal: &Arc<Signal>) -> Self {
        Self {
            signal: Arc::clone(signal),
            place: None,
        }
    }

    fn register(&mut self, waker: &Waker) {
        self.signal.register(&mut self.place, waker);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.signal.withdraw(&mut self.place);
    }
}

//! An event that happens once and ends thousands of waits.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::wakers::{Place, Wakers};

/// Sent once, and seen by all who wait. Looking whether it was sent is one load, where a
/// `CancellationToken` takes a lock that all waiting tasks share.
#[derive(Debug, Default)]
pub struct Signal {
    sent: AtomicBool,
    wakers: Mutex<Wakers>,
}

impl Signal {
    pub fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    pub fn send(&self) {
        let mut wakers = self.wakers.lock();
        self.sent.store(true, Ordering::Release);
        let woken = wakers.take();
        drop(wakers);
        woken.wake();
    }

    /// Has `waker` woken by the signal; see [`Wakers::register`]. Does nothing after the signal.
    pub fn register(&self, place: &mut Option<Place>, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        if !self.is_sent() {
            let earlier = wakers.register(place, waker);
            drop(wakers);
            drop(earlier);
        }
    }

    pub fn withdraw(&self, place: &mut Option<Place>) {
        if place.is_some() {
            let mut wakers = self.wakers.lock();
            let withdrawn = wakers.withdraw(place);
            drop(wakers);
            drop(withdrawn);
        }
    }

    /// Resolves once the signal was sent.
    pub fn sent(&self) -> Sent<'_> {
        Sent {
            signal: self,
            place: None,
        }
    }
}

/// See [`Signal::sent`].
#[derive(Debug)]
pub struct Sent<'a> {
    signal: &'a Signal,
    place: Option<Place>,
}

impl Future for Sent<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.signal.register(&mut this.place, cx.waker());
        if this.signal.is_sent() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.signal.withdraw(&mut self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Wake};

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[tokio::test]
    async fn a_signal_ends_waits_that_began_before_and_after_it() {
        let signal = Arc::new(Signal::default());
        let wait = |signal: &Arc<Signal>| {
            let signal = Arc::clone(signal);
            tokio::spawn(async move { signal.sent().await })
        };
        let before = [wait(&signal), wait(&signal)];
        tokio::task::yield_now().await;
        assert!(!signal.is_sent() && before.iter().all(|wait| !wait.is_finished()));
        signal.send();
        let after = wait(&signal);
        for wait in before.into_iter().chain([after]) {
            wait.await.unwrap();
        }
    }

    #[test]
    fn a_task_is_let_go_when_it_withdraws_and_when_it_is_woken() {
        let (signal, task) = (Signal::default(), Arc::new(Task));
        let waker = Waker::from(Arc::clone(&task));
        let (mut first, mut second) = (None, None);
        signal.register(&mut first, &waker);
        signal.register(&mut second, &waker);
        assert_eq!(Arc::strong_count(&task), 4);
        signal.withdraw(&mut first);
        assert_eq!(Arc::strong_count(&task), 3);
        signal.send();
        assert_eq!(Arc::strong_count(&task), 2);
        signal.register(&mut first, &waker);
        assert_eq!(Arc::strong_count(&task), 2);
    }
}

//! Counting a stream's readers.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::stream::{News, Stream};
use crate::{clock::Clock, storage::Position, wakers::Place};

/// Counts as a reader of a stream until it is dropped, which counts as a read.
pub(super) struct ReaderGuard {
    stream: Arc<Stream>,
    clock: Clock,
    /// Its registration with the stream while it waits.
    place: Option<Place>,
}

impl ReaderGuard {
    pub fn new(stream: Arc<Stream>, clock: Clock) -> Self {
        stream.add_reader();
        Self {
            stream,
            clock,
            place: None,
        }
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// See [`Stream::poll_news`].
    pub fn poll_news(&mut self, at: Position, seen: Position, cx: &mut Context<'_>) -> Poll<News> {
        self.stream.poll_news(at, seen, &mut self.place, cx.waker())
    }

    /// See [`Stream::poll_published`].
    pub fn poll_published(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_published(&mut self.place, cx.waker())
    }

    /// Waits for nothing.
    pub fn withdraw(&mut self) {
        if self.place.is_some() {
            self.stream.withdraw(&mut self.place);
        }
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.withdraw();
        self.stream.touch(self.clock.millis());
        self.stream.remove_reader();
    }
}

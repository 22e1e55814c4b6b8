//! Counting a stream's readers.

use std::sync::Arc;

use super::stream::Stream;
use crate::clock::Clock;

/// Counts as a reader of a stream until it is dropped, which counts as a read.
pub(super) struct ReaderGuard {
    stream: Arc<Stream>,
    clock: Clock,
}

impl ReaderGuard {
    pub fn new(stream: Arc<Stream>, clock: Clock) -> Self {
        stream.add_reader();
        Self { stream, clock }
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.stream.touch(self.clock.millis());
        self.stream.remove_reader();
    }
}

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets one log line through each second and counts the rest: what strangers can cause as
/// often as they like must not fill the disk.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// `Some(how many were held back since the last one)` when a line may be written now.
    pub(super) fn pass(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.last.is_some_and(|last| now < last + Duration::from_secs(1)) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

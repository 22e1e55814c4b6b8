//! systemd's notification protocol (sd_notify(3)). Without systemd nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

/// The time that a start needs after the wait for the directory, and a stop after the drain.
const MARGIN: Duration = Duration::from_secs(30);

/// The start waits for the data directory for up to `max_wait`.
pub(super) fn starting(max_wait: Duration) {
    let status = NotifyState::Status("waiting for the data directory");
    notify(&[extend_timeout(max_wait), status]);
}

/// The start takes as long as the database is away. Called again while the database is waited for.
#[cfg(feature = "postgres")]
pub(super) fn waiting_for_database() {
    notify(&[extend_timeout(MARGIN), NotifyState::Status("waiting for the database")]);
}

/// Requests are served.
pub(super) fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell systemd about the reload"),
    }
}

/// The stop takes up to `drain`.
pub(super) fn stopping(drain: Duration) {
    let status = NotifyState::Status("finishing requests, ending live reads");
    notify(&[NotifyState::Stopping, extend_timeout(drain), status]);
}

/// systemd waits this long even if its own timeout is shorter.
fn extend_timeout(by: Duration) -> NotifyState<'static> {
    let micros = by.saturating_add(MARGIN).as_micros();
    NotifyState::ExtendTimeoutUsec(u32::try_from(micros).unwrap_or(u32::MAX))
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd by NOTIFY_SOCKET");
    }
}

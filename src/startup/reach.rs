//! Waiting for a database at the start.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::service_manager;
use crate::{log_throttle::LogThrottle, storage::StorageError};

const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long a standby may take to be promoted. One that is never promoted is a wrong address.
const MAX_PROMOTION: Duration = Duration::from_secs(30);

/// Repeats `start` until the database is reached. Errors that a wait cannot mend end it.
pub(super) async fn until_reached<F>(start: impl Fn() -> F) -> Result<(), StorageError>
where
    F: Future<Output = Result<(), StorageError>>,
{
    let (begun, mut standby_since) = (Instant::now(), None);
    let log = LogThrottle::default();
    loop {
        let reason = match start().await {
            Err(StorageError::Away(reason)) => reason,
            Err(StorageError::Standby(reason))
                if standby_since.get_or_insert_with(Instant::now).elapsed() < MAX_PROMOTION =>
            {
                reason
            }
            ended => return ended,
        };
        if log.allow("waiting").is_some() {
            let waited_secs = begun.elapsed().as_secs();
            tracing::warn!(
                reason,
                waited_secs,
                "waiting for the database before requests are served"
            );
            service_manager::waiting_for_database();
        }
        sleep(RETRY_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    /// For how many seconds the database gives an answer.
    type Answer = (u64, fn() -> StorageError);

    /// A start at a database that gives these answers, and the time that it takes.
    async fn start(answers: &[Answer]) -> (Result<(), StorageError>, u64) {
        let begun = Instant::now();
        let attempts = Cell::new(0);
        let result = until_reached(|| {
            attempts.set(attempts.get() + 1);
            let mut at = begun.elapsed().as_secs();
            let answer = answers.iter().find(|(secs, _)| {
                let is_now = at < *secs;
                at = at.saturating_sub(*secs);
                is_now
            });
            ready(answer.map_or(Ok(()), |(_, error)| Err(error())))
        })
        .await;
        (result, begun.elapsed().as_secs())
    }

    fn away() -> StorageError {
        StorageError::Away("refused".to_owned())
    }

    fn standby() -> StorageError {
        StorageError::Standby("not yet promoted".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_away_is_waited_for() {
        let (result, secs) = start(&[(7_200, away)]).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(secs, 7_200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_is_given_the_time_of_a_promotion() {
        let (result, secs) = start(&[(60, away), (20, standby), (5, away)]).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(secs, 85);
        let (result, secs) = start(&[(60, away), (1_000, standby)]).await;
        assert!(matches!(result, Err(StorageError::Standby(_))), "{result:?}");
        assert_eq!(secs, 90);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_the_start_at_once() {
        let refused = || StorageError::Unusable("the password is wrong".to_owned());
        let (result, secs) = start(&[(1_000, refused)]).await;
        assert!(matches!(result, Err(StorageError::Unusable(_))), "{result:?}");
        assert_eq!(secs, 0);
    }
}

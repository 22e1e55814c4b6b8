//! Whether servers use a database. One that does shows every five seconds that it is alive.

use std::time::Duration;

use super::connection::Connection;
use crate::storage::{StorageError, postgres::outcome::get};

/// A server that was silent for this long does not use the database.
const SILENCE_SECS: f64 = 12.0;
const INTERVAL: Duration = Duration::from_millis(500);

/// Waits until no server has shown a sign of life for [`SILENCE_SECS`].
///
/// # Errors
/// If a server shows one during the wait.
pub(super) fn wait(connection: &Connection) -> Result<(), StorageError> {
    const LAST_SEEN: &str = "select name, (extract(epoch from seen) * 1000000)::bigint, \
        extract(epoch from clock_timestamp() - seen)::float8 \
        from durable_streams.servers order by seen desc limit 1";
    let mut begun_at: Option<i64> = None;
    loop {
        let rows = connection.rows(LAST_SEEN, &[])?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (name, seen, age): (&str, i64, f64) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        if age >= SILENCE_SECS {
            return Ok(());
        }
        if seen > *begun_at.get_or_insert(seen) {
            return Err(StorageError::Unusable(format!(
                "a server uses the database, on the host {name:?}: stop all servers first"
            )));
        }
        connection.block(async { tokio::time::sleep(INTERVAL).await });
    }
}

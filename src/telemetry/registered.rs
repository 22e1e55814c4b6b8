//! Registration of metrics.

use prometheus::Registry;

/// Fails only for a malformed or repeated name, which the tests would show.
pub(super) fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

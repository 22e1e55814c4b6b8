//! File descriptors: a connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many descriptors as the system grants this process, since the usual default of
/// 1024 ends far below `limits.max_connections`; says so when even that is too few.
pub(super) fn raise_limit(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let granted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, granted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    if let Some(current) = current.filter(|current| *current < max_connections as u64) {
        tracing::warn!(
            granted = current,
            max_connections,
            "this process may open fewer files than limits.max_connections: raise LimitNOFILE (systemd) or ulimit -Hn"
        );
    }
}

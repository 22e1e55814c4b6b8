//! File descriptors: a connection takes one, and so does an open data file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors for listeners, the journal and short-lived files: a quarter of all, at most this
/// many.
const RESERVED_FDS: usize = 64;

/// Raises the limit on file descriptors as far as the system allows, since the usual 1024 is far
/// below `limits.max_connections`. Where that is not enough, lowers `limits.max_connections` and
/// `storage.max_open_files` to shares of it, with a warning.
pub(super) fn apply_fd_limit(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(granted) = current.and_then(|current| usize::try_from(current).ok()) else {
        return;
    };
    let (connections, files) = (&mut config.limits.max_connections, &mut config.storage.max_open_files);
    let wanted = (*connections, *files);
    (*connections, *files) = shares(granted, wanted);
    // A small shortfall isn't worth a warning.
    if granted < wanted.0 || *files < wanted.1 {
        tracing::warn!(
            granted,
            "this process may open fewer files than limits.max_connections and storage.max_open_files ask for; \
             limiting to {connections} connections and {files} data files. Raise LimitNOFILE (systemd) or ulimit -Hn"
        );
    }
}

/// How many connections and data files fit into the granted descriptors, of those wanted.
fn shares(granted: usize, (connections, files): (usize, usize)) -> (usize, usize) {
    let left = granted.saturating_sub(RESERVED_FDS.min(granted / 4));
    let files = files.min((left / 4).max(1));
    let connections = connections.min(left.saturating_sub(files).max(1));
    (connections, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_files_fit_into_what_is_granted() {
        assert_eq!(shares(524_288, (20_000, 512)), (20_000, 512));
        assert_eq!(shares(4096, (20_000, 512)), (3520, 512));
        for granted in 0..2000 {
            let (connections, files) = shares(granted, (20_000, 512));
            assert!(connections > 0 && files > 0);
            assert!(granted < 8 || connections + files < granted, "{granted}");
        }
    }
}

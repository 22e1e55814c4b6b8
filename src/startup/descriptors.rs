//! File descriptors: a connection takes one, and so does an open data file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Kept for everything else, such as listeners, the journal, and what is opened in passing: a
/// quarter of all, at most this many.
const MOST_OTHERS: usize = 64;

/// Takes as many descriptors as the system grants this process, since the usual default of
/// 1024 ends far below `limits.max_connections`. Where even that is too few, connections and data
/// files get their share each, so that neither keeps the other from being served, and it is said.
pub(super) fn share_out(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let granted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, granted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(granted) = current.and_then(|current| usize::try_from(current).ok()) else {
        return;
    };
    let (connections, files) = (&mut config.limits.max_connections, &mut config.storage.max_open_files);
    let wanted = (*connections, *files);
    (*connections, *files) = shares(granted, wanted);
    // That a few connections less than wanted fit in is nothing to be warned of.
    if granted < wanted.0 || *files < wanted.1 {
        tracing::warn!(
            granted,
            connections = *connections,
            data_files = *files,
            "this process may open fewer files than limits.max_connections and storage.max_open_files ask for, \
             and does with less: raise LimitNOFILE (systemd) or ulimit -Hn"
        );
    }
}

/// How many connections and data files there may be, of those that are wanted.
fn shares(granted: usize, (connections, files): (usize, usize)) -> (usize, usize) {
    let left = granted.saturating_sub(MOST_OTHERS.min(granted / 4));
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

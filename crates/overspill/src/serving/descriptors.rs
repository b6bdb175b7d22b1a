//! How many files and connections this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the database, its readers, the cloud, webhooks and the keeper need beside connections.
const OWN: usize = 64;
/// Even where the limit leaves less: a server without connections is none.
const LEAST: usize = 8;

/// Raises this process's limit of open files as far as it may, and says how many connections that leaves
/// (F11). Workers are not this process's children and keep the limit that the user gave.
pub(super) fn connections_max() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return usize::MAX;
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit.saturating_sub(OWN).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f11_connections_leave_room_for_the_database() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let hard = usize::try_from(hard).unwrap_or(usize::MAX);
        assert!(connections_max() <= hard.saturating_sub(OWN).max(LEAST));
        assert!(connections_max() >= LEAST);
    }
}

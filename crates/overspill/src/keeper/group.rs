//! Process groups: the unit in which workers are killed.
//!
//! A RunPod worker's heartbeat is a forked child that goes on reporting after its parent is gone,
//! so a worker has ended only when its whole group has. The number of a group stays reserved while
//! any member lives, and while its leader is an unreaped zombie: kill before reaping and no other
//! group can be hit.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Ends every process of the group led by `leader`.
pub(super) fn kill_group(leader: Pid) {
    // ESRCH says that it is empty already, EPERM that only processes of another user are left in
    // it.
    let _ = killpg(leader, Signal::SIGKILL);
}

/// Asks the group's main process alone to end.
pub(super) fn terminate(leader: Pid) {
    let _ = kill(leader, Signal::SIGTERM);
}

/// True once no process of the group is left, zombies included.
pub(super) fn is_gone(leader: Pid) -> bool {
    killpg(leader, None) == Err(Errno::ESRCH)
}

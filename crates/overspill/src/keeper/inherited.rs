//! File descriptors that the keeper hands to the serving process: their numbers stand in the
//! environment, as with other socket-passing parents.

use std::env;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

/// Environment variable with the number of the listening socket.
pub const LISTEN_FD: &str = "OVERSPILL_LISTEN_FD";
/// Environment variable with the number of the control socket.
pub const CONTROL_FD: &str = "OVERSPILL_CONTROL_FD";

/// An inherited socket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The variable does not hold the number of a descriptor.
    #[error("{variable} is {value:?}, not a file descriptor; only the keeper sets it: unset it")]
    NotANumber {
        /// Which variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// The descriptor was taken before.
    #[error("file descriptor {fd} of {variable} was taken over twice")]
    TakenBefore {
        /// Which variable.
        variable: &'static str,
        /// Which descriptor.
        fd: RawFd,
    },
    /// The descriptor is not an open socket.
    #[error("file descriptor {fd} of {variable} is not an open socket; unset the variable")]
    NotASocket {
        /// Which variable.
        variable: &'static str,
        /// Which descriptor.
        fd: RawFd,
    },
    /// The runtime does not take it.
    #[error("cannot use the socket of {variable}")]
    Io {
        /// Which variable.
        variable: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Lets the descriptor stay open in programs that are started from now on, or not.
pub(super) fn set_inheritable(fd: impl AsFd, inheritable: bool) -> nix::Result<()> {
    let flags = if inheritable {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop)
}

/// Takes over the socket that `variable` names, once; `None` if it is not set.
pub(super) fn take_socket(variable: &'static str) -> Result<Option<OwnedFd>, InheritError> {
    let Some(value) = env::var_os(variable) else {
        return Ok(None);
    };
    let fd = value
        .to_str()
        .and_then(|value| value.parse::<RawFd>().ok())
        .filter(|fd| *fd > 2);
    let Some(fd) = fd else {
        let value = value.to_string_lossy().into_owned();
        return Err(InheritError::NotANumber { variable, value });
    };
    static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
    let mut taken = TAKEN.lock().expect("nothing panics while it is held");
    if taken.contains(&fd) {
        return Err(InheritError::TakenBefore { variable, fd });
    }
    // The link itself tells whether the descriptor is open; what it leads to does not matter.
    if std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_err() {
        return Err(InheritError::NotASocket { variable, fd });
    }
    taken.push(fd);
    let socket = own(fd);
    let is_socket = fstat(&socket)
        .is_ok_and(|facts| SFlag::from_bits_truncate(facts.st_mode).contains(SFlag::S_IFSOCK));
    if !is_socket || set_inheritable(&socket, false).is_err() {
        // Not ours to close.
        std::mem::forget(socket);
        return Err(InheritError::NotASocket { variable, fd });
    }
    Ok(Some(socket))
}

#[expect(
    unsafe_code,
    reason = "there is no safe way to own an inherited descriptor: its number comes from the \
              environment. The caller checked that it is open, and gives out each number once"
)]
fn own(fd: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: see the reason above; nothing else in this program uses the numbers in the
    // variables, because the process was started with them for this purpose alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

//! The listening socket: bound by the keeper, taken over by the serving process.
//!
//! The socket outlives the serving process, so while none runs, connections wait in its backlog
//! and are answered by the next one. That saves the results that workers post meanwhile: an
//! unmodified RunPod worker drops its result at the first refused connection.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};

use nix::sys::socket::{Backlog, listen};

use super::inherited::{self, InheritError, LISTEN_FD};

/// The socket cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}; {}", describe(holder.as_deref()), advice(source))]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// The process that has it, if the system tells.
    pub holder: Option<String>,
    /// Why not.
    #[source]
    pub source: io::Error,
}

fn describe(holder: Option<&str>) -> String {
    holder
        .map(|holder| format!(", which {holder} has"))
        .unwrap_or_default()
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or set `listen` to another port",
        io::ErrorKind::AddrNotAvailable => "set `listen` to an address of this machine",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: set another `listen`",
        _ => "check `listen`",
    }
}

/// Binds the address (`SO_REUSEADDR`) and listens, with the longest backlog the kernel allows:
/// it is all that holds the workers' results while no serving process runs.
///
/// # Errors
/// [`BindError`], with the process that holds the port where that can be found out.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let failed = |source: io::Error| {
        let in_use = source.kind() == io::ErrorKind::AddrInUse;
        let holder = if in_use {
            holder_of(address.port())
        } else {
            None
        };
        BindError {
            address,
            holder,
            source,
        }
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // A second call only changes the backlog, which the standard library fixes at 128.
    listen(&listener, Backlog::MAXCONN).map_err(|errno| failed(errno.into()))?;
    Ok(listener)
}

/// Takes over the keeper's listening socket; `None` when no keeper started this process.
///
/// # Errors
/// [`InheritError`] when the variable is set but does not lead to a socket.
pub fn inherited_listener() -> Result<Option<tokio::net::TcpListener>, InheritError> {
    let Some(socket) = inherited::take_socket(LISTEN_FD)? else {
        return Ok(None);
    };
    let listener = TcpListener::from(socket);
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map(Some)
        .map_err(|source| InheritError::Io {
            variable: LISTEN_FD,
            source,
        })
}

/// The process that listens on a TCP port, as `process 12 (nginx)`; only processes whose
/// descriptors this user may see can be named.
fn holder_of(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let inodes: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (_, hex) = fields.get(1)?.rsplit_once(':')?;
            let listening = *fields.get(3)? == "0A" && u16::from_str_radix(hex, 16) == Ok(port);
            if !listening {
                return None;
            }
            Some(format!("socket:[{}]", fields.get(9)?))
        })
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if inodes
                .iter()
                .any(|inode| target.as_os_str() == inode.as_str())
            {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("process {pid} ({})", name.trim()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_its_holder() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {} (", std::process::id())),
            "{text}"
        );
        assert!(text.contains("set `listen` to another port"), "{text}");
    }
}

//! The keeper's end of the control socket: lines in, lines out, never waiting.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::protocol::{LINE_BYTES_MAX, Notice, Order};

/// Bytes kept for a serving process that does not read. Above it the link counts as broken: what
/// is in it is lost without harm, since the next connection begins with all that is alive.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// A line-wise, non-blocking connection to one serving process.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    unsent: VecDeque<u8>,
    unread: Vec<u8>,
}

/// Why a link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the serving process closed it")]
    Closed,
    #[error("the serving process sent a line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("the serving process left {UNSENT_BYTES_MAX} bytes unread")]
    NotRead,
    #[error("it failed")]
    Io(#[source] io::Error),
}

impl Link {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            unsent: VecDeque::new(),
            unread: Vec::new(),
        })
    }

    /// Queues a notice and writes what the socket takes now.
    pub(super) fn send(&mut self, notice: &Notice) -> Result<(), LinkError> {
        let line = serde_json::to_vec(notice).expect("a notice has string keys only");
        self.unsent.extend(line);
        self.unsent.push_back(b'\n');
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return Err(LinkError::NotRead);
        }
        self.flush()
    }

    /// Writes what the socket takes now.
    pub(super) fn flush(&mut self) -> Result<(), LinkError> {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent.as_slices().0) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LinkError::Io(error)),
            }
        }
        Ok(())
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is there. The orders in `out` are valid even when the result is an error.
    ///
    /// A line that cannot be understood is logged and skipped: the serving process is ours, so it
    /// is a fault of ours, and the workers must not suffer from it.
    pub(super) fn receive(&mut self, out: &mut Vec<Order>) -> Result<(), LinkError> {
        let mut chunk = [0; 16 << 10];
        loop {
            let read = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LinkError::Io(error)),
            };
            self.unread.extend_from_slice(&chunk[..read]);
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                match serde_json::from_slice(&self.unread[..end]) {
                    Ok(order) => out.push(order),
                    // The line may hold a worker's key, so only its fault is told.
                    Err(error) => {
                        tracing::error!(%error, "skipped an order of the serving process");
                    }
                }
                self.unread.drain(..=end);
            }
            if self.unread.len() > LINE_BYTES_MAX {
                return Err(LinkError::LineTooLong);
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

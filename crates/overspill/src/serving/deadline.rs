//! The end of a process whose keeper is gone waits for nobody for long.
//!
//! The next keeper kills what an earlier one left, and nothing acknowledged is in memory only: an
//! orderly end is a courtesy to those who wait for an answer. A disk that hangs or a request that
//! does not end must not make of it a process that nobody watches.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::error;

use crate::telemetry;

/// How long an orderly end may take once the keeper is gone.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// Calls `expired` after a while with the step that was under way, unless it is dropped before.
pub(super) struct Deadline {
    step: Arc<Mutex<&'static str>>,
    _alive: Sender<()>,
}

impl Deadline {
    /// Starts a thread: it also sees the end of a runtime all of whose threads hang.
    pub(super) fn after(
        length: Duration,
        expired: impl FnOnce(&'static str) + Send + 'static,
    ) -> Self {
        let step = Arc::new(Mutex::new("the start of it"));
        let (alive, is_over) = channel::<()>();
        let thread = std::thread::Builder::new().name("deadline".into());
        let shown = Arc::clone(&step);
        // Without the thread the end takes as long as it takes.
        let _ = thread.spawn(move || {
            if is_over.recv_timeout(length) == Err(RecvTimeoutError::Timeout) {
                expired(*shown.lock().unwrap_or_else(PoisonError::into_inner));
            }
        });
        Self {
            step,
            _alive: alive,
        }
    }

    /// Says what is under way.
    pub(super) fn step(&self, step: &'static str) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

/// Ends this process in the middle of `step`.
pub(super) fn leave(step: &'static str, exit_code: u8) {
    error!(
        step,
        "the keeper is gone, and the end takes too long: left as it is"
    );
    telemetry::flush();
    std::process::exit(exit_code.into());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_tells_the_step_that_hangs() {
        let (tell, told) = channel();
        let deadline = Deadline::after(Duration::from_millis(50), move |step| {
            tell.send(step).expect("somebody listens");
        });
        deadline.step("the store is closed");
        assert_eq!(told.recv(), Ok("the store is closed"));
    }

    #[test]
    fn it_says_nothing_once_the_end_is_reached() {
        let (tell, told) = channel::<&'static str>();
        let deadline = Deadline::after(Duration::from_secs(3600), move |step| {
            let _ = tell.send(step);
        });
        drop(deadline);
        // Its thread ends with it, without a word.
        assert!(told.recv().is_err());
    }
}

//! What is wrong with the ground that the server stands on, as of now: a full disk, a clock that was set.
//!
//! Shown by the overview and the metrics until it is over; told to the log when it begins and ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Something that is wrong now, by its stable code.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trouble {
    /// `storage_full`, `clock_step`, `paused`, `connections_full`.
    pub code: &'static str,
    /// In words, with what to do.
    pub text: String,
}

/// All that is wrong now.
#[derive(Debug, Default)]
pub struct Troubles {
    open: Mutex<BTreeMap<&'static str, String>>,
}

impl Troubles {
    /// Says that something is wrong; whether that is new.
    pub fn begin(&self, code: &'static str, text: String) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(code, text).is_none()
    }

    /// Says that it is over; whether it was wrong before.
    pub fn end(&self, code: &'static str) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(code).is_some()
    }

    /// By code.
    #[must_use]
    pub fn list(&self) -> Vec<Trouble> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .map(|(&code, text)| Trouble {
                code,
                text: text.clone(),
            })
            .collect()
    }
}

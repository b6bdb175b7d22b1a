//! When a card must not be used: what its driver says of it, and what follows.
//!
//! A card that is missing, or at which the driver fails or hangs, or whose memory makes errors that
//! nothing corrects, is quarantined: its workers are ended, their jobs go elsewhere, and nothing
//! starts there until it is well again. So is one that still holds the memory of a dead worker long
//! after its end. The card is to blame then, not the job: no attempt of that kind counts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::{DurationMs, Timestamp};

/// A bad reading must stay for so long before the card is quarantined; nothing new starts meanwhile.
pub const FAULT_PATIENCE: DurationMs = DurationMs::from_secs(5);
/// The memory of a worker that is no more must be free by then.
pub const MEMORY_PATIENCE: DurationMs = DurationMs::from_secs(30);
/// Readings must be good for so long before a card takes jobs again, unless configured otherwise.
pub const RETURNS_AFTER: DurationMs = DurationMs::from_secs(60);
/// A worker that died on a card so shortly before its fault was seen, died of it.
pub const LOSS_MEMORY: DurationMs = DurationMs::from_secs(30);
/// Losses of a card that are remembered for that.
pub const LOSSES_MAX: usize = 64;

/// What a card's driver says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reading", rename_all = "snake_case")]
pub enum CardReading {
    /// It answers.
    Answers {
        /// Memory errors that could not be corrected since the driver was loaded, where it counts them.
        memory_errors: Option<u64>,
        /// It says which processes hold memory there.
        lists_processes: bool,
    },
    /// The driver no longer lists it.
    Missing,
    /// The driver lists it and fails at it, or fails as a whole.
    Failing {
        /// In its words.
        error: String,
    },
    /// The driver has not come back from a reading for long.
    Hanging,
}

/// Why a card is quarantined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum CardFault {
    /// The driver no longer lists it.
    Missing,
    /// The driver fails at it.
    Failing {
        /// In its words.
        error: String,
    },
    /// The driver does not come back from reading it.
    Hanging,
    /// Its memory made errors that could not be corrected. It stays until the count begins anew, as
    /// it does when the card is reset, or somebody returns it.
    MemoryErrors {
        /// How many.
        count: u64,
        /// How many the driver counts in all: where it counts fewer, the card was reset.
        total: u64,
    },
    /// A process group that is no more still holds memory there.
    MemoryHeld {
        /// The group's number: the process id of the worker.
        pid: u32,
    },
}

impl CardFault {
    /// The fault's name, as in the serialised form.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Failing { .. } => "failing",
            Self::Hanging => "hanging",
            Self::MemoryErrors { .. } => "memory_errors",
            Self::MemoryHeld { .. } => "memory_held",
        }
    }

    /// Whether good readings end it.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Missing | Self::Failing { .. } | Self::Hanging)
    }

    /// Whether what died on the card just before may have died of it.
    #[must_use]
    pub const fn ends_workers(&self) -> bool {
        !matches!(self, Self::MemoryHeld { .. })
    }
}

impl fmt::Display for CardFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the driver no longer lists it"),
            Self::Failing { error } => write!(f, "the driver fails at it: {error}"),
            Self::Hanging => f.write_str("the driver hangs at it"),
            Self::MemoryErrors { count, .. } => {
                write!(f, "{count} memory errors that could not be corrected")
            }
            Self::MemoryHeld { pid } => write!(
                f,
                "process group {pid} is gone and its memory there is not free"
            ),
        }
    }
}

/// A card that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Why.
    pub fault: CardFault,
    /// Since when.
    pub since: Timestamp,
    /// Since when what ends it is seen; `None` while it is not.
    pub well_since: Option<Timestamp>,
}

impl CardReading {
    /// The fault that it shows; `None` where the card answers.
    #[must_use]
    pub fn fault(&self) -> Option<CardFault> {
        match self {
            Self::Answers { .. } => None,
            Self::Missing => Some(CardFault::Missing),
            Self::Failing { error } => Some(CardFault::Failing {
                error: error.clone(),
            }),
            Self::Hanging => Some(CardFault::Hanging),
        }
    }
}

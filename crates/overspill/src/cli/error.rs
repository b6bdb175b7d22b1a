//! How a command fails: a kind that fixes the exit code, a sentence, its causes, and hints.
//!
//! Conversions from the errors of other rooms are written here, once.

use std::error::Error;
use std::fmt;
use std::io;

use super::paint::{Paint, Tone};
use crate::config::{ConfigError, LocateError};

/// The kinds of failure that a script can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The work was done and failed, such as a job that ended in an error.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// No key, a wrong key, or a key without the right.
    Auth,
    /// A cap or a quota forbids it.
    Budget,
    /// The server cannot be reached or cannot answer now.
    Unavailable,
    /// A file or stream cannot be read or written.
    Io,
    /// The configuration is refused.
    Config,
    /// `--wait` ran out.
    WaitTimedOut,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The reader of stdout went away, as `head` does; nothing is reported.
    ClosedPipe,
}

impl ErrorKind {
    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Budget => 5,
            Self::Unavailable => 69,
            Self::Io => 74,
            Self::Config => 78,
            Self::WaitTimedOut => 124,
            Self::Interrupted => 130,
            Self::ClosedPipe => 141,
        }
    }
}

/// Why a command ended without success.
#[derive(Debug)]
pub struct CommandError {
    kind: ErrorKind,
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    hints: Vec<String>,
}

impl CommandError {
    /// A failure of `kind`, in a sentence.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            cause: None,
            hints: Vec::new(),
        }
    }

    /// Adds what brought it about.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The kind, which fixes the exit code.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Prints sentence, causes and hints on stderr.
    pub fn report(&self, has_color: bool) {
        if self.kind != ErrorKind::ClosedPipe {
            super::output::note(&self.told(Paint::new(has_color)));
        }
    }

    fn told(&self, paint: Paint) -> String {
        let mut text = format!("{} {}", paint.tone(Tone::Bad, "error:"), self.message);
        let mut cause: Option<&dyn Error> = self.cause.as_ref().map(|cause| &**cause as &dyn Error);
        while let Some(error) = cause {
            text.push_str(&format!("\n  caused by: {error}"));
            cause = error.source();
        }
        for hint in &self.hints {
            text.push_str(&format!("\n  {} {hint}", paint.tone(Tone::Busy, "hint:")));
        }
        text
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Paint::new(false)))
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause
            .as_ref()
            .map(|cause| &**cause as &(dyn Error + 'static))
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Read { path, source } => {
                let missing = source.kind() == io::ErrorKind::NotFound;
                let encoding = source.kind() == io::ErrorKind::InvalidData;
                let kind = if encoding {
                    ErrorKind::Config
                } else {
                    ErrorKind::Io
                };
                let message = format!("cannot read the configuration \"{}\"", path.display());
                let error = Self::new(kind, message).because(source);
                if missing {
                    error.hint("`overspill init` writes a new one")
                } else {
                    error
                }
            }
            refused @ ConfigError::Refused(_) => Self::new(
                ErrorKind::Config,
                format!("the configuration is refused\n{refused}"),
            ),
        }
    }
}

impl From<LocateError> for CommandError {
    fn from(error: LocateError) -> Self {
        Self::new(ErrorKind::Config, error.to_string())
            .hint("`overspill init` writes one; `--config FILE` names one")
    }
}

impl From<io::Error> for CommandError {
    /// For stdout and stderr; files are named by who reads or writes them.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(ErrorKind::ClosedPipe, "output closed");
        }
        Self::new(ErrorKind::Io, "cannot write the output").because(error)
    }
}

//! Arguments of `overspill serve`. The server itself lives in the keeper and the engine.

use std::path::PathBuf;

use clap::Args;

use crate::config::Flags;
use crate::telemetry::LogFormat;

/// Run the server
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Folder of the embedded database, the results and the logs [default: `data_dir`]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Address and port to listen on [default: `listen`]; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// How the log is written [default: `text`, or what OVERSPILL_LOG_FORMAT says]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Write down facts and decisions, for `overspill simulate --journal` [default: `[journal] file`]
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

impl ServeArgs {
    /// What the flags say instead of the configuration file.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        Flags {
            listen: self.listen.clone(),
            data_dir: self.data_dir.as_ref().map(text),
            journal: self.journal.as_ref().map(text),
        }
    }
}

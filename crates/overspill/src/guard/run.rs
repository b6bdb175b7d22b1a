//! The guard's loop: asks, waits, and lowers when the core's rule says so.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use overspill_core::guard::{Watch, every, patience};
use overspill_core::time::{DurationMs, Timestamp};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::beat::{Answered, Question};
use super::lower::{Lower, Lowered};
use super::memory::Memory;

/// How often the same refusal is told again.
const REFUSAL_AGAIN: Duration = Duration::from_secs(60);

/// A guard, ready to watch.
#[derive(Debug)]
pub struct Guard {
    question: Question,
    lower: Lower,
    memory: Memory,
    folder: PathBuf,
    watch: Watch,
    refused_at: Option<Instant>,
    is_silent: bool,
    is_heard: bool,
}

/// Whether every limit is zero now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    AllZero,
    SomeFailed,
}

impl Guard {
    /// One that watches what `memory` says until the server says more.
    #[must_use]
    pub fn new(question: Question, lower: Lower, memory: Memory, folder: PathBuf) -> Self {
        let watch = Watch::new(memory.after());
        Self {
            question,
            lower,
            memory,
            folder,
            watch,
            refused_at: None,
            is_silent: false,
            is_heard: false,
        }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        let started = Instant::now();
        let now = || {
            let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            Timestamp::ZERO + DurationMs::from_millis(millis)
        };
        loop {
            let (asked_at, asked) = (now(), Instant::now());
            let after = self.memory.after();
            let answered = self
                .question
                .ask(Duration::from_millis(patience(after).as_millis()))
                .await;
            match answered {
                Answered::Beat(beat) if beat.key_may_more.is_empty() => {
                    self.on_alive();
                    if !self.is_heard {
                        self.is_heard = true;
                        info!(
                            endpoints = beat.endpoints.len(),
                            after_ms = beat.guard_after_ms,
                            "the server answers; it is watched"
                        );
                    }
                    if self.memory.learn(&beat) {
                        if self.memory.after() != after {
                            self.watch = Watch::new(self.memory.after());
                        }
                        if let Err(error) = self.memory.write(&self.folder) {
                            error!(%error, folder = %self.folder.display(), "what there is to lower cannot be remembered");
                        }
                    }
                }
                Answered::Beat(beat) => {
                    self.on_alive();
                    self.refused(&format!(
                        "this key may do more than a guard needs ({}); make one with `overspill keys \
                         create --kind guard --name guard`",
                        beat.key_may_more.join(", ")
                    ));
                }
                Answered::Refused(reason) => {
                    self.on_alive();
                    self.refused(&reason);
                }
                Answered::Silent(reason) => {
                    if !self.is_silent {
                        self.is_silent = true;
                        warn!(reason, "the server is silent");
                    }
                    if self.watch.on_silence(asked_at) {
                        let silent = self.watch.silent_for(now());
                        error!(%silent, "the server has been silent for too long: no cloud worker may stay on");
                        if self.lower_all().await == Outcome::SomeFailed {
                            self.watch.on_failed();
                        }
                    }
                }
            }
            let next = asked + Duration::from_millis(every(self.memory.after()).as_millis());
            tokio::time::sleep_until(next).await;
        }
    }

    fn on_alive(&mut self) {
        if self.watch.on_answer() {
            info!("the server answers again; its limits are its own to set");
        } else if self.is_silent {
            info!("the server answers again");
        }
        self.is_silent = false;
    }

    fn refused(&mut self, reason: &str) {
        let is_new = self
            .refused_at
            .is_none_or(|at| at.elapsed() >= REFUSAL_AGAIN);
        if is_new {
            self.refused_at = Some(Instant::now());
            error!("the server does not count on this guard: {reason}");
        }
    }

    /// Sets the limits of everything that is known of to zero.
    async fn lower_all(&self) -> Outcome {
        let mut outcome = Outcome::AllZero;
        let mut targets: BTreeSet<String> = self.memory.endpoints.clone();
        if let Some(installation) = &self.memory.installation {
            match self.lower.made_by(installation).await {
                Ok(made) => targets.extend(made),
                Err(error) => {
                    warn!(%error, "RunPod's endpoints cannot be listed; those that are remembered are lowered");
                }
            }
        }
        if targets.is_empty() {
            warn!("no endpoint is known of: there is nothing to lower");
        }
        for endpoint in targets {
            match self.lower.lower(&endpoint).await {
                Ok(Lowered::From(min, max)) => {
                    error!(endpoint, min, max, "lowered to min 0, max 0");
                }
                Ok(Lowered::Already) => info!(endpoint, "min 0, max 0 already"),
                Ok(Lowered::Gone) => info!(endpoint, "RunPod has no such endpoint"),
                Err(error) => {
                    outcome = Outcome::SomeFailed;
                    error!(
                        endpoint,
                        error = &error as &dyn std::error::Error,
                        "cannot be lowered; it is tried again"
                    );
                }
            }
        }
        outcome
    }
}

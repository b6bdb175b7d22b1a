//! A job's end on its way to the receiver that the job named: its record, and when it is tried again.
//!
//! The record is written with the end itself, in the same transaction, and is the store's from then
//! on: the core holds none of it. Whoever delivers reads what is due, tries, and says
//! [`crate::event::Event::WebhookTried`] with the record as it was read; the rule here makes the next
//! record of it. It knows nothing of HTTP but the status, and nothing of addresses.
//!
//! **Words.** A *webhook* is one report of one end; it is *due*, *delivered*, or *dead* (given up).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alert::{self, BudgetAlert};
use crate::change::{EndedJob, FinalState};
use crate::id::{EndpointId, JobId};
use crate::time::{DurationMs, Timestamp};

/// Pauses between attempts: the first attempt is at once, the second 5 s after it failed, and so on
/// for three days.
pub const PAUSES: [DurationMs; 9] = [
    DurationMs::from_secs(5),
    DurationMs::from_secs(5 * 60),
    DurationMs::from_secs(30 * 60),
    DurationMs::from_secs(2 * 3_600),
    DurationMs::from_secs(5 * 3_600),
    DurationMs::from_secs(10 * 3_600),
    DurationMs::from_secs(14 * 3_600),
    DurationMs::from_secs(20 * 3_600),
    DurationMs::from_secs(24 * 3_600),
];
/// The generation of the webhooks of alerts: no job is retried so often.
pub const ALERT_GENERATION: u32 = u32::MAX;
/// Attempts after which a webhook is given up.
pub const ATTEMPTS_MAX: u32 = PAUSES.len() as u32 + 1;
/// A webhook that was given up keeps its job for replays this long.
const DEAD_KEPT: DurationMs = DurationMs::from_secs(7 * 24 * 3_600);
/// A pause is longer or shorter by up to this many thousandths, so that what failed together does
/// not come back together.
const JITTER_PER_MILLE: u64 = 100;
/// Why it failed is kept up to this many characters.
const ERROR_CHARS_MAX: usize = 300;

/// Names one report of one end: the same in every attempt, whatever becomes of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WebhookId {
    /// Whose end it reports.
    pub job: JobId,
    /// Which end of it: a job that is retried ends again.
    pub generation: u32,
}

impl fmt::Display for WebhookId {
    /// `msg_<job>_<generation>`: without the full stop, which separates the parts that are signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msg_{}_{}", self.job, self.generation)
    }
}

/// A text is no webhook's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's id is msg_, a job's id, _ and a number")]
pub struct NoWebhookId;

impl std::str::FromStr for WebhookId {
    type Err = NoWebhookId;

    fn from_str(text: &str) -> Result<Self, NoWebhookId> {
        let rest = text.strip_prefix("msg_").ok_or(NoWebhookId)?;
        let (job, generation) = rest.rsplit_once('_').ok_or(NoWebhookId)?;
        let id = Self {
            job: job.parse().map_err(|_| NoWebhookId)?,
            generation: generation.parse().map_err(|_| NoWebhookId)?,
        };
        // One text for one id: no plus sign, no zeros in front.
        (id.to_string() == text).then_some(id).ok_or(NoWebhookId)
    }
}

/// Where a webhook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// To be tried at [`Webhook::next_at`].
    Due,
    /// The receiver took it.
    Delivered,
    /// Given up: every attempt failed, or the receiver said that it is gone.
    Dead,
}

/// One report of one end, with what its body says beside input and output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Which.
    pub id: WebhookId,
    /// Where the job was sent.
    pub endpoint: EndpointId,
    /// Where it goes.
    pub url: String,
    /// How the job ended.
    pub end: FinalState,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Submit to the start of the last attempt.
    pub delay: Option<DurationMs>,
    /// Time inside the last attempt.
    pub execution: Option<DurationMs>,
    /// The error, for a failed job.
    pub error: Option<String>,
    /// Bytes of the job's input and output together.
    pub payload_bytes: u64,
    /// Where it is.
    pub state: WebhookState,
    /// Attempts made since it became due, first or by a replay.
    pub attempts: u32,
    /// When the next attempt is due; of no meaning once it is delivered or dead.
    pub next_at: Timestamp,
    /// When the last attempt was over.
    pub tried_at: Option<Timestamp>,
    /// The status that the receiver answered last.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub failure: Option<String>,
    /// The job's record is kept until then at least.
    pub keep_until: Timestamp,
    /// What it reports, where that is no job's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Box<BudgetAlert>>,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum WebhookOutcome {
    /// A status from 200 to 299.
    Accepted {
        /// Which.
        status: u16,
    },
    /// Anything else that may get better.
    Failed {
        /// The status, where there was an answer.
        status: Option<u16>,
        /// In words.
        failure: String,
    },
    /// The receiver said 410: it wants no more.
    Gone,
}

impl Webhook {
    /// The report of an end, due at once; `None` for a job that named no receiver.
    #[must_use]
    pub fn of(ended: &EndedJob, input_bytes: u64) -> Option<Self> {
        Some(Self {
            id: WebhookId {
                job: ended.id,
                generation: ended.generation,
            },
            endpoint: ended.endpoint,
            url: ended.webhook.clone()?,
            end: ended.state,
            ended_at: ended.ended_at,
            delay: ended.delay,
            execution: ended.execution,
            error: ended.error.clone(),
            payload_bytes: input_bytes.saturating_add(ended.output.bytes),
            state: WebhookState::Due,
            attempts: 0,
            next_at: ended.ended_at,
            tried_at: None,
            status: None,
            failure: None,
            keep_until: Timestamp::NEVER,
            alert: None,
        })
    }

    /// The report of an alert, due at once.
    #[must_use]
    pub fn of_alert(alert: &BudgetAlert, url: &str) -> Self {
        Self {
            id: WebhookId {
                job: alert.webhook_job(),
                generation: ALERT_GENERATION,
            },
            endpoint: alert::SENDER,
            url: url.to_owned(),
            end: FinalState::Completed,
            ended_at: alert.at,
            delay: None,
            execution: None,
            error: None,
            payload_bytes: 0,
            state: WebhookState::Due,
            attempts: 0,
            next_at: alert.at,
            tried_at: None,
            status: None,
            failure: None,
            keep_until: Timestamp::NEVER,
            alert: Some(Box::new(alert.clone())),
        }
    }

    /// Whom it goes to: host and port as the URL has them. What goes to one receiver is bounded and
    /// held back together.
    #[must_use]
    pub fn receiver(&self) -> String {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        rest[..end].to_ascii_lowercase()
    }

    /// The record after an attempt that was over at `now`.
    #[must_use]
    pub fn after(mut self, outcome: WebhookOutcome, now: Timestamp) -> Self {
        self.attempts = self.attempts.saturating_add(1);
        self.tried_at = Some(now);
        match outcome {
            WebhookOutcome::Accepted { status } => {
                self.status = Some(status);
                self.failure = None;
                self.state = WebhookState::Delivered;
                // No job's retention bounds how long an alert can be looked at.
                self.keep_until = if self.alert.is_some() {
                    now + DEAD_KEPT
                } else {
                    now
                };
            }
            WebhookOutcome::Failed { status, failure } => {
                self.status = status;
                self.failure = Some(failure.chars().take(ERROR_CHARS_MAX).collect());
                match PAUSES.get(self.attempts as usize - 1) {
                    Some(&pause) => self.next_at = now + self.jittered(pause),
                    None => self.give_up(now),
                }
            }
            WebhookOutcome::Gone => {
                self.status = Some(410);
                self.failure = Some("the receiver answered 410: it wants no more".to_owned());
                self.give_up(now);
            }
        }
        self
    }

    /// The record when someone asks for it to be sent again: due at once, with all attempts ahead.
    #[must_use]
    pub fn again(mut self, now: Timestamp) -> Self {
        self.state = WebhookState::Due;
        self.attempts = 0;
        self.next_at = now;
        self.keep_until = Timestamp::NEVER;
        self
    }

    fn give_up(&mut self, now: Timestamp) {
        self.state = WebhookState::Dead;
        self.keep_until = now + DEAD_KEPT;
    }

    /// The same pause for the same attempt of the same webhook, and another for every other.
    fn jittered(&self, pause: DurationMs) -> DurationMs {
        let uuid = self.id.job.uuid();
        #[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
        let mut bits = (uuid as u64) ^ ((uuid >> 64) as u64);
        bits ^= (u64::from(self.id.generation) << 32) | u64::from(self.attempts);
        // The finishing steps of SplitMix64: neighbouring ids get unlike pauses.
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let factor = 1_000 - JITTER_PER_MILLE + bits % (2 * JITTER_PER_MILLE + 1);
        DurationMs::from_millis(pause.as_millis() * factor / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PayloadRef;

    fn webhook(n: u128) -> Webhook {
        let ended = EndedJob {
            id: JobId::new(n, false),
            endpoint: EndpointId(1),
            generation: 2,
            state: FinalState::Failed,
            submitted_at: Timestamp::ZERO,
            ended_at: Timestamp::from_millis(1_000),
            delay: None,
            execution: None,
            attempts: 1,
            worker: None,
            pool: None,
            output: PayloadRef {
                handle: 1,
                bytes: 20,
            },
            error: Some("it broke".into()),
            error_code: None,
            body_sha256: None,
            expires_at: Timestamp::from_millis(2_000),
            webhook: Some("https://e.org/".into()),
            terms: None,
            trace: None,
            region: None,
        };
        Webhook::of(&ended, 3).unwrap()
    }

    fn failed() -> WebhookOutcome {
        WebhookOutcome::Failed {
            status: Some(500),
            failure: "x".repeat(1_000),
        }
    }

    #[test]
    fn an_id_reads_as_it_is_written() {
        let id = webhook(7).id;
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(!text.contains('.'), "{text}");
        for junk in [
            "",
            "msg_",
            "msg_x_0",
            &text[4..],
            &format!("{text}x"),
            &text.replace("_2", "_+2"),
            &text.replace("_2", "_02"),
        ] {
            assert_eq!(junk.parse::<WebhookId>(), Err(NoWebhookId), "{junk}");
        }
    }

    #[test]
    fn f30_a_receiver_that_is_down_is_tried_for_three_days() {
        let mut webhook = webhook(7);
        assert_eq!(webhook.payload_bytes, 23);
        let mut now = webhook.next_at;
        for pause in PAUSES {
            webhook = webhook.after(failed(), now);
            assert_eq!(webhook.state, WebhookState::Due);
            assert_eq!(webhook.keep_until, Timestamp::NEVER);
            let waited = webhook.next_at.since(now).as_millis();
            let wanted = pause.as_millis();
            assert!(
                (wanted * 9 / 10..=wanted * 11 / 10).contains(&waited),
                "{waited} for {wanted}"
            );
            now = webhook.next_at;
        }
        let days = now.since(Timestamp::ZERO).as_millis() / 86_400_000;
        assert!((2..=4).contains(&days), "{days}");
        webhook = webhook.after(failed(), now);
        assert_eq!(webhook.state, WebhookState::Dead);
        assert_eq!(webhook.attempts, ATTEMPTS_MAX);
        assert_eq!(webhook.keep_until, now + DEAD_KEPT);
        assert_eq!(webhook.failure.as_ref().unwrap().len(), ERROR_CHARS_MAX);
        let again = webhook.again(now);
        assert_eq!((again.state, again.attempts), (WebhookState::Due, 0));
        assert_eq!(again.next_at, now);
    }

    #[test]
    fn pauses_are_as_documented() {
        let minutes = PAUSES.map(|pause| pause.as_millis() / 60_000);
        assert_eq!(minutes, [0, 5, 30, 120, 300, 600, 840, 1_200, 1_440]);
        assert_eq!(PAUSES[0], DurationMs::from_secs(5));
    }

    #[test]
    fn pauses_differ_between_jobs_and_never_for_one() {
        let next = |n| webhook(n).after(failed(), Timestamp::ZERO).next_at;
        assert_eq!(next(7), next(7));
        let all: std::collections::BTreeSet<_> = (0..100).map(next).collect();
        assert!(all.len() > 50, "{}", all.len());
    }

    #[test]
    fn f30_410_ends_it_at_once_and_2xx_delivers_it() {
        let now = Timestamp::from_millis(5_000);
        let gone = webhook(1).after(WebhookOutcome::Gone, now);
        assert_eq!((gone.state, gone.status), (WebhookState::Dead, Some(410)));
        let taken = webhook(1).after(WebhookOutcome::Accepted { status: 204 }, now);
        assert_eq!(taken.state, WebhookState::Delivered);
        assert_eq!((taken.status, taken.keep_until), (Some(204), now));
    }
}

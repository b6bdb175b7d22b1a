//! Takes in what came of submissions and of questions about jobs.

use super::super::answer::{CloudJobId, CloudState};
use super::super::breaker;
use super::super::client::{CloudError, RefusalReason, SubmitError};
use super::super::limits::backoff_ms;
use super::poll::Polled;
use super::run::Runner;
use super::schedule::{POLL_MS_MAX, Wish, poll_interval_ms};
use super::translate;
use super::workers::HEALTH_BUSY_MS;
use overspill_core::event::{CloudJobState, Event};
use overspill_core::id::{AttemptId, PoolId};

/// A job that the cloud does not know is asked about for this long before its watch ends, in milliseconds: a fresh
/// one can be invisible at first.
const VISIBLE_LATE_MS: i64 = 40_000;

/// Wait after a refused key before results are asked for again, in milliseconds.
const UNAUTHORIZED_WAIT_MS: i64 = 30_000;

impl Runner {
    pub(super) fn on_submitted(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        outcome: Result<CloudJobId, SubmitError>,
        now_ms: i64,
    ) {
        self.submits_in_flight -= 1;
        let outcome_of_call = match &outcome {
            Err(SubmitError::NotAccepted {
                reason: RefusalReason::Unauthorized,
                ..
            }) => breaker::Outcome::Unauthorized,
            Err(SubmitError::NotAccepted {
                reason: RefusalReason::Unreachable,
                ..
            })
            | Err(SubmitError::Unknown { .. }) => breaker::Outcome::Failed,
            Ok(_) | Err(SubmitError::NotAccepted { .. }) => breaker::Outcome::Alive,
        };
        // The breaker's word, if it opens, comes after the outcome that opened it.
        match outcome {
            Ok(cloud_job) => self.tell(Event::CloudSubmitted {
                attempt,
                cloud_job: cloud_job.to_string(),
            }),
            Err(error) => {
                tracing::warn!(%attempt, %pool, %error, "a submission failed");
                self.tell(translate::submit_failed(attempt, &error));
                let is_paused = matches!(
                    error,
                    SubmitError::NotAccepted {
                        reason: RefusalReason::Paused,
                        ..
                    }
                );
                if let Some(state) = self.pools.get_mut(&pool).filter(|_| is_paused) {
                    state.lane.doubt();
                }
            }
        }
        if let Some(state) = self.pools.get_mut(&pool) {
            state.submits_in_flight = state.submits_in_flight.saturating_sub(1);
            state.health_due_ms = state.health_due_ms.min(now_ms + HEALTH_BUSY_MS);
        }
        self.record(pool, outcome_of_call, now_ms);
    }

    pub(super) fn on_polled(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        asked: Wish,
        polled: Polled,
        now_ms: i64,
    ) {
        self.record(pool, breaker::Outcome::Alive, now_ms);
        let streams = match self.pools.get_mut(&pool) {
            Some(state) => {
                state.poll_failures = 0;
                state.retries.on_first_try();
                state.access.streams
            }
            None => false,
        };
        if self.schedule.get_mut(attempt).is_none() {
            return;
        }
        let brought_chunks = !polled.chunks.is_empty();
        for chunk in polled.chunks {
            let reference = translate::payload_ref(Some(&chunk));
            self.events.send(
                Event::CloudChunk {
                    attempt,
                    chunk: reference,
                },
                Some(chunk),
            );
        }
        let wishes_stream = self
            .schedule
            .get_mut(attempt)
            .is_some_and(|w| w.wish == Wish::Stream);
        if asked == Wish::Watch && wishes_stream && !brought_chunks {
            // Its stream was asked for meanwhile: the chunks come before the end.
            self.schedule.ask_again(attempt, now_ms);
            return;
        }
        let ended = polled.status.as_ref().and_then(translate::ended);
        if let Some((state, output)) = ended {
            self.schedule.forget(attempt);
            self.events
                .send(Event::CloudStatus { attempt, state }, output);
            return;
        }
        let Some(watch) = self.schedule.get_mut(attempt) else {
            return;
        };
        watch.misses = 0;
        watch.failures = 0;
        watch.heard_ms = now_ms;
        let was_spared = asked
            == (Wish::Cancel {
                only_if_queued: true,
            });
        if was_spared && watch.wish == asked {
            watch.wish = if streams { Wish::Stream } else { Wish::Watch };
            // Told again, so that the core knows that its wish was not carried out.
            watch.told = None;
        }
        let age_ms = now_ms - watch.since_ms;
        let mut word = None;
        match (&polled.status, &polled.streaming) {
            (Some(status), _) => {
                let telling = (
                    status.state == CloudState::Running,
                    status.worker_id.clone(),
                );
                if watch.told.as_ref() != Some(&telling)
                    && let Some(state) = translate::live(status)
                {
                    watch.told = Some(telling);
                    self.events
                        .send(Event::CloudStatus { attempt, state }, None);
                }
                let progress = status
                    .output
                    .as_ref()
                    .filter(|output| watch.progress.as_ref() != Some(*output));
                if let Some(progress) = progress.filter(|_| status.state == CloudState::Running) {
                    watch.progress = Some(progress.clone());
                    let event = Event::CloudProgress {
                        attempt,
                        progress: translate::payload_ref(Some(progress)),
                    };
                    self.events.send(event, Some(progress.clone()));
                }
                if let CloudState::Unknown(unknown) = &status.state {
                    word = Some(unknown.clone());
                }
            }
            (None, Some(CloudState::Running))
                if watch.told.as_ref().is_none_or(|(runs, _)| !runs) =>
            {
                watch.told = Some((true, None));
                let state = CloudJobState::Running {
                    worker: None,
                    delay: None,
                };
                self.events
                    .send(Event::CloudStatus { attempt, state }, None);
            }
            (None, _) => {}
        }
        let wait_ms = match watch.wish {
            Wish::Watch => poll_interval_ms(age_ms),
            // All streams together stay near a hundred polls a second, half of the documented rate.
            Wish::Stream => i64::try_from(self.streams)
                .unwrap_or(i64::MAX)
                .saturating_mul(10)
                .clamp(100, 2_000),
            Wish::Cancel { .. } => 500,
        };
        self.schedule.ask_again(attempt, now_ms + wait_ms);
        if let Some(word) = word
            && let Some(state) = self.pools.get_mut(&pool)
            && state.unknown_words.len() < 100
            && state.unknown_words.insert(word.clone())
        {
            tracing::warn!(%attempt, %pool, word, "the cloud names a job state that is not known; it counts as running");
        }
    }

    pub(super) fn on_poll_failed(
        &mut self,
        attempt: AttemptId,
        pool: PoolId,
        error: &CloudError,
        now_ms: i64,
    ) {
        let outcome = match error {
            CloudError::Unauthorized { .. } => breaker::Outcome::Unauthorized,
            CloudError::Protocol(_) | CloudError::Unavailable { .. } | CloudError::Transport(_) => {
                breaker::Outcome::Failed
            }
            _ => breaker::Outcome::Alive,
        };
        self.record(pool, outcome, now_ms);
        let Some(state) = self.pools.get_mut(&pool) else {
            return;
        };
        let Some(watch) = self.schedule.get_mut(attempt) else {
            return;
        };
        let wait_ms = match error {
            CloudError::Gone { .. } => {
                if watch.on_missing(now_ms) {
                    let age_ms = now_ms - watch.since_ms;
                    self.events.send(Event::CloudGone { attempt }, None);
                    if age_ms > VISIBLE_LATE_MS {
                        self.schedule.forget(attempt);
                        return;
                    }
                }
                1_000
            }
            CloudError::RateLimited { retry_after_ms } => {
                let wait_ms = backoff_ms(0, 250, 1_000, Some(*retry_after_ms), rand::random())
                    .min(POLL_MS_MAX);
                state.polls_not_before_ms = state.polls_not_before_ms.max(now_ms + wait_ms);
                wait_ms
            }
            CloudError::Unauthorized { .. } => {
                state.polls_not_before_ms = now_ms + UNAUTHORIZED_WAIT_MS;
                UNAUTHORIZED_WAIT_MS
            }
            CloudError::Unavailable { .. } | CloudError::Transport(_) => {
                state.poll_failures = state.poll_failures.saturating_add(1);
                watch.failures = watch.failures.saturating_add(1);
                let mut pause_ms =
                    backoff_ms(state.poll_failures, 250, 10_000, None, rand::random());
                if !state.retries.take() {
                    pause_ms = pause_ms.max(2_000);
                }
                state.polls_not_before_ms = state.polls_not_before_ms.max(now_ms + pause_ms);
                pause_ms
            }
            CloudError::Protocol(_) | CloudError::Conflict { .. } | CloudError::Rejected { .. } => {
                if watch.failures == 0 {
                    tracing::warn!(%attempt, %pool, %error, "the cloud's answer about a job cannot be used; asked again");
                }
                watch.failures = watch.failures.saturating_add(1);
                250 + backoff_ms(watch.failures, 500, 30_000, None, rand::random())
            }
        };
        self.schedule.ask_again(attempt, now_ms + wait_ms);
    }
}

//! What all parts of a storm share: the time, what is planned, chance, the inbox, the trace.

use std::collections::{BTreeMap, VecDeque};

use overspill_core::effect::Effect;
use overspill_core::event::Event;
use overspill_core::id::{AttemptId, JobId, PollId, PoolId, RequestId, WorkerId};
use overspill_core::time::{DurationMs, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::agenda::Agenda;
use crate::faults::{Fault, Faults};
use crate::trace::Trace;

/// Something planned.
#[derive(Debug)]
pub(crate) enum Action {
    /// The engine looks into its inbox.
    Batch,
    /// The disk is done with a batch, of the process of this number.
    Commit(u64),
    /// The serving process starts again.
    Boot,
    /// The serving process is killed, maybe.
    Crash,
    /// A fact reaches the server's door; with who waits for the answer.
    Arrive(Event, Option<Asker>),
    /// A fact of the server's own, known to the process of this number alone.
    Inner(u64, Event),
    /// At a worker, or its host.
    Local(Local),
    /// At RunPod, or on the way there or back.
    Cloud(Cloud),
    /// A client does something.
    Client,
    /// No fault from now on: the storm of this number is over.
    Calm(u32),
    /// The next storm begins.
    Storm,
    /// The serving process of this number goes on.
    Thaw(u64),
}

/// At a worker, or its host.
#[derive(Debug)]
pub(crate) enum Local {
    Spawn {
        worker: WorkerId,
    },
    Ready {
        worker: WorkerId,
    },
    Ask {
        worker: WorkerId,
    },
    AskTimedOut {
        worker: WorkerId,
        poll: PollId,
    },
    RunEnds {
        worker: WorkerId,
        job: JobId,
        handle: u64,
    },
    Post {
        worker: WorkerId,
        job: JobId,
        handle: u64,
    },
    Ping {
        worker: WorkerId,
    },
    ZombiePing {
        worker: WorkerId,
        jobs: Vec<JobId>,
        left: u32,
    },
    Exit {
        worker: WorkerId,
        code: Option<i32>,
    },
    /// Somebody looks at the cards.
    Cards,
    Misfortune,
}

/// At RunPod, or on the way there or back.
#[derive(Debug)]
pub(crate) enum Cloud {
    Submit {
        process: u64,
        attempt: AttemptId,
        pool: PoolId,
        execution_timeout: DurationMs,
        ttl: DurationMs,
    },
    Poll {
        process: u64,
        attempt: AttemptId,
    },
    Cancel {
        process: u64,
        attempt: AttemptId,
    },
    Scale {
        process: u64,
        pool: PoolId,
    },
    Health {
        process: u64,
        pool: PoolId,
    },
    Bill {
        process: u64,
    },
    Misfortune,
}

/// Who waits for an answer.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// A client that submitted.
    Submit(JobId),
    /// A client that retried.
    Retry(JobId),
    /// A client that asked for something else.
    Other,
    /// A worker that posted a result.
    Post {
        worker: WorkerId,
        job: JobId,
        handle: u64,
    },
}

/// What all parts share.
pub(crate) struct Scene {
    pub(crate) now: Timestamp,
    pub(crate) agenda: Agenda<Action>,
    pub(crate) faults: Faults,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) trace: Trace,
    /// Facts that the engine has not taken yet.
    pub(crate) inbox: VecDeque<Event>,
    /// Requests that came in while no process served: the keeper's socket holds them.
    pub(crate) backlog: VecDeque<(Event, Option<Asker>)>,
    pub(crate) askers: BTreeMap<RequestId, Asker>,
    /// When a worker of ours was rid of a run, whatever became of its result.
    pub(crate) given_up: BTreeMap<u64, Timestamp>,
    pub(crate) is_up: bool,
    /// Numbers the serving processes.
    pub(crate) process: u64,
    /// The serving process is stopped until then.
    pub(crate) frozen_until: Timestamp,
    /// When the engine looks next.
    pub(crate) next_batch: Option<Timestamp>,
    next: u64,
}

impl Scene {
    pub(crate) fn new(seed: u64, faults: Faults, keep: usize) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(8);
        Self {
            now: Timestamp::ZERO,
            agenda: Agenda::default(),
            faults,
            rng,
            trace: Trace::new(keep),
            inbox: VecDeque::new(),
            backlog: VecDeque::new(),
            askers: BTreeMap::new(),
            given_up: BTreeMap::new(),
            is_up: false,
            process: 0,
            frozen_until: Timestamp::ZERO,
            next_batch: None,
            next: 0,
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        self.faults.strikes(fault)
    }

    /// A number of milliseconds between these.
    pub(crate) fn ms(&mut self, from: u64, to: u64) -> DurationMs {
        DurationMs::from_millis(self.rng.random_range(from..=to))
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random::<f64>() < probability
    }

    /// Whether the serving process lives, and is stopped.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen_until > self.now
    }

    /// Plans something for `wait` from now.
    pub(crate) fn after(&mut self, wait: DurationMs, action: Action) {
        self.agenda.at(self.now + wait, action);
    }

    /// Wakes the engine at `at`, or earlier.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        let at = at.max(self.now).max(self.frozen_until);
        if self.next_batch.is_none_or(|next| at < next) {
            self.next_batch = Some(at);
            self.agenda.at(at, Action::Batch);
        }
    }

    /// A fact for the inbox of the process that serves now.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.is_up {
            self.inbox.push_back(event);
            let at = self.now + self.ms_small();
            self.wake(at);
        }
    }

    fn ms_small(&mut self) -> DurationMs {
        self.ms(0, 2)
    }

    /// A request reaches the server's door: the inbox, or the backlog of the keeper's socket.
    pub(crate) fn arrive(&mut self, mut event: Event, asker: Option<Asker>) {
        if !self.is_up || self.is_frozen() {
            self.backlog.push_back((event, asker));
            return;
        }
        let id = RequestId(self.number());
        match &mut event {
            Event::LimitsSet { request, .. }
            | Event::ScalerSet { request, .. }
            | Event::MaxWaitSet { request, .. }
            | Event::Submitted { request, .. }
            | Event::CancelAsked { request, .. }
            | Event::PurgeAsked { request, .. }
            | Event::RetryAsked { request, .. }
            | Event::ProgressMade { request, .. }
            | Event::ChunkMade { request, .. }
            | Event::Finished { request, .. } => *request = id,
            Event::TakeWaiting { deadline, .. } => *deadline = self.now + DurationMs::from_secs(50),
            _ => {}
        }
        if let Some(asker) = asker {
            self.askers.insert(id, asker);
        }
        self.tell(event);
    }

    pub(crate) fn note_effect(&mut self, effect: &Effect) {
        self.trace.note(self.now, "effect", effect);
    }
}

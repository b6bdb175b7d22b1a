//! What comes into the engine's inbox.

use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::id::{PollId, WorkerId};
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use overspill_store::Store;
use tokio::sync::oneshot;

use super::api::{MakeEvent, Payload, TakenJob};

/// Reads the core after a commit.
pub type Query = Box<dyn FnOnce(&Core) + Send>;
/// Uses the store between two batches.
pub type StoreUse = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// One thing for the engine to do.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are facts, and none is kept: a box for each would cost more than the room"
)]
pub enum Message {
    /// A fact that nobody waits for.
    Tell {
        /// The fact.
        event: Event,
        /// The bytes behind its payloads.
        payloads: Vec<Payload>,
    },
    /// A fact whose answer someone waits for.
    Ask {
        /// Makes the fact.
        make: MakeEvent,
        /// The bytes behind its payloads.
        payloads: Vec<Payload>,
        /// Gets the answer, after the commit.
        reply: oneshot::Sender<Answer>,
    },
    /// A worker waits for jobs.
    Take {
        /// Names the held request.
        poll: PollId,
        /// Whose it is.
        worker: WorkerId,
        /// Jobs it would take.
        room: u32,
        /// It says that it holds none.
        is_idle: bool,
        /// Answered with nothing by then.
        deadline: Timestamp,
        /// Gets the jobs; empty means nothing.
        reply: oneshot::Sender<Vec<TakenJob>>,
    },
    /// Someone reads the core.
    Query(Query),
    /// Someone uses the store.
    Store(StoreUse),
    /// The engine ends after this batch, with the store closed.
    Stop(oneshot::Sender<()>),
}

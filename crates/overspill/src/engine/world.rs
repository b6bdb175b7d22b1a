//! Whom the engine asks to carry out what reaches beyond this process.

use bytes::Bytes;
use overspill_core::effect::Effect;

/// Starts processes and talks to the cloud. Must not block; outcomes come back as events.
pub trait World: Send {
    /// Carries out an effect that concerns workers' processes or the cloud. `input` is the job's
    /// input for [`Effect::CloudSubmit`].
    fn carry_out(&mut self, effect: Effect, input: Option<Bytes>);

    /// Pools and endpoints were published, and may be others than before.
    fn published(&mut self) {}
}

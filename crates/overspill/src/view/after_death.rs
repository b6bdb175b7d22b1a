//! What RunPod could still bill if every process of Overspill died, for people.

use overspill_core::bound::Bound;
use overspill_core::machine::Core;
use serde::Serialize;

use crate::config::units::format_money;

/// The bounds, in billionths of a dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AfterDeath {
    /// If everything died now; the guard lives on where there is one.
    pub now_nano_usd: i64,
    /// The same at any moment from now on, as limits and caps are.
    pub most_nano_usd: i64,
    /// At any moment from now on, if the guard died too.
    pub most_alone_nano_usd: i64,
    /// Whether a guard watches.
    pub is_guarded: bool,
    /// Workers that are or may be kept on.
    pub workers_kept_on: u32,
}

impl AfterDeath {
    pub(super) fn at(core: &Core) -> Self {
        let (now, most) = (core.bound_now(), core.bound_most());
        Self {
            now_nano_usd: now.total().as_nanos(),
            most_nano_usd: most.total().as_nanos(),
            most_alone_nano_usd: most.alone().as_nanos(),
            is_guarded: most.is_guarded,
            workers_kept_on: most.workers_kept_on,
        }
    }
}

/// The bound as a sentence; `None` where nothing could be billed.
#[must_use]
pub fn in_words(bound: &Bound) -> Option<String> {
    if bound.alone().as_nanos() == 0 {
        return None;
    }
    let jobs = format_money(bound.jobs);
    let kept_on = bound.workers_kept_on;
    Some(if kept_on == 0 {
        format!(
            "if every process of Overspill died, RunPod could still bill at most {jobs}, for jobs that it \
             has by then"
        )
    } else {
        let workers = if kept_on == 1 { "worker" } else { "workers" };
        format!(
            "if every process of Overspill died, RunPod could still bill at most {} with a guard ({jobs} for \
             jobs, {} for {kept_on} {workers} kept on until it lowers), and {} if the guard died too",
            format_money(bound.guarded()),
            format_money(bound.kept_on),
            format_money(bound.alone()),
        )
    })
}

#[cfg(test)]
mod tests {
    use overspill_core::money::NanoUsd;

    use super::*;

    #[test]
    fn the_sentence_names_the_sums() {
        let usd = |text: &str| NanoUsd::parse_usd(text).unwrap();
        assert_eq!(in_words(&Bound::default()), None);
        let jobs = Bound {
            jobs: usd("1.32"),
            ..Bound::default()
        };
        let text = in_words(&jobs).unwrap();
        assert!(text.contains("at most $1.32, for jobs"), "{text}");
        let kept_on = Bound {
            kept_on: usd("0.1"),
            kept_on_alone: usd("70"),
            workers_kept_on: 2,
            ..jobs
        };
        let text = in_words(&kept_on).unwrap();
        for part in [
            "at most $1.42 with a guard",
            "$0.1 for 2 workers",
            "$71.32 if the guard died",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

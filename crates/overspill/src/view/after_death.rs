//! What RunPod could still bill if every process of Overspill died, for people.

use overspill_core::bound::Bound;
use overspill_core::machine::Core;
use overspill_core::money::NanoUsd;
use serde::Serialize;

use crate::config::units::format_money;

/// A cent, in billionths of a dollar.
const CENT: i64 = 10_000_000;

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
    let [jobs, guarded, alone] = [bound.jobs, bound.kept_on, bound.kept_on_alone].map(cents);
    let kept_on = bound.workers_kept_on;
    Some(if kept_on == 0 {
        format!(
            "if every process of Overspill died, RunPod could still bill at most {}, for jobs that it \
             has by then",
            format_money(jobs)
        )
    } else {
        let workers = if kept_on == 1 { "worker" } else { "workers" };
        format!(
            "if every process of Overspill died, RunPod could still bill at most {} with a guard ({} for \
             jobs, {} for {kept_on} {workers} kept on until it lowers), and {} if the guard died too",
            format_money(jobs + guarded),
            format_money(jobs),
            format_money(guarded),
            format_money(jobs + alone),
        )
    })
}

/// In whole cents, upwards: a bound stays one, and the parts add up to the sums.
fn cents(amount: NanoUsd) -> NanoUsd {
    let cents = (amount.as_nanos() + CENT - 1).div_euclid(CENT);
    NanoUsd::from_nanos(cents * CENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_the_sums() {
        let usd = |text: &str| NanoUsd::parse_usd(text).unwrap();
        assert_eq!(in_words(&Bound::default()), None);
        let jobs = Bound {
            jobs: usd("1.311000001"),
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
            "$0.10 for 2 workers",
            "$71.32 if the guard died",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

//! The seeded chance of the cloud: separate streams for ids, start-up times, placement and faults, so that
//! one more submission does not change how long the next worker takes to start.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// An inclusive range of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MsRange {
    /// Shortest.
    pub from: u64,
    /// Longest.
    pub to: u64,
}

impl MsRange {
    /// From `from` to `to` milliseconds, in either order.
    #[must_use]
    pub fn new(from: u64, to: u64) -> Self {
        Self {
            from: from.min(to),
            to: from.max(to),
        }
    }
}

/// All chance of one cloud.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    ids: ChaCha12Rng,
    starts: ChaCha12Rng,
    places: ChaCha12Rng,
    faults: ChaCha12Rng,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let stream = |number: u64| {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        Self {
            ids: stream(1),
            starts: stream(2),
            places: stream(3),
            faults: stream(4),
        }
    }

    /// Fourteen letters and digits, as RunPod's endpoint and worker ids look.
    pub(crate) fn short_id(&mut self) -> String {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        (0..14)
            .map(|_| char::from(ALPHABET[self.ids.random_range(0..ALPHABET.len())]))
            .collect()
    }

    /// A job id with RunPod's region suffix.
    pub(crate) fn job_id(&mut self, sync: bool) -> String {
        let bits: u128 = self.ids.random();
        // Version 4, variant 1.
        let bits = (bits & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!(
            "{}{}-{}-{}-{}-{}-u1",
            if sync { "sync-" } else { "" },
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    /// A start-up time out of `range`.
    pub(crate) fn start_ms(&mut self, range: MsRange) -> u64 {
        self.starts.random_range(range.from..=range.to)
    }

    /// An index below `len`, which is not 0.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        self.places.random_range(0..len)
    }

    /// How late an execution time-out is enforced.
    pub(crate) fn lateness_ms(&mut self, range: MsRange) -> u64 {
        self.faults.random_range(range.from..=range.to)
    }

    /// Whether something of this probability happens now.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability >= 1.0 || (probability > 0.0 && self.faults.random::<f64>() < probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_disturb_start_ups() {
        let range = MsRange::new(30_000, 60_000);
        let mut one = Dice::new(7);
        let mut two = Dice::new(7);
        two.job_id(false);
        two.short_id();
        assert_eq!(one.start_ms(range), two.start_ms(range));
    }

    #[test]
    fn job_ids_look_like_the_real_ones() {
        let id = Dice::new(1).job_id(true);
        assert!(id.starts_with("sync-") && id.ends_with("-u1"), "{id}");
        assert_eq!(id.len(), "sync-".len() + 36 + "-u1".len());
        assert_eq!(&id[5 + 14..5 + 15], "4");
    }
}

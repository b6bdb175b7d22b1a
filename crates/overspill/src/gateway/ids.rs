//! Mints what the gateway names: jobs and requests.

use std::sync::atomic::{AtomicU64, Ordering};

use overspill_core::id::JobId;
use overspill_core::time::Timestamp;
use rand::Rng as _;

/// Names requests of this process: a random beginning, then a count.
pub(super) struct Ids {
    start: u64,
    count: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            start: rand::rng().next_u64() >> 24,
            count: AtomicU64::new(0),
        }
    }
}

impl Ids {
    /// Names a request, for its answer and for logs.
    pub(super) fn request_id(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("req_{:010x}{count:08x}", self.start)
    }
}

/// A fresh job id: a UUID version 7 of this moment.
pub(super) fn job_id(now: Timestamp, is_sync: bool) -> JobId {
    let (first, second) = random();
    let millis = u128::from(now.as_millis().max(0).cast_unsigned()) & 0xffff_ffff_ffff;
    let random = (u128::from(first) << 64) | u128::from(second);
    let high = (millis << 16) | 0x7000 | ((random >> 64) & 0x0fff);
    let low = (random & 0x3fff_ffff_ffff_ffff) | (0b10 << 62);
    JobId::new((high << 64) | low, is_sync)
}

#[cfg(not(test))]
fn random() -> (u64, u64) {
    let mut rng = rand::rng();
    (rng.next_u64(), rng.next_u64())
}

#[cfg(test)]
fn random() -> (u64, u64) {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(rng) => (rng.next_u64(), rng.next_u64()),
        None => (rand::rng().next_u64(), rand::rng().next_u64()),
    })
}

#[cfg(test)]
thread_local! {
    static SEEDED: std::cell::RefCell<Option<rand_chacha::ChaCha12Rng>> =
        const { std::cell::RefCell::new(None) };
}

/// Lets the ids that this thread mints follow from a seed, or no longer so.
#[cfg(test)]
pub(crate) fn seed_ids(seed: Option<u64>) {
    use rand::SeedableRng as _;
    SEEDED.set(seed.map(rand_chacha::ChaCha12Rng::seed_from_u64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_are_uuids_of_their_moment() {
        let now = Timestamp::from_millis(0x0192_8a4b_1111);
        let (one, two) = (job_id(now, false), job_id(now, true));
        assert_ne!(one.uuid(), two.uuid());
        let text = two.to_string();
        assert!(text.starts_with("sync-01928a4b-1111-7"), "{text}");
        assert!(
            matches!(text.as_bytes()[24], b'8' | b'9' | b'a' | b'b'),
            "{text}"
        );
        assert!(job_id(Timestamp::from_millis(0x0192_8a4b_1112), false) > one);
    }
}

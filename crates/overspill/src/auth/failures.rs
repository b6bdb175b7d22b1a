//! The brake on guessing keys: so many failed attempts per address and second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use overspill_core::time::Timestamp;

/// Failed attempts that one address may make in a second.
pub const PER_SECOND: u32 = 5;
/// Addresses remembered at once; when there are more, the oldest second is forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// Counts failed attempts per address.
#[derive(Default)]
pub struct Failures {
    counts: Mutex<HashMap<IpAddr, (i64, u32)>>,
}

impl Failures {
    /// Whether this address has used up its attempts for now.
    ///
    /// An address of this very machine never has: it is shared by all who work there, and someone
    /// who can open connections from it has nothing to gain from more guesses a second.
    #[must_use]
    pub fn is_braked(&self, address: IpAddr, now: Timestamp) -> bool {
        if address.is_loopback() {
            return false;
        }
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .get(&key(address))
            .is_some_and(|&(second, count)| second == second_of(now) && count >= PER_SECOND)
    }

    /// Notes a failed attempt.
    pub fn note(&self, address: IpAddr, now: Timestamp) {
        let second = second_of(now);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, &mut (then, _)| then == second);
        }
        let entry = counts.entry(key(address)).or_insert((second, 0));
        if entry.0 == second {
            entry.1 = entry.1.saturating_add(1);
        } else {
            *entry = (second, 1);
        }
    }
}

/// One subscriber of IPv6 has at least a /64.
fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        },
    }
}

const fn second_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_guess_in_a_second_is_braked() {
        let failures = Failures::default();
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        let now = Timestamp::from_millis(10_100);
        for _ in 0..PER_SECOND {
            assert!(!failures.is_braked(address, now));
            failures.note(address, now);
        }
        assert!(failures.is_braked(address, now));
        assert!(!failures.is_braked("203.0.113.10".parse().unwrap(), now));
        assert!(!failures.is_braked(address, Timestamp::from_millis(11_000)));
    }
}

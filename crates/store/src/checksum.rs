//! Checksums that find damage in stored rows, and digests that find missing or additional ones.
//!
//! Not cryptographic: they are for bits that rot, not for people that lie. Every step is a bijection
//! of the state for a given input and of the input for a given state, so a change within one word is
//! always seen; wider damage goes unseen once in 2^64.

/// Odd constants with well mixed bits: the fractions of the square roots of 2, 3, 5 and 7.
const K: [u64; 4] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
];

const fn mix(state: u64, word: u64) -> u64 {
    let x = (state ^ word).wrapping_mul(K[0]);
    (x ^ (x >> 29)).wrapping_mul(K[1]).rotate_left(31)
}

/// A checksum that is being computed over typed values in a fixed order.
#[derive(Debug, Clone, Copy)]
pub struct Checksum(u64);

impl Checksum {
    /// Begins with what kind of row it is for.
    #[must_use]
    pub const fn new(kind: u64) -> Self {
        Self(mix(K[2], kind))
    }

    /// Takes in the absence of a value.
    pub const fn null(&mut self) {
        self.0 = mix(self.0, 1);
    }

    /// Takes in a number.
    pub const fn int(&mut self, value: i64) {
        self.0 = mix(mix(self.0, 2), value.cast_unsigned());
    }

    /// Takes in a text.
    pub fn text(&mut self, value: &str) {
        self.0 = mix(mix(self.0, 3), of_bytes(value.as_bytes()));
    }

    /// Takes in bytes.
    pub fn blob(&mut self, value: &[u8]) {
        self.0 = mix(mix(self.0, 4), of_bytes(value));
    }

    /// The checksum so far.
    #[must_use]
    pub const fn value(self) -> u64 {
        let x = (self.0 ^ (self.0 >> 32)).wrapping_mul(K[3]);
        x ^ (x >> 32)
    }
}

/// The checksum of bytes, their number included.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut lanes = K;
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    let mut state = bytes.len() as u64;
    if !blocks.is_empty() {
        for lane in lanes {
            state = mix(state, lane);
        }
    }
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    mix(state, u64::from_le_bytes(last))
}

/// The digest of a set of rows: their number and the sum of their checksums. Adding and removing a row
/// keeps it up to date without reading the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many rows.
    pub rows: u64,
    /// The wrapping sum of their checksums.
    pub sum: u64,
}

impl Digest {
    /// A row is there.
    pub const fn add(&mut self, checksum: u64) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(checksum);
    }

    /// A row is there no more.
    pub const fn remove(&mut self, checksum: u64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_shows() {
        for length in [0, 1, 7, 8, 9, 31, 32, 33, 100] {
            let mut bytes: Vec<u8> = (0..length).map(|i| (i * 37) as u8).collect();
            let sum = of_bytes(&bytes);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(of_bytes(&bytes), sum, "bit {bit} of {length} bytes");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            bytes.push(0);
            assert_ne!(of_bytes(&bytes), sum, "a zero after {length} bytes");
        }
    }

    #[test]
    fn types_and_order_count() {
        let sum = |f: fn(&mut Checksum)| {
            let mut sum = Checksum::new(1);
            f(&mut sum);
            sum.value()
        };
        let sums = [
            sum(|s| s.null()),
            sum(|s| s.int(0)),
            sum(|s| s.text("")),
            sum(|s| s.blob(b"")),
            sum(|s| {
                s.int(1);
                s.int(2);
            }),
            sum(|s| {
                s.int(2);
                s.int(1);
            }),
        ];
        for (i, a) in sums.iter().enumerate() {
            for b in &sums[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn a_digest_forgets_removed_rows() {
        let mut digest = Digest::default();
        digest.add(7);
        digest.add(u64::MAX);
        digest.remove(7);
        digest.remove(u64::MAX);
        assert_eq!(digest, Digest::default());
    }
}

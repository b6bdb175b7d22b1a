//! Frames: lines of JSON, deflated, between a mark and a checksum, so that a reader finds its way again
//! behind what is torn or damaged.
//!
//! `mark (8 bytes) · length of the body (4, little endian) · first 8 bytes of its SHA-256 · body`.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::record::Record;

const MARK: [u8; 8] = *b"\x00ovspj1\n";
const HEAD: usize = MARK.len() + 4 + 8;
/// 1 is fast and makes a tenth of JSON; more effort gains little.
const EFFORT: u8 = 1;
/// The most that the lines of one frame are believed to be, in bytes.
const LINES_MAX: usize = 8 << 30;

/// A frame around lines.
///
/// # Panics
/// With 4 GiB of deflated lines or more.
#[must_use]
pub fn seal(lines: &[u8]) -> Vec<u8> {
    let body = miniz_oxide::deflate::compress_to_vec(lines, EFFORT);
    let length = u32::try_from(body.len()).expect("a frame is smaller than 4 GiB");
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend_from_slice(&MARK);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(&body));
    frame.extend_from_slice(&body);
    frame
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let hash = Sha256::digest(body);
    std::array::from_fn(|at| hash[at])
}

/// What a reader finds.
#[derive(Debug)]
pub enum Piece {
    /// Lines of one frame.
    Records(Vec<Record>),
    /// The file ends within a frame, or another process went on behind one: it was being written when
    /// its process was killed.
    Torn {
        /// Where, in bytes from the file's start.
        at: usize,
        /// How much.
        bytes: usize,
    },
    /// Bytes that are not what was written.
    Damage {
        /// Where, in bytes from the file's start.
        at: usize,
        /// How much.
        bytes: usize,
    },
    /// A whole frame whose lines mean nothing here: another version wrote it.
    Unknown {
        /// Where, in bytes from the file's start.
        at: usize,
        /// What is not understood.
        reason: String,
    },
}

/// Reads the frames of one file, one at a time.
#[derive(Debug)]
pub struct Reader<B> {
    bytes: B,
    at: usize,
}

impl<B: AsRef<[u8]>> Reader<B> {
    /// Over the bytes of a file.
    #[must_use]
    pub const fn new(bytes: B) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether the file begins as a journal does.
    #[must_use]
    pub fn is_journal(&self) -> bool {
        self.bytes.as_ref().starts_with(&MARK)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.as_ref().is_empty()
    }

    /// Where the body of the frame at `at` is, if one is there and whole.
    fn body(&self, at: usize) -> Option<Range<usize>> {
        let frame = self.bytes.as_ref().get(at..)?;
        if !frame.starts_with(&MARK) {
            return None;
        }
        let range = HEAD..HEAD + self.length(at)?;
        let body = frame.get(range.clone())?;
        let is_whole = frame.get(MARK.len() + 4..HEAD)? == checksum(body);
        is_whole.then_some(at + range.start..at + range.end)
    }

    /// How long the frame at `at` says that its body is.
    fn length(&self, at: usize) -> Option<usize> {
        let from = at + MARK.len();
        let length = self.bytes.as_ref().get(from..from + 4)?;
        Some(u32::from_le_bytes(length.try_into().ok()?) as usize)
    }

    /// Past what cannot be read, to the next frame.
    fn skip(&mut self) -> Piece {
        let at = self.at;
        let all = self.bytes.as_ref();
        let begins_well = all[at..].starts_with(&MARK);
        let next = all[at + 1..]
            .windows(MARK.len())
            .position(|window| window == MARK)
            .map_or(all.len(), |found| at + 1 + found);
        let bytes = next - at;
        // A frame that was cut off is followed by nothing, or by a frame before it could end.
        let promised = self.length(at).map(|length| at + HEAD + length);
        let is_cut = begins_well && promised.is_none_or(|end| end > next);
        let is_torn = is_cut && (next == all.len() || self.body(next).is_some());
        self.at = next;
        if is_torn {
            Piece::Torn { at, bytes }
        } else {
            Piece::Damage { at, bytes }
        }
    }

    fn read(&self, at: usize, body: Range<usize>) -> Result<Vec<Record>, String> {
        let body = &self.bytes.as_ref()[body];
        let lines = miniz_oxide::inflate::decompress_to_vec_with_limit(body, LINES_MAX)
            .map_err(|_| format!("the lines at byte {at} cannot be inflated"))?;
        lines
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|error| error.to_string()))
            .collect()
    }
}

impl<B: AsRef<[u8]>> Iterator for Reader<B> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let at = self.at;
        if at >= self.bytes.as_ref().len() {
            return None;
        }
        let Some(body) = self.body(at) else {
            return Some(self.skip());
        };
        self.at = body.end;
        Some(match self.read(at, body) {
            Ok(records) => Piece::Records(records),
            Err(reason) => Piece::Unknown { at, reason },
        })
    }
}

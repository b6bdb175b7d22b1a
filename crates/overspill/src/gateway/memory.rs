//! Memory for large bodies: how much of it all requests and answers may hold at once.
//!
//! A connection whose client is slow keeps its body for as long as that takes, and thousands of them would
//! take all the memory of the machine. Small bodies are not counted: connections are limited themselves.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// Bodies up to this many bytes are small.
pub(super) const SMALL_BYTES: u64 = 64 << 10;
const KIB: u64 = 1 << 10;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Memory {
    kib: Arc<Semaphore>,
    kib_max: u32,
}

/// Memory that a body has, until this is dropped; nothing for a small one.
#[derive(Debug, Default)]
pub(super) struct Room {
    kib: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(super) fn new(bytes_max: u64) -> Self {
        let kib_max = u32::try_from(bytes_max / KIB).unwrap_or(u32::MAX);
        Self {
            kib: Arc::new(Semaphore::new(kib_max as usize)),
            kib_max,
        }
    }

    /// A body larger than all of it has all of it.
    fn share(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(KIB))
            .unwrap_or(u32::MAX)
            .min(self.kib_max)
    }

    /// Memory for an answer that is there already: now or not at all.
    ///
    /// # Errors
    /// 503 when it does not fit.
    pub(super) fn for_answer(&self, bytes: u64) -> Result<Room, ApiError> {
        if bytes <= SMALL_BYTES {
            return Ok(Room::default());
        }
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(self.share(bytes));
        kib.map(|kib| Room { kib: Some(kib) }).map_err(|_| full())
    }

    /// Memory for a body that is about to be read, waited for.
    ///
    /// # Errors
    /// 503 when there is none in all this time.
    pub(super) async fn for_request(
        &self,
        bytes: u64,
        patience: Duration,
    ) -> Result<Room, ApiError> {
        if bytes <= SMALL_BYTES {
            return Ok(Room::default());
        }
        let kib = Arc::clone(&self.kib).acquire_many_owned(self.share(bytes));
        match tokio::time::timeout(patience, kib).await {
            Ok(Ok(kib)) => Ok(Room { kib: Some(kib) }),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(full()),
        }
    }
}

impl Room {
    /// The body is not as long as it might have been: the rest is given back.
    pub(super) fn shrink(&mut self, bytes: u64) {
        if let Some(kib) = &mut self.kib {
            let needed = usize::try_from(bytes.div_ceil(KIB)).unwrap_or(usize::MAX);
            drop(kib.split(kib.num_permits().saturating_sub(needed)));
        }
    }
}

fn full() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "memory_full",
        "too many large bodies are on their way at once: there is no memory for another",
    )
    .hint("try again in a second; put large data into object storage and send its URL")
    .retry_after(1)
    .closing()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn f11_large_bodies_share_what_there_is() {
        let memory = Memory::new(4 * MIB);
        let answer = memory.for_answer(3 * MIB).unwrap();
        assert!(memory.for_answer(2 * MIB).is_err());
        assert!(
            memory.for_answer(SMALL_BYTES).is_ok(),
            "small ones need none"
        );
        let wait = Duration::from_secs(5);
        assert!(memory.for_request(2 * MIB, wait).await.is_err());
        drop(answer);
        let mut room = memory.for_request(2 * MIB, wait).await.unwrap();
        assert!(memory.for_answer(3 * MIB).is_err());
        // It was shorter than it might have been.
        room.shrink(MIB);
        assert!(memory.for_answer(3 * MIB).is_ok());
        drop(room);
        assert!(memory.for_answer(4 * MIB).is_ok());
    }

    #[test]
    fn one_that_is_larger_than_all_of_it_passes_alone() {
        let memory = Memory::new(MIB);
        let room = memory.for_answer(20 * MIB).unwrap();
        assert!(memory.for_answer(SMALL_BYTES + 1).is_err());
        drop(room);
        assert!(memory.for_answer(SMALL_BYTES + 1).is_ok());
    }
}

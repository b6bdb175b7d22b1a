//! Where a driver is in its reading: a call into a card in trouble may never come back, and then this
//! says which card that is.

use std::sync::{Arc, Mutex, PoisonError};

/// The card that is being read, by its uuid; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Place(Arc<Mutex<Option<String>>>);

impl Place {
    /// This card is read from now on; `None` while no card is, or it is not known which.
    pub fn is_at(&self, uuid: Option<&str>) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = uuid.map(str::to_owned);
    }

    /// The card that is being read.
    #[must_use]
    pub fn now(&self) -> Option<String> {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }
}

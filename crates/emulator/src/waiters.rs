//! Requests that wait: for a job to change, for work, for orders to a worker.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Signals by key; a key lives as long as somebody waits for it.
#[derive(Debug)]
pub(crate) struct Waiters<K>(Mutex<HashMap<K, (usize, Arc<Notify>)>>);

impl<K> Default for Waiters<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Clone + Eq + Hash> Waiters<K> {
    /// A place among those who wait for `key`.
    pub(crate) fn join(&self, key: K) -> Waiter<'_, K> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, signal) = table.entry(key.clone()).or_default();
        *count += 1;
        Waiter {
            waiters: self,
            key,
            signal: Arc::clone(signal),
        }
    }

    pub(crate) fn wake(&self, key: &K) {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, signal)) = table.get(key) {
            signal.notify_waiters();
        }
    }
}

/// A place among those who wait for a key; given up on drop.
#[derive(Debug)]
pub(crate) struct Waiter<'a, K: Clone + Eq + Hash> {
    waiters: &'a Waiters<K>,
    key: K,
    /// Wakes all who wait at that moment.
    pub(crate) signal: Arc<Notify>,
}

impl<K: Clone + Eq + Hash> Drop for Waiter<'_, K> {
    fn drop(&mut self) {
        let mut table = self
            .waiters
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((count, _)) = table.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.key);
            }
        }
    }
}

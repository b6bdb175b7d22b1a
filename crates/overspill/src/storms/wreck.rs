//! A store whose commits fail, and within which the process dies.

use std::sync::Arc;

use overspill_core::change::Snapshot;
use overspill_core::id::EndpointId;
use overspill_core::time::Timestamp;
use overspill_store::{
    Batch, CommitError, IdempotentJob, KeyRecord, Reader, Space, Store, StoreError,
};

use super::faults::Fault;
use super::scene::Scene;
use super::server::Killed;

/// See the module.
pub(super) struct Wreck {
    pub(super) store: Box<dyn Store>,
    pub(super) scene: Arc<Scene>,
}

impl Store for Wreck {
    fn restore(&mut self) -> Result<Snapshot, StoreError> {
        self.store.restore()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), CommitError> {
        let scene = Arc::clone(&self.scene);
        for change in batch.changes {
            scene.note(&format!("change {change:?}"));
        }
        if scene.strikes(Fault::CrashBeforeCommit) {
            Killed::now("before a commit");
        }
        if scene.strikes(Fault::CommitFatal) {
            scene.note("an fsync fails");
            return Err(CommitError::Fatal(StoreError::Injected));
        }
        if scene.strikes(Fault::CommitFailed) {
            scene.note("a commit fails");
            return Err(CommitError::NotStored(StoreError::Injected));
        }
        self.store.commit(batch)?;
        if scene.strikes(Fault::CrashAfterCommit) {
            Killed::now("after a commit");
        }
        if scene.strikes(Fault::CommitUnknown) {
            scene.note("nobody knows whether a commit failed");
            return Err(CommitError::Unknown(StoreError::Injected));
        }
        Ok(())
    }

    fn idempotent(
        &mut self,
        endpoint: EndpointId,
        key: &str,
    ) -> Result<Option<IdempotentJob>, StoreError> {
        self.store.idempotent(endpoint, key)
    }

    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.store.expire(now, limit)
    }

    fn checkpoint(&mut self, is_idle: bool) -> Result<(), StoreError> {
        self.store.checkpoint(is_idle)
    }

    fn put_key(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        self.store.put_key(key)
    }

    fn revoke_key(&mut self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.store.revoke_key(id, at)
    }

    fn keys(&mut self) -> Result<Vec<KeyRecord>, StoreError> {
        self.store.keys()
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.meta(name)
    }

    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.store.put_meta(name, value)
    }

    fn space(&self) -> Result<Space, StoreError> {
        self.store.space()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.store.close()
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.store.reader()
    }
}

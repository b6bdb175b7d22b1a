//! The suite, over each driver.

use overspill_store::Store;
use overspill_store::conformance::{self, Driver};
use overspill_store::memory::{MemoryStore, Saboteur};
use overspill_store::sqlite::SqliteStore;
use tempfile::TempDir;

struct Memory {
    store: MemoryStore,
    saboteur: Saboteur,
}

impl Driver for Memory {
    fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn reopen(&mut self) {
        self.store = self.saboteur.reopen();
    }
}

struct Sqlite {
    dir: TempDir,
    store: Option<SqliteStore>,
}

impl Driver for Sqlite {
    fn store(&mut self) -> &mut dyn Store {
        let dir = self.dir.path();
        self.store
            .get_or_insert_with(|| SqliteStore::open(dir).expect("the store opens"))
    }

    fn reopen(&mut self) {
        self.store = None;
    }
}

#[test]
fn memory_conforms() {
    conformance::run(|| {
        let store = MemoryStore::new();
        let saboteur = store.saboteur();
        Box::new(Memory { store, saboteur })
    });
}

#[test]
fn sqlite_conforms() {
    conformance::run(|| {
        Box::new(Sqlite {
            dir: tempfile::tempdir().expect("a directory can be made"),
            store: None,
        })
    });
}

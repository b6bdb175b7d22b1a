//! Many seeds of one run, on all cores.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

/// Runs seeds on all cores; in order of seed.
pub(crate) fn in_parallel<T: Send>(seeds: Range<u64>, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let one = run(seed);
                    found.lock().expect("no thread panics").insert(seed, one);
                }
            });
        }
    });
    let found = found.into_inner().expect("no thread panics");
    found.into_values().collect()
}

/// Fails with what came of the seeds in which something was not as it must be.
pub(crate) fn sound<T: Debug>(found: &[T], is_sound: impl Fn(&T) -> bool) -> Result<()> {
    let failed: Vec<String> = found
        .iter()
        .filter(|one| !is_sound(one))
        .map(|one| format!("{one:?}"))
        .collect();
    ensure!(
        failed.is_empty(),
        "{} of {} seeds failed\n{}",
        failed.len(),
        found.len(),
        failed.join("\n")
    );
    Ok(())
}

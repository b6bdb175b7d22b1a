//! Durable jobs a second, at some batch sizes, beside a plain loop of writes with fdatasync in the same
//! minute: `cargo bench -p overspill-store`. One commit is B submissions, the hand-outs of the B jobs
//! before, and the ends of the B before those. Then a restore of a full queue.

#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench that fails may panic")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use overspill_store::Store;
use overspill_store::sqlite::{Options, SqliteStore};
use overspill_store::testing::build::Work;

const ROUNDS: usize = 3;
const LENGTH: Duration = Duration::from_millis(500);
const OPTIONS: Options = Options {
    reserve_bytes: 0,
    check_bytes_max: 0,
};

/// One measurement.
struct Sample {
    commits_per_s: f64,
    p50_us: u128,
    p99_us: u128,
    cpu_us_per_commit: f64,
}

fn main() {
    println!("batch    jobs/s  commits/fsyncs  p50 us  p99 us  CPU us/job");
    for batch in [1_u64, 16, 256, 4_096] {
        let mut samples: Vec<(Sample, Sample)> = (0..ROUNDS)
            .map(|_| {
                let plain = tempfile::tempdir().unwrap();
                let ours = tempfile::tempdir().unwrap();
                (fsyncs(plain.path()), commits(ours.path(), batch))
            })
            .collect();
        samples.sort_by(|a, b| a.1.commits_per_s.total_cmp(&b.1.commits_per_s));
        let (plain, ours) = &samples[ROUNDS / 2];
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let jobs = batch as f64;
        println!(
            "{batch:>5} {:>9.0} {:>15.2} {:>7} {:>7} {:>11.1}",
            ours.commits_per_s * jobs,
            ours.commits_per_s / plain.commits_per_s,
            ours.p50_us,
            ours.p99_us,
            ours.cpu_us_per_commit / jobs,
        );
    }
    for jobs in [200_000, 1_000_000] {
        restore(jobs);
    }
}

/// Appends 4 KiB and syncs, over and over.
fn fsyncs(dir: &Path) -> Sample {
    let mut file = File::create(dir.join("plain")).unwrap();
    measure(|_| {
        file.write_all(&[7; 4_096]).unwrap();
        file.sync_data().unwrap();
    })
}

fn commits(dir: &Path, batch: u64) -> Sample {
    let mut store = SqliteStore::open_with(dir, OPTIONS).unwrap();
    measure(|i| {
        let mut work = Work::new();
        for n in 0..batch {
            work.submit(i * batch + n);
            if i >= 1 {
                work.lease((i - 1) * batch + n);
            }
            if i >= 2 {
                work.complete((i - 2) * batch + n);
            }
        }
        work.commit(&mut store).unwrap();
        store.checkpoint(false).unwrap();
    })
}

fn restore(jobs: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open_with(dir.path(), OPTIONS).unwrap();
    let begin = Instant::now();
    for first in (0..jobs).step_by(4_000) {
        let mut work = Work::new();
        for n in first..first + 4_000 {
            work.submit(n);
        }
        work.commit(&mut store).unwrap();
        store.checkpoint(true).unwrap();
    }
    drop(store);
    let filled = begin.elapsed();
    let begin = Instant::now();
    let mut store = SqliteStore::open_with(dir.path(), OPTIONS).unwrap();
    let opened = begin.elapsed();
    let found = store.restore().unwrap().jobs.len();
    let restored = begin.elapsed();
    println!(
        "{found} jobs: filled in {filled:.2?}, opened in {opened:.2?}, restored in {restored:.2?}"
    );
}

fn measure(mut once: impl FnMut(u64)) -> Sample {
    let mut lengths = Vec::new();
    let cpu = cpu_us();
    let begin = Instant::now();
    while begin.elapsed() < LENGTH {
        let one = Instant::now();
        once(lengths.len() as u64);
        lengths.push(one.elapsed().as_micros());
    }
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = cpu_us() - cpu;
    lengths.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let count = lengths.len() as f64;
    Sample {
        commits_per_s: count / elapsed,
        p50_us: lengths[lengths.len() / 2],
        p99_us: lengths[lengths.len() * 99 / 100],
        cpu_us_per_commit: cpu / count,
    }
}

/// CPU time of this process so far.
fn cpu_us() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let us = |time: nix::sys::time::TimeVal| {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let us = (time.tv_sec() * 1_000_000 + time.tv_usec()) as f64;
        us
    };
    us(usage.user_time()) + us(usage.system_time())
}

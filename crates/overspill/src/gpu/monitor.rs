//! Reads GPUs again and again on a thread of its own, and publishes the last snapshot.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::health::Stall;
use super::{Gpu, GpuError, GpuProvider, LISTED_WITHIN, Place};

/// What was seen at the last reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuSnapshot {
    /// How many readings there were; 0 before the first. One that stands still for long means that
    /// the driver hangs.
    pub sequence: u64,
    /// The GPUs of the last reading that succeeded.
    pub gpus: Vec<Gpu>,
    /// Why the last reading failed, if it did.
    pub fault: Option<GpuError>,
    /// When the last reading began.
    pub begun_at: Option<Instant>,
}

/// A running thread that reads GPUs; it ends when this is dropped.
#[derive(Debug)]
pub struct GpuMonitor {
    snapshots: watch::Receiver<GpuSnapshot>,
    orders: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    place: Place,
    started_at: Instant,
    period: Duration,
}

impl GpuMonitor {
    /// Starts reading, now and then every `period`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(provider: impl GpuProvider + 'static, period: Duration) -> io::Result<Self> {
        let (publish, snapshots) = watch::channel(GpuSnapshot::default());
        let (orders, ordered) = mpsc::channel();
        let mut provider = provider;
        let place = provider.place();
        let thread = std::thread::Builder::new()
            .name("gpu-monitor".to_owned())
            .spawn(move || {
                loop {
                    let begun_at = Instant::now();
                    let reading = provider.read();
                    publish.send_modify(|snapshot| {
                        snapshot.sequence += 1;
                        snapshot.begun_at = Some(begun_at);
                        match reading {
                            Ok(gpus) => {
                                snapshot.gpus = gpus;
                                snapshot.fault = None;
                            }
                            Err(error) => snapshot.fault = Some(error),
                        }
                    });
                    match ordered.recv_timeout(period) {
                        Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })?;
        Ok(Self {
            snapshots,
            orders: Some(orders),
            thread: Some(thread),
            place,
            started_at: Instant::now(),
            period,
        })
    }

    /// For how long no reading has come back beyond its period, and at which card that is.
    #[must_use]
    pub fn stall(&self) -> Stall {
        let last = self.snapshots.borrow().begun_at.map(|at| at + self.period);
        Stall {
            lasts: last.unwrap_or(self.started_at).elapsed(),
            at: self.place.now(),
        }
    }

    /// A receiver of snapshots, the last one first.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<GpuSnapshot> {
        self.snapshots.clone()
    }

    /// What its first reading says, once that has come back.
    ///
    /// # Errors
    /// When it failed, or does not come back within [`LISTED_WITHIN`].
    pub async fn first_reading(&self) -> Result<Vec<Gpu>, GpuError> {
        self.reading(|snapshot| snapshot.sequence > 0).await
    }

    /// What a reading says that begins from now on: nothing older is taken for how things are.
    ///
    /// # Errors
    /// When it failed, or does not come back within [`LISTED_WITHIN`].
    pub async fn new_reading(&self) -> Result<Vec<Gpu>, GpuError> {
        let now = Instant::now();
        self.read_now();
        self.reading(|snapshot| snapshot.begun_at.is_some_and(|at| at >= now))
            .await
    }

    /// Waits for a reading that begins from now on and succeeds.
    pub async fn well_again(&self) {
        let now = Instant::now();
        let is_well = |snapshot: &GpuSnapshot| {
            snapshot.begun_at.is_some_and(|at| at >= now) && snapshot.fault.is_none()
        };
        if self.watch().wait_for(is_well).await.is_err() {
            // The thread has ended: nothing is read any more.
            std::future::pending::<()>().await;
        }
    }

    async fn reading(&self, is_it: impl FnMut(&GpuSnapshot) -> bool) -> Result<Vec<Gpu>, GpuError> {
        let mut snapshots = self.watch();
        match tokio::time::timeout(LISTED_WITHIN, snapshots.wait_for(is_it)).await {
            Err(_) => Err(GpuError::Hangs(LISTED_WITHIN)),
            Ok(Err(_)) => Err(GpuError::Driver("its reading broke off".to_owned())),
            Ok(Ok(snapshot)) => match &snapshot.fault {
                Some(error) => Err(error.clone()),
                None => Ok(snapshot.gpus.clone()),
            },
        }
    }

    /// Asks for a reading now, ahead of the period.
    pub fn read_now(&self) {
        if let Some(orders) = &self.orders {
            // A thread that has ended publishes no more; the last snapshot stays.
            let _ = orders.send(());
        }
    }
}

impl Drop for GpuMonitor {
    fn drop(&mut self) {
        self.orders = None;
        // Not joined: a call into a hanging driver may never return, and must not hold up the end.
        drop(self.thread.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{FakeGpus, FixedGpus};

    fn one() -> Vec<Gpu> {
        FixedGpus::nominal(1).read().unwrap()
    }

    #[tokio::test]
    async fn snapshots_follow_the_provider_and_keep_the_last_good_one() {
        let fake = FakeGpus::new(one());
        let monitor = GpuMonitor::start(fake.clone(), Duration::from_secs(3_600)).unwrap();
        let mut snapshots = monitor.watch();
        let first = snapshots
            .wait_for(|snapshot| snapshot.sequence == 1)
            .await
            .unwrap()
            .clone();
        assert_eq!((first.gpus.len(), first.fault), (1, None));
        fake.fail("GPU is lost");
        monitor.read_now();
        let second = snapshots
            .wait_for(|snapshot| snapshot.sequence == 2)
            .await
            .unwrap()
            .clone();
        assert_eq!(second.gpus.len(), 1);
        let fault = GpuError::Driver("GPU is lost".to_owned());
        assert_eq!(second.fault, Some(fault));
        fake.set(Vec::new());
        monitor.read_now();
        let third = snapshots
            .wait_for(|snapshot| snapshot.sequence == 3)
            .await
            .unwrap()
            .clone();
        assert_eq!((third.gpus.len(), third.fault), (0, None));
    }

    #[tokio::test]
    async fn a_new_reading_is_none_of_before() {
        let fake = FakeGpus::new(one());
        let monitor = GpuMonitor::start(fake.clone(), Duration::from_secs(3_600)).unwrap();
        assert_eq!(monitor.first_reading().await, Ok(one()));
        fake.fail("GPU is lost");
        let fault = GpuError::Driver("GPU is lost".to_owned());
        assert_eq!(monitor.new_reading().await, Err(fault));
        fake.set(Vec::new());
        assert_eq!(monitor.new_reading().await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn the_thread_ends_with_the_monitor() {
        let monitor = GpuMonitor::start(FakeGpus::default(), Duration::from_secs(3_600)).unwrap();
        let mut snapshots = monitor.watch();
        drop(monitor);
        // The channel closes when the thread has gone.
        while snapshots.changed().await.is_ok() {}
    }
}

//! Which cards are in force: found at a start, and laid over with what the driver says at each reload.
//!
//! The driver is asked on the monitor's thread and waited for [`LISTED_WITHIN`]: a server whose driver
//! fails or hangs starts and reloads with the cards that it knows.
//!
//! [`LISTED_WITHIN`]: crate::gpu::LISTED_WITHIN

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use overspill_core::quarantine::Quarantine;
use overspill_core::time::{DurationMs, Timestamp};
use tracing::warn;

use crate::gpu::{CARDS_FILE, Card, CardList, Gpu, GpuError, GpuMonitor};

/// A card that is quarantined for so long and that the driver lacks at a start was taken out.
const TAKEN_OUT_AFTER: DurationMs = DurationMs::from_secs(7 * 24 * 60 * 60);

/// The cards in force, and where they come from.
pub(super) struct Cards {
    monitor: Arc<GpuMonitor>,
    folder: PathBuf,
    list: CardList,
}

/// The run before this one.
pub(super) struct Before {
    /// Cards that it left quarantined, by uuid.
    pub(super) quarantines: BTreeMap<String, Quarantine>,
    /// No worker of it is left.
    pub(super) is_idle: bool,
    /// When this run starts.
    pub(super) now: Timestamp,
}

impl Before {
    fn is_quarantined(&self, uuid: &str) -> bool {
        self.quarantines.contains_key(uuid) && !self.is_taken_out(uuid)
    }

    fn is_taken_out(&self, uuid: &str) -> bool {
        let quarantine = self.quarantines.get(uuid);
        quarantine.is_some_and(|is| self.now.since(is.since) >= TAKEN_OUT_AFTER)
    }
}

/// Whether the driver was heard, and what people should know.
pub(super) struct Looked {
    /// False where it must be asked again: it failed or hung.
    pub(super) is_certain: bool,
    /// Sentences for the log.
    pub(super) warnings: Vec<String>,
}

impl Cards {
    /// The cards of the last run, laid over with what the driver says now.
    pub(super) async fn at_start(
        monitor: Arc<GpuMonitor>,
        folder: PathBuf,
        before: &Before,
    ) -> (Self, Looked) {
        let known = CardList::read(&folder).unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "known cards");
            CardList::default()
        });
        let found = monitor.first_reading().await;
        let list = started(&known, &found, before);
        let mut cards = Self {
            monitor,
            folder,
            list: known,
        };
        cards.put(list);
        let looked = cards.looked(&found);
        (cards, looked)
    }

    /// Asks the driver again; what it does not say stays as it is.
    pub(super) async fn look(&mut self) -> Looked {
        let found = self.monitor.new_reading().await;
        if let Ok(found) = &found {
            self.put(self.list.laid_over(found));
        }
        self.looked(&found)
    }

    /// The list in force.
    pub(super) const fn list(&self) -> &CardList {
        &self.list
    }

    /// Who reads them.
    pub(super) const fn monitor(&self) -> &Arc<GpuMonitor> {
        &self.monitor
    }

    fn put(&mut self, list: CardList) {
        if list == self.list {
            return;
        }
        self.list = list;
        if let Err(error) = self.list.write(&self.folder) {
            let error = &error as &dyn std::error::Error;
            warn!(error, "cards may have other numbers after a restart");
        }
    }

    fn looked(&self, found: &Result<Vec<Gpu>, GpuError>) -> Looked {
        let is_empty = self.list.cards().is_empty();
        let file = self.folder.join(CARDS_FILE);
        let way_out = format!(
            "stop Overspill, remove \"{}\" and start it again",
            file.display()
        );
        let missing = |card: &Card| {
            format!(
                "card {} ({}, {}) is not listed by the driver: it keeps its place, and no job goes \
                 there; where it was taken out for good, {way_out}",
                card.id, card.name, card.uuid
            )
        };
        let warnings = match found {
            Ok(found) => self.list.missing(found).map(missing).collect(),
            Err(GpuError::NoDriver(_)) if is_empty => Vec::new(),
            Err(error) if is_empty => {
                vec![format!("{error}; its cards are used once it lists them")]
            }
            Err(error @ GpuError::NoDriver(_)) => vec![format!(
                "{error}; the cards known before keep their places; where they were taken out for \
                 good, {way_out}"
            )],
            Err(error) => vec![format!("{error}; the cards are as before")],
        };
        let has_no_driver = matches!(found, Err(GpuError::NoDriver(_)));
        Looked {
            is_certain: found.is_ok() || (has_no_driver && is_empty),
            warnings,
        }
    }
}

/// The list to start with.
fn started(known: &CardList, found: &Result<Vec<Gpu>, GpuError>, before: &Before) -> CardList {
    match found {
        Ok(found) => known.at_start(found, |uuid| before.is_quarantined(uuid), before.is_idle),
        // A driver that is not loaded yet, or no more, says nothing of the cards.
        Err(GpuError::NoDriver(_)) => known.at_start(&[], |uuid| !before.is_taken_out(uuid), true),
        Err(_) => known.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use overspill_core::quarantine::CardFault;

    use super::*;
    use crate::gpu::{FakeGpus, FixedGpus, GpuProvider as _};

    fn two() -> Vec<Gpu> {
        FixedGpus::nominal(2).read().unwrap()
    }

    fn before(quarantined: &[(&str, DurationMs)]) -> Before {
        let now = Timestamp::from_millis(i64::from(i32::MAX));
        let quarantines = quarantined.iter().map(|&(uuid, for_)| {
            let quarantine = Quarantine {
                fault: CardFault::Missing,
                since: now - for_,
                well_since: None,
            };
            (uuid.to_owned(), quarantine)
        });
        Before {
            quarantines: quarantines.collect(),
            is_idle: true,
            now,
        }
    }

    async fn start(fake: &FakeGpus, folder: &tempfile::TempDir, was: &Before) -> (Cards, Looked) {
        let monitor = GpuMonitor::start(fake.clone(), Duration::from_secs(3_600)).unwrap();
        Cards::at_start(Arc::new(monitor), folder.path().to_owned(), was).await
    }

    fn uuids(cards: &Cards) -> Vec<(u32, &str)> {
        let cards = cards.list().cards().iter();
        cards.map(|card| (card.id, card.uuid.as_str())).collect()
    }

    const BOTH: [(u32, &str); 2] = [(0, "nominal-0"), (1, "nominal-1")];

    #[tokio::test]
    async fn a_driver_that_fails_at_a_reload_leaves_the_cards_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeGpus::new(two());
        let (mut cards, looked) = start(&fake, &folder, &before(&[])).await;
        assert!(looked.is_certain && looked.warnings.is_empty());
        fake.fail("unknown error");
        let looked = cards.look().await;
        assert!(!looked.is_certain && looked.warnings[0].ends_with("the cards are as before"));
        assert_eq!(uuids(&cards), BOTH);
        // So does one that lacks a card.
        fake.set(two().split_off(1));
        let looked = cards.look().await;
        let said = &looked.warnings[0];
        assert!(
            said.contains("card 0 (nominal device, nominal-0) is not listed"),
            "{said}"
        );
        assert!(looked.is_certain && uuids(&cards) == BOTH);
    }

    #[tokio::test]
    async fn a_driver_that_fails_at_a_start_has_the_cards_of_the_run_before() {
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeGpus::default();
        fake.fail("unknown error");
        let (mut cards, looked) = start(&fake, &folder, &before(&[])).await;
        assert!(!looked.is_certain && uuids(&cards).is_empty());
        assert!(looked.warnings[0].ends_with("its cards are used once it lists them"));
        fake.set(two());
        // Its own period is an hour.
        let ask = async { cards.monitor().read_now() };
        tokio::join!(cards.monitor().well_again(), ask);
        assert!(cards.look().await.is_certain);
        assert_eq!(uuids(&cards), BOTH);
        fake.fail("unknown error");
        let (cards, looked) = start(&fake, &folder, &before(&[])).await;
        assert!(!looked.is_certain && uuids(&cards) == BOTH);
    }

    #[tokio::test]
    async fn a_quarantined_card_that_is_missing_after_a_restart_is_there_for_a_week() {
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeGpus::new(two());
        start(&fake, &folder, &before(&[])).await;
        fake.set(two().split_off(1));
        let minute = DurationMs::from_secs(60);
        let (cards, looked) = start(&fake, &folder, &before(&[("nominal-0", minute)])).await;
        assert!(uuids(&cards) == BOTH && looked.warnings.len() == 1);
        let week = [("nominal-0", TAKEN_OUT_AFTER)];
        let (cards, looked) = start(&fake, &folder, &before(&week)).await;
        assert_eq!(uuids(&cards), [(0, "nominal-1")]);
        assert!(looked.is_certain && looked.warnings.is_empty());
    }

    #[test]
    fn a_driver_that_is_not_loaded_says_nothing_of_the_cards() {
        let none = Err(GpuError::NoDriver("not loaded".to_owned()));
        let known = CardList::of(&two());
        assert_eq!(started(&known, &none, &before(&[])), known);
        let week = TAKEN_OUT_AFTER;
        let gone = before(&[("nominal-0", week), ("nominal-1", week)]);
        assert_eq!(started(&known, &none, &gone), CardList::default());
    }
}

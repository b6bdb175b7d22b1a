//! What Overspill made at RunPod and nobody needs any more, of this installation or of one that is lost.
//!
//! Names say whose an endpoint is. Of this installation everything that the configuration does not ask
//! for is an orphan. Of another one nobody here can say whether it lives: its endpoints are listed, and
//! only the owner, by naming it, makes them orphans.

use std::collections::BTreeSet;

use overspill_wire::management::endpoint::Endpoint;
use serde::Serialize;

use super::carry_out::{Account, Failure, Removed, Step, remove};
use super::name::Mark;
use super::plan::{Needless, Remove};
use super::record::Ledger;

/// An endpoint that some installation of Overspill made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// RunPod's id.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// Whose it is.
    pub installation: String,
    /// Workers that are always on.
    pub workers_min: u32,
    /// Most workers.
    pub workers_max: u32,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// What is to become of it.
    pub fate: Fate,
}

/// What is to become of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nobody needs it.
    Orphan,
    /// The configuration asks for it.
    Needed,
    /// It is another installation's, which may live.
    Others,
}

impl Fate {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Needed => "needed",
            Self::Others => "another installation's",
        }
    }
}

/// Everything that Overspill made, orphans first, then by name; endpoints without its mark are left out.
#[must_use]
pub fn sort(
    installation: &str,
    lost: &BTreeSet<String>,
    purposes: &BTreeSet<String>,
    seen: &[Endpoint],
) -> Vec<Made> {
    let marked = seen
        .iter()
        .filter_map(|endpoint| Some((Mark::find(&endpoint.name)?, endpoint)));
    let mut made: Vec<Made> = marked
        .map(|(mark, endpoint)| {
            let fate = if mark.installation == installation {
                if purposes.contains(&mark.purpose) {
                    Fate::Needed
                } else {
                    Fate::Orphan
                }
            } else if lost.contains(&mark.installation) {
                Fate::Orphan
            } else {
                Fate::Others
            };
            Made {
                id: endpoint.id.clone(),
                name: endpoint.name.clone(),
                installation: mark.installation,
                workers_min: endpoint.workers.min.unwrap_or(0),
                workers_max: endpoint.workers.max.unwrap_or(0),
                created_at: endpoint.created_at.clone(),
                fate,
            }
        })
        .collect();
    made.sort_by(|a, b| (a.fate, &a.name, &a.id).cmp(&(b.fate, &b.name, &b.id)));
    made
}

/// What came of reaping.
#[derive(Debug, Default)]
pub struct Reaped {
    /// Removed: RunPod's id.
    pub removed: Vec<String>,
    /// Left, because jobs are there: RunPod's id, and how many.
    pub left: Vec<(String, u32)>,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// Removes the orphans; goes on after a failure.
pub async fn reap(account: &Account, made: &[Made], ledger: &mut Ledger, force: bool) -> Reaped {
    let mut reaped = Reaped::default();
    for orphan in made.iter().filter(|made| made.fate == Fate::Orphan) {
        let needless = Remove {
            id: orphan.id.clone(),
            name: orphan.name.clone(),
            reason: Needless::NotConfigured,
        };
        match remove(account, &needless, ledger, force).await {
            Ok(Removed::Gone) => reaped.removed.push(needless.id),
            Ok(Removed::Busy(jobs)) => reaped.left.push((needless.id, jobs)),
            Err(cause) => reaped.failures.push(Failure {
                step: Step::Remove,
                what: needless.id,
                cause,
            }),
        }
    }
    reaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint(id: &str, name: &str) -> Endpoint {
        serde_json::from_value(json!({
            "id": id, "name": name, "timeout": 1, "createdAt": "2026-01-01T00:00:00Z",
            "workers": {"min": 0, "max": 3},
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
        }))
        .unwrap()
    }

    #[test]
    fn only_what_nobody_needs_is_an_orphan_and_strangers_are_not_even_listed() {
        let (ours, other) = ("ovs-0000000000000001", "ovs-0000000000000002");
        let seen = [
            endpoint("needed", &format!("a {ours}-11111111-aaaaaaaa")),
            endpoint("orphan", &format!("b {ours}-11111111-bbbbbbbb")),
            endpoint("others", &format!("c {other}-11111111-aaaaaaaa")),
            endpoint("stranger", "my own endpoint"),
        ];
        let purposes = BTreeSet::from(["aaaaaaaa".to_owned()]);
        let fates = |lost: &BTreeSet<String>| -> Vec<(String, Fate)> {
            let made = sort(ours, lost, &purposes, &seen);
            made.into_iter().map(|made| (made.id, made.fate)).collect()
        };
        assert_eq!(
            fates(&BTreeSet::new()),
            [
                ("orphan".to_owned(), Fate::Orphan),
                ("needed".to_owned(), Fate::Needed),
                ("others".to_owned(), Fate::Others),
            ]
        );
        let lost = BTreeSet::from([other.to_owned()]);
        assert_eq!(fates(&lost)[1], ("others".to_owned(), Fate::Orphan));
    }
}

//! What would have to be done at RunPod so that it is as the configuration asks. Pure: compares what
//! is wanted, what was seen there, and what the data folder remembers.
//!
//! An endpoint there is ours when its name bears our installation's id, and it is *for* something
//! when the digest in its name is a purpose of the configuration. Nothing else is looked at, so
//! nothing of others is ever touched.

use std::collections::{BTreeMap, BTreeSet};

use overspill_wire::management::endpoint::{Endpoint, Scaling, UpdateEndpoint, WorkerLimits};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::desired::{Desired, QUEUE_DELAY_S, Settings, sorted};
use super::name::Mark;
use super::record::Record;

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Endpoints that there are not, in the order of the configuration.
    pub create: Vec<Desired>,
    /// Endpoints that are not as they should be.
    pub change: Vec<Change>,
    /// Endpoints of ours that nobody needs.
    pub remove: Vec<Remove>,
    /// Endpoints that are as they should be, by purpose: RunPod's id.
    pub keep: BTreeMap<String, String>,
}

/// An endpoint that is not as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// RunPod's id.
    pub id: String,
    /// How it should be.
    pub desired: Desired,
    /// What differs; not empty.
    pub differences: Vec<Difference>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// RunPod's name of it.
    pub field: &'static str,
    /// As it is; values of the environment are left out.
    pub from: Json,
    /// As it should be, likewise.
    pub to: Json,
    /// Whether RunPod replaces the workers for it (a rolling release), rather than acting at once.
    pub is_release: bool,
}

/// An endpoint that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remove {
    /// RunPod's id.
    pub id: String,
    /// Its name there.
    pub name: String,
    /// Why.
    pub reason: Needless,
}

/// Why nobody needs an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Needless {
    /// The configuration no longer asks for it.
    NotConfigured,
    /// There is another one for the same.
    MadeTwice,
}

impl Needless {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotConfigured => "the configuration no longer asks for it",
            Self::MadeTwice => "there is another one for the same",
        }
    }
}

impl Plan {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.change.is_empty() && self.remove.is_empty()
    }
}

/// Compares what is wanted with what there is. `purposes` are all purposes of the configuration, those
/// included that RunPod cannot fulfil now.
#[must_use]
pub fn plan(
    installation: &str,
    desired: &[Desired],
    purposes: &BTreeSet<String>,
    seen: &[Endpoint],
    record: &Record,
) -> Plan {
    let mut plan = Plan::default();
    let ours: Vec<(Mark, &Endpoint)> = seen
        .iter()
        .filter_map(|endpoint| Some((Mark::find(&endpoint.name)?, endpoint)))
        .filter(|(mark, _)| mark.installation == installation)
        .collect();
    let mut chosen = BTreeSet::new();
    for wanted in desired {
        let Some(endpoint) = choose(&ours, &wanted.purpose, record) else {
            plan.create.push(wanted.clone());
            continue;
        };
        chosen.insert(endpoint.id.clone());
        let differences = differences(&wanted.settings, endpoint);
        if differences.is_empty() {
            plan.keep
                .insert(wanted.purpose.clone(), endpoint.id.clone());
        } else {
            plan.change.push(Change {
                id: endpoint.id.clone(),
                desired: wanted.clone(),
                differences,
            });
        }
    }
    for (mark, endpoint) in ours {
        let reason = if !purposes.contains(&mark.purpose) {
            Needless::NotConfigured
        } else if desired.iter().any(|wanted| wanted.purpose == mark.purpose) {
            Needless::MadeTwice
        } else {
            continue;
        };
        if !chosen.contains(&endpoint.id) {
            plan.remove.push(Remove {
                id: endpoint.id.clone(),
                name: endpoint.name.clone(),
                reason,
            });
        }
    }
    plan
}

/// The one endpoint for a purpose: the one that the data folder remembers, else the oldest.
fn choose<'e>(
    ours: &[(Mark, &'e Endpoint)],
    purpose: &str,
    record: &Record,
) -> Option<&'e Endpoint> {
    let remembered = record.id_of(purpose);
    let fitting = ours.iter().filter(|(mark, _)| mark.purpose == purpose);
    let order = |endpoint: &Endpoint| {
        (
            remembered != Some(endpoint.id.as_str()),
            endpoint.created_at.clone(),
            endpoint.id.clone(),
        )
    };
    fitting
        .map(|(_, endpoint)| *endpoint)
        .min_by_key(|endpoint| order(endpoint))
}

/// What of an endpoint is not as it should be; limits of workers are not looked at.
#[must_use]
pub fn differences(settings: &Settings, seen: &Endpoint) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field, is_release, from: Json, to: Json| {
        if from != to {
            found.push(Difference {
                field,
                from,
                to,
                is_release,
            });
        }
    };
    let empty = String::new();
    compare("image", true, json!(seen.image), json!(settings.image));
    let gpu = seen.gpu.clone().unwrap_or_default();
    let (pools, excluded) = (sorted(&gpu.pools), sorted(&gpu.excluded_types));
    compare("gpu.pools", true, json!(pools), json!([settings.gpu.pool]));
    compare(
        "gpu.excludedTypes",
        true,
        json!(excluded),
        json!(settings.gpu.excluded),
    );
    compare(
        "gpu.count",
        true,
        json!(gpu.count),
        json!(settings.gpu_count),
    );
    let (had, has) = env_words(&seen.env, &settings.env);
    compare("env", true, had, has);
    let args = seen.args.as_ref().unwrap_or(&empty);
    compare("args", true, json!(args), json!(settings.args));
    compare("disk", true, json!(seen.disk), json!(settings.disk_gb));
    compare(
        "registry",
        true,
        json!(seen.registry),
        json!(settings.registry),
    );
    let centers = sorted(&seen.data_center_ids);
    compare(
        "dataCenterIds",
        true,
        json!(centers),
        json!(settings.data_centers),
    );
    let volumes = sorted(&seen.network_volumes);
    compare(
        "networkVolumes",
        true,
        json!(volumes),
        json!(settings.volumes),
    );
    compare(
        "workers.idleTimeout",
        false,
        json!(seen.workers.idle_timeout),
        json!(settings.idle_timeout_s),
    );
    let scaling = Scaling::QueueDelay {
        queue_delay: QUEUE_DELAY_S,
    };
    compare("scaling", false, json!(seen.scaling), json!(scaling));
    compare(
        "timeout",
        false,
        json!(seen.timeout),
        json!(settings.timeout_ms),
    );
    compare(
        "flashboot",
        false,
        json!(seen.flashboot),
        json!(settings.flashboot),
    );
    found
}

/// Two environments as they may be shown: names alone, and which values differ. Equal when they are.
fn env_words(had: &BTreeMap<String, String>, has: &BTreeMap<String, String>) -> (Json, Json) {
    if had == has {
        return (Json::Null, Json::Null);
    }
    let names = |env: &BTreeMap<String, String>, other: &BTreeMap<String, String>, mark: &str| {
        let words = env.iter().map(|(name, value)| match other.get(name) {
            Some(same) if same == value => name.clone(),
            _ => format!("{name}{mark}"),
        });
        Json::from(words.collect::<Vec<_>>())
    };
    (names(had, has, " (old)"), names(has, had, " (new)"))
}

impl Change {
    /// The body that puts it right: what differs and nothing else.
    #[must_use]
    pub fn update(&self) -> UpdateEndpoint {
        let settings = &self.desired.settings;
        let mut update = UpdateEndpoint::default();
        for difference in &self.differences {
            match difference.field {
                "image" => update.image = Some(settings.image.clone()),
                "gpu.pools" | "gpu.excludedTypes" | "gpu.count" => {
                    update.gpu = Some(settings.gpu_request());
                }
                "env" => update.env = Some(settings.env.clone()),
                "args" => update.args = Some(settings.args.clone()),
                "disk" => update.disk = Some(settings.disk_gb),
                "registry" => update.registry = Some(settings.registry.clone()),
                "dataCenterIds" => update.data_center_ids = Some(settings.data_centers.clone()),
                "networkVolumes" => update.network_volumes = Some(settings.volumes.clone()),
                "workers.idleTimeout" => {
                    // A queue endpoint has an idle time-out only beside this rule.
                    update.scaling = Some(Scaling::QueueDelay {
                        queue_delay: QUEUE_DELAY_S,
                    });
                    update.workers = Some(WorkerLimits {
                        idle_timeout: Some(settings.idle_timeout_s),
                        ..WorkerLimits::default()
                    });
                }
                "scaling" => {
                    update.scaling = Some(Scaling::QueueDelay {
                        queue_delay: QUEUE_DELAY_S,
                    });
                }
                "timeout" => update.timeout = Some(settings.timeout_ms),
                "flashboot" => update.flashboot = Some(settings.flashboot),
                other => unreachable!("`differences` knows no field {other}"),
            }
        }
        update
    }

    /// Whether RunPod replaces the workers for it.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.differences
            .iter()
            .any(|difference| difference.is_release)
    }
}

#[cfg(test)]
mod tests {
    use super::super::desired::{of, tests::config};
    use super::super::gpus::Catalog;
    use super::super::name::nonce;
    use super::*;

    const OURS: &str = "ovs-0011223344556677";
    const POOL: &str = "[runpod]\n[[endpoint]]\nname = \"sdxl\"\n[[endpoint.cloud]]\n\
        provider = \"runpod\"\nimage = \"i:1\"\ngpu = [\"RTX 4090\", \"A40\"]\n";

    fn desired(text: &str) -> (Vec<Desired>, BTreeSet<String>) {
        let (desired, missing) = of(&config(text), &Catalog::built_in());
        assert_eq!(missing, []);
        let purposes = desired.iter().map(|wanted| wanted.purpose.clone());
        let purposes = purposes.collect();
        (desired, purposes)
    }

    /// An endpoint as RunPod shows it after it was made for `wanted`.
    fn made(wanted: &Desired, id: &str, installation: &str, number: u32) -> Endpoint {
        let mark = Mark {
            installation: installation.to_owned(),
            nonce: nonce(number),
            purpose: wanted.purpose.clone(),
        };
        let body = wanted.settings.create(mark.name(&wanted.label()));
        let mut shown = serde_json::to_value(body).unwrap();
        shown["id"] = json!(id);
        shown["createdAt"] = json!(format!("2026-01-01T00:00:{number:02}Z"));
        serde_json::from_value(shown).unwrap()
    }

    fn plan_of(
        (desired, purposes): &(Vec<Desired>, BTreeSet<String>),
        seen: &[Endpoint],
        record: &Record,
    ) -> Plan {
        plan(OURS, desired, purposes, seen, record)
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_kept() {
        let wanted = desired(POOL);
        let nothing = plan_of(&wanted, &[], &Record::default());
        assert_eq!(nothing.create, wanted.0);
        let seen = [
            made(&wanted.0[0], "a", OURS, 1),
            made(&wanted.0[1], "b", OURS, 2),
        ];
        let all = plan_of(&wanted, &seen, &Record::default());
        assert!(all.is_empty(), "{all:?}");
        assert_eq!(all.keep[&wanted.0[1].purpose], "b");
    }

    #[test]
    fn limits_are_the_servers_and_change_nothing() {
        let wanted = desired(POOL);
        let mut seen: Vec<Endpoint> = wanted
            .0
            .iter()
            .enumerate()
            .map(|(n, w)| made(w, &format!("e{n}"), OURS, 1))
            .collect();
        seen[0].workers.max = Some(7);
        seen[0].workers.min = Some(2);
        assert!(plan_of(&wanted, &seen, &Record::default()).is_empty());
    }

    #[test]
    fn a_change_names_field_and_values_and_sends_only_what_differs() {
        let before = desired(POOL);
        let seen: Vec<Endpoint> = before
            .0
            .iter()
            .enumerate()
            .map(|(n, w)| made(w, &format!("e{n}"), OURS, 1))
            .collect();
        let after = desired(
            &POOL
                .replace("i:1", "i:2")
                .replace(
                    "gpu =",
                    "env = { TOKEN = \"canary\" }\ndisk = \"50GB\"\ngpu =",
                )
                .replace(
                    "name = \"sdxl\"",
                    "name = \"sdxl\"\nexecution_timeout = \"2m\"",
                ),
        );
        let plan = plan_of(&after, &seen, &Record::default());
        assert_eq!((plan.create.len(), plan.remove.len()), (0, 0));
        let change = &plan.change[0];
        assert!(change.is_release());
        let fields: Vec<&str> = change.differences.iter().map(|d| d.field).collect();
        assert_eq!(fields, ["image", "env", "disk", "timeout"]);
        let shown = serde_json::to_string(&change.differences).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("TOKEN (new)"), "{shown}");
        let body = serde_json::to_value(change.update()).unwrap();
        assert_eq!(
            body,
            json!({"image": "i:2", "env": {"TOKEN": "canary"}, "disk": 50, "timeout": 120_000})
        );
    }

    #[test]
    fn what_is_no_longer_asked_for_goes_and_nothing_of_others() {
        let before = desired(POOL);
        let other = "ovs-ffffffffffffffff";
        let mut foreign = made(&before.0[0], "f", other, 1);
        let ours = made(&before.0[1], "b", OURS, 2);
        let mut nameless = made(&before.0[1], "n", OURS, 3);
        nameless.name = "sdxl of somebody".into();
        let after = desired(&POOL.replace(", \"A40\"", ""));
        let seen = [
            foreign.clone(),
            made(&before.0[0], "a", OURS, 1),
            ours,
            nameless,
        ];
        let plan = plan_of(&after, &seen, &Record::default());
        let ids: Vec<&str> = plan.remove.iter().map(|gone| gone.id.as_str()).collect();
        assert_eq!(ids, ["b"]);
        assert_eq!(plan.remove[0].reason, Needless::NotConfigured);
        foreign.name = foreign.name.replace(other, OURS);
        let twins = plan_of(&after, &[foreign, seen[1].clone()], &Record::default());
        assert_eq!(twins.remove[0].reason, Needless::MadeTwice);
    }

    #[test]
    fn of_twins_the_one_that_is_remembered_stays_else_the_oldest() {
        let wanted = desired(&POOL.replace(", \"A40\"", ""));
        let seen = [
            made(&wanted.0[0], "young", OURS, 9),
            made(&wanted.0[0], "old", OURS, 3),
        ];
        let plan = plan_of(&wanted, &seen, &Record::default());
        assert_eq!(plan.remove[0].id, "young");
        let mut record = Record::default();
        record.found(&wanted.0[0].purpose, "young");
        let plan = plan_of(&wanted, &seen, &record);
        assert_eq!(plan.remove[0].id, "old");
    }

    #[test]
    fn a_type_that_runpod_lacks_for_now_costs_no_endpoint() {
        let (all, purposes) = desired(POOL);
        let seen: Vec<Endpoint> = all
            .iter()
            .enumerate()
            .map(|(n, w)| made(w, &format!("e{n}"), OURS, 1))
            .collect();
        let plan = plan(OURS, &all[..1], &purposes, &seen, &Record::default());
        assert!(plan.is_empty(), "{plan:?}");
    }

    #[test]
    fn registry_credentials_can_be_taken_away() {
        let with = desired(&POOL.replace("gpu =", "registry = \"cred1\"\ngpu ="));
        let seen = [
            made(&with.0[0], "a", OURS, 1),
            made(&with.0[1], "b", OURS, 1),
        ];
        let plan = plan_of(&desired(POOL), &seen, &Record::default());
        let body = serde_json::to_value(plan.change[0].update()).unwrap();
        assert_eq!(body, json!({"registry": null}));
    }
}

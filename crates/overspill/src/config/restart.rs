//! Settings that are read once, when the server starts: a reload tells of those that wait for the next start.

use serde_json::Value as Json;

use super::Config;

/// Keys at the top of the file, and keys of tables, that act at a start alone.
pub const AT_START: [&str; 17] = [
    "listen",
    "data_dir",
    "database",
    "public_url",
    "allowed_hosts",
    "allowed_origins",
    "trusted_proxies",
    "auth.required",
    "rate_limits",
    "runpod.api_key",
    "runpod.base_url",
    "runpod.management_url",
    "runpod.billing_check",
    "runpod.limits_check",
    "webhooks.allow",
    "journal.file",
    "journal.max_size",
];

impl Config {
    /// Settings of another configuration that act only once the server is started with it, by their keys, such as
    /// `webhooks.allow`. A secret that was exchanged is not seen: it is not shown.
    #[must_use]
    pub fn waiting_for_a_start(&self, next: &Self) -> Vec<&'static str> {
        let shown = |config: &Self| {
            let mut config = config.clone();
            config.runpod.get_or_insert_default();
            config.to_json()
        };
        let (before, after) = (shown(self), shown(next));
        let keys = AT_START.into_iter();
        keys.filter(|key| value(&before, key) != value(&after, key))
            .collect()
    }
}

fn value<'a>(shown: &'a Json, key: &str) -> Option<&'a Json> {
    key.split('.')
        .try_fold(shown, |table, name| table.get(name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags, Strictness, key_docs, parse};

    fn config(text: &str) -> Config {
        let (folder, strictness) = (Path::new("/base"), Strictness::Check);
        let loaded = parse(
            text,
            "f",
            folder,
            &Environment::default(),
            &Flags::default(),
            strictness,
        );
        loaded.unwrap().config
    }

    #[test]
    fn what_a_reload_cannot_change_is_named() {
        let before = config("");
        let after = config(
            "listen = \"127.0.0.1:9\"\n[webhooks]\nallow = [\"localhost:9\"]\n[budget]\nper_day = \"$5\"\n\
             [runpod]\nmax_workers = 3\nlimits_check = \"1m\"\n",
        );
        let keys = before.waiting_for_a_start(&after);
        assert_eq!(keys, ["listen", "runpod.limits_check", "webhooks.allow"]);
        assert!(after.waiting_for_a_start(&after).is_empty());
    }

    #[test]
    fn every_key_that_acts_at_a_start_is_one_of_the_file() {
        for key in AT_START {
            let mut known = Some(key_docs());
            for name in key.split('.') {
                let found = known
                    .unwrap_or_default()
                    .into_iter()
                    .find(|doc| doc.key == name);
                known = found.unwrap_or_else(|| panic!("{key} is none")).keys;
            }
        }
    }
}

//! Finds out whose key a request bears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use overspill_core::time::Timestamp;
use subtle::ConstantTimeEq as _;

use super::keys::{self, KeyRecord};
use super::scope::{Scope, Scopes};

/// Who calls, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's public id; for the audit trail.
    pub key_id: Arc<str>,
    /// What the key may do.
    pub scopes: Scopes,
    /// Names of the endpoints it is for; `None`: all.
    pub endpoints: Option<Arc<[String]>>,
}

impl Caller {
    /// Everyone, where no key is required.
    #[must_use]
    pub fn anyone() -> Self {
        Self {
            key_id: Arc::from("none"),
            scopes: Scopes::ADMIN,
            endpoints: None,
        }
    }

    /// Whether it may do what needs this scope.
    #[must_use]
    pub const fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// Whether it may know of the endpoint of this name.
    #[must_use]
    pub fn sees(&self, endpoint: &str) -> bool {
        self.endpoints
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == endpoint))
    }
}

struct Entry {
    digest: [u8; 32],
    caller: Caller,
    expires_at: Option<Timestamp>,
}

#[derive(Default)]
struct Index {
    /// The snapshot it was made from.
    source: Option<Arc<Vec<KeyRecord>>>,
    by_digest: HashMap<[u8; 32], Arc<Entry>>,
    by_id: HashMap<Arc<str>, Arc<Entry>>,
}

/// Keys by digest, made anew whenever the engine shows another snapshot of them.
#[derive(Default)]
pub struct Keyring {
    index: Mutex<Index>,
}

impl Keyring {
    /// Whose key this is; `None` when it is no one's, revoked, or expired.
    ///
    /// The work is the same whether a key exists or not: one digest, one look-up by it, one
    /// comparison. The digest cannot be steered without the server's secret, so the look-up's time
    /// says nothing about keys.
    #[must_use]
    pub fn authenticate(
        &self,
        server_secret: &[u8; 32],
        records: &Arc<Vec<KeyRecord>>,
        key: &str,
        now: Timestamp,
    ) -> Option<Caller> {
        let digest = keys::digest(server_secret, key);
        let entry = self.look_up(records, |index| index.by_digest.get(&digest).cloned());
        let stored = entry.as_ref().map_or([0; 32], |entry| entry.digest);
        let is_equal = bool::from(stored.ct_eq(&digest));
        entry
            .filter(|entry| is_equal && entry.expires_at.is_none_or(|end| now < end))
            .map(|entry| entry.caller.clone())
    }

    /// What the key of this public id may do, for whoever proved to have had it; `None` when there is
    /// none, or it was revoked, or it expired.
    #[must_use]
    pub fn by_id(&self, records: &Arc<Vec<KeyRecord>>, id: &str, now: Timestamp) -> Option<Caller> {
        let entry = self.look_up(records, |index| index.by_id.get(id).cloned());
        entry
            .filter(|entry| entry.expires_at.is_none_or(|end| now < end))
            .map(|entry| entry.caller.clone())
    }

    fn look_up(
        &self,
        records: &Arc<Vec<KeyRecord>>,
        find: impl FnOnce(&Index) -> Option<Arc<Entry>>,
    ) -> Option<Arc<Entry>> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let source = index.source.as_ref();
        if !source.is_some_and(|source| Arc::ptr_eq(source, records)) {
            *index = Index::of(records);
        }
        find(&index)
    }
}

impl Index {
    fn of(records: &Arc<Vec<KeyRecord>>) -> Self {
        let by_digest: HashMap<[u8; 32], Arc<Entry>> = records
            .iter()
            .filter(|record| record.revoked_at.is_none())
            .map(|record| {
                let entry = Entry {
                    digest: record.digest,
                    caller: Caller {
                        key_id: Arc::from(record.id.as_str()),
                        // A word that this version does not know allows nothing.
                        scopes: record
                            .scopes
                            .iter()
                            .filter_map(|word| word.parse().ok())
                            .collect(),
                        endpoints: record.endpoints.as_deref().map(Arc::from),
                    },
                    expires_at: record.expires_at,
                };
                (record.digest, Arc::new(entry))
            })
            .collect();
        let of_id = |entry: &Arc<Entry>| (Arc::clone(&entry.caller.key_id), Arc::clone(entry));
        Self {
            source: Some(Arc::clone(records)),
            by_id: by_digest.values().map(of_id).collect(),
            by_digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::key_text::KeyKind;
    use crate::auth::keys::NewKey;

    #[test]
    fn a_key_is_known_until_it_is_revoked_or_expires() {
        let secret = [7; 32];
        let now = Timestamp::from_millis(1_000);
        let new = NewKey {
            name: "app".into(),
            kind: KeyKind::User,
            scopes: [Scope::JobsSubmit].into_iter().collect(),
            endpoints: Some(vec!["tts".into()]),
            expires_at: Some(Timestamp::from_millis(5_000)),
        };
        let (mut record, text) = keys::mint(&secret, new, now);
        let keyring = Keyring::default();
        let records = Arc::new(vec![record.clone()]);
        let caller = keyring
            .authenticate(&secret, &records, &text, now)
            .expect("it is known");
        assert!(caller.may(Scope::JobsSubmit) && !caller.may(Scope::JobsRead));
        assert!(caller.sees("tts") && !caller.sees("sdxl"));
        let by_id = |now| keyring.by_id(&records, &record.id, now);
        assert_eq!(by_id(now), Some(caller));
        assert_eq!(by_id(Timestamp::from_millis(5_000)), None);
        assert_eq!(keyring.by_id(&records, "other", now), None);
        let late = Timestamp::from_millis(5_000);
        assert_eq!(keyring.authenticate(&secret, &records, &text, late), None);
        assert_eq!(
            keyring.authenticate(&secret, &records, "' OR '1'='1", now),
            None
        );
        record.revoked_at = Some(now);
        let records = Arc::new(vec![record]);
        assert_eq!(keyring.authenticate(&secret, &records, &text, now), None);
        let id = &records[0].id;
        assert_eq!(keyring.by_id(&records, id, now), None);
    }
}

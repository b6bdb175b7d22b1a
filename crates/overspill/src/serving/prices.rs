//! Keeps the catalog of GPU types up to date: what was kept at once, what RunPod says now soon after, and
//! again every few hours.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::catalog::{self, Catalog, cache};
use crate::clock::ServerClock;
use crate::config::RunpodAccess;
use crate::pool::runpod::management::Management;

/// After a failure RunPod is asked again this much later.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// What is known at start.
#[must_use]
pub(super) fn at_start(access: Option<&(RunpodAccess, SecretString)>, data_dir: &Path) -> Catalog {
    let kept = access.and_then(|(access, _)| cache::load(data_dir, access.management_url.as_str()));
    kept.map_or_else(Catalog::built_in, |kept| kept.catalog())
}

/// Asks RunPod, and tells each list to `take`, until `stop`.
pub(super) async fn follow(
    management: Management,
    management_url: String,
    data_dir: PathBuf,
    clock: ServerClock,
    take: impl Fn(Arc<Catalog>),
    stop: CancellationToken,
) {
    let fresh = Duration::from_millis(cache::FRESH.as_millis());
    let kept = cache::load(&data_dir, &management_url);
    let mut wait = match kept.filter(|kept| !kept.is_stale(clock.now())) {
        Some(kept) => {
            let age = clock.now().since(kept.at);
            fresh.saturating_sub(Duration::from_millis(age.as_millis()))
        }
        None => Duration::ZERO,
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        let asked = tokio::select! {
            asked = catalog::fetch(&management) => asked,
            () = stop.cancelled() => return,
        };
        wait = match asked {
            Ok(list) => {
                let kept = cache::Kept {
                    at: clock.now(),
                    management_url: management_url.clone(),
                    list,
                };
                let catalog = kept.catalog();
                info!(
                    types = catalog.gpus.len(),
                    "RunPod's catalog of GPUs was read"
                );
                take(Arc::new(catalog));
                if let Err(error) = cache::store(&data_dir, &kept) {
                    warn!(%error, "RunPod's catalog of GPUs is not kept for the next start");
                }
                fresh
            }
            Err(error) => {
                warn!(%error, "RunPod's catalog of GPUs cannot be read; prices stay as they are");
                AGAIN
            }
        };
    }
}

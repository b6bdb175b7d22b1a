//! The cloud's driver, set up from the configuration.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use overspill_core::event::{CloudJobState, Event, Outcome, PayloadRef};
use secrecy::SecretString;

use crate::config::RunpodAccess;
use crate::engine::api::Payload;
use crate::engine::live::CloudPools;
use crate::engine::message::Message;
use crate::kept::carry_out::Account;
use crate::pool::runpod::account::Connection;
use crate::pool::runpod::client::AccountError;
use crate::pool::runpod::clock::{Clock, SystemClock};
use crate::pool::runpod::driver::{BillAccess, CloudEvents, CloudPool, Driver, Managed};
use crate::pool::runpod::management::Management;

/// The running driver with the account that its pools share.
pub struct Cloud {
    /// Takes orders.
    pub driver: Driver,
    connection: Connection,
    limits_check_ms: i64,
}

impl Cloud {
    /// Starts the driver; needs a tokio runtime.
    ///
    /// # Errors
    /// When the account's address or key cannot be used.
    pub fn start(
        access: &RunpodAccess,
        api_key: &SecretString,
        installation: &str,
        events: Arc<dyn CloudEvents>,
    ) -> Result<Self, AccountError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let connection = Connection::new(
            api_key,
            Some(access.base_url.as_str()),
            Some(access.management_url.as_str()),
            installation,
            Arc::clone(&clock),
        )?;
        let (driver, _task) = Driver::start(clock, events);
        driver.read_bills(BillAccess {
            management: connection.management.clone(),
            period_ms: i64::try_from(access.billing_check.as_millis()).unwrap_or(i64::MAX),
        });
        Ok(Self {
            driver,
            connection,
            limits_check_ms: i64::try_from(access.limits_check.as_millis()).unwrap_or(i64::MAX),
        })
    }

    /// The account, for those who keep endpoints there.
    #[must_use]
    pub fn account(&self, installation: &str) -> Account {
        Account {
            management: self.connection.management.clone(),
            data_plane: self.connection.data_plane.clone(),
            installation: installation.to_owned(),
        }
    }

    /// The account's management API.
    #[must_use]
    pub const fn management(&self) -> &Management {
        &self.connection.management
    }

    /// Tells the driver of all cloud pools, and of those that are no longer configured and have jobs or limits
    /// of ours where they lead.
    pub fn configure(&self, pools: &CloudPools) {
        let left = pools.left.iter().map(|left| CloudPool {
            id: left.id,
            endpoint_id: left.endpoint.clone(),
            data_plane: self.connection.data_plane.clone(),
            management: Some(self.connection.management.clone()).filter(|_| left.has_limits),
            managed: if left.has_limits {
                Managed::Limits
            } else {
                Managed::Nothing
            },
            idle_timeout_s: 1,
            price: None,
            limits_check_ms: self.limits_check_ms,
            streams: false,
            is_left: true,
            is_counted: left.is_counted,
        });
        let pools = pools.configured.iter().map(|(id, spec)| CloudPool {
            id: *id,
            endpoint_id: spec.endpoint.clone(),
            data_plane: self.connection.data_plane.clone(),
            management: spec.manage.then(|| self.connection.management.clone()),
            managed: if spec.manage {
                Managed::Limits
            } else {
                Managed::Nothing
            },
            idle_timeout_s: u32::try_from(spec.idle_timeout.as_millis() / 1_000)
                .unwrap_or(u32::MAX),
            price: spec.price,
            limits_check_ms: self.limits_check_ms,
            streams: false,
            is_left: false,
            is_counted: true,
        });
        self.driver.configure(pools.chain(left).collect());
    }
}

/// Takes the driver's facts to the engine.
pub struct Facts {
    inbox: Sender<Message>,
    next: std::sync::atomic::AtomicU64,
}

impl Facts {
    /// Facts go to this inbox.
    #[must_use]
    pub const fn new(inbox: Sender<Message>) -> Self {
        // Handles of the gateway count up from 1; these are far away from them.
        Self {
            inbox,
            next: std::sync::atomic::AtomicU64::new(1 << 62),
        }
    }
}

impl CloudEvents for Facts {
    fn send(&self, mut event: Event, payload: Option<Bytes>) {
        let mut payloads = Vec::new();
        if let (Some(bytes), Some(place)) = (payload, payload_of(&mut event)) {
            place.handle = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            place.bytes = bytes.len() as u64;
            payloads.push(Payload {
                reference: *place,
                bytes,
            });
        }
        // A stopped engine needs no facts.
        let _ = self.inbox.send(Message::Tell { event, payloads });
    }
}

fn payload_of(event: &mut Event) -> Option<&mut PayloadRef> {
    match event {
        Event::CloudStatus {
            state:
                CloudJobState::Ended {
                    outcome: Outcome::Completed { output } | Outcome::Failed { output, .. },
                    ..
                },
            ..
        } => Some(output),
        Event::CloudChunk { chunk, .. } => Some(chunk),
        Event::CloudProgress { progress, .. } => Some(progress),
        _ => None,
    }
}

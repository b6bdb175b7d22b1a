//! Who may do what: API keys and their scopes, workers' keys, the brake on guessing.
//!
//! Nothing here knows HTTP. Keys of people are stored as a digest with the server's pepper; keys
//! of workers are not stored at all, they follow from the server's secret and the worker's id.
//! Authorised is both at issue (a key mints only a part of itself) and at use.

pub mod bootstrap;
pub mod failures;
pub mod job_token;
pub mod key_text;
pub mod keyring;
pub mod keys;
pub mod scope;
pub mod seal;
pub mod session;
pub mod worker_key;

//! The TLS provider of the process: rustls with ring.
//!
//! The HTTP client is built without a provider of its own and panics on first use without one, so every entry
//! point (the binary, a test) installs it once.

/// Installs ring as the TLS provider of this process; later calls change nothing.
pub fn install_provider() {
    // An error only says that a provider is there already, which is all that is wanted.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

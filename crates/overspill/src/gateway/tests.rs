//! Tests of the gateway over real connections.

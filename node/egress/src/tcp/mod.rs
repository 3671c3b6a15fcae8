//! Connections of sandboxes, from the accept to their end.
pub mod accept;
pub mod carry;
pub mod connection;
pub mod dial;
pub mod look;
pub mod original;
pub mod prefixed;
pub mod relay;
pub mod splice;

//! Requests that the proxy sees: in clear text, or over TLS that it terminated.
pub mod body;
pub mod check;
pub mod exchange;
pub mod fields;
pub mod forward;
pub mod guard;
pub mod refuse;
pub mod serve;
pub mod tracked;
pub mod upgrade;
pub mod upstream;

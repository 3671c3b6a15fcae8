//! TLS as the proxy meets it: the first message, our own certificates, and the upstream's.
pub mod alert;
pub mod authority;
pub mod hello;
pub mod upstream;

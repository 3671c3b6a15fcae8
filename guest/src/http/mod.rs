//! HTTP/2 inside a link session.

pub mod body;
pub mod error;
pub mod query;
pub mod request;
mod route;
pub mod serve;

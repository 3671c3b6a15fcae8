//! The link: sessions over a byte stream that has no connections (docs/reference/guest-protocol.md).

pub mod frame;
mod outbox;
mod pump;
mod session;

pub use pump::pump;
pub use session::Session;

//! What a sandbox may reach: the document, its compiled form, and the decision.
pub mod compile;
pub mod decide;
pub mod document;
pub mod path;
pub mod reason;

pub use compile::Policy;
pub use reason::Reason;

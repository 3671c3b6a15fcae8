//! Values that a sandbox can use and never has (invariant 7): in memory only, wiped when they go.
pub mod body;
pub mod document;
pub mod encode;
pub mod rewriter;
pub mod scrub;
pub mod substitute;

pub use document::Secrets;

//! The resolver of the sandboxes: answers only what some rule can allow, and pins what it answers.
pub mod message;
pub mod resolver;
pub mod serve;
pub mod upstream;

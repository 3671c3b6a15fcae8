//! What went wrong, at which step: one line of JSON for the daemon.

use std::io;

/// An error of the launcher. `step` is a stable name; `message` says act, operand and next step.
#[derive(Debug, Clone)]
pub struct Fault {
    pub code: &'static str,
    pub step: &'static str,
    pub message: String,
}

pub type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub fn new(code: &'static str, step: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            step,
            message: message.into(),
        }
    }

    /// A failed system call.
    pub fn os(step: &'static str, act: impl AsRef<str>, error: &io::Error) -> Self {
        let code = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => "host_disk_full",
            Some(libc::ENOENT) => "not_found",
            _ => "internal",
        };
        Self::new(code, step, format!("cannot {}: {error}", act.as_ref()))
    }

    /// The line on standard error.
    pub fn line(&self) -> String {
        serde_json::json!({ "code": self.code, "message": self.message, "step": self.step })
            .to_string()
    }
}

/// Turns the `errno` of a wrapped call into a fault of `step`.
pub trait AtStep<T> {
    fn at(self, step: &'static str, act: impl AsRef<str>) -> Outcome<T>;
}

impl<T> AtStep<T> for io::Result<T> {
    fn at(self, step: &'static str, act: impl AsRef<str>) -> Outcome<T> {
        self.map_err(|error| Fault::os(step, act, &error))
    }
}

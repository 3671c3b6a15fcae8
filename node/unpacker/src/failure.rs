//! One error for the whole program; its code is one of `protocol/src/error-codes.ts`.
use std::io;

#[derive(Debug)]
pub struct Failure {
    pub code: &'static str,
    pub message: String,
    /// Name of the archive's entry at fault, as far as there is one.
    pub entry: Option<String>,
}

pub type Outcome<T> = Result<T, Failure>;

/// Longest entry name that an error repeats, in bytes: it comes from the archive.
const NAME_IN_ERROR_BYTES: usize = 256;

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: "image_invalid",
            message: message.into(),
            entry: None,
        }
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self {
            code: "payload_too_large",
            message: message.into(),
            entry: None,
        }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            code: "internal",
            message: message.into(),
            entry: None,
        }
    }

    /// Keeps "disk full" apart from the rest: the operator mends that one.
    pub fn from_io(act: &str, error: &io::Error) -> Self {
        let code = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => "host_disk_full",
            Some(libc::EFBIG) => "payload_too_large",
            _ => "image_invalid",
        };
        Self {
            code,
            message: format!("cannot {act}: {error}"),
            entry: None,
        }
    }

    pub fn at(mut self, name: &[u8]) -> Self {
        if self.entry.is_none() {
            self.entry = Some(printable(name));
        }
        self
    }
}

/// A name as text for people: bounded, control characters replaced.
pub fn printable(name: &[u8]) -> String {
    let cut = &name[..name.len().min(NAME_IN_ERROR_BYTES)];
    String::from_utf8_lossy(cut)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

//! Refusals: a status, a code of the closed table, and what to do next.

use std::io;

use http::StatusCode;
use serde_json::{Value, json};

use crate::kernel::errno;

/// The codes that this agent uses; they are a part of `protocol/src/error-codes.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidRequest,
    NotAdopted,
    NotFound,
    ProcessNotFound,
    PathNotFound,
    PathExists,
    NotAFile,
    NotADirectory,
    DirectoryNotEmpty,
    PermissionDenied,
    Conflict,
    StateConflict,
    ProcessEnded,
    StdinClosed,
    ExecFailed,
    TooManyProcesses,
    OutOfMemory,
    DiskFull,
    PayloadTooLarge,
    RangeNotSatisfiable,
    HashMismatch,
    ImageInvalid,
    ConnectionRefused,
    Overloaded,
    Unsupported,
    Internal,
}

impl Code {
    pub fn name(self) -> &'static str {
        self.row().0
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn row(self) -> (&'static str, u16) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400),
            Self::NotAdopted => ("not_adopted", 409),
            Self::NotFound => ("not_found", 404),
            Self::ProcessNotFound => ("process_not_found", 404),
            Self::PathNotFound => ("path_not_found", 404),
            Self::PathExists => ("path_exists", 409),
            Self::NotAFile => ("not_a_file", 409),
            Self::NotADirectory => ("not_a_directory", 409),
            Self::DirectoryNotEmpty => ("directory_not_empty", 409),
            Self::PermissionDenied => ("permission_denied", 403),
            Self::Conflict => ("conflict", 409),
            Self::StateConflict => ("state_conflict", 409),
            Self::ProcessEnded => ("process_ended", 409),
            Self::StdinClosed => ("stdin_closed", 409),
            Self::ExecFailed => ("exec_failed", 422),
            Self::TooManyProcesses => ("too_many_processes", 429),
            Self::OutOfMemory => ("out_of_memory", 507),
            Self::DiskFull => ("disk_full", 507),
            Self::PayloadTooLarge => ("payload_too_large", 413),
            Self::RangeNotSatisfiable => ("range_not_satisfiable", 416),
            Self::HashMismatch => ("hash_mismatch", 422),
            Self::ImageInvalid => ("image_invalid", 422),
            Self::ConnectionRefused => ("connection_refused", 422),
            Self::Overloaded => ("overloaded", 503),
            Self::Unsupported => ("unsupported", 501),
            Self::Internal => ("internal", 500),
        }
    }
}

/// What a call answers instead of success.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    pub details: Option<Value>,
}

pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    pub fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// A failed system call on a path: `cannot read /x: ENOENT (No such file or directory)`.
    pub fn io(act: &str, operand: &str, error: &io::Error) -> Self {
        let code = match error.raw_os_error() {
            Some(libc::ENOENT) => Code::PathNotFound,
            Some(libc::ENOTDIR) => Code::NotADirectory,
            Some(libc::EISDIR) => Code::NotAFile,
            Some(libc::EEXIST) => Code::PathExists,
            Some(libc::ENOTEMPTY) => Code::DirectoryNotEmpty,
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Code::PermissionDenied,
            Some(libc::EBUSY | libc::ETXTBSY) => Code::Conflict,
            Some(libc::ENOSPC | libc::EDQUOT) => Code::DiskFull,
            Some(libc::ENOMEM) => Code::OutOfMemory,
            Some(
                libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::EINVAL
                | libc::EXDEV
                | libc::ENXIO
                | libc::EFBIG,
            ) => Code::InvalidRequest,
            _ => Code::Internal,
        };
        let name = error.raw_os_error().map(errno::name);
        let message = format!("cannot {act} {operand}: {}", errno::describe(error));
        Self::new(code, message).with(json!({ "errno": name, "path": operand }))
    }

    pub fn to_json(&self) -> Value {
        let mut body = json!({ "code": self.code.name(), "message": self.message });
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }
}

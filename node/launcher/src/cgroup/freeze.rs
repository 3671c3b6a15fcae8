//! Freezing a sandbox: no CPU, memory kept.

use super::{Cgroups, v1, v2};
use crate::fault::{Fault, Outcome};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Reads the kernel's file: frozen, thawed, or on its way.
type ReadState = fn(&str) -> Option<bool>;

impl Cgroups {
    /// Freezes or thaws, and returns once that is in force.
    pub fn set_frozen(&self, frozen: bool) -> Outcome<()> {
        const LIMIT_MS: u64 = 2_000;
        let (path, value, is_done): (PathBuf, &str, ReadState) = match self {
            Self::V1(directories) => (
                directories.of("freezer"),
                v1::freezer_word(frozen),
                v1::is_frozen,
            ),
            Self::V2(directory) => (
                directory.path.clone(),
                v2::freezer_word(frozen),
                v2::is_frozen,
            ),
        };
        let (write_to, read_from) = match self {
            Self::V1(_) => (path.join("freezer.state"), path.join("freezer.state")),
            Self::V2(_) => (path.join("cgroup.freeze"), path.join("cgroup.events")),
        };
        let fault = |error: &io::Error| {
            Fault::os(
                "freeze",
                format!("write {value} to {}", write_to.display()),
                error,
            )
        };
        let since = crate::kernel::timer::monotonic_ms();
        loop {
            fs::write(&write_to, value).map_err(|error| fault(&error))?;
            for _ in 0..20 {
                let state = fs::read_to_string(&read_from).map_err(|error| fault(&error))?;
                if is_done(&state) == Some(frozen) {
                    return Ok(());
                }
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
            if crate::kernel::timer::monotonic_ms() - since > LIMIT_MS {
                return Err(Fault::new(
                    "internal",
                    "freeze",
                    format!("cgroup did not reach {value} in {LIMIT_MS} ms"),
                ));
            }
        }
    }

    pub fn is_frozen(&self) -> bool {
        let (file, read): (PathBuf, ReadState) = match self {
            Self::V1(directories) => (
                directories.of("freezer").join("freezer.state"),
                v1::is_frozen,
            ),
            Self::V2(directory) => (directory.path.join("cgroup.events"), v2::is_frozen),
        };
        fs::read_to_string(file)
            .ok()
            .and_then(|state| read(&state))
            .unwrap_or(false)
    }
}

//! The sandbox's end: kill, remove, write exit.json, tell those who wait.

use super::shared::Stage;
use super::{LINGER_MS, Shim};
use crate::end::exit::{self, Cause, Exit};
use crate::end::{self, Receipt};
use crate::fault::Outcome;
use crate::kernel::process::{self, End};
use crate::kernel::timer;
use serde_json::{Value, json};
use std::os::fd::AsFd;

impl Shim {
    /// The runtime ended by itself, or is gone at a takeover.
    pub(super) fn finish_by_runtime_end(&mut self) {
        if self.exit.is_some() {
            return;
        }
        if let Ok(written) = std::fs::read(exit::path(&self.record.directory)) {
            // The other process had come that far.
            self.exit = serde_json::from_slice(&written).ok();
            if self.exit.is_some() {
                return self.after_end();
            }
        }
        self.reap_runtime();
        let oom = self.cgroups.oom_kills();
        let (cause, message) = match (self.shared.ending(), self.status) {
            (1, _) => (Cause::Killed, "ended on request"),
            (2, _) => (Cause::Deadline, "its deadline passed"),
            (3, _) => (Cause::OutOfMemory, "out of memory"),
            (_, Some(End::Code(_))) => (Cause::Exited, "its first process ended"),
            _ if oom > 0 => (
                Cause::OutOfMemory,
                "the host's kernel killed it: out of memory",
            ),
            (_, Some(End::Signal(_))) => (Cause::Fault, "the runtime was killed"),
            (_, None) => (Cause::Fault, "the runtime ended, its status is not known"),
        };
        self.finish_or_retry(cause, message.to_owned());
    }

    fn reap_runtime(&mut self) {
        const LIMIT_MS: u64 = 200;
        let Some(runtime) = self.record.runtime else {
            return;
        };
        let since = timer::monotonic_ms();
        while self.status.is_none() && timer::monotonic_ms() - since < LIMIT_MS {
            self.status = process::reap(runtime.pid).map(|(_, end)| end);
            if self.status.is_none() {
                // Not our child: whoever reaps it leaves the status with the kernel.
                self.status = self
                    .watches
                    .runtime
                    .as_ref()
                    .and_then(|pidfd| process::exit_by_pidfd(pidfd.as_fd()));
                timer::sleep_ms(u64::from(self.status.is_none()));
            }
        }
    }

    pub(super) fn finish_by_deadline(&mut self, at: i64) {
        self.shared.set_ending(2);
        self.finish_or_retry(Cause::Deadline, format!("its deadline {at} passed"));
    }

    pub(super) fn finish_by_oom(&mut self) {
        self.shared.set_ending(3);
        self.finish_or_retry(
            Cause::OutOfMemory,
            "the host's kernel killed a part of it: out of memory".to_owned(),
        );
    }

    /// Ends on request. The receipt is that of the first end.
    pub(super) fn destroy(&mut self, why: &str) -> Outcome<Value> {
        if self.exit.is_none() {
            self.shared.set_ending(1);
            self.finish(Cause::Killed, why.chars().take(512).collect())?;
        }
        let receipt = self
            .exit
            .as_ref()
            .and_then(|exit| exit.get("receipt"))
            .cloned()
            .unwrap_or(Value::Null);
        end::forget(&self.record);
        // After the answer there is nothing to stay for.
        self.linger_until_ms = timer::monotonic_ms() + 5;
        Ok(json!({ "receipt": receipt }))
    }

    /// Without anyone to tell a failure to, it is tried again.
    fn finish_or_retry(&mut self, cause: Cause, message: String) {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            if self.finish(cause, message.clone()).is_ok() {
                return;
            }
            timer::sleep_ms(200);
        }
        // What is left is in shim.json; exit.json tells that it is not clean.
        let exit = Exit {
            cause,
            end: self.status,
            oom_kills: 0,
            message: format!("{message}; leftovers remain, run reap"),
        };
        self.exit = Some(exit.json(None, None));
        self.after_end();
    }

    fn finish(&mut self, cause: Cause, message: String) -> Outcome<()> {
        let usage = self.cgroups.usage().ok();
        self.session.abandon();
        let receipt: Receipt = end::everything(&self.record, &mut self.status)?;
        let oom_kills = usage.map_or(0, |usage| usage.oom_kills);
        let exit = Exit {
            cause,
            end: self.status,
            oom_kills,
            message,
        };
        self.exit = Some(exit.json(Some(&receipt), usage.as_ref()));
        self.after_end();
        Ok(())
    }

    fn after_end(&mut self) {
        const WRITE_ATTEMPTS: usize = 50;
        self.watches.runtime = None;
        self.watches.oom = None;
        self.oom_until_ms = 0;
        self.session.abandon();
        if let Some(exit) = &self.exit {
            for _ in 0..WRITE_ATTEMPTS {
                if exit::path(&self.record.directory).exists()
                    || exit::write(&self.record.directory, exit).is_ok()
                {
                    break;
                }
                timer::sleep_ms(20);
            }
        }
        self.shared.set_stage(Stage::Over);
        if let Some(spare) = self.watches.spare.take() {
            let _ = process::kill_by_pidfd(spare.as_fd(), libc::SIGKILL);
        }
        self.linger_until_ms = timer::monotonic_ms() + LINGER_MS;
        self.controls.answer_waiters(self.exit.as_ref());
    }

    /// The last act.
    pub(super) fn leave(&mut self) -> ! {
        if exit::path(&self.record.directory).exists() {
            end::forget(&self.record);
        }
        for name in end::SOCKETS {
            let _ = std::fs::remove_file(self.record.directory.join(name));
        }
        process::exit_now(0)
    }
}

//! The node's own hard end, kept with no daemon alive.

use super::Shim;
use super::shared::DeadlineAction;
use crate::fault::{AtStep, Outcome};
use crate::kernel::timer;
use std::os::fd::AsFd;

impl Shim {
    pub(super) fn arm_deadline(&self) -> Outcome<()> {
        let due = self
            .shared
            .deadline()
            .filter(|_| self.shared.action() != DeadlineAction::Frozen);
        timer::arm(self.watches.timer.as_fd(), due).at("serve", "arm the deadline")
    }

    pub(super) fn check_deadline(&mut self) {
        timer::drain(self.watches.timer.as_fd());
        match self.shared.deadline() {
            Some(at) if timer::unix_ms() >= at && self.exit.is_none() => {
                match self.shared.action() {
                    DeadlineAction::Kill => self.finish_by_deadline(at),
                    DeadlineAction::Freeze => self.freeze_by_deadline(),
                    DeadlineAction::Frozen => {}
                }
            }
            // The clock was set: wait for the same instant anew.
            _ => {
                let _ = self.arm_deadline();
            }
        }
    }

    /// Keeps what a pause would keep: no daemon is there to decide.
    fn freeze_by_deadline(&self) {
        const RETRY_MS: i64 = 500;
        if self.cgroups.set_frozen(true).is_ok() {
            return self.shared.note_frozen();
        }
        let again = Some(timer::unix_ms() + RETRY_MS);
        let _ = timer::arm(self.watches.timer.as_fd(), again);
    }
}

//! The second process: it waits for the first to die and then is the first. Each makes the other anew.

use super::shared::{Shared, Stage};
use super::{Held, Shim};
use crate::cgroup::Cgroups;
use crate::end;
use crate::fault::Fault;
use crate::kernel::process::{self, Forked};
use crate::kernel::{poll, socket, timer};
use crate::launch::Launch;
use crate::record::{Identity, Record};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Waits for the end of the shim, and does what is then right. Never returns.
pub fn guard(
    launch: Launch,
    cgroups: Cgroups,
    shared: &'static Shared,
    held: Held,
    active: &OwnedFd,
    result: Option<OwnedFd>,
) -> ! {
    process::set_name("atoll-spare");
    const FOR_EVER_MS: u64 = u64::MAX;
    while !poll::wait_readable(active.as_raw_fd(), FOR_EVER_MS) {}
    while process::reap(-1).is_some() {}
    match shared.stage() {
        Stage::Over => process::exit_now(0),
        Stage::Starting => fail_start(&launch, shared, result),
        Stage::Running => {
            drop(result);
            timer::sleep_ms(shared.takeover_pause_ms(timer::monotonic_ms()));
            take_over(launch, cgroups, shared, held)
        }
    }
}

/// The launcher was killed half-way: nothing is left behind.
fn fail_start(launch: &Launch, shared: &Shared, result: Option<OwnedFd>) -> ! {
    if let Some(record) = Record::read(&launch.directory) {
        match end::everything(&record, &mut None) {
            Ok(_) => end::forget(&record),
            Err(fault) => report_failure(shared, result.as_ref(), &fault),
        }
    }
    let message = format!(
        "cannot start {}: the launcher was killed at it; start it again",
        launch.id
    );
    report_failure(
        shared,
        result.as_ref(),
        &Fault::new("internal", "launcher", message),
    );
    process::exit_now(1)
}

/// Tells the waiting caller, once.
pub fn report_failure(shared: &Shared, result: Option<&OwnedFd>, fault: &Fault) {
    if shared.claim_report()
        && let Some(result) = result
    {
        let _ = socket::write(result.as_fd(), format!("-{}\n", fault.line()).as_bytes());
    }
}

fn take_over(launch: Launch, cgroups: Cgroups, shared: &'static Shared, held: Held) -> ! {
    process::set_name("atoll-shim");
    let Some(mut record) = Record::read(&launch.directory) else {
        process::exit_now(3)
    };
    record.shim = Identity::of(process::pid());
    record.spare = None;
    // On a full disk the old record stays; the cgroups in it still name all that has to go.
    let _ = record.write();
    match Shim::new(launch, record, shared, cgroups, held) {
        Ok(shim) => shim.serve(),
        Err(_) => process::exit_now(4),
    }
}

impl Shim {
    /// Makes a spare where there is none that lives.
    pub(super) fn heal_spare(&mut self) {
        if self.exit.is_some() {
            return;
        }
        if let Some(spare) = &self.watches.spare {
            if !poll::wait_readable(spare.as_raw_fd(), 0) {
                return;
            }
            self.watches.spare = None;
            timer::sleep_ms(self.shared.takeover_pause_ms(timer::monotonic_ms()));
        }
        if let Some(known) = self.record.spare.filter(|identity| identity.is_alive()) {
            self.watches.spare = process::open_pidfd(known.pid).ok();
            return;
        }
        // Opened before the fork: a shim that is killed before its spare has run at all is found dead by it.
        let Ok(active) = process::open_pidfd(process::pid()) else {
            return timer::sleep_ms(10);
        };
        match process::fork() {
            Ok(Forked::Child) => self.become_spare(active),
            Ok(Forked::Parent(pid)) => {
                self.watches.spare = process::open_pidfd(pid).ok();
                self.record.spare = Identity::of(pid);
                let _ = self.record.write();
            }
            // No process to be had now: the next turn tries again.
            Err(_) => timer::sleep_ms(10),
        }
    }

    fn become_spare(&self, active: OwnedFd) -> ! {
        let [guest_in, guest_out] = self.session.descriptors();
        let (agent, shim) = (
            self.listeners.agent.as_raw_fd(),
            self.listeners.shim.as_raw_fd(),
        );
        let (log_out, log_in) = (self.log.read_end(), self.log.write_end());
        let kept = [
            guest_in,
            guest_out,
            agent,
            shim,
            log_out,
            log_in,
            self.log.file(),
            active.as_raw_fd(),
        ];
        process::close_all_but(&kept);
        let _ = process::become_subreaper();
        // SAFETY: this process is a copy: the parent's owners of these numbers are never dropped here.
        let own = |fd: i32| unsafe { OwnedFd::from_raw_fd(fd) };
        let held = Held {
            guest_in: own(guest_in),
            guest_out: own(guest_out),
            agent_listener: own(agent),
            shim_listener: own(shim),
            log: self.log.adopt(own),
        };
        guard(
            self.launch.clone(),
            self.cgroups.clone(),
            self.shared,
            held,
            &active,
            None,
        )
    }
}

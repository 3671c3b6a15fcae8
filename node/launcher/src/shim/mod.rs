//! The process that holds a sandbox: its descriptors, its deadline, its end.

mod control;
mod deadline;
mod finish;
pub mod link;
pub mod log;
mod requests;
mod session;
pub mod shared;
pub mod spare;

use crate::cgroup::Cgroups;
use crate::fault::{AtStep, Outcome};
use crate::kernel::poll::Interest;
use crate::kernel::process::{self, End};
use crate::kernel::{socket, timer};
use crate::launch::{Kind, Launch};
use crate::record::Record;
use control::Controls;
use log::Log;
use serde_json::Value;
use session::Session;
use shared::Shared;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What both the shim and its spare have open.
pub struct Held {
    pub guest_in: OwnedFd,
    pub guest_out: OwnedFd,
    pub agent_listener: OwnedFd,
    pub shim_listener: OwnedFd,
    pub log: Log,
}

/// A shim at work.
pub struct Shim {
    launch: Launch,
    record: Record,
    shared: &'static Shared,
    cgroups: Cgroups,
    listeners: Listeners,
    log: Log,
    session: Session,
    controls: Controls,
    watches: Watches,
    /// The runtime's end, where this process is its parent and saw it.
    status: Option<End>,
    /// exit.json, once the sandbox has ended.
    exit: Option<Value>,
    /// While set, an out-of-memory kill is looked for.
    oom_until_ms: u64,
    linger_until_ms: u64,
}

struct Listeners {
    agent: OwnedFd,
    shim: OwnedFd,
}

struct Watches {
    children: OwnedFd,
    timer: OwnedFd,
    runtime: Option<OwnedFd>,
    spare: Option<OwnedFd>,
    oom: Option<OwnedFd>,
}

/// How long an ended sandbox's shim waits for someone to ask; exit.json stays for ever.
const LINGER_MS: u64 = 60_000;
/// The kernel tells of memory running out shortly before it counts the kill.
const OOM_LOOK_MS: u64 = 500;
const OOM_LOOK_EVERY_MS: u64 = 3;

impl Shim {
    /// Prepares to serve; the runtime runs.
    pub fn new(
        launch: Launch,
        record: Record,
        shared: &'static Shared,
        cgroups: Cgroups,
        mut held: Held,
    ) -> Outcome<Self> {
        held.log.recount();
        let runtime = record
            .runtime
            .filter(|identity| identity.is_alive())
            .and_then(|identity| {
                process::open_pidfd(identity.pid)
                    .ok()
                    .filter(|_| identity.is_alive())
            });
        for fd in [&held.guest_in, &held.guest_out] {
            socket::set_nonblocking(fd.as_fd())
                .at("serve", "set the guest's streams non-blocking")?;
        }
        let watches = Watches {
            children: process::route_signals().at("serve", "route signals")?,
            timer: timer::wall_timer().at("serve", "make a timer")?,
            runtime,
            spare: None,
            oom: Some(
                cgroups
                    .watch_oom()
                    .at("serve", "watch for memory running out")?,
            ),
        };
        let shim = Self {
            launch,
            record,
            shared,
            cgroups,
            listeners: Listeners {
                agent: held.agent_listener,
                shim: held.shim_listener,
            },
            log: held.log,
            session: Session::new(held.guest_in, held.guest_out),
            controls: Controls::default(),
            watches,
            status: None,
            exit: None,
            oom_until_ms: timer::monotonic_ms() + OOM_LOOK_MS,
            linger_until_ms: u64::MAX,
        };
        shim.arm_deadline()?;
        Ok(shim)
    }

    /// Serves until the sandbox is over and nobody waits any more.
    pub fn serve(mut self) -> ! {
        let mut interest = Interest::new();
        // What ended before signals were routed is told by none: it would stay in the cgroup's count.
        self.reap();
        if self.watches.runtime.is_none() {
            self.finish_by_runtime_end();
        }
        loop {
            self.heal_spare();
            interest.clear();
            let places = self.want(&mut interest);
            if interest.wait(self.wake_in_ms()).is_err() {
                timer::sleep_ms(1);
                continue;
            }
            self.advance(&interest, &places);
            if self.exit.is_some() && timer::monotonic_ms() >= self.linger_until_ms {
                self.leave();
            }
        }
    }

    fn wake_in_ms(&self) -> Option<u64> {
        let now = timer::monotonic_ms();
        let oom = (now < self.oom_until_ms).then_some(OOM_LOOK_EVERY_MS);
        let linger = self
            .exit
            .as_ref()
            .map(|_| self.linger_until_ms.saturating_sub(now));
        [self.session.wake_in_ms(), self.log.pause_ms(), oom, linger]
            .into_iter()
            .flatten()
            .min()
    }

    fn want(&self, interest: &mut Interest) -> Places {
        let raw = |fd: &Option<OwnedFd>| fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        Places {
            children: interest.add(self.watches.children.as_raw_fd(), true, false),
            timer: interest.add(self.watches.timer.as_raw_fd(), true, false),
            runtime: interest.add(raw(&self.watches.runtime), true, false),
            oom: interest.add(raw(&self.watches.oom), true, false),
            _spare: interest.add(raw(&self.watches.spare), true, false),
            log: interest.add(
                if self.log.pause_ms().is_none() {
                    self.log.read_end()
                } else {
                    -1
                },
                true,
                false,
            ),
            agent: interest.add(self.listeners.agent.as_raw_fd(), true, false),
            shim: interest.add(self.listeners.shim.as_raw_fd(), true, false),
            session: self.session.want(interest),
            controls: self.controls.want(interest),
        }
    }

    fn advance(&mut self, interest: &Interest, places: &Places) {
        if interest.readable(places.children) {
            self.reap();
        }
        if interest.readable(places.log) {
            self.log.take();
        }
        self.session.advance(interest, &places.session);
        if interest.readable(places.timer) {
            self.check_deadline();
        }
        if interest.readable(places.oom) {
            if let Some(oom) = &self.watches.oom {
                timer::drain(oom.as_fd());
            }
            self.oom_until_ms = timer::monotonic_ms() + OOM_LOOK_MS;
        }
        if timer::monotonic_ms() < self.oom_until_ms {
            self.check_oom();
        }
        if interest.readable(places.runtime) {
            self.finish_by_runtime_end();
        }
        self.accept(interest, places);
        self.serve_controls(interest, &places.controls);
    }

    fn accept(&mut self, interest: &Interest, places: &Places) {
        if interest.readable(places.agent)
            && let Some(client) = self.accept_newest(self.listeners.agent.as_fd())
            && self.exit.is_none()
            && self.session.open(client).is_ok()
        {
            self.shared.count_session();
        }
        if interest.readable(places.shim)
            && let Some(client) = self.accept_own(self.listeners.shim.as_fd())
        {
            self.controls.add(client);
        }
    }

    /// A newer client replaces the older ones, those that still wait, too.
    fn accept_newest(&self, listener: std::os::fd::BorrowedFd) -> Option<OwnedFd> {
        std::iter::from_fn(|| self.accept_own(listener))
            .take(socket::BACKLOG as usize)
            .last()
    }

    /// Only our own user may speak to us, whatever the file's mode became.
    fn accept_own(&self, listener: std::os::fd::BorrowedFd) -> Option<OwnedFd> {
        let client = socket::accept(listener)?;
        (socket::peer_uid(client.as_fd()).ok()? == process::own_uid()).then_some(client)
    }

    /// Takes the ends of children: the runtime, its helpers, and ours.
    fn reap(&mut self) {
        timer::drain(self.watches.children.as_fd());
        let mut buffer = [0u8; 1024];
        while socket::read(self.watches.children.as_fd(), &mut buffer).is_ok_and(|got| got > 0) {}
        while let Some((pid, end)) = process::reap(-1) {
            if self
                .record
                .runtime
                .is_some_and(|runtime| runtime.pid == pid)
            {
                self.status = Some(end);
            }
            self.controls.helper_ended(pid, end);
        }
    }

    /// In gVisor a kill by the kernel hits a part without which the rest hangs: the sandbox is over.
    /// In a container it ends one process, which the kernel's counter tells.
    fn check_oom(&mut self) {
        if self.exit.is_none() && self.launch.kind == Kind::Gvisor && self.cgroups.oom_kills() > 0 {
            self.finish_by_oom();
        }
    }
}

struct Places {
    children: usize,
    timer: usize,
    runtime: usize,
    oom: usize,
    _spare: usize,
    log: usize,
    agent: usize,
    shim: usize,
    session: session::Places,
    controls: Vec<usize>,
}

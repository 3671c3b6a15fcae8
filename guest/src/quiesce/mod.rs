//! Holds all user processes still, so that an image of the sandbox can be taken and a copy of it runs
//! no user code before it was adopted (invariant 12).

pub mod calls;
mod origin;
mod release;
mod stop;

pub use origin::Origin;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::sync::Notify;

use crate::http::error::{Answer, Code, Refusal};
use crate::limits::survey::Member;
use origin::Sign;

/// Whether user processes run, and who must be continued where they do not.
pub struct Quiesce {
    state: RefCell<State>,
    /// Told at each change of the state.
    changed: Notify,
    /// The dead man's switch in force: an older one does nothing.
    switch: Cell<u64>,
    /// What the host gave itself when it asked last.
    time: Cell<Duration>,
    origin: Origin,
}

enum State {
    Running,
    Stopping,
    Quiesced(Held),
}

/// What quiesce stopped, and where.
struct Held {
    stopped: Vec<Stopped>,
    /// Of the machine in which it was quiesced, or adopted since.
    home: Sign,
}

/// A process that is no other: pids come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stopped {
    pid: i32,
    started_ticks: u64,
}

impl From<&Member> for Stopped {
    fn from(member: &Member) -> Self {
        Self { pid: member.pid, started_ticks: member.started_ticks }
    }
}

impl Quiesce {
    pub fn new(origin: Origin) -> Self {
        Self {
            state: RefCell::new(State::Running),
            changed: Notify::new(),
            switch: Cell::new(0),
            time: Cell::new(Duration::ZERO),
            origin,
        }
    }

    pub fn is_quiesced(&self) -> bool {
        matches!(*self.state.borrow(), State::Quiesced(_))
    }

    /// Whether this was restored from an image and has not been told who it is.
    pub fn is_strange_copy(&self) -> bool {
        match &*self.state.borrow() {
            State::Quiesced(held) => held.home != self.origin.sign(),
            State::Running | State::Stopping => false,
        }
    }

    /// From here on the machine that runs now is the one that may be continued.
    fn settle(&self) {
        if let State::Quiesced(held) = &mut *self.state.borrow_mut() {
            held.home = self.origin.sign();
        }
    }

    /// Refuses what only a sandbox with an identity of its own may do.
    pub fn check_own(&self, act: &str) -> Answer<()> {
        if !self.is_strange_copy() {
            return Ok(());
        }
        let message =
            format!("cannot {act}: the sandbox was restored and not adopted since; adopt it");
        Err(Refusal::new(Code::NotAdopted, message))
    }

    /// Resolves once user processes may run.
    pub async fn released(&self) {
        loop {
            let changed = self.changed.notified();
            if matches!(*self.state.borrow(), State::Running) {
                return;
            }
            changed.await;
        }
    }

    fn set(&self, state: State) {
        *self.state.borrow_mut() = state;
        self.changed.notify_waiters();
    }
}

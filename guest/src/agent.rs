//! What all calls share.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use crate::clock::RunningClock;
use crate::identity::{Identity, Limits};
use crate::limits::capabilities;
use crate::limits::memory::Memory;
use crate::limits::tally::Tally;
use crate::processes::containment::Containment;
use crate::processes::table::Table;
use crate::quiesce::Quiesce;

/// The contract with the host; see docs/reference/guest-protocol.md.
pub const GENERATION: u32 = 2;

pub struct Agent {
    pub started: Instant,
    pub clock: Rc<RunningClock>,
    pub identity: RefCell<Option<Identity>>,
    pub quiesce: Quiesce,
    /// The identity whose hooks have run; 0 is none.
    pub hooked_generation: Cell<u64>,
    pub processes: Table,
    pub containment: Containment,
    pub memory: Memory,
    pub tally: Tally,
    /// The bounding set does not change, so it is asked once.
    pub drop_capabilities: Vec<i32>,
    pub open_streams: Cell<usize>,
    /// The overlay's own folder, where the agent has made the root.
    pub upper: Option<OwnedFd>,
}

impl Agent {
    pub fn new(
        containment: Containment,
        memory: Memory,
        quiesce: Quiesce,
        upper: Option<OwnedFd>,
    ) -> Self {
        Self {
            started: Instant::now(),
            clock: RunningClock::start(),
            identity: RefCell::new(None),
            quiesce,
            hooked_generation: Cell::new(0),
            processes: Table::default(),
            containment,
            memory,
            tally: Tally::default(),
            drop_capabilities: capabilities::to_drop(),
            open_streams: Cell::new(0),
            upper,
        }
    }

    /// The limits in force; none before `adopt`.
    pub fn limits(&self) -> Limits {
        self.identity.borrow().as_ref().map(|identity| identity.limits).unwrap_or_default()
    }

    /// The user that acts where a call names none: root before `adopt`.
    pub fn default_user(&self) -> String {
        let identity = self.identity.borrow();
        identity.as_ref().map_or_else(|| "root".to_owned(), |known| known.default_user.clone())
    }
}

//! What shim and spare both know, in one page of atomics: a kill -9 at any instant leaves it readable.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Where the sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Starting,
    Running,
    Over,
}

/// What happens at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineAction {
    Kill,
    Freeze,
    /// It was frozen at it: once, so that a thaw before the next deadline is set holds.
    Frozen,
}

impl DeadlineAction {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze | Self::Frozen => "freeze",
        }
    }
}

#[repr(C)]
pub struct Shared {
    stage: AtomicU32,
    reported: AtomicU32,
    ending: AtomicU32,
    deadline_unix_ms: AtomicI64,
    deadline_action: AtomicU32,
    sessions: AtomicU64,
    oom_baseline: AtomicU64,
    pub spare_pid: AtomicI32,
    takeovers: AtomicU64,
    last_takeover_ms: AtomicU64,
}

impl Shared {
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Starting,
            1 => Stage::Running,
            _ => Stage::Over,
        }
    }

    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::SeqCst);
    }

    /// True the first time: only one of the two tells the caller how the start went.
    pub fn claim_report(&self) -> bool {
        self.reported.swap(1, Ordering::SeqCst) == 0
    }

    /// Number of the cause that is being carried out; 0 is none.
    pub fn ending(&self) -> u32 {
        self.ending.load(Ordering::SeqCst)
    }

    pub fn set_ending(&self, cause: u32) {
        let _ = self
            .ending
            .compare_exchange(0, cause, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub fn deadline(&self) -> Option<i64> {
        Some(self.deadline_unix_ms.load(Ordering::SeqCst)).filter(|&at| at != 0)
    }

    pub fn action(&self) -> DeadlineAction {
        match self.deadline_action.load(Ordering::SeqCst) {
            0 => DeadlineAction::Kill,
            1 => DeadlineAction::Freeze,
            _ => DeadlineAction::Frozen,
        }
    }

    /// The action first: a deadline that has passed must not meet the old one.
    pub fn set_deadline(&self, unix_ms: Option<i64>, action: DeadlineAction) {
        self.deadline_unix_ms.store(0, Ordering::SeqCst);
        self.deadline_action.store(action as u32, Ordering::SeqCst);
        self.deadline_unix_ms
            .store(unix_ms.map_or(0, |at| at.max(1)), Ordering::SeqCst);
    }

    /// The deadline passed and its freeze is in force.
    pub fn note_frozen(&self) {
        self.deadline_action
            .store(DeadlineAction::Frozen as u32, Ordering::SeqCst);
    }

    pub fn count_session(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
    }

    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::SeqCst)
    }

    /// How long to wait before taking over: not at all, unless the other keeps dying.
    pub fn takeover_pause_ms(&self, now_ms: u64) -> u64 {
        const FREE_TAKEOVERS: u64 = 20;
        const QUIET_MS: u64 = 10_000;
        let last = self.last_takeover_ms.swap(now_ms, Ordering::SeqCst);
        if now_ms.saturating_sub(last) > QUIET_MS {
            self.takeovers.store(0, Ordering::SeqCst);
        }
        if self.takeovers.fetch_add(1, Ordering::SeqCst) < FREE_TAKEOVERS {
            0
        } else {
            100
        }
    }
}

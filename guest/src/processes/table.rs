//! All processes that are running or whose end is still told.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use super::process::{Process, WaitResult};

/// Ended processes whose record is kept; the oldest is forgotten first.
const ENDED_MAX: usize = 1_024;
/// Bytes that all logs hold together; past it ended processes lose theirs, oldest first.
const LOGS_MAX_BYTES: usize = 64 << 20;

#[derive(Default)]
pub struct Table {
    by_id: RefCell<HashMap<String, Rc<Process>>>,
    by_pid: RefCell<HashMap<i32, Rc<Process>>>,
    /// Children that are no process of the API, and who waits for them.
    helpers: RefCell<HashMap<i32, oneshot::Sender<WaitResult>>>,
    /// Oldest first.
    started: RefCell<Vec<Rc<Process>>>,
    ended: RefCell<VecDeque<Rc<Process>>>,
    /// Forgotten processes whose group was not empty yet.
    leftovers: RefCell<Vec<Rc<Process>>>,
    log_bytes: Cell<usize>,
}

impl Table {
    pub fn get(&self, id: &str) -> Option<Rc<Process>> {
        self.by_id.borrow().get(id).cloned()
    }

    pub fn insert(&self, process: Rc<Process>) {
        self.by_pid.borrow_mut().insert(process.pid, process.clone());
        self.started.borrow_mut().push(process.clone());
        self.by_id.borrow_mut().insert(process.id.clone(), process);
    }

    /// Newest first.
    pub fn list(&self) -> Vec<Rc<Process>> {
        self.started.borrow().iter().rev().cloned().collect()
    }

    pub fn running(&self) -> Vec<Rc<Process>> {
        self.by_pid.borrow().values().cloned().collect()
    }

    pub fn has_running(&self) -> bool {
        !self.by_pid.borrow().is_empty()
    }

    /// The agent's own helpers among all processes.
    pub fn supervisors(&self) -> Vec<i32> {
        let started = self.started.borrow();
        started.iter().filter_map(|known| known.tree.supervisor()).collect()
    }

    /// Sets how many processes each tree may hold from now on, where its group counts; `None` is any number.
    pub fn limit_forks(&self, limit: Option<u64>) {
        for process in self.started.borrow().iter() {
            process.tree.limit_processes(limit);
        }
    }

    /// Tells the end of a child that belongs into another process's tree.
    pub fn expect(&self, pid: i32) -> oneshot::Receiver<WaitResult> {
        let (sender, receiver) = oneshot::channel();
        self.helpers.borrow_mut().insert(pid, sender);
        receiver
    }

    /// The process whose tree the pid belongs to, ended ones with survivors included.
    pub fn owner(&self, pid: i32) -> Option<Rc<Process>> {
        self.started.borrow().iter().rev().find(|known| known.tree.pids().contains(&pid)).cloned()
    }

    /// Hands a wait result to the process that it belongs to; false for a stray orphan.
    pub fn settle(&self, pid: i32, result: WaitResult) -> bool {
        if let Some(helper) = self.helpers.borrow_mut().remove(&pid) {
            return helper.send(result).is_ok();
        }
        let Some(process) = self.by_pid.borrow_mut().remove(&pid) else {
            return false;
        };
        process.wait.set(Some(result));
        process.waited.notify_waiters();
        true
    }

    /// Keeps an ended process for those who ask later, within the limit.
    pub fn keep_ended(&self, process: Rc<Process>) {
        if !self.by_id.borrow().get(&process.id).is_some_and(|known| Rc::ptr_eq(known, &process)) {
            return;
        }
        self.ended.borrow_mut().push_back(process);
        let oldest = match self.ended.borrow().len() > ENDED_MAX {
            true => self.ended.borrow().front().cloned(),
            false => None,
        };
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    pub fn forget(&self, process: &Rc<Process>) {
        self.by_id.borrow_mut().remove(&process.id);
        self.started.borrow_mut().retain(|known| !Rc::ptr_eq(known, process));
        self.ended.borrow_mut().retain(|known| !Rc::ptr_eq(known, process));
        let held = process.log.borrow().held();
        process.log.borrow_mut().clear();
        self.resize_logs(held, 0);
        if !process.tree.remove() {
            self.leftovers.borrow_mut().push(process.clone());
        }
    }

    /// Tries again to free the groups of forgotten processes.
    pub fn sweep(&self) {
        self.leftovers.borrow_mut().retain(|process| !process.tree.remove());
    }

    pub fn resize_logs(&self, before: usize, after: usize) {
        self.log_bytes.set((self.log_bytes.get() + after).saturating_sub(before));
    }

    /// Whether the logs may grow by `more`, after dropping those of ended processes as needed.
    pub fn make_room(&self, more: usize) -> bool {
        for process in self.ended.borrow().iter() {
            if self.log_bytes.get() + more <= LOGS_MAX_BYTES {
                break;
            }
            if process.followers.borrow().is_empty() {
                let held = process.log.borrow().held();
                process.log.borrow_mut().clear();
                self.resize_logs(held, 0);
            }
        }
        self.log_bytes.get() + more <= LOGS_MAX_BYTES
    }
}

//! Time that this sandbox has run. It stands still while the sandbox is quiesced, frozen or stored, so
//! that a deadline of a minute is still a minute away after an hour's pause. The kernel's clocks do not
//! serve: gVisor moves its monotonic one on by the length of the pause.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Who waits looks this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A longer silence between two looks was no running, but for one step of it.
const SILENCE_MAX: Duration = Duration::from_secs(3);

pub struct RunningClock {
    seen: Cell<Instant>,
    passed: Cell<Duration>,
    standing: Cell<bool>,
}

/// The time given to something has passed.
#[derive(Debug)]
pub struct Elapsed;

impl RunningClock {
    pub fn start() -> Rc<Self> {
        Rc::new(Self {
            seen: Cell::new(Instant::now()),
            passed: Cell::new(Duration::ZERO),
            standing: Cell::new(false),
        })
    }

    /// Time run so far. Meaningful between two calls while somebody waits or a process runs: else nobody
    /// looks, and a long silence counts as a pause.
    pub fn now(&self) -> Duration {
        self.look(Instant::now())
    }

    pub fn stand(&self) {
        self.now();
        self.standing.set(true);
    }

    pub fn go(&self) {
        self.now();
        self.standing.set(false);
    }

    pub async fn sleep_until(&self, at: Duration) {
        loop {
            let left = at.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK_EVERY)).await;
        }
    }

    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    pub async fn timeout<T>(
        &self,
        time: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep(time) => Err(Elapsed),
        }
    }

    fn look(&self, now: Instant) -> Duration {
        let silence = now.saturating_duration_since(self.seen.replace(now));
        if !self.standing.get() {
            let ran = if silence > SILENCE_MAX { LOOK_EVERY } else { silence };
            self.passed.set(self.passed.get() + ran);
        }
        self.passed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_as_one_step() {
        let clock = RunningClock::start();
        let start = clock.seen.get();
        assert_eq!(clock.look(start + Duration::from_secs(2)), Duration::from_secs(2));
        assert_eq!(clock.look(start + Duration::from_secs(3_602)), Duration::from_secs(3));
        assert_eq!(clock.look(start + Duration::from_secs(3_603)), Duration::from_secs(4));
    }

    #[test]
    fn a_clock_that_stands_does_not_move() {
        let clock = RunningClock::start();
        let start = clock.seen.get();
        clock.standing.set(true);
        assert_eq!(clock.look(start + Duration::from_secs(1)), Duration::ZERO);
        clock.standing.set(false);
        assert_eq!(clock.look(start + Duration::from_secs(2)), Duration::from_secs(1));
    }
}

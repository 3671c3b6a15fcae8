//! How many CPUs programs see.

use std::io;
use std::mem;
use std::sync::OnceLock;

/// The CPUs that the agent was started with: a later adopt may widen again.
static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();

/// Lets the agent, and so all that it starts, see the first `count` CPUs. In gVisor this is a
/// number that `nproc` reports, and pins nothing: its kernel runs on more.
pub fn narrow(count: f64) -> io::Result<()> {
    let allowed = match ALLOWED.get() {
        Some(known) => known,
        None => {
            let found = allowed()?;
            ALLOWED.get_or_init(|| found)
        }
    };
    let count = (count.ceil() as usize).clamp(1, allowed.len().max(1));
    set(&allowed[..count])
}

fn allowed() -> io::Result<Vec<usize>> {
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect())
    }
}

fn set(cpus: &[usize]) -> io::Result<()> {
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for &cpu in cpus {
            libc::CPU_SET(cpu, &mut set);
        }
        if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{allowed, narrow};

    #[test]
    fn narrows_and_widens_again() {
        let all = allowed().unwrap();
        narrow(0.5).unwrap();
        assert_eq!(allowed().unwrap(), all[..1]);
        narrow(1_000.0).unwrap();
        assert_eq!(allowed().unwrap(), all);
    }
}

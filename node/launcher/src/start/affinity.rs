//! The guest counts the CPUs that its runtime may use at boot; afterwards it may use any.

use crate::cgroup::Cgroups;
use crate::fault::{AtStep, Fault, Outcome};
use crate::kernel::affinity;
use crate::launch::{Kind, Launch};

/// Gives all threads of the runtime the launcher's own affinity back. A container keeps its few:
/// there the affinity itself is what programs inside count.
pub fn widen(launch: &Launch, cgroups: &Cgroups) -> Outcome<()> {
    const PASSES: usize = 8;
    if launch.cpu_affinity_count.is_none() || launch.kind != Kind::Gvisor {
        return Ok(());
    }
    let wide = affinity::affinity(0).at("affinity", "read the affinity")?;
    for _ in 0..PASSES {
        let mut narrow = 0;
        // A thread that is cloned while we look inherits what its parent had: look until none is found.
        for thread in cgroups.threads() {
            if affinity::affinity(thread).is_ok_and(|set| !affinity::same_cpus(&set, &wide)) {
                narrow += 1;
                let _ = affinity::set_affinity(thread, &wide);
            }
        }
        if narrow == 0 {
            return Ok(());
        }
    }
    Err(Fault::new(
        "internal",
        "affinity",
        format!("threads of {} keep a narrow affinity", launch.id),
    ))
}

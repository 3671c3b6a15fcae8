//! Becomes an ordinary user for good, and looks whether it did.
use crate::limits::OPEN_FILES;
use std::io;

/// As root it needs a user to become; as somebody else it only gives up what is left.
pub fn drop_privileges(uid: Option<u32>, gid: Option<u32>) -> Result<(), String> {
    raise_open_files();
    step("forbid core dumps", limit(libc::RLIMIT_CORE, 0))?;
    // SAFETY: no memory is passed.
    if unsafe { libc::geteuid() } == 0 {
        let uid = uid
            .filter(|uid| *uid != 0)
            .ok_or("started as root it needs --uid, and not 0")?;
        let gid = gid
            .filter(|gid| *gid != 0)
            .ok_or("started as root it needs --gid, and not 0")?;
        clear_bounding_set();
        // SAFETY: an empty list of groups; then plain numbers.
        unsafe {
            step("leave all groups", libc::setgroups(0, std::ptr::null()))?;
            step("change the group", libc::setresgid(gid, gid, gid))?;
            step("change the user", libc::setresuid(uid, uid, uid))?;
        }
    }
    // SAFETY: no memory is passed. Not dumpable: another process of this user cannot read the secrets in memory.
    unsafe {
        step(
            "forbid new privileges",
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        )?;
        step("forbid being read", libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
    }
    verify()
}

/// What the kernel says now, not what was asked for.
fn verify() -> Result<(), String> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| format!("cannot read its own status: {error}"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.map(|line| line[name.len()..].split_whitespace().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let empty = |name: &str| field(name).iter().all(|set| set.trim_start_matches('0').is_empty());
    if field("Uid:").contains(&"0") || field("Gid:").contains(&"0") {
        return Err("it still runs as root".to_owned());
    }
    if !(empty("CapInh:") && empty("CapPrm:") && empty("CapEff:") && empty("CapAmb:")) {
        return Err("it still has capabilities".to_owned());
    }
    if field("NoNewPrivs:") != ["1"] {
        return Err("it could still gain privileges".to_owned());
    }
    Ok(())
}

fn clear_bounding_set() {
    for capability in 0..64 {
        // SAFETY: no memory is passed. Fails past the last capability, and without CAP_SETPCAP, which `verify` allows.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

fn raise_open_files() {
    let mut current = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives over both calls. Where raising is not allowed, fewer connections fit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut current) == 0 {
            let most = current.rlim_max.max(OPEN_FILES);
            let raised = libc::rlimit {
                rlim_cur: OPEN_FILES,
                rlim_max: most,
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) != 0 {
                current.rlim_cur = current.rlim_max.min(OPEN_FILES);
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const current);
            }
        }
    }
}

fn limit(resource: libc::__rlimit_resource_t, value: u64) -> i32 {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: the limit lives over the call.
    unsafe { libc::setrlimit(resource, &raw const limit) }
}

fn step(act: &str, result: i32) -> Result<(), String> {
    if result == 0 {
        Ok(())
    } else {
        Err(format!("cannot {act}: {}", io::Error::last_os_error()))
    }
}

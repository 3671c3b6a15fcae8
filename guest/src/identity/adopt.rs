//! `POST /v1/adopt`: gives the sandbox its identity before user code runs (invariant 12).

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::{Identity, Limits, Reason, own_files, users};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Refusal};
use crate::http::request;
use crate::http::serve::reply;
use crate::kernel::descriptor;
use crate::limits::cpus;
use crate::processes::process::unix_ms;
use crate::quiesce;

const ENTROPY_MAX_BYTES: usize = 4_096;
const HOSTNAME_MAX_BYTES: usize = 63;
const SANDBOX_ID_MAX_BYTES: usize = 128;
/// `_IOW('R', 0x03, int[2])`: entropy that counts.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdoptRequest {
    sandbox_id: String,
    #[serde(default = "first")]
    generation: u64,
    #[serde(default)]
    reason: Reason,
    hostname: String,
    time_unix_ms: u64,
    #[serde(default)]
    entropy: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    limits: Limits,
    default_user: Option<String>,
    workdir: Option<String>,
}

fn first() -> u64 {
    1
}

pub async fn call(agent: &Rc<Agent>, body: Incoming) -> Answer<Response<ResponseBody>> {
    let wanted: AdoptRequest = request::json(body).await?;
    let received_ms = unix_ms();
    let entropy = check(&wanted)?;
    let default_user = wanted.default_user.clone().unwrap_or_else(|| "root".to_owned());
    users::find(&default_user)?;

    stir(&entropy).map_err(|error| Refusal::io("stir", "/dev/urandom", &error))?;
    name_host(&wanted.hostname).map_err(|error| Refusal::io("name", "the host", &error))?;
    if !is_known(agent, &wanted) {
        own_files::write(&wanted.sandbox_id, &wanted.hostname, wanted.generation)?;
    }
    if let Some(count) = wanted.limits.cpu_count {
        cpus::narrow(count).map_err(|error| Refusal::io("narrow", "the CPUs", &error))?;
    }
    if let Some(bytes) = wanted.limits.memory_bytes {
        let fitted = agent.memory.show(bytes);
        fitted.map_err(|error| Refusal::io("show the memory in", "/proc/meminfo", &error))?;
    }
    let clock_skew_ms = received_ms as i64 - wanted.time_unix_ms as i64;
    *agent.identity.borrow_mut() = Some(Identity {
        sandbox_id: wanted.sandbox_id,
        generation: wanted.generation,
        reason: wanted.reason,
        hostname: host_name(),
        env: wanted.env,
        limits: wanted.limits,
        default_user,
        workdir: wanted.workdir,
    });
    quiesce::calls::adopted(agent);
    agent.tally.wake.notify_one();
    let identity = agent.identity.borrow();
    let identity = identity.as_ref();
    Ok(reply(
        StatusCode::OK,
        &json!({
            "sandboxId": identity.map(|known| &known.sandbox_id),
            "hostname": identity.map(|known| &known.hostname),
            "timeUnixMs": unix_ms(),
            "clockSkewMs": clock_skew_ms,
            "limits": identity.map(|known| &known.limits),
        }),
    ))
}

/// Whether only limits and the like change; who the sandbox is was written before.
fn is_known(agent: &Agent, wanted: &AdoptRequest) -> bool {
    agent.identity.borrow().as_ref().is_some_and(|known| {
        known.sandbox_id == wanted.sandbox_id
            && known.hostname == wanted.hostname
            && known.generation == wanted.generation
    })
}

fn check(wanted: &AdoptRequest) -> Answer<Vec<u8>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let id = &wanted.sandbox_id;
    if !(1..=SANDBOX_ID_MAX_BYTES).contains(&id.len()) || !id.bytes().all(plain) {
        let message = format!("sandboxId must be 1 to {SANDBOX_ID_MAX_BYTES} of A-Z a-z 0-9 _ -");
        return Err(Refusal::invalid(message));
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let host = &wanted.hostname;
    if !(1..=HOSTNAME_MAX_BYTES).contains(&host.len()) || !host.bytes().all(named) {
        let message = format!("hostname must be 1 to {HOSTNAME_MAX_BYTES} of A-Z a-z 0-9 . -");
        return Err(Refusal::invalid(message));
    }
    crate::processes::check_env(&wanted.env)?;
    check_limits(&wanted.limits)?;
    let entropy = STANDARD.decode(&wanted.entropy);
    let entropy = entropy.map_err(|_| Refusal::invalid("entropy must be base64"))?;
    if entropy.len() > ENTROPY_MAX_BYTES {
        let message = format!("entropy must be at most {ENTROPY_MAX_BYTES} bytes");
        return Err(Refusal::invalid(message));
    }
    Ok(entropy)
}

/// Commands get no more than the agent's own hard limits, which it raises where the kernel lets it.
fn check_limits(limits: &Limits) -> Answer<()> {
    let rows = [
        ("processes", limits.processes, libc::RLIMIT_NPROC),
        ("openFiles", limits.open_files, libc::RLIMIT_NOFILE),
    ];
    for (name, wanted, resource) in rows {
        let Some(wanted) = wanted else { continue };
        let mut own: libc::rlimit = unsafe { std::mem::zeroed() };
        unsafe { libc::getrlimit(resource, &mut own) };
        let raised = libc::rlimit { rlim_max: wanted, ..own };
        if wanted > own.rlim_max && unsafe { libc::setrlimit(resource, &raised) } != 0 {
            let message = format!(
                "cannot allow {wanted} {name}: the agent was started with a hard limit of {}; start \
                 the machine with more",
                own.rlim_max
            );
            return Err(Refusal::invalid(message));
        }
    }
    Ok(())
}

/// Mixes the host's entropy in, with credit and an immediate reseed where the kernel has them.
fn stir(entropy: &[u8]) -> io::Result<()> {
    if entropy.is_empty() {
        return Ok(());
    }
    let file = descriptor::open(c"/dev/urandom", libc::O_RDWR)?;
    let fd = file.as_raw_fd();
    let mut pool = Vec::with_capacity(8 + entropy.len());
    pool.extend_from_slice(&(entropy.len() as i32 * 8).to_ne_bytes());
    pool.extend_from_slice(&(entropy.len() as i32).to_ne_bytes());
    pool.extend_from_slice(entropy);
    unsafe {
        if libc::ioctl(fd, RNDADDENTROPY, pool.as_ptr()) == 0 {
            libc::ioctl(fd, RNDRESEEDCRNG);
            return Ok(());
        }
    }
    // gVisor takes its randomness from the host at each read and so has nothing to credit.
    descriptor::write_all(fd, entropy)
}

fn name_host(name: &str) -> io::Result<()> {
    descriptor::retry(|| unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) as isize })
        .map(drop)
}

/// The name in force, as the kernel tells it.
fn host_name() -> String {
    let mut buffer = [0_u8; HOSTNAME_MAX_BYTES + 2];
    unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy().into_owned()
}

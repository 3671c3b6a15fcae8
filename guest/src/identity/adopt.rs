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
use sha2::{Digest, Sha256};

use super::{Identity, Limits, users};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Refusal};
use crate::http::request;
use crate::http::serve::reply;
use crate::kernel::descriptor;
use crate::limits::cpus;
use crate::processes::process::unix_ms;

const ENTROPY_MAX_BYTES: usize = 4_096;
const HOSTNAME_MAX_BYTES: usize = 63;
const SANDBOX_ID_MAX_BYTES: usize = 128;
const HOSTS_MAX_BYTES: usize = 64 << 10;
/// `_IOW('R', 0x03, int[2])`: entropy that counts.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdoptRequest {
    sandbox_id: String,
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

pub async fn call(agent: &Rc<Agent>, body: Incoming) -> Answer<Response<ResponseBody>> {
    let wanted: AdoptRequest = request::json(body).await?;
    let received_ms = unix_ms();
    let entropy = check(&wanted)?;
    let default_user = wanted.default_user.unwrap_or_else(|| "root".to_owned());
    users::find(&default_user)?;

    stir(&entropy).map_err(|error| Refusal::io("stir", "/dev/urandom", &error))?;
    name_host(&wanted.hostname).map_err(|error| Refusal::io("name", "the host", &error))?;
    write_files(&wanted.sandbox_id, &wanted.hostname)?;
    if let Some(count) = wanted.limits.cpu_count {
        cpus::narrow(count).map_err(|error| Refusal::io("narrow", "the CPUs", &error))?;
    }
    let clock_skew_ms = received_ms as i64 - wanted.time_unix_ms as i64;
    *agent.identity.borrow_mut() = Some(Identity {
        sandbox_id: wanted.sandbox_id,
        hostname: host_name(),
        env: wanted.env,
        limits: wanted.limits,
        default_user,
        workdir: wanted.workdir,
    });
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
    let entropy = STANDARD.decode(&wanted.entropy);
    let entropy = entropy.map_err(|_| Refusal::invalid("entropy must be base64"))?;
    if entropy.len() > ENTROPY_MAX_BYTES {
        let message = format!("entropy must be at most {ENTROPY_MAX_BYTES} bytes");
        return Err(Refusal::invalid(message));
    }
    Ok(entropy)
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

fn write_files(sandbox_id: &str, hostname: &str) -> Answer<()> {
    let hash = Sha256::digest(format!("atoll-machine-id:{sandbox_id}"));
    let machine_id: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let hosts = hosts(&read(c"/etc/hosts"), hostname);
    let files = [
        (c"/etc/hostname", format!("{hostname}\n")),
        (c"/etc/hosts", hosts),
        (c"/etc/machine-id", format!("{machine_id}\n")),
    ];
    // A template may hold nothing but the agent.
    unsafe { libc::mkdir(c"/etc".as_ptr(), 0o755) };
    for (path, content) in files {
        let name = path.to_string_lossy();
        replace(path, &content).map_err(|error| Refusal::io("write", &name, &error))?;
    }
    Ok(())
}

const OWN_MARK: &str = "# atoll";

/// The image's own lines stay; ours are replaced.
fn hosts(old: &str, hostname: &str) -> String {
    let foreign = old.lines().filter(|line| !line.ends_with(OWN_MARK));
    let mut lines: Vec<String> = foreign.map(str::to_owned).collect();
    if !old.lines().any(|line| line.starts_with("127.0.0.1") && !line.ends_with(OWN_MARK)) {
        lines.push(format!("127.0.0.1 localhost {OWN_MARK}"));
        lines.push(format!("::1 localhost ip6-localhost ip6-loopback {OWN_MARK}"));
    }
    lines.push(format!("127.0.1.1 {hostname} {OWN_MARK}"));
    lines.join("\n") + "\n"
}

fn read(path: &CStr) -> String {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let content = descriptor::open(path, flags)
        .and_then(|file| descriptor::read_small(file.as_raw_fd(), HOSTS_MAX_BYTES));
    String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
}

/// Writes a root file anew. An old one, or a link that someone placed, is removed and not followed.
fn replace(path: &CStr, content: &str) -> io::Result<()> {
    unsafe { libc::unlink(path.as_ptr()) };
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = descriptor::open_at(libc::AT_FDCWD, path, flags, 0o644)?;
    descriptor::write_all(file.as_raw_fd(), content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::hosts;

    #[test]
    fn hosts_keeps_the_images_lines_and_replaces_ours() {
        let first = hosts("10.0.0.1 db\n", "one");
        let second = hosts(&first, "two");
        assert!(second.starts_with("10.0.0.1 db\n127.0.0.1 localhost"));
        assert!(second.contains("127.0.1.1 two ") && !second.contains(" one "));
        assert_eq!(second.lines().count(), first.lines().count());
    }
}

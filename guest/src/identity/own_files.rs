//! The files by which programs know which sandbox this is.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;

use sha2::{Digest, Sha256};

use crate::http::error::{Answer, Refusal};
use crate::kernel::descriptor;

const HOSTS_MAX_BYTES: usize = 64 << 10;

/// Writes them anew, the generation last, for those who watch it.
pub fn write(sandbox_id: &str, hostname: &str, generation: u64) -> Answer<()> {
    let hash = Sha256::digest(format!("atoll-machine-id:{sandbox_id}"));
    let machine_id: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let hosts = hosts(&read(c"/etc/hosts"), hostname);
    let files = [
        (c"/etc/hostname", format!("{hostname}\n")),
        (c"/etc/hosts", hosts),
        (c"/etc/machine-id", format!("{machine_id}\n")),
        (c"/run/atoll/generation", format!("{generation}\n")),
    ];
    for (path, content) in files {
        let written = match replace(path, &content) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folders();
                replace(path, &content)
            }
            written => written,
        };
        written.map_err(|error| Refusal::io("write", &path.to_string_lossy(), &error))?;
    }
    Ok(())
}

/// A template may hold nothing but the agent.
fn make_folders() {
    for folder in [c"/etc", c"/run", c"/run/atoll"] {
        unsafe { libc::mkdir(folder.as_ptr(), 0o755) };
    }
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

/// Writes a root file anew, seen whole or not at all. A link that someone placed is replaced and not
/// followed. A full disk must not keep a sandbox from its identity: then the old file's own block is used.
fn replace(path: &CStr, content: &str) -> io::Result<()> {
    let mut new = path.to_bytes().to_vec();
    new.extend_from_slice(b".atoll-new");
    let new = CString::new(new)?;
    let mut written = write_beside(&new, path, content);
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        unsafe { libc::unlink(new.as_ptr()) };
        written = write_beside(&new, path, content);
    }
    match written {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
            unsafe { libc::unlink(new.as_ptr()) };
            write_in_place(path, content)
        }
        result => result,
    }
}

fn write_beside(new: &CStr, path: &CStr, content: &str) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = descriptor::open_at(libc::AT_FDCWD, new, flags, 0o644)?;
    descriptor::write_all(file.as_raw_fd(), content.as_bytes())?;
    descriptor::retry(|| unsafe { libc::rename(new.as_ptr(), path.as_ptr()) as isize }).map(drop)
}

fn write_in_place(path: &CStr, content: &str) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = descriptor::open_at(libc::AT_FDCWD, path, flags, 0o644)?;
    let (fd, length) = (file.as_raw_fd(), content.len() as libc::off_t);
    descriptor::write_all(fd, content.as_bytes())?;
    descriptor::retry(|| unsafe { libc::ftruncate(fd, length) as isize }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_keeps_the_images_lines_and_replaces_ours() {
        let first = hosts("10.0.0.1 db\n", "one");
        let second = hosts(&first, "two");
        assert!(second.starts_with("10.0.0.1 db\n127.0.0.1 localhost"));
        assert!(second.contains("127.0.1.1 two ") && !second.contains(" one "));
        assert_eq!(second.lines().count(), first.lines().count());
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_not_followed() {
        let folder = std::env::temp_dir().join(format!("atoll-own-files-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = |name: &str| CString::new(folder.join(name).to_str().unwrap()).unwrap();
        std::fs::write(folder.join("target"), "old").unwrap();
        std::os::unix::fs::symlink("target", folder.join("name")).unwrap();
        replace(&path("name"), "new\n").unwrap();
        assert_eq!(read(&path("name")), "new\n");
        assert_eq!(read(&path("target")), "old");
        write_in_place(&path("target"), "o").unwrap();
        assert_eq!(read(&path("target")), "o");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

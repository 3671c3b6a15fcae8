//! Who may run commands without a password, as /etc/sudoers and /etc/sudoers.d say. Read is only
//! what grants everything (`who ALL=(ALL:ALL) NOPASSWD: ALL`); any other line grants nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use crate::kernel::{descriptor, folder};

const FILE_MAX_BYTES: usize = 64 << 10;
const FILES_MAX: usize = 64;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Who asks: the name, and the names of all groups.
pub struct Caller<'a> {
    pub name: &'a str,
    pub uid: u32,
    pub groups: &'a [String],
}

/// Whether a rule of the image lets the caller run anything as that user without a password.
pub fn allow(caller: &Caller<'_>, as_root: bool) -> bool {
    grants(&files().join("\n"), caller, as_root)
}

/// All files in the order in which sudo reads them.
fn files() -> Vec<String> {
    let mut found: Vec<String> = read(libc::AT_FDCWD, c"/etc/sudoers").into_iter().collect();
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let Ok(drop_ins) = descriptor::open(c"/etc/sudoers.d", flags) else { return found };
    let mut names: Vec<CString> =
        folder::names(drop_ins.as_raw_fd(), FILES_MAX).unwrap_or_default();
    names.sort();
    for name in names {
        // As sudo: an editor's copies and a package manager's leftovers do not count.
        let ignored = name.to_bytes().contains(&b'.') || name.to_bytes().ends_with(b"~");
        if !ignored {
            found.extend(read(drop_ins.as_raw_fd(), &name));
        }
    }
    found
}

/// A file's text; nothing from one that somebody else than root may have written.
fn read(at: i32, name: &std::ffi::CStr) -> Option<String> {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let result = descriptor::open_at(at, name, flags, 0).and_then(|file| {
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        descriptor::retry(|| unsafe { libc::fstat(file.as_raw_fd(), &mut found) as isize })?;
        let regular = found.st_mode & libc::S_IFMT == libc::S_IFREG;
        if !regular || found.st_uid != 0 || found.st_mode & WRITABLE_BY_OTHERS != 0 {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        descriptor::read_small(file.as_raw_fd(), FILE_MAX_BYTES)
    });
    Some(String::from_utf8_lossy(&result.ok()?).into_owned())
}

/// The last rule that names the caller decides, as in sudo.
fn grants(text: &str, caller: &Caller<'_>, as_root: bool) -> bool {
    let joined = text.replace("\\\n", " ");
    let mut rules = joined.lines().filter_map(|line| rule(line, caller, as_root));
    rules.next_back().unwrap_or(false)
}

/// What one line says of the caller; `None` when it does not speak of it.
fn rule(line: &str, caller: &Caller<'_>, as_root: bool) -> Option<bool> {
    let line = without_comment(line).trim();
    let (who, rest) = line.split_once(char::is_whitespace)?;
    if !names(who, caller) {
        return None;
    }
    let (hosts, spec) = rest.split_once('=')?;
    let spec = spec.trim();
    let (targets, commands) = match spec.strip_prefix('(') {
        Some(inner) => inner.split_once(')')?,
        None => ("root", spec),
    };
    let users = targets.split(':').next().unwrap_or_default().trim();
    let target_fits = users == "ALL" || (as_root && users == "root");
    let words: Vec<&str> =
        commands.split([':', ' ', '\t']).filter(|word| !word.is_empty()).collect();
    let everything =
        matches!(words.as_slice(), ["NOPASSWD", "ALL"] | ["NOPASSWD", "SETENV", "ALL"]);
    Some(hosts.trim() == "ALL" && target_fits && everything)
}

/// `#` begins a comment unless a uid follows.
fn without_comment(line: &str) -> &str {
    let starts = |at: usize| !line[at + 1..].starts_with(|next: char| next.is_ascii_digit());
    let comment = line.match_indices('#').map(|(at, _)| at).find(|at| starts(*at));
    comment.map_or(line, |at| &line[..at])
}

fn names(who: &str, caller: &Caller<'_>) -> bool {
    if let Some(group) = who.strip_prefix('%') {
        return caller.groups.iter().any(|known| known == group);
    }
    if let Some(uid) = who.strip_prefix('#') {
        return uid.parse() == Ok(caller.uid);
    }
    who == "ALL" || who == caller.name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(text: &str, as_root: bool) -> bool {
        let groups = ["user".to_owned(), "sudo".to_owned()];
        grants(text, &Caller { name: "user", uid: 1_000, groups: &groups }, as_root)
    }

    #[test]
    fn everything_without_a_password_is_granted() {
        for text in [
            "user ALL=(ALL:ALL) NOPASSWD:ALL\n",
            "user ALL=(ALL) NOPASSWD: ALL",
            "%sudo\tALL = (ALL:ALL) NOPASSWD:ALL # us",
            "#1000 ALL=(ALL) NOPASSWD:ALL",
            "ALL ALL=(ALL) \\\n NOPASSWD:ALL",
            "%sudo ALL=(ALL:ALL) ALL\nuser ALL=(ALL) NOPASSWD:ALL",
        ] {
            assert!(granted(text, true), "{text}");
            assert!(granted(text, false), "{text}");
        }
        assert!(granted("user ALL=NOPASSWD:ALL", true));
        assert!(!granted("user ALL=NOPASSWD:ALL", false));
        assert!(!granted("user ALL=(root) NOPASSWD:ALL", false));
    }

    #[test]
    fn anything_less_is_not() {
        for text in [
            "",
            "# user ALL=(ALL) NOPASSWD:ALL",
            "user ALL=(ALL) ALL",
            "%sudo ALL=(ALL:ALL) ALL",
            "other ALL=(ALL) NOPASSWD:ALL",
            "%wheel ALL=(ALL) NOPASSWD:ALL",
            "user ALL=(ALL) NOPASSWD:/bin/ls",
            "user ALL=(ALL) NOPASSWD:ALL,!/bin/su",
            "user elsewhere=(ALL) NOPASSWD:ALL",
            "user ALL=(www) NOPASSWD:ALL",
            "Defaults NOPASSWD:ALL",
            "user ALL=(ALL) NOPASSWD:ALL\n%sudo ALL=(ALL:ALL) ALL",
            "user",
            "user ALL=(ALL",
        ] {
            assert!(!granted(text, true), "{text}");
        }
    }
}

//! Users of the image, read from its own files: the C library's lookups load plug-ins.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use crate::http::error::{Answer, Refusal};
use crate::kernel::credentials::Credentials;
use crate::kernel::descriptor;

const DATABASE_MAX_BYTES: usize = 1 << 20;
const GROUPS_MAX: usize = 256;

/// A user as a process or a file call needs it.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub home: String,
    pub shell: String,
    pub credentials: Credentials,
}

/// Finds `name`, `uid` or `uid:gid`.
pub fn find(text: &str) -> Answer<User> {
    let users = database(c"/etc/passwd");
    let groups = database(c"/etc/group");
    resolve(text, &users, &groups)
}

/// The name of a user id, or its number.
pub fn user_name(users: &str, uid: u32) -> String {
    let row = users.lines().map(fields).find(|row| row[2].parse() == Ok(uid));
    row.map_or_else(|| uid.to_string(), |row| row[0].to_owned())
}

/// The text of a user database; empty where the image has none.
pub fn database(path: &CStr) -> String {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let content = descriptor::open(path, flags)
        .and_then(|file| descriptor::read_small(file.as_raw_fd(), DATABASE_MAX_BYTES));
    String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
}

fn resolve(text: &str, users: &str, groups: &str) -> Answer<User> {
    let (who, group) = match text.split_once(':') {
        Some((who, group)) => (who, Some(group)),
        None => (text, None),
    };
    let number = who.parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
    let row = users.lines().map(fields).find(|row| match number {
        Some(uid) => row[2].parse() == Ok(uid),
        None => !who.is_empty() && row[0] == who && row[2].parse::<u32>().is_ok(),
    });
    let uid = match (&row, number) {
        (Some(row), _) => row[2].parse().unwrap_or(u32::MAX),
        (None, Some(uid)) => uid,
        // An image may hold nothing but the agent; root needs no entry.
        (None, None) if who == "root" => 0,
        (None, None) => {
            let message = format!("there is no user {who:?} in /etc/passwd; name one or a uid");
            return Err(Refusal::invalid(message));
        }
    };
    let own_gid = row.as_ref().and_then(|row| row[3].parse().ok());
    let gid = match group {
        Some(group) => group_id(group, groups)?,
        // Root without an entry is still root's group; a bare number has its own.
        None => own_gid.unwrap_or(uid),
    };
    let name = match &row {
        Some(row) => row[0].to_owned(),
        None if uid == 0 => "root".to_owned(),
        None => uid.to_string(),
    };
    let home = row.as_ref().map(|row| row[5]).filter(|home| home.starts_with('/'));
    let home = home.unwrap_or("/").to_owned();
    let shell = row.as_ref().map(|row| row[6]).filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or("/bin/sh").to_owned();
    let groups = memberships(&name, gid, groups);
    Ok(User { name, home, shell, credentials: Credentials { uid, gid, groups } })
}

fn group_id(group: &str, groups: &str) -> Answer<u32> {
    if let Ok(gid) = group.parse::<u32>()
        && gid != u32::MAX
    {
        return Ok(gid);
    }
    let row = groups.lines().map(fields).find(|row| row[0] == group);
    row.and_then(|row| row[2].parse().ok())
        .ok_or_else(|| Refusal::invalid(format!("there is no group {group:?} in /etc/group")))
}

fn memberships(name: &str, gid: u32, groups: &str) -> Vec<u32> {
    let mut found = vec![gid];
    for row in groups.lines().map(fields) {
        if let Ok(id) = row[2].parse::<u32>()
            && row[3].split(',').any(|member| member == name)
            && !found.contains(&id)
            && found.len() < GROUPS_MAX
        {
            found.push(id);
        }
    }
    found
}

/// A line's fields; missing ones are empty.
fn fields(line: &str) -> [&str; 7] {
    let mut fields = [""; 7];
    for (field, text) in fields.iter_mut().zip(line.split(':')) {
        *field = text;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:\nbad:x:y:1::/:\n";
    const GROUPS: &str = "root:x:0:\nuser:x:1000:\nsudo:x:27:user,other\nx:x:28:otheruser\n";

    #[test]
    fn a_name_brings_its_groups() {
        let user = resolve("user", USERS, GROUPS).unwrap();
        assert_eq!(user.credentials, Credentials { uid: 1000, gid: 1000, groups: vec![1000, 27] });
        assert_eq!((user.home.as_str(), user.shell.as_str()), ("/home/user", "/bin/sh"));
    }

    #[test]
    fn numbers_need_no_entry() {
        let user = resolve("4242:27", USERS, GROUPS).unwrap();
        assert_eq!(user.credentials, Credentials { uid: 4242, gid: 27, groups: vec![27] });
        assert_eq!(user.home, "/");
        assert_eq!(resolve("1000:sudo", USERS, GROUPS).unwrap().name, "user");
    }

    #[test]
    fn root_needs_no_entry() {
        let user = resolve("root", "", "").unwrap();
        assert_eq!(user.credentials, Credentials { uid: 0, gid: 0, groups: vec![0] });
        assert_eq!((user.name.as_str(), user.home.as_str()), ("root", "/"));
    }

    #[test]
    fn unknown_and_broken_names_are_refused() {
        for text in ["nobody", "", "bad", "-1", "4294967295", "user:nogroup"] {
            assert!(resolve(text, USERS, GROUPS).is_err(), "{text}");
        }
    }
}

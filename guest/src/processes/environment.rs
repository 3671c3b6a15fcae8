//! The environment of a process, and where its program may lie.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError};

use crate::identity::users::User;

pub const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sandbox's own, what belongs to the user, and what was asked for, the last laid on top.
pub fn environment(
    sandbox: &BTreeMap<String, String>,
    user: &User,
    request: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = [
        ("HOME", user.home.as_str()),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
    ];
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH_DEFAULT.to_owned())]);
    env.extend(sandbox.clone());
    env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    env.extend(request.clone());
    env
}

/// What is tried in order, as execvp does.
pub fn programs(name: &[u8], path: Option<&[u8]>) -> Result<Vec<CString>, NulError> {
    if name.contains(&b'/') {
        return Ok(vec![CString::new(name)?]);
    }
    let path = path.unwrap_or(PATH_DEFAULT.as_bytes());
    let within = |folder: &[u8]| match folder {
        b"" => CString::new(name),
        _ => CString::new([folder, b"/", name].concat()),
    };
    path.split(|byte| *byte == b':').map(within).collect()
}

//! Which variables go along: sudo's own defaults, what -E says, and assignments.

use std::os::unix::ffi::OsStringExt;

/// What of the caller's environment the command gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Keep {
    #[default]
    Defaults,
    /// -E: all but what belongs to the target user.
    All { home: bool },
    /// --preserve-env=list, with the defaults.
    Named(Vec<Vec<u8>>),
}

const DEFAULTS: [&[u8]; 12] = [
    b"COLORS",
    b"COLORTERM",
    b"DISPLAY",
    b"LANG",
    b"LANGUAGE",
    b"LINGUAS",
    b"LS_COLORS",
    b"PS1",
    b"PS2",
    b"TERM",
    b"TZ",
    b"XAUTHORITY",
];
/// The target's own, whatever is kept.
const TARGETS: [&[u8]; 4] = [b"USER", b"LOGNAME", b"SHELL", b"PATH"];

/// `NAME=value` entries to lay over the target's environment.
pub fn passed(keep: &Keep, assignments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let caller = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    select(caller, keep).chain(assignments.iter().cloned()).collect()
}

fn select<'a>(
    caller: impl Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a,
    keep: &'a Keep,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    caller.filter(|(name, _)| is_kept(name, keep)).map(|(name, value)| [name, value].join(&b'='))
}

fn is_kept(name: &[u8], keep: &Keep) -> bool {
    let by_default = DEFAULTS.contains(&name) || name.starts_with(b"LC_");
    match keep {
        Keep::Defaults => by_default,
        Keep::All { home } => !TARGETS.contains(&name) && (*home || name != b"HOME"),
        Keep::Named(names) => by_default || names.iter().any(|known| known == name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: &Keep) -> Vec<String> {
        let caller = ["TERM", "LC_ALL", "HOME", "PATH", "SECRET", "USER"]
            .map(|name| (name.as_bytes().to_vec(), b"1".to_vec()));
        let entries = select(caller.into_iter(), keep);
        entries.map(|entry| String::from_utf8(entry).unwrap().replace("=1", "")).collect()
    }

    #[test]
    fn the_environment_is_reset_unless_asked_otherwise() {
        assert_eq!(kept(&Keep::Defaults), ["TERM", "LC_ALL"]);
        assert_eq!(kept(&Keep::Named(vec![b"SECRET".to_vec()])), ["TERM", "LC_ALL", "SECRET"]);
        assert_eq!(kept(&Keep::All { home: true }), ["TERM", "LC_ALL", "HOME", "SECRET"]);
        assert_eq!(kept(&Keep::All { home: false }), ["TERM", "LC_ALL", "SECRET"]);
    }
}

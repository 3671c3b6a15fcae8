//! From a request to what is started: the target user, the shell where one is asked for, and the
//! environment.

use std::collections::BTreeMap;
use std::ffi::CString;

use super::wire::Request;
use crate::identity::Identity;
use crate::identity::users::User;
use crate::processes::environment::{environment, programs};

/// What is run, and how it is called in a refusal.
pub struct Command {
    pub programs: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub name: String,
}

const HOLDS_NUL: &str = "a string holds NUL";

/// Lays out the command as `target`; `caller` is told to it in SUDO_USER and its like.
pub fn command(
    identity: &Identity,
    request: &Request,
    caller: &User,
    target: &User,
) -> Result<Command, String> {
    let mut env = variables(identity, target, &request.env);
    let (program, argv) = program_and_argv(request, target, &env);
    let name = String::from_utf8_lossy(&program).into_owned();
    let joined = request.argv.join(&b' ');
    let own = [
        ("SUDO_COMMAND", if joined.is_empty() { program.clone() } else { joined }),
        ("SUDO_USER", caller.name.clone().into_bytes()),
        ("SUDO_UID", caller.credentials.uid.to_string().into_bytes()),
        ("SUDO_GID", caller.credentials.gid.to_string().into_bytes()),
    ];
    env.extend(own.map(|(name, value)| (name.as_bytes().to_vec(), value)));
    let path = env.get(&b"PATH"[..]).map(Vec::as_slice);
    let cwd = if request.login { target.home.as_bytes() } else { &request.cwd };
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| HOLDS_NUL.to_owned());
    Ok(Command {
        programs: programs(&program, path).map_err(|_| HOLDS_NUL.to_owned())?,
        argv: argv.into_iter().map(text).collect::<Result<_, _>>()?,
        cwd: text(cwd.to_vec())?,
        env: env
            .into_iter()
            .map(|(name, value)| text([name, value].join(&b'=')))
            .collect::<Result<_, _>>()?,
        name,
    })
}

fn variables(identity: &Identity, target: &User, asked: &[Vec<u8>]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let base = environment(&identity.env, target, &BTreeMap::new());
    let mut env: BTreeMap<Vec<u8>, Vec<u8>> =
        base.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
    for entry in asked {
        let at = entry.iter().position(|byte| *byte == b'=').unwrap_or(entry.len());
        env.insert(entry[..at].to_vec(), entry.get(at + 1..).unwrap_or_default().to_vec());
    }
    env
}

fn program_and_argv(
    request: &Request,
    target: &User,
    env: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    if !request.login && !request.shell {
        return (request.argv.first().cloned().unwrap_or_default(), request.argv.clone());
    }
    let shell = match env.get(&b"SHELL"[..]) {
        Some(shell) if request.shell && shell.starts_with(b"/") => shell.clone(),
        _ => target.shell.clone().into_bytes(),
    };
    let last = shell.rsplit(|byte| *byte == b'/').next().unwrap_or(&shell).to_vec();
    let mut argv = vec![if request.login { [b"-", last.as_slice()].concat() } else { last }];
    if !request.argv.is_empty() {
        argv.push(b"-c".to_vec());
        let escaped: Vec<Vec<u8>> = request.argv.iter().map(|text| escape(text)).collect();
        argv.push(escaped.join(&b' '));
    }
    (shell, argv)
}

/// As sudo does: a shell then sees each argument whole, and `$` still means a variable.
fn escape(text: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte) || byte > 127;
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        if !plain(*byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_sees_each_argument_whole() {
        assert_eq!(escape(b"a b;c $HOME"), b"a\\ b\\;c\\ $HOME");
    }
}

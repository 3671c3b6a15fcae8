//! The `sudo` program: reads its options, asks the agent, lends its streams and relays signals.
//! It has no rights of its own.

mod environment;
mod options;
mod relay;
mod terminal;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use self::options::{Act, Options};
use super::wire::{Answer, MAGIC, REQUEST_MAX_BYTES, Request, SOCKET_NAME};
use crate::kernel::{descriptor, socket};

const FAILED: i32 = 1;
/// What a shell makes of an end by signal.
const SIGNAL_BASE: i32 = 128;
const USAGE: &str =
    "usage: sudo [-EHiknSsv] [-D folder] [-p prompt] [-u user] [VAR=value] [command [arg ...]]

It asks the guest agent of this Atoll sandbox to run the command as root, or as -u says.
";

/// Whether this program was called by that name.
pub fn is_called(name: &std::ffi::OsStr) -> bool {
    name.as_bytes().rsplit(|byte| *byte == b'/').next() == Some(b"sudo")
}

/// Does what the arguments say and ends as the command did.
pub fn main() -> ! {
    let arguments: Vec<Vec<u8>> =
        std::env::args_os().skip(1).map(|argument| argument.into_vec()).collect();
    let code = match options::parse(arguments) {
        Err(why) => fail(&why),
        Ok(Act::Help) => {
            print!("{USAGE}");
            0
        }
        Ok(Act::Version) => {
            println!("sudo of atoll-agent {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Ok(Act::Nothing) => 0,
        Ok(Act::Run(options)) => match ask(options) {
            Ok(Answer::Allowed) => 0,
            Ok(Answer::Exited(code)) => code,
            Ok(Answer::Signaled(signal)) => end_by(signal),
            Ok(Answer::Refused(why)) => fail(&why),
            Err(error) => fail(&format!("cannot ask the guest agent: {error}")),
        },
    };
    std::process::exit(code)
}

fn fail(why: &str) -> i32 {
    eprintln!("sudo: {why}");
    FAILED
}

/// Ends as the command did, so that whoever waits sees the signal.
fn end_by(signal: i32) -> i32 {
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::raise(signal);
    }
    SIGNAL_BASE + signal
}

fn ask(options: Options) -> io::Result<Answer> {
    let terminal = terminal::Terminal::open()?;
    let request = Request {
        cwd: match options.folder {
            Some(folder) => folder,
            None => std::env::current_dir()?.into_os_string().into_vec(),
        },
        env: environment::passed(&options.keep, &options.assignments),
        user: options.user,
        login: options.login,
        shell: options.shell,
        terminal: terminal.is_some(),
        argv: options.command,
    };
    let body = request.encode();
    if body.len() > REQUEST_MAX_BYTES {
        let text = format!("arguments and environment are over {REQUEST_MAX_BYTES} bytes");
        return Ok(Answer::Refused(text));
    }
    let signals = relay::block_signals()?;
    let agent: OwnedFd = socket::connect(SOCKET_NAME)?;
    let header = [MAGIC, (body.len() as u32).to_be_bytes()].concat();
    let lent = match &terminal {
        Some(terminal) => [terminal.inner.as_raw_fd(); 3],
        None => [0, 1, 2],
    };
    socket::send(agent.as_raw_fd(), &header, &lent)?;
    descriptor::write_all(agent.as_raw_fd(), &body)?;
    relay::relay(&agent, &signals, terminal)
}

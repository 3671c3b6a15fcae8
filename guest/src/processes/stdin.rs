//! Bytes for a process's standard input, with its backpressure.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use hyper::body::Incoming;
use serde_json::json;
use tokio::io::unix::AsyncFd;

use super::process::Process;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::request;
use crate::kernel::descriptor;

const END_OF_TRANSMISSION: u8 = 4;

/// The agent's end of stdin.
pub enum Stdin {
    None,
    Pipe(RefCell<Option<Rc<AsyncFd<OwnedFd>>>>),
    Terminal,
}

/// Streams a request body to the process; with `close` its stdin ends after it.
pub async fn send(process: &Process, mut body: Incoming, close: bool) -> Answer<u64> {
    let mut total = 0;
    while let Some(bytes) = request::piece(&mut body).await? {
        write_all(process, &bytes, &mut total).await?;
    }
    if close {
        match &process.stdin {
            Stdin::None => {}
            Stdin::Pipe(end) => drop(end.borrow_mut().take()),
            Stdin::Terminal => {
                let mut ignored = 0;
                write_all(process, &[END_OF_TRANSMISSION], &mut ignored).await?;
            }
        }
    }
    Ok(total)
}

async fn write_all(process: &Process, mut bytes: &[u8], total: &mut u64) -> Answer<()> {
    while !bytes.is_empty() {
        let terminal = process.terminal.clone();
        let written = match (&process.stdin, &terminal) {
            (Stdin::Pipe(end), _) => {
                let end = end.borrow().clone();
                match end {
                    Some(end) => write(process, &end, bytes).await,
                    None => Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
            (Stdin::Terminal, Some(terminal)) => write(process, &terminal.master, bytes).await,
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        };
        match written {
            Ok(count) => {
                *total += count as u64;
                bytes = &bytes[count..];
            }
            Err(error) => return Err(closed(process, *total, &error)),
        }
    }
    Ok(())
}

async fn write(process: &Process, end: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        if process.has_ended() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut guard = tokio::select! {
            guard = end.writable() => guard?,
            _ = process.waited() => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        if let Ok(result) = guard.try_io(|fd| descriptor::write(fd.as_raw_fd(), bytes)) {
            return result;
        }
    }
}

fn closed(process: &Process, total: u64, error: &io::Error) -> Refusal {
    let why = match &process.stdin {
        Stdin::None => "it was started without one; start it with stdin: \"pipe\"".to_owned(),
        _ if process.has_ended() || process.wait.get().is_some() => "it has ended".to_owned(),
        _ => format!("nobody reads it ({error})"),
    };
    let message = format!("cannot write to stdin of process {}: {why}", process.id);
    Refusal::new(Code::StdinClosed, message).with(json!({ "bytesWritten": total }))
}

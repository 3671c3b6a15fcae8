//! Connections on shim.sock: one JSON object a line, one answer a line.

use crate::kernel::poll::Interest;
use crate::kernel::process::End;
use crate::kernel::socket;
use serde_json::{Value, json};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const LONGEST_LINE_BYTES: usize = 64 * 1024;
const LONGEST_QUEUE_BYTES: usize = 1 << 20;
const MOST_CONNECTIONS: usize = 16;

/// Why a connection gets no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    Nothing,
    Exit,
    Helper(i32),
}

pub(super) struct Connection {
    pub socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    pub pending: Pending,
    over: bool,
}

#[derive(Default)]
pub(super) struct Controls {
    pub list: Vec<Connection>,
}

impl Controls {
    /// One more; over the limit it is refused.
    pub fn add(&mut self, socket: OwnedFd) {
        if self.list.len() >= MOST_CONNECTIONS {
            let line = b"{\"ok\":false,\"code\":\"overloaded\",\"message\":\"too many connections to shim.sock\"}\n";
            let _ = socket::write(socket.as_fd(), line);
            return;
        }
        let (input, output) = (Vec::new(), Vec::new());
        self.list.push(Connection {
            socket,
            input,
            output,
            pending: Pending::Nothing,
            over: false,
        });
    }

    pub fn want(&self, interest: &mut Interest) -> Vec<usize> {
        let add = |connection: &Connection| {
            let read = connection.pending == Pending::Nothing
                && connection.output.len() < LONGEST_QUEUE_BYTES;
            interest.add(
                connection.socket.as_raw_fd(),
                read,
                !connection.output.is_empty(),
            )
        };
        self.list.iter().map(add).collect()
    }

    pub fn helpers(&self) -> usize {
        self.list
            .iter()
            .filter(|connection| matches!(connection.pending, Pending::Helper(_)))
            .count()
    }

    /// A helper answers its client itself; one that died did not.
    pub fn helper_ended(&mut self, pid: i32, end: End) {
        for connection in self
            .list
            .iter_mut()
            .filter(|connection| connection.pending == Pending::Helper(pid))
        {
            connection.pending = Pending::Nothing;
            if end != End::Code(0) {
                connection.answer(&json!({ "ok": false, "code": "internal", "message": "the call's helper process died" }));
            }
        }
    }

    pub fn answer_waiters(&mut self, exit: Option<&Value>) {
        for connection in self
            .list
            .iter_mut()
            .filter(|connection| connection.pending == Pending::Exit)
        {
            connection.pending = Pending::Nothing;
            connection.answer(&exit_answer(exit));
        }
    }
}

pub(super) fn exit_answer(exit: Option<&Value>) -> Value {
    let mut answer = exit.cloned().unwrap_or(Value::Null);
    if let Some(object) = answer.as_object_mut() {
        object.insert("ok".to_owned(), true.into());
    }
    answer
}

impl Connection {
    pub fn answer(&mut self, answer: &Value) {
        self.output.extend_from_slice(answer.to_string().as_bytes());
        self.output.push(b'\n');
        self.flush();
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match socket::write(self.socket.as_fd(), &self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if socket::is_later(&error) => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }

    fn read(&mut self) {
        let mut chunk = [0u8; 4096];
        match socket::read(self.socket.as_fd(), &mut chunk) {
            Ok(got @ 1..) => self.input.extend_from_slice(&chunk[..got]),
            Err(error) if socket::is_later(&error) => {}
            Ok(_) | Err(_) => self.over = true,
        }
        if self.input.len() > LONGEST_LINE_BYTES {
            self.answer(&json!({ "ok": false, "code": "payload_too_large", "message": "a line on shim.sock is at most 65,536 bytes" }));
            self.over = true;
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|&byte| byte == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

impl super::Shim {
    pub(super) fn serve_controls(&mut self, interest: &Interest, places: &[usize]) {
        for (index, &place) in places.iter().enumerate() {
            let connection = &mut self.controls.list[index];
            if interest.writable(place) {
                connection.flush();
            }
            if connection.pending != Pending::Nothing {
                connection.over |= interest.broken(place);
            } else if interest.readable(place) {
                connection.read();
            }
            while self.controls.list[index].pending == Pending::Nothing {
                let Some(line) = self.controls.list[index].take_line() else {
                    break;
                };
                self.answer_line(index, &line);
            }
        }
        self.controls.list.retain(|connection| !connection.over);
    }
}

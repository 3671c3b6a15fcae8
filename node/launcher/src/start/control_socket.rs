//! Calls on runsc's control socket: JSON objects without framing, descriptors with the first byte.
//! An internal interface of runsc: the driver pins the build.

use crate::fault::{AtStep, Fault, Outcome};
use crate::kernel::socket;
use serde_json::{Value, json};
use std::os::fd::{AsFd, RawFd};
use std::path::Path;

const STEP: &str = "call";
const LONGEST_ANSWER_BYTES: usize = 1 << 20;

/// One call; the answer is its result.
pub fn call(
    path: &Path,
    method: &str,
    argument: &Value,
    files: &[RawFd],
    timeout_ms: u64,
) -> Outcome<Value> {
    let act = || format!("call {method} on {}", path.display());
    let connection = socket::connect(path).at(STEP, act())?;
    socket::set_timeouts(connection.as_fd(), timeout_ms).at(STEP, act())?;
    let request = json!({ "method": method, "arg": argument }).to_string();
    let mut sent =
        socket::send_with_fds(connection.as_fd(), request.as_bytes(), files).at(STEP, act())?;
    while sent < request.len() {
        sent += socket::write(connection.as_fd(), &request.as_bytes()[sent..]).at(STEP, act())?;
    }
    let mut answer = Vec::new();
    loop {
        let mut chunk = [0u8; 4096];
        let got = socket::read(connection.as_fd(), &mut chunk).at(STEP, act())?;
        answer.extend_from_slice(&chunk[..got]);
        if let Ok(value) = serde_json::from_slice::<Value>(&answer) {
            return result_of(&value, method);
        }
        if got == 0 || answer.len() > LONGEST_ANSWER_BYTES {
            return Err(Fault::new(
                "internal",
                STEP,
                format!("cannot {}: the answer is not whole", act()),
            ));
        }
    }
}

fn result_of(answer: &Value, method: &str) -> Outcome<Value> {
    if answer.get("success").and_then(Value::as_bool) == Some(true) {
        return Ok(answer.get("result").cloned().unwrap_or(Value::Null));
    }
    let why: String = answer
        .get("err")
        .and_then(Value::as_str)
        .unwrap_or("no reason given")
        .chars()
        .take(1024)
        .collect();
    Err(Fault::new(
        "internal",
        STEP,
        format!("runsc refused {method}: {why}"),
    ))
}

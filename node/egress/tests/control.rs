//! The program itself: privileges, the control socket, descriptors, and its end.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(0);

struct Program {
    child: Child,
    folder: PathBuf,
}

impl Program {
    fn start(more: &[&str]) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("atoll-egress-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let authority = rcgen::generate_simple_self_signed(vec!["root.test".to_owned()]).unwrap();
        std::fs::write(folder.join("roots.pem"), authority.cert.pem()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll-egress"));
        command
            .arg("--control")
            .arg(folder.join("control.sock"))
            .arg("--roots")
            .arg(folder.join("roots.pem"));
        command
            .args(["--resolver", "127.0.0.1:9"])
            .args(more)
            .stdout(Stdio::piped());
        if is_root() {
            command.args(["--uid", "65534", "--gid", "65534"]);
        } else if !more.contains(&"--peer-uid") {
            // SAFETY: no memory is passed.
            command.args(["--peer-uid", &unsafe { libc::getuid() }.to_string()]);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_eq!(ready["pid"], child.id());
        Self { child, folder }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join("control.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn ask(&self, request: &Value) -> Value {
        ask(&self.connect(), &request.to_string())
    }

    fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone in the test that kills it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn is_root() -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::geteuid() == 0 }
}

fn ask(mut stream: &UnixStream, line: &str) -> Value {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    answer(stream)
}

fn answer(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::with_capacity(1, stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// One line with one descriptor.
fn pass(stream: &UnixStream, line: &str, descriptor: i32) -> Value {
    let line = format!("{line}\n");
    let mut part = libc::iovec {
        iov_base: line.as_ptr().cast_mut().cast(),
        iov_len: line.len(),
    };
    let mut room = [0_u64; 4];
    // SAFETY: everything that the message points at lives over the call, with the length that it has.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(descriptor);
        assert_eq!(
            libc::sendmsg(stream.as_raw_fd(), &raw const message, 0),
            line.len() as isize
        );
    }
    answer(stream)
}

#[test]
fn it_has_no_privileges_left() {
    let program = Program::start(&[]);
    assert_eq!(
        (program.status("NoNewPrivs:"), program.status("Seccomp:")),
        ("1".into(), "2".into())
    );
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(program.status(set), "0000000000000000", "{set}");
    }
    if is_root() {
        assert_eq!(program.status("Uid:"), "65534 65534 65534 65534");
        assert_eq!(
            (program.status("Groups:"), program.status("CapBnd:")),
            (String::new(), "0000000000000000".into())
        );
    } else {
        eprintln!("skipped: changing the user, because the test does not run as root");
    }
    for task in std::fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "every thread is filtered");
    }
    let environ = std::fs::metadata(format!("/proc/{}/mem", program.child.id())).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&environ),
        0,
        "its memory belongs to root: it is not dumpable"
    );
}

#[test]
fn as_root_it_does_not_start_without_a_user() {
    if !is_root() {
        eprintln!("skipped: it needs root");
        return;
    }
    let folder = std::env::temp_dir().join(format!("atoll-egress-root-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for user in [&[][..], &["--uid", "0", "--gid", "0"], &["--uid", "65534"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_atoll-egress"))
            .arg("--control")
            .arg(folder.join("control.sock"))
            .args(["--resolver", "127.0.0.1:9"])
            .args(user)
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{user:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_control_socket_answers_each_line_and_keeps_versions() {
    let program = Program::start(&[]);
    let policy = |version: u64, host: &str| json!({ "do": "policy", "address": "10.0.0.2", "policy": { "version": version, "rules": [{ "id": "a", "host": host, "action": "allow" }] } });
    assert_eq!(
        program.ask(&policy(2, "a.test")),
        json!({ "ok": true, "version": 2, "cut": 0 })
    );
    assert_eq!(
        program.ask(&policy(2, "a.test"))["ok"],
        true,
        "the same again is the same"
    );
    assert_eq!(program.ask(&policy(2, "b.test"))["code"], "stale_version");
    assert_eq!(program.ask(&policy(1, "b.test"))["code"], "stale_version");
    assert_eq!(program.ask(&policy(3, "b.test"))["version"], 3);
    let explain = |url: &str| program.ask(&json!({ "do": "explain", "address": "10.0.0.2", "url": url }));
    let allowed = explain("https://b.test/x");
    assert_eq!(
        (&allowed["decision"], &allowed["rule"], &allowed["how"]),
        (&json!("allow"), &json!("a"), &json!("pass"))
    );
    let denied = explain("https://a.test/");
    assert_eq!(
        (&denied["decision"], &denied["reason"]),
        (&json!("deny"), &json!("default"))
    );
    assert!(denied["remedy"].is_string());
    assert_eq!(explain("http://169.254.169.254/")["reason"], "floor");
    assert_eq!(explain("tcp://b.test:22")["decision"], "deny");
    assert_eq!(explain("dns://b.test")["decision"], "allow");
    assert_eq!(explain("ftp://b.test")["code"], "invalid_request");
    let stats = program.ask(&json!({ "do": "stats" }));
    assert_eq!(
        (&stats["sandboxes"][0]["version"], &stats["nextEvent"]),
        (&json!(3), &json!(0)),
        "explain sends and notes nothing"
    );
    assert_eq!(
        program.ask(&json!({ "do": "remove", "address": "10.0.0.2" }))["removed"],
        true
    );
    assert_eq!(
        program.ask(&json!({ "do": "remove", "address": "10.0.0.2" }))["removed"],
        false
    );
    assert_eq!(explain("https://b.test/")["reason"], "no_policy");
}

#[test]
fn a_wrong_document_changes_nothing_and_says_which_rule() {
    let program = Program::start(&[]);
    let rule =
        |rule: Value| json!({ "do": "policy", "address": "10.0.0.2", "policy": { "version": 1, "rules": [rule] } });
    for (wrong, says) in [
        (json!({ "id": "r", "host": "10.0.0.1", "action": "allow" }), "no host"),
        (json!({ "id": "r", "host": "a.*.test", "action": "allow" }), "no host"),
        (json!({ "id": "r", "action": "allow" }), "exactly one"),
        (
            json!({ "id": "r", "host": "a.test", "cidr": "1.1.1.1/32", "action": "allow" }),
            "exactly one",
        ),
        (
            json!({ "id": "r", "cidr": "1.1.1.1/32", "match": { "paths": ["/"] }, "action": "allow" }),
            "take a host",
        ),
        (
            json!({ "id": "r", "host": "a.test", "protocol": "tcp", "action": "allow" }),
            "takes ports",
        ),
        (json!({ "id": "r", "host": "a.test", "action": "transform" }), "belong"),
        (
            json!({ "id": "r", "host": "a.test", "match": { "paths": ["v1"] }, "action": "allow" }),
            "no path",
        ),
        (
            json!({ "id": "r", "host": "a.test", "action": "transform", "transform": { "setHeaders": { "host": "b" } } }),
            "cannot be set",
        ),
        (
            json!({ "id": "r", "host": "a.test", "action": "allow", "extra": 1 }),
            "unknown field",
        ),
    ] {
        let answer = program.ask(&rule(wrong.clone()));
        assert_eq!(answer["code"], "invalid_request", "{wrong}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{wrong}: {answer}");
    }
    assert_eq!(program.ask(&json!({ "do": "stats" }))["sandboxes"], json!([]));
}

#[test]
fn an_unreadable_request_does_not_quote_a_secret() {
    let program = Program::start(&[]);
    let stream = program.connect();
    for line in [
        "{\"do\":\"secrets\",\"address\":\"10.0.0.2\",\"secrets\":\"hunter2-hunter2\"}",
        "{\"do\":\"ca\",\"key\":[\"hunter2-hunter2\"]}",
        "{\"do\":\"secrets\",\"address\":\"hunter2-hunter2\",\"secrets\":[]}",
        "not json hunter2-hunter2",
    ] {
        let answer = ask(&stream, line);
        assert_eq!(answer["code"], "invalid_request");
        assert!(!answer.to_string().contains("hunter2"), "{answer}");
    }
}

#[test]
fn another_user_is_not_heard() {
    let program = Program::start(&["--peer-uid", "12345"]);
    let mut stream = program.connect();
    // It may be closed before the line is written.
    let _ = stream.write_all(b"{\"do\":\"stats\"}\n");
    let answer = stream.read(&mut [0; 64]);
    let is_reset = answer
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    assert!(matches!(&answer, Ok(0)) || is_reset, "{answer:?}");
}

#[test]
fn it_serves_descriptors_that_it_is_given_and_its_end_refuses() {
    let mut program = Program::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let control = program.connect();
    let answer = pass(
        &control,
        &json!({ "do": "listen", "kind": "tcp" }).to_string(),
        listener.as_raw_fd(),
    );
    assert_eq!(answer, json!({ "ok": true, "address": at.to_string() }));
    drop(listener);
    assert_eq!(
        ask(&control, "{\"do\":\"listen\",\"kind\":\"tcp\"}")["code"],
        "invalid_request",
        "without a descriptor"
    );
    // Nobody has a policy: accepted by the kernel, reset by the proxy, and written down.
    let mut events = program.connect();
    events.write_all(b"{\"do\":\"events\",\"follow\":true}\n").unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)));
    let batch = self::answer(&events);
    assert_eq!(
        (&batch["events"][0]["action"], &batch["events"][0]["reason"]),
        (&json!("deny"), &json!("no_policy"))
    );
    assert_eq!(batch["next"], 1);
    // With a policy, but not redirected: there is no destination, so it is refused.
    ask(
        &control,
        &json!({ "do": "policy", "address": "127.0.0.1", "policy": { "version": 1, "default": "allow" } }).to_string(),
    );
    let mut stream = TcpStream::connect(at).unwrap();
    assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)));
    assert_eq!(self::answer(&events)["events"][0]["action"], "deny");
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert!(TcpStream::connect(at).is_err(), "nobody answers");
}

#[test]
fn a_socket_in_use_is_not_taken_over_and_a_dead_one_is_replaced() {
    let mut program = Program::start(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll-egress"));
    command
        .arg("--control")
        .arg(program.folder.join("control.sock"))
        .arg("--roots")
        .arg(program.folder.join("roots.pem"));
    command.args(["--uid", "65534", "--gid", "65534", "--resolver", "127.0.0.1:9"]);
    let output = command.output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("already serves"));
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let mut second = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(second.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("\"ready\":true"), "{line}");
    second.kill().unwrap();
    second.wait().unwrap();
}

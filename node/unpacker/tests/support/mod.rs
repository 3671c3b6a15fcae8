//! Archives made by hand, and the real helper run over them as root.
#![allow(dead_code)]
use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tar::{EntryType, Header};

pub const ID_BASE: u32 = 1_879_048_192;

/// A fresh folder with the target in it, and a file beside that no archive may touch.
pub struct Place {
    pub top: PathBuf,
    pub target: PathBuf,
    pub outside: PathBuf,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("atoll-unpack-{}-{number}", std::process::id()));
        let target = top.join("target");
        fs::create_dir_all(&target).unwrap();
        let outside = top.join("outside");
        fs::write(&outside, "untouched").unwrap();
        Self { top, target, outside }
    }

    pub fn unpack(&self, archive: &[u8], flags: &[&str]) -> Result<Value, Value> {
        run(&self.target, "unpack", archive, flags)
    }

    /// What every hostile archive must leave as it was.
    pub fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(&self.outside).unwrap(), "untouched");
        let names: Vec<_> = fs::read_dir(&self.top)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "something was made beside the target: {names:?}");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.target.join(name)).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.target.join(name).symlink_metadata().is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        Command::new("rm").arg("-rf").arg(&self.top).status().unwrap();
    }
}

pub fn run(target: &Path, verb: &str, input: &[u8], flags: &[&str]) -> Result<Value, Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_atoll-unpack"))
        .args([verb, "--id-base", &ID_BASE.to_string(), "--target"])
        .arg(target)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    match child.stdin.take().unwrap().write_all(input) {
        Ok(()) => {}
        // A refusal comes before the archive's end.
        Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text:?} {:?}", output.status));
    if output.status.success() {
        Ok(value)
    } else {
        Err(value["error"].clone())
    }
}

#[derive(Default)]
pub struct Archive {
    pub bytes: Vec<u8>,
}

impl Archive {
    pub fn entry(mut self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = header(kind, name, data.len() as u64);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.raw(&header, data);
        self
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.entry(EntryType::Regular, name, "", data.as_bytes())
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    /// A pax header for the entry after it.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend(format!("{length} {key}=").into_bytes());
            data.extend(*value);
            data.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", "", &data)
    }

    pub fn raw(&mut self, header: &Header, data: &[u8]) {
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// The name goes in as it is: the crate's own setter refuses the hostile ones.
pub fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_cksum();
    header
}

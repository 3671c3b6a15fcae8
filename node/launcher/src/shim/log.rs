//! runtime.log: what runtime and agent write to standard error, through a pipe, at most 1 MiB.
//! A file handed to the guest instead could be filled without end.

use crate::fault::{AtStep, Outcome};
use crate::kernel::{socket, timer};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub const LIMIT_BYTES: u64 = 1 << 20;
const CHUNK_BYTES: usize = 16 * 1024;
/// Past the limit bytes are dropped, one chunk in this time, so that a chatty guest costs the host nothing.
const DROP_EVERY_MS: u64 = 100;

pub struct Log {
    path: PathBuf,
    file: File,
    written: u64,
    read_end: OwnedFd,
    /// Kept open, so that the pipe never is at its end.
    write_end: OwnedFd,
    next_drop_ms: u64,
}

impl Log {
    pub fn open(directory: &Path) -> Outcome<Self> {
        let path = directory.join("runtime.log");
        let act = format!("open {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(&path)
            .at("log", &act)?;
        let written = file.metadata().at("log", &act)?.len();
        let (read_end, write_end) = socket::pipe().at("log", "make a pipe")?;
        socket::set_nonblocking(read_end.as_fd()).at("log", "make a pipe")?;
        Ok(Self {
            path,
            file,
            written,
            read_end,
            write_end,
            next_drop_ms: 0,
        })
    }

    /// The same log in a forked process, which owns its copies of the descriptors.
    pub fn adopt(&self, own: impl Fn(RawFd) -> OwnedFd) -> Self {
        Self {
            path: self.path.clone(),
            file: File::from(own(self.file.as_raw_fd())),
            written: self.written,
            read_end: own(self.read_end.as_raw_fd()),
            write_end: own(self.write_end.as_raw_fd()),
            next_drop_ms: 0,
        }
    }

    pub fn file(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// After a takeover the other has written, too.
    pub fn recount(&mut self) {
        self.written = self
            .file
            .metadata()
            .map_or(LIMIT_BYTES, |found| found.len());
    }

    pub fn read_end(&self) -> RawFd {
        self.read_end.as_raw_fd()
    }

    pub fn write_end(&self) -> RawFd {
        self.write_end.as_raw_fd()
    }

    /// One more writing end, for the runtime.
    pub fn new_writer(&self) -> Outcome<OwnedFd> {
        self.write_end.try_clone().at("log", "copy the log's pipe")
    }

    /// Whether to look at the pipe now; else for how long not to.
    pub fn pause_ms(&self) -> Option<u64> {
        let now = timer::monotonic_ms();
        (self.written >= LIMIT_BYTES && now < self.next_drop_ms).then(|| self.next_drop_ms - now)
    }

    /// Takes one chunk from the pipe.
    pub fn take(&mut self) -> bool {
        let mut chunk = [0u8; CHUNK_BYTES];
        let Ok(got @ 1..) = socket::read(self.read_end.as_fd(), &mut chunk) else {
            return false;
        };
        let room = usize::try_from(LIMIT_BYTES.saturating_sub(self.written))
            .unwrap_or(0)
            .min(got);
        if room == 0 {
            self.next_drop_ms = timer::monotonic_ms() + DROP_EVERY_MS;
        } else if self.file.write_all(&chunk[..room]).is_ok() {
            self.written += room as u64;
        } else {
            // A full disk: the log is what can be done without.
            self.written = LIMIT_BYTES;
        }
        true
    }

    /// The last words, printable, for an error.
    pub fn tail(&mut self) -> String {
        const TAIL_BYTES: u64 = 1_000;
        const MOST_CHUNKS: usize = 8;
        for _ in 0..MOST_CHUNKS {
            if !self.take() {
                break;
            }
        }
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.written.saturating_sub(TAIL_BYTES)))?;
            file.take(TAIL_BYTES).read_to_end(&mut bytes)
        });
        if read.is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect::<String>()
            .trim()
            .to_owned()
    }
}

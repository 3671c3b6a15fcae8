//! `GET /v1/files/watch`: changes below a path, as lines of JSON.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use http::{HeaderValue, Response, header};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::path::{FOLDER_FLAGS, Target, open_folder, target};
use crate::agent::Agent;
use crate::http::body::{ResponseBody, Sender};
use crate::http::error::Answer;
use crate::http::query::Query;
use crate::kernel::{descriptor, folder};

/// Folders of one watch; past it `overflow` says that changes are missed.
const FOLDERS_MAX: usize = 8_192;
const READ_BYTES: usize = 16_384;
const EVENT_HEADER_BYTES: usize = 16;
const HEARTBEAT_AFTER: Duration = Duration::from_secs(5);
const MASK: u32 = libc::IN_CREATE
    | libc::IN_CLOSE_WRITE
    | libc::IN_DELETE
    | libc::IN_DELETE_SELF
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO
    | libc::IN_MOVE_SELF
    | libc::IN_ATTRIB;

pub fn call(agent: &Agent, query: &Query) -> Answer<Response<ResponseBody>> {
    let target = target(agent, query.required("path")?, query.get("user"))?;
    let recursive = query.flag("recursive")?;
    let mut watch = Watch {
        inotify: target.act("watch", inotify)?,
        folders: HashMap::new(),
        recursive,
        moving: None,
    };
    let complete = target.act("watch", || watch.add(&target.text))?;
    let body = ResponseBody::streamed(None, move |sender| follow(sender, target, watch, complete));
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

struct Watch {
    inotify: AsyncFd<OwnedFd>,
    folders: HashMap<i32, String>,
    recursive: bool,
    /// A name that left, with the cookie under which it may arrive elsewhere.
    moving: Option<(u32, String)>,
}

fn inotify() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = libc::IN_NONBLOCK | libc::IN_CLOEXEC;
    let fd = descriptor::retry(|| unsafe { libc::inotify_init1(flags) as isize })?;
    descriptor::watched(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

impl Watch {
    /// Watches a path and, where asked, the folders below; false when there are too many.
    fn add(&mut self, path: &str) -> io::Result<bool> {
        let mut open = vec![path.to_owned()];
        let mut first = true;
        while let Some(path) = open.pop() {
            if self.folders.len() >= FOLDERS_MAX {
                return Ok(false);
            }
            let name = CString::new(path.as_str())?;
            let inotify = self.inotify.as_raw_fd();
            let mask = if first { MASK } else { MASK | libc::IN_DONT_FOLLOW | libc::IN_ONLYDIR };
            let added = descriptor::retry(|| unsafe {
                libc::inotify_add_watch(inotify, name.as_ptr(), mask) as isize
            });
            match added {
                Ok(number) => drop(self.folders.insert(number as i32, path.clone())),
                Err(error) if first => return Err(error),
                // Closed to the user, or gone since it was listed.
                Err(_) => continue,
            }
            first = false;
            if self.recursive {
                open.extend(folders_in(&path));
            }
        }
        Ok(true)
    }

    /// The lines for what one read gave.
    fn lines(&mut self, mut events: &[u8]) -> Vec<Value> {
        let mut lines = Vec::new();
        while events.len() >= EVENT_HEADER_BYTES {
            let word = |at: usize| events[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
            let (number, mask, cookie, length) = (word(0) as i32, word(4), word(8), word(12));
            let end = (EVENT_HEADER_BYTES + length as usize).min(events.len());
            let name = events[EVENT_HEADER_BYTES..end].split(|byte| *byte == 0).next();
            let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            events = &events[end..];
            self.line(number, mask, cookie, &name, &mut lines);
        }
        // Where it went is not watched: for this watch it is gone.
        if let Some((_, from)) = self.moving.take() {
            lines.push(json!({ "type": "removed", "path": from }));
        }
        lines
    }

    fn line(&mut self, number: i32, mask: u32, cookie: u32, name: &str, lines: &mut Vec<Value>) {
        if mask & libc::IN_Q_OVERFLOW != 0 {
            lines.push(json!({ "type": "overflow" }));
            return;
        }
        let Some(folder) = self.folders.get(&number).cloned() else { return };
        if mask & libc::IN_IGNORED != 0 {
            self.folders.remove(&number);
            return;
        }
        let path = match name {
            "" => folder,
            _ => format!("{}/{name}", folder.trim_end_matches('/')),
        };
        let is_folder = mask & libc::IN_ISDIR != 0;
        if mask & libc::IN_MOVED_FROM != 0 {
            if let Some((_, from)) = self.moving.replace((cookie, path)) {
                lines.push(json!({ "type": "removed", "path": from }));
            }
            return;
        }
        if mask & libc::IN_MOVED_TO != 0 {
            let line = match self.moving.take_if(|(own, _)| *own == cookie) {
                Some((_, from)) => json!({ "type": "moved", "path": path, "from": from }),
                None => json!({ "type": "created", "path": path }),
            };
            lines.push(line);
        } else if let Some(kind) = kind(mask, name) {
            lines.push(json!({ "type": kind, "path": path }));
        }
        if is_folder && self.recursive && mask & (libc::IN_CREATE | libc::IN_MOVED_TO) != 0 {
            // What was made in it before the watch stood is told now.
            let below = self.add(&path).map(|complete| (complete, everything_in(&path)));
            match below {
                Ok((true, below)) => {
                    let created = |path| json!({ "type": "created", "path": path });
                    lines.extend(below.into_iter().map(created));
                }
                Ok((false, _)) => lines.push(json!({ "type": "overflow" })),
                Err(_) => {}
            }
        }
    }
}

fn kind(mask: u32, name: &str) -> Option<&'static str> {
    if mask & libc::IN_CREATE != 0 {
        Some("created")
    } else if mask & libc::IN_CLOSE_WRITE != 0 {
        Some("written")
    } else if mask & libc::IN_DELETE != 0 {
        Some("removed")
    } else if mask & (libc::IN_DELETE_SELF | libc::IN_MOVE_SELF) != 0 {
        // The folder above tells of it as well, where it is watched.
        name.is_empty().then_some("removed")
    } else if mask & libc::IN_ATTRIB != 0 {
        Some("attributes")
    } else {
        None
    }
}

fn everything_in(path: &str) -> Vec<String> {
    let Ok(opened) = open_folder(path) else { return Vec::new() };
    let names = folder::names(opened.as_raw_fd(), FOLDERS_MAX).unwrap_or_default();
    let full = |name: CString| format!("{}/{}", path.trim_end_matches('/'), name.to_string_lossy());
    names.into_iter().map(full).collect()
}

/// The folders in a folder; links to folders are none.
fn folders_in(path: &str) -> Vec<String> {
    let is_folder = |path: &String| {
        let Ok(name) = CString::new(path.as_str()) else { return false };
        descriptor::open(&name, FOLDER_FLAGS | libc::O_NOFOLLOW).is_ok()
    };
    everything_in(path).into_iter().filter(is_folder).collect()
}

async fn follow(
    sender: Sender,
    target: Target,
    mut watch: Watch,
    complete: bool,
) -> io::Result<()> {
    sender.send(line(&json!({ "type": "ready" }))).await;
    if !complete {
        sender.send(line(&json!({ "type": "overflow" }))).await;
    }
    let mut buffer = vec![0; READ_BYTES];
    while !watch.folders.is_empty() {
        let read = timeout(HEARTBEAT_AFTER, read(&watch.inotify, &mut buffer)).await;
        let Ok(count) = read else {
            sender.send(line(&json!({ "type": "heartbeat" }))).await;
            continue;
        };
        let count = count?;
        let lines = target.user.credentials.run(|| watch.lines(&buffer[..count]))?;
        let text: Vec<u8> = lines.iter().flat_map(line).collect();
        if !text.is_empty() {
            sender.send(text).await;
        }
    }
    // What was watched is gone, and with it this stream's subject.
    Ok(())
}

async fn read(inotify: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut guard = inotify.readable().await?;
        if let Ok(count) = guard.try_io(|fd| descriptor::read(fd.as_raw_fd(), buffer)) {
            return count;
        }
    }
}

fn line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    text
}

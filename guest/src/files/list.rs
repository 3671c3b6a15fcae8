//! `GET /v1/files/list`: a folder's entries, and those below it to a depth.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;

use http::{Response, StatusCode};
use serde_json::json;

use super::entry::{Entry, Names, look};
use super::path::{open_folder, target};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Refusal};
use crate::http::query::Query;
use crate::http::serve::reply;
use crate::kernel::folder;

const DEPTH_MAX: u64 = 64;
const LIMIT_DEFAULT: u64 = 1_000;
const LIMIT_MAX: u64 = 10_000;

pub fn call(agent: &Agent, query: &Query) -> Answer<Response<ResponseBody>> {
    let target = target(agent, query.required("path")?, query.get("user"))?;
    let depth = query.number("depth")?.unwrap_or(1);
    let limit = query.number("limit")?.unwrap_or(LIMIT_DEFAULT);
    if !(1..=DEPTH_MAX).contains(&depth) || !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("depth must be 1 to {DEPTH_MAX} and limit 1 to {LIMIT_MAX}");
        return Err(Refusal::invalid(message));
    }
    let names = Names::read();
    let mut entries = Vec::new();
    let mut folders = VecDeque::from([(target.text.clone(), 1)]);
    let mut truncated = false;
    while let Some((path, level)) = folders.pop_front() {
        let section = || read_folder(&path, limit as usize - entries.len(), &names);
        let (found, more) = match target.act("list", section) {
            Ok(found) => found,
            // Below the folder that was asked for, one that is closed or gone is just not shown.
            Err(_) if level > 1 => continue,
            Err(refusal) => return Err(refusal),
        };
        if level < depth {
            let below = found.iter().filter(|entry| entry.kind == "directory");
            folders.extend(below.map(|entry| (entry.path.clone(), level + 1)));
        }
        entries.extend(found);
        if more || (entries.len() >= limit as usize && !folders.is_empty()) {
            truncated = true;
            break;
        }
    }
    Ok(reply(StatusCode::OK, &json!({ "entries": entries, "truncated": truncated })))
}

/// At most `limit` entries in the order of their names, and whether there are more.
fn read_folder(path: &str, limit: usize, names: &Names) -> std::io::Result<(Vec<Entry>, bool)> {
    let opened = open_folder(path)?;
    let mut found = folder::names(opened.as_raw_fd(), LIMIT_MAX as usize + 1)?;
    found.sort();
    let more = found.len() > limit;
    let entries = found.into_iter().take(limit).filter_map(|name| {
        let text = name.to_string_lossy();
        let full = format!("{}/{text}", path.trim_end_matches('/'));
        // Gone since the folder was read.
        look(opened.as_raw_fd(), &name, full, names).ok()
    });
    Ok((entries.collect(), more))
}

//! `GET /v1/metrics`.

use http::{Response, StatusCode};
use serde_json::json;

use super::{disk, survey};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::serve::reply;

pub fn call(agent: &Agent) -> Response<ResponseBody> {
    let limits = agent.limits();
    let members = survey::members();
    let own = survey::member(std::process::id() as i32);
    let disk = disk::measure().unwrap_or_default();
    let zombies = members.iter().filter(|member| member.zombie).count();
    let ticks: u64 = members.iter().map(|member| member.cpu_ticks).sum();
    let body = json!({
        "memory": {
            "limitBytes": limits.memory_bytes.unwrap_or(0),
            "usedBytes": agent.memory.used_bytes(&members),
        },
        "disk": { "limitBytes": disk.size_bytes, "usedBytes": disk.used_bytes() },
        "processes": {
            "limit": limits.processes.unwrap_or(0),
            "count": members.len().saturating_sub(1 + zombies),
            "zombies": zombies,
        },
        "cpu": { "usedMs": ticks * survey::TICK_MS + survey::reaped_cpu_ms() },
        "agent": {
            "residentBytes": own.map_or(0, |own| own.resident_pages * survey::PAGE_BYTES),
            "openStreams": agent.open_streams.get(),
        },
        "oomKills": agent.tally.oom_kills.get(),
    });
    reply(StatusCode::OK, &body)
}

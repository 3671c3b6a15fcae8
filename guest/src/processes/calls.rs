//! The calls of `/v1/processes`.

use std::rc::Rc;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::follow::{Registration, copy, follow};
use super::process::Process;
use super::request::{Size, StartRequest, check_id};
use super::{start, stdin};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::query::Query;
use crate::http::request;
use crate::http::serve::reply;
use crate::kernel::signals;

const OUTPUT_TYPE: &str = "application/vnd.atoll.output";

type Reply = Answer<Response<ResponseBody>>;

pub async fn put(agent: &Rc<Agent>, id: &str, query: &Query, body: Incoming) -> Reply {
    check_id(id)?;
    let follows = query.flag("follow")?;
    let request: StartRequest = request::json(body).await?;
    request.check()?;
    // What is to be started while an image is taken waits for its end, as a stopped process does.
    if agent.identity.borrow().is_some() {
        agent.quiesce.released().await;
    }
    let (status, process) = match agent.processes.get(id) {
        Some(process) if process.request == request => (StatusCode::OK, process),
        Some(_) => {
            let message = format!("process {id} exists and was started otherwise; use another id");
            return Err(Refusal::new(Code::Conflict, message));
        }
        None => (StatusCode::CREATED, start::start(agent, id, request)?),
    };
    if !follows {
        return Ok(reply(status, &process.to_json()));
    }
    let offset = process.log.borrow().start();
    let registration = Registration::new(process, offset);
    Ok(output(status, |sender| follow(sender, registration, true)))
}

pub fn list(agent: &Agent) -> Reply {
    let records: Vec<_> = agent.processes.list().iter().map(|known| known.to_json()).collect();
    Ok(reply(StatusCode::OK, &json!({ "processes": records })))
}

pub fn get(agent: &Agent, id: &str) -> Reply {
    Ok(reply(StatusCode::OK, &find(agent, id)?.to_json()))
}

pub async fn wait(agent: &Agent, id: &str) -> Reply {
    let process = find(agent, id)?;
    process.ended().await;
    Ok(reply(StatusCode::OK, &process.to_json()))
}

pub fn read_output(agent: &Agent, id: &str, query: &Query) -> Reply {
    let process = find(agent, id)?;
    let (start, end) = {
        let log = process.log.borrow();
        (log.start(), log.end())
    };
    let offset = query.number("offset")?.unwrap_or(start);
    if offset > end {
        let message =
            format!("offset {offset} is past the log of process {id}, which ends at {end}");
        return Err(Refusal::invalid(message));
    }
    if query.flag("follow")? {
        let registration = Registration::new(process, offset);
        return Ok(output(StatusCode::OK, |sender| follow(sender, registration, false)));
    }
    Ok(output(StatusCode::OK, |sender| copy(sender, process, offset)))
}

pub async fn write_stdin(agent: &Agent, id: &str, query: &Query, body: Incoming) -> Reply {
    let process = find(agent, id)?;
    let written = stdin::send(&process, body, query.flag("close")?).await?;
    Ok(reply(StatusCode::OK, &json!({ "bytesWritten": written })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalRequest {
    signal: String,
    #[serde(default)]
    tree: bool,
}

pub async fn signal(agent: &Agent, id: &str, body: Incoming) -> Reply {
    let process = find(agent, id)?;
    let request: SignalRequest = request::json(body).await?;
    let Some(number) = signals::number(&request.signal) else {
        let message = format!("there is no signal {:?}; name one as SIGTERM", request.signal);
        return Err(Refusal::invalid(message));
    };
    // SIGCONT would set one free, and nobody can tell what another signal's default does.
    if number != libc::SIGKILL {
        agent.quiesce.released().await;
    }
    let has_survivors = request.tree && !process.tree.pids().is_empty();
    if process.wait.get().is_some() && !has_survivors {
        let message = format!("cannot signal process {id}: it has ended");
        return Err(Refusal::new(Code::ProcessEnded, message));
    }
    if process.wait.get().is_none() {
        process.marks.killed.set(true);
    }
    let delivered = match (request.tree, number) {
        (true, libc::SIGKILL) => process.tree.kill().await,
        (true, _) => process.tree.signal(number),
        (false, _) => usize::from(unsafe { libc::kill(process.pid, number) } == 0),
    };
    Ok(reply(StatusCode::OK, &json!({ "delivered": delivered })))
}

pub async fn resize(agent: &Agent, id: &str, body: Incoming) -> Reply {
    let process = find(agent, id)?;
    let size: Size = request::json(body).await?;
    size.check()?;
    let Some(terminal) = &process.terminal else {
        let message = format!("cannot resize process {id}: it has no terminal");
        return Err(Refusal::invalid(message));
    };
    if process.wait.get().is_some() {
        let message = format!("cannot resize process {id}: it has ended");
        return Err(Refusal::new(Code::ProcessEnded, message));
    }
    terminal
        .resize(size, process.pid)
        .map_err(|error| Refusal::io("resize process", id, &error))?;
    Ok(reply(StatusCode::OK, &json!({})))
}

pub async fn delete(agent: &Rc<Agent>, id: &str) -> Reply {
    let process = find(agent, id)?;
    if process.wait.get().is_none() {
        process.marks.killed.set(true);
    }
    process.tree.kill().await;
    process.ended().await;
    let record = process.to_json();
    agent.processes.forget(&process);
    Ok(reply(StatusCode::OK, &record))
}

fn find(agent: &Agent, id: &str) -> Answer<Rc<Process>> {
    check_id(id)?;
    agent.processes.get(id).ok_or_else(|| {
        let message = format!("there is no process {id}; it was never started or is forgotten");
        Refusal::new(Code::ProcessNotFound, message)
    })
}

fn output<F>(
    status: StatusCode,
    produce: impl FnOnce(crate::http::body::Sender) -> F,
) -> Response<ResponseBody>
where
    F: Future<Output = std::io::Result<()>> + 'static,
{
    let mut response = Response::new(ResponseBody::streamed(None, produce));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(OUTPUT_TYPE);
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

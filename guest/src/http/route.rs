//! From method and path to the call.

use std::rc::Rc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::body::ResponseBody;
use super::error::{Answer, Code, Refusal};
use super::query::Query;
use super::serve::reply;
use crate::agent::{Agent, GENERATION};
use crate::files;
use crate::identity::adopt;
use crate::layer;
use crate::limits::metrics;
use crate::ports;
use crate::processes::calls;
use crate::quiesce;

/// Answers one request; a refusal is an answer too.
pub async fn route(agent: Rc<Agent>, request: Request<Incoming>) -> Response<ResponseBody> {
    agent.open_streams.set(agent.open_streams.get() + 1);
    let _open = Open(agent.clone());
    match dispatch(&agent, request).await {
        Ok(response) => response,
        Err(refusal) => reply(refusal.code.status(), &refusal.to_json()),
    }
}

struct Open(Rc<Agent>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_streams.set(self.0.open_streams.get() - 1);
    }
}

async fn dispatch(agent: &Rc<Agent>, request: Request<Incoming>) -> Answer<Response<ResponseBody>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let query = Query::parse(parts.uri.query())?;
    let get = parts.method == Method::GET;
    let put = parts.method == Method::PUT;
    let post = parts.method == Method::POST;
    let delete = parts.method == Method::DELETE;
    // A copy that does not know yet who it is: it can be told, looked at, and nothing else.
    if !matches!(segments.as_slice(), ["v1", "health" | "adopt" | "metrics"]) {
        agent.quiesce.check_own(&format!("answer {} {path}", parts.method))?;
    }
    match segments.as_slice() {
        ["v1", "health"] if get => Ok(health(agent)),
        ["v1", "quiesce"] if post => quiesce::calls::quiesce(agent, body).await,
        ["v1", "continue"] if post => quiesce::calls::proceed(agent).await,
        ["v1", "adopt"] if post => adopt::call(agent, body).await,
        ["v1", "metrics"] if get => Ok(metrics::call(agent)),
        ["v1", "ports", port] if post => ports::connect(port, body).await,
        ["v1", "processes"] if get => calls::list(agent),
        ["v1", "processes", id] if put => calls::put(agent, id, &query, body).await,
        ["v1", "processes", id] if get => calls::get(agent, id),
        ["v1", "processes", id] if delete => calls::delete(agent, id).await,
        ["v1", "processes", id, "wait"] if get => calls::wait(agent, id).await,
        ["v1", "processes", id, "output"] if get => calls::read_output(agent, id, &query),
        ["v1", "processes", id, "stdin"] if post => {
            calls::write_stdin(agent, id, &query, body).await
        }
        ["v1", "processes", id, "signal"] if post => calls::signal(agent, id, body).await,
        ["v1", "processes", id, "resize"] if post => calls::resize(agent, id, body).await,
        ["v1", "files"] if get => files::read::call(agent, &query, &parts.headers),
        ["v1", "files"] if put => files::write::call(agent, &query, &parts.headers, body).await,
        ["v1", "files", "stat"] if get => files::stat::call(agent, &query),
        ["v1", "files", "list"] if get => files::list::call(agent, &query),
        ["v1", "files", "watch"] if get => files::watch::call(agent, &query),
        ["v1", "tar"] if get => files::pack::call(agent, &query),
        ["v1", "tar"] if put => files::unpack::call(agent, &query, body).await,
        ["v1", "layer"] if get => layer::pack::call(agent),
        ["v1", "layer"] if put => layer::apply::call(agent, body).await,
        ["v1", "files", "move"] if post => files::rename::call(agent, body).await,
        ["v1", "files", "remove"] if post => files::remove::call(agent, body).await,
        ["v1", "files", "make"] if post => files::make::call(agent, body).await,
        _ => {
            let message =
                format!("there is no call {} {path} in generation {GENERATION}", parts.method);
            Err(Refusal::new(Code::NotFound, message))
        }
    }
}

fn health(agent: &Agent) -> Response<ResponseBody> {
    let identity = agent.identity.borrow();
    let body = json!({
        "generation": GENERATION,
        "agentVersion": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptimeMs": agent.started.elapsed().as_millis() as u64,
        "sandboxId": identity.as_ref().map(|known| known.sandbox_id.as_str()),
        "adopted": identity.is_some() && !agent.quiesce.is_strange_copy(),
        "quiesced": agent.quiesce.is_quiesced(),
        "identityGeneration": identity.as_ref().map_or(0, |known| known.generation),
    });
    reply(StatusCode::OK, &body)
}

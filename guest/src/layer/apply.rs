//! `PUT /v1/layer`: lays a layer over a root that nobody has used yet.

use std::os::fd::AsRawFd;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::write::Writing;
use crate::agent::Agent;
use crate::files::archive::Reader;
use crate::files::path::FOLDER_FLAGS;
use crate::files::unpack::Fault;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::request;
use crate::http::serve::reply;
use crate::kernel::descriptor;

pub async fn call(agent: &Agent, mut body: Incoming) -> Answer<Response<ResponseBody>> {
    if agent.upper.is_none() {
        let message =
            "cannot lay a layer over the root: the host has made it; give it the disk itself";
        return Err(Refusal::new(Code::Unsupported, message));
    }
    let root = descriptor::open(c"/", FOLDER_FLAGS)
        .map_err(|error| Refusal::io("lay a layer over", "/", &error))?;
    let mut writing = Writing::over(root.as_raw_fd());
    let mut reader = Reader::new();
    check_unused(agent)?;
    while let Some(piece) = request::piece(&mut body).await? {
        // Someone may have adopted it meanwhile.
        check_unused(agent)?;
        reader.push(&piece, &mut |event| writing.take(event)).map_err(refusal)?;
        tokio::task::yield_now().await;
    }
    if !reader.may_end() {
        return Err(refusal(Fault::Archive("it ends in the middle of an entry".to_owned())));
    }
    let (entries, bytes) = writing.finish().map_err(refusal)?;
    Ok(reply(StatusCode::OK, &json!({ "entries": entries, "bytes": bytes })))
}

fn check_unused(agent: &Agent) -> Answer<()> {
    if agent.identity.borrow().is_none() {
        return Ok(());
    }
    let message = "cannot lay a layer over the root: the sandbox was adopted; do it before";
    Err(Refusal::new(Code::StateConflict, message))
}

/// Half a layer is no disk: whoever asked ends the sandbox.
fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::Archive(text) => {
            let message = format!("cannot lay a layer over the root: {text}; end this sandbox");
            Refusal::new(Code::ImageInvalid, message)
        }
        Fault::System(path, error) => Refusal::io("lay over the root", &path, &error),
    }
}

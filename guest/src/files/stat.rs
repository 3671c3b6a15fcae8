//! `GET /v1/files/stat`.

use http::{Response, StatusCode};
use serde_json::json;

use super::entry::{Names, look};
use super::path::{Target, target};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::Answer;
use crate::http::query::Query;
use crate::http::serve::reply;

pub fn call(agent: &Agent, query: &Query) -> Answer<Response<ResponseBody>> {
    answer(&target(agent, query.required("path")?, query.get("user"))?)
}

/// The entry at a path, looked at now.
pub fn answer(target: &Target) -> Answer<Response<ResponseBody>> {
    let names = Names::read();
    let text = target.text.clone();
    let entry = target.act("look at", || look(libc::AT_FDCWD, &target.path, text, &names))?;
    Ok(reply(StatusCode::OK, &json!(entry)))
}

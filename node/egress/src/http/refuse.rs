//! A refusal that an agent can read: 403 with the rule, the reason and what to do.
use super::body::{Body, whole};
use crate::policy::Reason;
use crate::policy::decide::Verdict;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

pub fn refusal(verdict: &Verdict, host: Option<&str>) -> Response<Body> {
    let (status, code) = match verdict.reason {
        Reason::Upstream => (StatusCode::BAD_GATEWAY, "egress_failed"),
        Reason::Unclear => (StatusCode::BAD_REQUEST, "egress_denied"),
        _ => (StatusCode::FORBIDDEN, "egress_denied"),
    };
    let answer = json!({
        "code": code,
        "message": format!("cannot reach {}: {}", host.unwrap_or("this destination"), verdict.reason.remedy()),
        "rule": verdict.rule,
        "reason": verdict.reason.code(),
        "remedy": verdict.reason.remedy(),
    });
    let mut response = Response::new(whole(format!("{answer}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-atoll-rule", rule_field(verdict));
    response
}

/// The rule that decided, for the reader of a response.
pub fn rule_field(verdict: &Verdict) -> HeaderValue {
    let rule = verdict.rule.as_deref().unwrap_or("none");
    HeaderValue::from_str(rule).unwrap_or(HeaderValue::from_static("none"))
}

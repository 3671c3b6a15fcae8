//! Serves one link session; when the session ends, so do its requests.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;

use http::{HeaderValue, Response, StatusCode};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::body::ResponseBody;
use super::route::route;
use crate::agent::Agent;
use crate::link::Session;

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const CONCURRENT_STREAMS_MAX: u32 = 256;
const HEADER_LIST_MAX_BYTES: u32 = 32 << 10;
const FRAME_MAX_BYTES: u32 = 64 << 10;
const SEND_BUFFER_MAX_BYTES: usize = 256 << 10;

pub fn serve(agent: Rc<Agent>, session: Session) {
    let ended = session.ended();
    let executor = Executor { ended: ended.clone() };
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(route(agent, request).await) }
    });
    let connection = http2::Builder::new(executor)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX_BYTES)
        .max_frame_size(FRAME_MAX_BYTES)
        .max_send_buf_size(SEND_BUFFER_MAX_BYTES)
        .serve_connection(session, service);
    until(ended, async move {
        if let Err(error) = connection.await {
            eprintln!("atoll-agent: a session ended: {error}");
        }
    });
}

#[derive(Clone)]
struct Executor {
    ended: watch::Receiver<bool>,
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        until(self.ended.clone(), future);
    }
}

fn until(mut ended: watch::Receiver<bool>, future: impl Future + 'static) {
    spawn_local(async move {
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => {}
            _ = future => {}
        }
    });
}

/// An answer of JSON.
pub fn reply(status: StatusCode, body: &serde_json::Value) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

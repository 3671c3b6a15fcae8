//! `POST /v1/quiesce` and `POST /v1/continue`.

use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::release::release;
use super::stop::stop_all;
use super::{Held, State};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::request;
use crate::http::serve::reply;
use crate::identity::hooks;

/// The longest that the host may ask for: the time to write a big image.
const QUIESCE_MAX_MS: u64 = 600_000;
/// A switch that comes later than this slept through a pause, and gives the host its time again.
const LATE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QuiesceRequest {
    for_ms: u64,
}

pub async fn quiesce(agent: &Rc<Agent>, body: Incoming) -> Answer<Response<ResponseBody>> {
    let wanted: QuiesceRequest = request::json(body).await?;
    if !(1..=QUIESCE_MAX_MS).contains(&wanted.for_ms) {
        return Err(Refusal::invalid(format!("forMs must be 1 to {QUIESCE_MAX_MS}")));
    }
    agent.quiesce.check_own("quiesce it")?;
    let (told, answer) = oneshot::channel();
    // A task of its own: a session that ends half-way must not leave half of the processes stopped.
    spawn_local(hold(agent.clone(), Duration::from_millis(wanted.for_ms), told));
    let stopped = answer.await.map_err(|_| Refusal::new(Code::Internal, "quiesce gave up"))??;
    Ok(reply(StatusCode::OK, &json!({ "stopped": stopped })))
}

async fn hold(agent: Rc<Agent>, time: Duration, told: oneshot::Sender<Answer<usize>>) {
    let result = stop(&agent).await;
    if result.is_ok() {
        agent.quiesce.time.set(time);
        arm(&agent);
    }
    // Nobody hears it when the session has ended; the switch then sets the processes free.
    let _ = told.send(result);
}

/// Stops once, however many ask.
async fn stop(agent: &Agent) -> Answer<usize> {
    let quiesce = &agent.quiesce;
    loop {
        let changed = quiesce.changed.notified();
        match &*quiesce.state.borrow() {
            State::Running => break,
            State::Quiesced(held) => return Ok(held.stopped.len()),
            State::Stopping => {}
        }
        changed.await;
    }
    quiesce.set(State::Stopping);
    let result = stop_all(agent).await;
    match result {
        Ok(stopped) => {
            let count = stopped.len();
            agent.clock.stand();
            quiesce.set(State::Quiesced(Held { stopped, home: quiesce.origin.sign() }));
            Ok(count)
        }
        Err(refusal) => {
            quiesce.set(State::Running);
            Err(refusal)
        }
    }
}

/// A machine with an identity may run, and the host has its time anew to say when.
pub fn adopted(agent: &Rc<Agent>) {
    agent.quiesce.settle();
    if agent.quiesce.is_quiesced() {
        arm(agent);
    }
}

fn arm(agent: &Rc<Agent>) {
    let quiesce = &agent.quiesce;
    quiesce.switch.set(quiesce.switch.get() + 1);
    spawn_local(switch(agent.clone(), quiesce.switch.get(), quiesce.time.get()));
}

/// The dead man's switch: a host that died must not leave the sandbox stopped. In a copy it does
/// nothing until that was adopted.
async fn switch(agent: Rc<Agent>, number: u64, time: Duration) {
    loop {
        let due = Instant::now() + time;
        sleep(time).await;
        if agent.quiesce.switch.get() != number || !agent.quiesce.is_quiesced() {
            return;
        }
        if due.elapsed() > LATE || agent.quiesce.is_strange_copy() {
            continue;
        }
        let continued = go_on(&agent);
        eprintln!(
            "atoll-agent: nobody asked to continue within {} ms: continued {continued} processes",
            time.as_millis()
        );
        return;
    }
}

pub async fn proceed(agent: &Rc<Agent>) -> Answer<Response<ResponseBody>> {
    loop {
        let changed = agent.quiesce.changed.notified();
        if !matches!(*agent.quiesce.state.borrow(), State::Stopping) {
            break;
        }
        changed.await;
    }
    agent.quiesce.check_own("continue it")?;
    let continued = go_on(agent);
    Ok(reply(StatusCode::OK, &json!({ "continued": continued })))
}

fn go_on(agent: &Rc<Agent>) -> usize {
    let state = agent.quiesce.state.replace(State::Running);
    let continued = match &state {
        State::Quiesced(held) => release(&held.stopped),
        State::Running | State::Stopping => 0,
    };
    agent.clock.go();
    agent.quiesce.changed.notify_waiters();
    agent.tally.wake.notify_one();
    hooks::run_new(agent);
    continued
}

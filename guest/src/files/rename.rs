//! `POST /v1/files/move`.

use std::io;

use http::Response;
use hyper::body::Incoming;
use serde::Deserialize;

use super::path::{Target, split, target};
use super::stat;
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::request;
use crate::kernel::descriptor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveRequest {
    from: String,
    to: String,
    #[serde(default)]
    overwrite: bool,
    user: Option<String>,
}

pub async fn call(agent: &Agent, body: Incoming) -> Answer<Response<ResponseBody>> {
    let wanted: MoveRequest = request::json(body).await?;
    let from = target(agent, &wanted.from, wanted.user.as_deref())?;
    let to = target(agent, &wanted.to, wanted.user.as_deref())?;
    split(&from.text)?;
    split(&to.text)?;
    let flags = if wanted.overwrite { 0 } else { libc::RENAME_NOREPLACE };
    let moved = from.user.credentials.run(|| rename(&from, &to, flags)).and_then(|moved| moved);
    moved.map_err(|error| refusal(&from, &to, &error))?;
    stat::answer(&to)
}

fn rename(from: &Target, to: &Target, flags: u32) -> io::Result<()> {
    let here = libc::AT_FDCWD;
    let (from, to) = (from.path.as_ptr(), to.path.as_ptr());
    descriptor::retry(|| unsafe {
        libc::syscall(libc::SYS_renameat2, here, from, here, to, flags) as isize
    })
    .map(drop)
}

fn refusal(from: &Target, to: &Target, error: &io::Error) -> Refusal {
    let operand = format!("{} to {}", from.text, to.text);
    if error.raw_os_error() == Some(libc::EXDEV) {
        let message = format!("cannot move {operand}: they are different disks; copy and remove");
        return Refusal::new(Code::Unsupported, message);
    }
    Refusal::io("move", &operand, error)
}

//! Reads the wire for ever and makes sessions of it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use tokio::io::unix::AsyncFd;

use super::frame::{Decoder, Event, close, opened};
use super::outbox::Outbox;
use super::session::{Inlet, Session};
use crate::kernel::descriptor;

/// As much as the socket holds, as a rule: a call costs more in gVisor than the bytes it brings.
const READ_BYTES: usize = 262_144;

/// Serves sessions until the input ends; `serve` is told of each new one. A newer session ends
/// the older, and no session's fault ends the pump.
pub async fn pump(
    input: OwnedFd,
    output: OwnedFd,
    generation: u32,
    mut serve: impl FnMut(Session),
) -> io::Result<()> {
    let input = descriptor::watched(input)?;
    let outbox = Rc::new(RefCell::new(Outbox::new(output)?));
    let mut decoder = Decoder::new();
    let mut current: Option<Inlet> = None;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if let Some(inlet) = current.as_ref().filter(|inlet| inlet.is_full()) {
            inlet.drained.notified().await;
            continue;
        }
        let count = read(&input, &outbox, &mut buffer).await?;
        if count == 0 {
            break;
        }
        decoder.decode(&buffer[..count], &mut |event| match event {
            Event::Open(nonce) => {
                end(&mut current);
                let inlet = Inlet::default();
                let mut wire = outbox.borrow_mut();
                wire.abandon();
                wire.push(&opened(&nonce, generation));
                serve(Session::new(inlet.clone(), outbox.clone()));
                current = Some(inlet);
            }
            Event::Fault => {
                end(&mut current);
                outbox.borrow_mut().push(&close());
            }
            Event::Close => end(&mut current),
            Event::Data(bytes) => with(&current, |inlet| inlet.append(bytes)),
            Event::Commit => with(&current, Inlet::commit),
            Event::Spoiled => with(&current, Inlet::spoil),
        });
    }
    end(&mut current);
    Ok(())
}

/// Reads once; meanwhile pushes out control frames that nobody else would write.
async fn read(
    input: &AsyncFd<OwnedFd>,
    outbox: &Rc<RefCell<Outbox>>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    poll_fn(|context| {
        if let std::task::Poll::Ready(Err(error)) = outbox.borrow_mut().poll_control(context) {
            // Nobody holds the other end now; a new holder starts with an OPEN and gets OPENED.
            eprintln!("atoll-agent: cannot write to the link: {error}");
            outbox.borrow_mut().abandon();
        }
        loop {
            let mut guard = std::task::ready!(input.poll_read_ready(context))?;
            if let Ok(result) = guard.try_io(|fd| descriptor::read(fd.as_raw_fd(), buffer)) {
                return std::task::Poll::Ready(result);
            }
        }
    })
    .await
}

fn end(current: &mut Option<Inlet>) {
    if let Some(inlet) = current.take() {
        inlet.close();
    }
}

fn with(current: &Option<Inlet>, act: impl FnOnce(&Inlet)) {
    if let Some(inlet) = current {
        act(inlet);
    }
}

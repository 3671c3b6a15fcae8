//! What the wire carries, in whatever pieces it takes it.

use std::future::poll_fn;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::*;
use crate::link::frame::{Decoder, Event};

const SMALL_BUFFER_BYTES: i32 = 4_096;

/// Writes `parts` again and again over a wire that takes little at a time, and decodes what comes.
fn carry(parts: &[&[u8]]) -> (Vec<u8>, usize) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let fd = ours.as_raw_fd();
    let size = SMALL_BUFFER_BYTES;
    let option = (&raw const size).cast();
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, option, 4) };
    ours.set_nonblocking(true).expect("nonblocking");
    let reader = std::thread::spawn(move || {
        let (mut bytes, mut commits) = (Vec::new(), 0);
        let mut decoder = Decoder::new();
        let mut buffer = [0; 1_000];
        while let Ok(1..) = descriptor::read(theirs.as_raw_fd(), &mut buffer).inspect(|count| {
            decoder.decode(&buffer[..*count], &mut |event| match event {
                Event::Data(data) => bytes.extend_from_slice(data),
                Event::Commit => commits += 1,
                other => panic!("{other:?}"),
            });
        }) {}
        (bytes, commits)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("one");
    runtime.block_on(async {
        let mut outbox = Outbox::new(OwnedFd::from(ours)).expect("an outbox");
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        let mut sent = 0;
        while sent < whole {
            let mut skip = sent;
            let rest: Vec<IoSlice<'_>> = parts
                .iter()
                .map(|part| {
                    let from = skip.min(part.len());
                    skip -= from;
                    IoSlice::new(&part[from..])
                })
                .collect();
            sent += poll_fn(|context| outbox.poll_data(context, &rest)).await.expect("written");
        }
        poll_fn(|context| outbox.poll_session_flush(context)).await.expect("flushed");
    });
    reader.join().expect("a reader")
}

#[test]
fn frames_carry_every_byte_over_a_wire_that_takes_little() {
    let pattern: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
    for cuts in [vec![], vec![9], vec![9, 65_536], vec![1, 65_545, 131_073, 300_000, 300_001]] {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([pattern.len()]) {
            parts.push(&pattern[from..cut]);
            parts.push(&[]);
            from = cut;
        }
        let (bytes, commits) = carry(&parts);
        assert!(bytes == pattern, "cuts {cuts:?}: {} bytes came", bytes.len());
        assert!(commits >= pattern.len().div_ceil(FRAME_MAX_BYTES), "cuts {cuts:?}");
    }
}

use super::*;

const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

fn opened() -> Vec<u8> {
    [&header(0x03, 36)[..], MAGIC, &NONCE, &1u32.to_be_bytes()].concat()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&header(DATA, bytes.len())[..], bytes].concat()
}

/// Feeds bytes in chunks and collects what comes out.
fn decode(bytes: &[u8], chunk: usize) -> (Vec<u8>, Option<&'static str>) {
    let mut incoming = Incoming::new();
    incoming.seek(NONCE);
    let (mut out, mut fed) = (Vec::new(), 0);
    loop {
        let step = match incoming.next() {
            Piece::Payload(part) => {
                // A slow client takes only a part.
                let taken = part.len().div_ceil(2);
                out.extend_from_slice(&part[..taken]);
                taken
            }
            Piece::Opened(1) => continue,
            Piece::Opened(_) => return (out, Some("generation")),
            Piece::Closed => return (out, Some("closed")),
            Piece::Broken(why) => return (out, Some(why)),
            Piece::More => {
                if fed == bytes.len() {
                    return (out, None);
                }
                let part = &bytes[fed..bytes.len().min(fed + chunk)];
                let got = incoming.fill(|room| {
                    let length = part.len().min(room.len());
                    room[..length].copy_from_slice(&part[..length]);
                    Ok(length)
                });
                fed += got.unwrap();
                continue;
            }
        };
        incoming.consume(step);
    }
}

#[test]
fn drops_garbage_up_to_the_nonce_in_chunks_of_any_size() {
    let old = data(&[9; 3000]);
    let mut other = opened();
    other[30] ^= 1;
    let payload: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    let mut stream = [&old[1500..], &other, b"ATOLL-LINK-0001\n", &opened()].concat();
    for part in payload.chunks(65_536) {
        stream.extend_from_slice(&[0, 0, 0]);
        stream.extend(data(part));
    }
    stream.extend_from_slice(&header(CLOSE, 0));
    for chunk in [1, 3, 31, 32, 33, 1000, 1 << 20] {
        let (out, end) = decode(&stream, chunk);
        assert_eq!(
            (out.len(), end),
            (payload.len(), Some("closed")),
            "chunk {chunk}"
        );
        assert!(out == payload, "chunk {chunk}");
    }
}

#[test]
fn calls_unknown_types_and_lengths_broken() {
    for bad in [
        header(9, 1),
        header(DATA, 0),
        header(DATA, 65_537),
        header(CLOSE, 1),
        header(OPEN, 16),
        header(3, 36),
    ] {
        let (out, end) = decode(&[opened(), data(b"x"), bad.to_vec()].concat(), 7);
        assert_eq!(out, b"x");
        assert!(
            end.is_some_and(|end| end.starts_with("a ")),
            "{bad:?}: {end:?}"
        );
    }
}

#[test]
fn finishes_a_begun_frame_before_the_sled() {
    let mut outgoing = Outgoing::new();
    outgoing
        .fill(|room| {
            room[..5].copy_from_slice(b"hello");
            Ok(5)
        })
        .unwrap();
    outgoing.advance(3);
    outgoing.close();
    outgoing.open(&NONCE);
    let mut sent = Vec::new();
    while !outgoing.is_empty() {
        let part = outgoing.rest().len().min(10_000);
        sent.extend_from_slice(&outgoing.rest()[..part]);
        outgoing.advance(part);
    }
    let sled = vec![0u8; SLED_BYTES];
    let expected = [&data(b"hello")[3..], &sled, &header(OPEN, 16), &NONCE].concat();
    assert!(sent == expected);
    assert_eq!(SLED_BYTES, 65_540);
}

#[test]
fn random_bytes_never_panic_and_never_pass_without_the_nonce() {
    let seconds = std::env::var("ATOLL_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    while std::time::Instant::now() < until {
        let noise: Vec<u8> = (0..random() % 2000).map(|_| (random() % 6) as u8).collect();
        let (out, _) = decode(&noise, 1 + (random() % 64) as usize);
        assert!(out.is_empty());
        let (_, _) = decode(&[opened(), noise].concat(), 1 + (random() % 64) as usize);
    }
}

/// What an agent that takes all now would get.
fn drain(outgoing: &mut Outgoing) -> Vec<u8> {
    let mut out = Vec::new();
    while !outgoing.is_empty() {
        let rest = outgoing.rest().to_vec();
        outgoing.advance(rest.len());
        out.extend(rest);
    }
    out
}

#[test]
fn a_newer_session_replaces_what_waits_for_an_agent_that_does_not_read() {
    let whole_open = SLED_BYTES + HEADER_BYTES + NONCE_BYTES;
    let mut outgoing = Outgoing::new();
    for n in 0..1_000u32 {
        outgoing.open(&[n as u8; NONCE_BYTES]);
        outgoing.close();
    }
    outgoing.open(&NONCE);
    let out = drain(&mut outgoing);
    assert_eq!(out.len(), whole_open);
    assert!(out.ends_with(&NONCE));
}

#[test]
fn a_frame_that_was_begun_is_finished_and_one_that_was_not_goes() {
    let payload = [9u8; 1_000];
    for begun in [0, 1, 500] {
        let mut outgoing = Outgoing::new();
        outgoing
            .fill(|room| {
                room[..payload.len()].copy_from_slice(&payload);
                Ok(payload.len())
            })
            .unwrap();
        outgoing.advance(begun);
        outgoing.open(&NONCE);
        let out = drain(&mut outgoing);
        let rest = if begun == 0 {
            0
        } else {
            HEADER_BYTES + payload.len() - begun
        };
        assert_eq!(out.len(), rest + SLED_BYTES + HEADER_BYTES + NONCE_BYTES);
        assert!(out[..rest].iter().rev().take(400).all(|byte| *byte == 9));
    }
}

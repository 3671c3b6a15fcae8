//! The decoder against split, broken and hostile input.

use super::*;
use std::time::{Duration, Instant};

#[derive(Debug, PartialEq, Clone)]
enum Seen {
    Bytes(Vec<u8>),
    Commit,
    Spoiled,
    Open(Nonce),
    Close,
    Fault,
}

fn feed(decoder: &mut Decoder, input: &[u8], seen: &mut Vec<Seen>) {
    decoder.decode(input, &mut |event| match event {
        Event::Data(bytes) => match seen.last_mut() {
            Some(Seen::Bytes(all)) => all.extend_from_slice(bytes),
            _ => seen.push(Seen::Bytes(bytes.to_vec())),
        },
        Event::Commit => seen.push(Seen::Commit),
        Event::Spoiled => seen.push(Seen::Spoiled),
        Event::Open(nonce) => seen.push(Seen::Open(nonce)),
        Event::Close => seen.push(Seen::Close),
        Event::Fault => seen.push(Seen::Fault),
    });
}

fn open(nonce: &Nonce) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_MAX_BYTES + HEADER_BYTES];
    bytes.extend_from_slice(&[OPEN, 0, 0, NONCE_BYTES as u8]);
    bytes.extend_from_slice(nonce);
    bytes
}

fn data(payload: &[u8]) -> Vec<u8> {
    let mut bytes = data_header(payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_session_decodes_whatever_the_split() {
    let nonce = [9; NONCE_BYTES];
    let mut input = open(&nonce);
    input.extend(data(b"hello"));
    input.extend(data(&[1; FRAME_MAX_BYTES]));
    input.extend(close());
    let expected = vec![
        Seen::Open(nonce),
        Seen::Bytes(b"hello".to_vec()),
        Seen::Commit,
        Seen::Bytes(vec![1; FRAME_MAX_BYTES]),
        Seen::Commit,
        Seen::Close,
    ];
    for split in [1, 2, 3, 5, 1_000, 65_536, input.len()] {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for piece in input.chunks(split) {
            feed(&mut decoder, piece, &mut seen);
        }
        assert_eq!(seen, expected, "split {split}");
    }
}

#[test]
fn a_sled_brings_any_cut_frame_back_into_step() {
    let nonce = [5; NONCE_BYTES];
    let frame = data(&[7; 5_000]);
    for cut in [1, 2, 3, 4, 5, 2_500, 4_999] {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        let mut input = frame[..cut].to_vec();
        input.extend(open(&nonce));
        feed(&mut decoder, &input, &mut seen);
        assert_eq!(seen.last(), Some(&Seen::Open(nonce)), "cut {cut}");
        assert!(!seen.contains(&Seen::Commit), "a cut frame counted as whole: cut {cut}");
    }
}

#[test]
fn a_cut_nonce_is_swallowed_by_the_next_sled() {
    let nonce = [6; NONCE_BYTES];
    let mut input = vec![OPEN, 0, 0, NONCE_BYTES as u8, 1, 2, 3];
    input.extend(open(&nonce));
    let mut seen = Vec::new();
    feed(&mut Decoder::new(), &input, &mut seen);
    assert_eq!(seen.last(), Some(&Seen::Open(nonce)));
}

#[test]
fn wrong_frames_are_faults_and_only_an_open_behind_padding_ends_them() {
    let nonce = [8; NONCE_BYTES];
    for bad in [[9, 0, 0, 1], [DATA, 1, 0, 1], [DATA, 0, 0, 0], [OPEN, 0, 0, 15], [CLOSE, 0, 0, 1]]
    {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        feed(&mut decoder, &bad, &mut seen);
        assert_eq!(seen, vec![Seen::Fault]);
        let mut fake = vec![0; RESYNC_RUN_BYTES - 1];
        fake.extend_from_slice(&[OPEN, 0, 0, NONCE_BYTES as u8]);
        fake.extend_from_slice(&nonce);
        feed(&mut decoder, &fake, &mut seen);
        assert_eq!(seen, vec![Seen::Fault], "padding was too short");
        feed(&mut decoder, &open(&nonce), &mut seen);
        assert_eq!(seen, vec![Seen::Fault, Seen::Open(nonce)]);
    }
}

#[test]
fn opened_has_the_form_of_the_contract() {
    let frame = opened(&[3; NONCE_BYTES], 1);
    assert_eq!(frame[..4], [OPENED, 0, 0, 36]);
    assert_eq!(&frame[4..20], b"ATOLL-LINK-0001\n");
    assert_eq!(frame[20..36], [3; NONCE_BYTES]);
    assert_eq!(frame[36..], [0, 0, 0, 1]);
}

/// After any garbage a whole OPEN is found. ATOLL_FUZZ_SECONDS for longer.
#[test]
fn garbage_never_hides_an_open() {
    let seconds = std::env::var("ATOLL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let mut random = 0xdead_beef_cafe_f00d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    while Instant::now() < until {
        let mut input = Vec::new();
        for _ in 0..next(8) {
            match next(4) {
                0 => input.extend((0..next(300)).map(|_| next(256) as u8)),
                1 => input.extend(data(&vec![next(256) as u8; 1 + next(900)])),
                2 => input.extend((0..next(300)).map(|_| next(6) as u8)),
                _ => input.extend(vec![0; next(2_000)]),
            }
        }
        let nonce = [next(256) as u8; NONCE_BYTES];
        input.extend(open(&nonce));
        input.extend(data(b"after"));
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((1 + next(4_000)).min(rest.len()));
            feed(&mut decoder, piece, &mut seen);
            rest = left;
        }
        let tail = &seen[seen.len() - 3..];
        let expected = [Seen::Open(nonce), Seen::Bytes(b"after".to_vec()), Seen::Commit];
        assert_eq!(tail, expected);
    }
}

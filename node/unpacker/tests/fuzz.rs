//! Damaged archives for a while: whatever comes, the helper ends by itself with an answer, and nothing is touched
//! beside the target. `ATOLL_FUZZ_SECONDS` makes it longer.
mod support;
use atoll_unpack::archive::Archive as Reader;
use std::time::{Duration, Instant};
use support::{Archive, Place};
use tar::EntryType;

/// xorshift: the same run again for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

fn seconds() -> u64 {
    std::env::var("ATOLL_FUZZ_SECONDS").map_or(2, |text| text.parse().unwrap())
}

fn sample(place: &Place) -> Vec<u8> {
    let outside = place.outside.to_str().unwrap();
    Archive::default()
        .directory("d/")
        .file("d/f", &"x".repeat(700))
        .symlink("door", place.top.to_str().unwrap())
        .symlink("up", "../..")
        .hardlink("h", "d/f")
        .file("d/.wh.f", "")
        .pax(&[("path", b"d/long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", "y")
        .entry(EntryType::GNULongName, "././@LongLink", "", b"d/another\0")
        .file("x", outside)
        .end()
}

/// Flips, copies and cuts; mostly with the checksum put right again, so that the fields are reached.
fn damage(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.next().to_le_bytes()[0],
            1 => {
                let hostile: [&[u8]; 6] = [b"../", b"/", b".wh.", b"\x80\0\0\0", b"7777777", b"../../outside\0"];
                let piece = hostile[random.below(hostile.len())];
                let end = (at + piece.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&piece[..end - at]);
            }
            2 => {
                let from = random.below(bytes.len() / 512) * 512;
                let to = random.below(bytes.len() / 512) * 512;
                bytes.copy_within(from..from + 512, to);
            }
            _ => {
                let types = b"0123456789gxLKSA\0";
                let block = random.below(bytes.len() / 512) * 512;
                bytes[block + 156] = types[random.below(types.len())];
            }
        }
    }
    if random.below(8) > 0 {
        for block in bytes.chunks_exact_mut(512) {
            let header = tar::Header::from_byte_slice(block);
            if header.cksum().is_ok() && block[..8] != [0; 8] {
                let mut fixed = header.clone();
                fixed.set_cksum();
                block.copy_from_slice(fixed.as_bytes());
            }
        }
    }
    if random.below(8) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

#[test]
fn the_helper_answers_to_every_archive_and_touches_nothing_else() {
    let mut random = Random(0x5eed_0001);
    let end = Instant::now() + Duration::from_secs(seconds());
    let (mut taken, mut refused) = (0, 0);
    while Instant::now() < end {
        let place = Place::new();
        let bytes = damage(&mut random, sample(&place));
        let flags: &[&str] = if random.below(2) == 0 { &["--layer"] } else { &[] };
        match place.unpack(&bytes, flags) {
            Ok(_) => taken += 1,
            Err(error) => {
                let message = error["message"].as_str().unwrap();
                assert!(!message.contains("was ended"), "the helper died: {error}");
                assert!(message.len() < 1_000);
                refused += 1;
            }
        }
        place.assert_untouched();
    }
    println!("{taken} taken, {refused} refused");
    assert!(
        taken > 10 && refused > 10,
        "the damage is too small or too large: {taken} taken, {refused} refused"
    );
}

#[test]
fn the_reader_ends_on_every_input() {
    let mut random = Random(0x5eed_0002);
    let end = Instant::now() + Duration::from_secs(seconds());
    let place = Place::new();
    let whole = sample(&place);
    let mut entries = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            let bytes = damage(&mut random, whole.clone());
            let mut reader = Reader::new(&bytes[..], random.below(2) == 0);
            while let Ok(Some(entry)) = reader.next_entry() {
                assert!(!entry.name.is_empty() && entry.name.len() <= 4_095 && !entry.name.contains(&0));
                entries += 1;
            }
        }
    }
    assert!(entries > 1_000);
}

//! Archives whole, split anywhere, and broken.

use super::*;
use crate::files::unpack::{Fault, Unpacking, components};
use crate::kernel::descriptor;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn archive(entries: &[(EntryType, &str, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, path, link, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        old.name[..path.len().min(100)].copy_from_slice(&path.as_bytes()[..path.len().min(100)]);
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK_BYTES, 0);
    bytes
}

/// A folder with a target to unpack into, and a secret beside it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("atoll-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("in")).unwrap();
        std::fs::write(folder.join("secret"), "untouched").unwrap();
        Self(folder)
    }

    fn root(&self) -> OwnedFd {
        let path = std::ffi::CString::new(self.0.join("in").to_str().unwrap()).unwrap();
        descriptor::open(&path, libc::O_RDONLY | libc::O_DIRECTORY).unwrap()
    }

    fn unpack(&self, bytes: &[u8], split: usize) -> Result<bool, Fault> {
        let mut unpacking = Unpacking::into_folder(self.root());
        let mut reader = Reader::new();
        for piece in bytes.chunks(split) {
            reader.push(piece, &mut |event| unpacking.take(event))?;
        }
        Ok(reader.may_end())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("in").join(name)
    }

    fn assert_untouched(&self) {
        assert_eq!(std::fs::read_to_string(self.0.join("secret")).unwrap(), "untouched");
        let outside: Vec<_> = std::fs::read_dir(&self.0).unwrap().flatten().collect();
        assert_eq!(outside.len(), 2, "something was made outside: {outside:?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_archive_unpacks_whatever_the_split() {
    let long = "d/".repeat(80) + "name";
    let bytes = archive(&[
        (EntryType::Directory, "a/", "", b""),
        (EntryType::Regular, "a/b", "", b"hello"),
        (EntryType::GNULongName, "././@LongLink", "", long.as_bytes()),
        (EntryType::Regular, "short", "", &[7; 2_000]),
        (EntryType::Symlink, "link", "a/b", b""),
        (EntryType::Link, "hard", "a/b", b""),
        (EntryType::Regular, "./empty", "", b""),
    ]);
    for split in [1, 7, 511, 512, 513, 100_000] {
        let place = Place::new(&format!("split-{split}"));
        assert!(place.unpack(&bytes, split).unwrap());
        assert_eq!(std::fs::read_to_string(place.file("a/b")).unwrap(), "hello");
        assert_eq!(std::fs::read(place.file(&long)).unwrap(), vec![7; 2_000]);
        assert_eq!(std::fs::read_to_string(place.file("link")).unwrap(), "hello");
        assert_eq!(std::fs::read_to_string(place.file("hard")).unwrap(), "hello");
        assert_eq!(std::fs::metadata(place.file("empty")).unwrap().len(), 0);
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(place.file("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "set-user-id must not come out of an archive");
    }
}

/// Type, name, link target and content.
type Row<'a> = (EntryType, &'a str, &'a str, &'a [u8]);

#[test]
fn nothing_leaves_the_folder() {
    let attacks: [&[Row<'_>]; 9] = [
        &[(EntryType::Regular, "/tmp/atoll-absolute", "", b"x")],
        &[(EntryType::Regular, "../secret", "", b"x")],
        &[(EntryType::Regular, "a/../../secret", "", b"x")],
        &[(EntryType::Symlink, "l", "..", b""), (EntryType::Regular, "l/secret", "", b"x")],
        &[(EntryType::Symlink, "l", "..", b""), (EntryType::Directory, "l/made", "", b"")],
        &[
            (EntryType::Symlink, "l", ".", b""),
            (EntryType::Symlink, "l/m", "..", b""),
            (EntryType::Regular, "l/m/secret", "", b"x"),
        ],
        &[(EntryType::Link, "h", "../secret", b""), (EntryType::Regular, "h", "", b"x")],
        &[(EntryType::Symlink, "l", "..", b""), (EntryType::Link, "h", "l/secret", b"")],
        &[(EntryType::Block, "dev", "", b"")],
    ];
    for (number, attack) in attacks.iter().enumerate() {
        let place = Place::new(&format!("attack-{number}"));
        assert!(place.unpack(&archive(attack), 512).is_err(), "attack {number}");
        place.assert_untouched();
        assert!(!Path::new("/tmp/atoll-absolute").exists());
    }
}

#[test]
fn a_file_replaces_a_link_and_does_not_write_through_it() {
    let place = Place::new("replace");
    std::os::unix::fs::symlink("../secret", place.file("x")).unwrap();
    place.unpack(&archive(&[(EntryType::Regular, "x", "", b"new")]), 512).unwrap();
    assert_eq!(std::fs::read_to_string(place.file("x")).unwrap(), "new");
    place.assert_untouched();
}

#[test]
fn a_folder_entry_does_not_change_what_a_link_points_to() {
    let place = Place::new("folder-link");
    std::os::unix::fs::symlink("..", place.file("x")).unwrap();
    assert!(place.unpack(&archive(&[(EntryType::Directory, "x", "", b"")]), 512).is_err());
}

#[test]
fn a_cut_archive_is_not_whole() {
    let place = Place::new("cut");
    let bytes = archive(&[(EntryType::Regular, "x", "", &[1; 1_000])]);
    assert!(!place.unpack(&bytes[..900], 512).unwrap());
    assert!(!place.unpack(&bytes[..300], 512).unwrap());
    // Without the two blocks of its mark it is an archive still.
    assert!(place.unpack(&bytes[..1_536], 512).unwrap());
}

#[test]
fn garbage_and_tricks_are_refused() {
    let place = Place::new("garbage");
    assert!(place.unpack(&[0x5a; 2_048], 512).is_err());
    let mut sized_link = archive(&[(EntryType::Symlink, "l", "x", &[0; 512])]);
    assert!(place.unpack(&sized_link, 512).is_err());
    sized_link[0] = b'k';
    assert!(place.unpack(&sized_link, 512).is_err(), "a wrong checksum");
    let sparse = b"22 GNU.sparse.major=1\n";
    let bytes =
        archive(&[(EntryType::XHeader, "pax", "", sparse), (EntryType::Regular, "x", "", b"")]);
    assert!(place.unpack(&bytes, 512).is_err());
}

#[test]
fn components_are_plain_names() {
    assert_eq!(components(b"./a//b/").unwrap().len(), 2);
    for bad in [&b"/a"[..], b"..", b"a/..", b"a\0b"] {
        assert!(components(bad).is_err());
    }
    assert!(components("a/".repeat(300).as_bytes()).is_err());
}

/// Mutated archives never panic, and never leave the folder. ATOLL_FUZZ_SECONDS for longer.
#[test]
fn mutated_archives_stay_inside() {
    let seed = archive(&[
        (EntryType::Directory, "a/", "", b""),
        (EntryType::Symlink, "a/l", "..", b""),
        (EntryType::Regular, "a/l/secret", "", b"x"),
        (EntryType::XHeader, "pax", "", b"19 path=../secret2\n"),
        (EntryType::Regular, "b", "", &[9; 700]),
        (EntryType::Link, "c", "b", b""),
    ]);
    let seconds = std::env::var("ATOLL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    let place = Place::new("fuzz");
    while Instant::now() < until {
        let mut bytes = seed.clone();
        for _ in 0..1 + next(6) {
            let at = next(bytes.len());
            bytes[at] = match next(4) {
                0 => b'/',
                1 => b'.',
                2 => b'0' + next(8) as u8,
                _ => next(256) as u8,
            };
        }
        if next(3) > 0 {
            repair_sums(&mut bytes);
        }
        let _ = place.unpack(&bytes, 1 + next(2_000));
        place.assert_untouched();
    }
}

/// Makes the checksums right again, so that mutations get past them.
fn repair_sums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

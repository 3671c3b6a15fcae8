//! What a friendly archive says is what is on disk.
mod support;
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;
use support::{Archive, Place, run};
use tar::EntryType;

fn sample() -> Archive {
    Archive::default()
        .directory("./")
        .directory("./etc/")
        .file("./etc/hostname", "sandbox\n")
        .hardlink("./etc/same", "./etc/hostname")
        .symlink("./lib", "usr/lib")
        .directory("./usr/lib")
        .file("./lib/x", "through a link inside")
        .entry(EntryType::Fifo, "./fifo", "", b"")
}

#[test]
fn kinds_modes_and_times_are_kept() {
    let place = Place::new();
    let archive = sample()
        .pax(&[("mtime", b"1500000000.25"), ("SCHILY.xattr.user.note", b"kept")])
        .file("noted", "x");
    let report = place.unpack(&archive.end(), &[]).unwrap();
    assert_eq!(report["entries"], 9);
    assert_eq!(place.read("etc/hostname"), "sandbox\n");
    let one = fs::metadata(place.target.join("etc/hostname")).unwrap();
    let two = fs::metadata(place.target.join("etc/same")).unwrap();
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
    assert_eq!(one.mtime(), 1_000_000_000);
    assert_eq!(place.read("usr/lib/x"), "through a link inside");
    assert!(
        place
            .target
            .join("fifo")
            .symlink_metadata()
            .unwrap()
            .file_type()
            .is_fifo()
    );
    let noted = fs::metadata(place.target.join("noted")).unwrap();
    assert_eq!((noted.mtime(), noted.mtime_nsec()), (1_500_000_000, 250_000_000));
    assert_eq!(attribute(&place, "noted", "user.note"), b"kept");
    assert_eq!(
        fs::metadata(place.target.join("usr/lib")).unwrap().mtime(),
        1_000_000_000,
        "times of folders come last"
    );
}

#[test]
fn setuid_bits_and_capabilities_are_kept() {
    let place = Place::new();
    // Version 2 of the attribute: cap_net_raw=ep. In the jail the kernel adds the namespace's root to it.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut archive = Archive::default()
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .file("ping", "x");
    let mut header = support::header(EntryType::Regular, "sudo", 1);
    header.set_mode(0o4755);
    header.set_cksum();
    archive.raw(&header, b"x");
    let archive = archive
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .file("odd", "x");
    let report = place.unpack(&archive.end(), &[]).unwrap();
    assert_eq!(fs::metadata(place.target.join("sudo")).unwrap().mode() & 0o7777, 0o4755);
    let on_disk = attribute(&place, "ping", "security.capability");
    assert_eq!(&on_disk[4..20], &capability[4..20]);
    assert_eq!(
        u32::from_le_bytes(on_disk[20..24].try_into().unwrap()),
        support::ID_BASE
    );
    assert_eq!(report["skippedAttributes"]["names"][0], "odd");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let place = Place::new();
    let archive = Archive::default()
        .file("a", "1")
        .directory("a")
        .file("a/b", "2")
        .file("a", "3")
        .file("a", "4");
    place.unpack(&archive.end(), &[]).unwrap();
    assert_eq!(place.read("a"), "4");
}

#[test]
fn gzip_zstd_and_plain_give_the_same() {
    let tar = sample().end();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&tar).unwrap();
    let plain = Place::new().unpack(&tar, &[]).unwrap();
    assert_eq!(Place::new().unpack(&gzip.finish().unwrap(), &[]).unwrap(), plain);
    assert_eq!(
        Place::new()
            .unpack(&zstd::encode_all(&tar[..], 1).unwrap(), &[])
            .unwrap(),
        plain
    );
    assert_eq!(plain["archiveBytes"], tar.len());
}

#[test]
fn whiteouts_hide_what_lies_below_and_nothing_else() {
    let place = Place::new();
    let below = Archive::default()
        .file("gone", "x")
        .file("d/old", "x")
        .file("d/kept", "x")
        .file("o/old", "x")
        .file("o/s/old", "x");
    place.unpack(&below.end(), &[]).unwrap();
    let above = Archive::default()
        .file(".wh.gone", "")
        .file("d/new", "y")
        .file("d/.wh.old", "")
        .file("d/.wh.new", "")
        .file("o/s/new", "y")
        .file("o/.wh..wh..opq", "")
        .file("none/.wh.x", "")
        .file(".wh..wh.plnk", "");
    let report = place.unpack(&above.end(), &["--layer"]).unwrap();
    assert_eq!(report["whiteouts"], 6);
    assert!(!place.has("gone") && !place.has("d/old") && !place.has("o/old") && !place.has("o/s/old"));
    assert_eq!(place.read("d/kept"), "x");
    assert_eq!(place.read("d/new"), "y", "made by this layer");
    assert_eq!(place.read("o/s/new"), "y");
    assert!(!place.has("none") && !place.has(".wh.gone"));
    // In a root filesystem the names mean nothing.
    let place = Place::new();
    place.unpack(&Archive::default().file(".wh.x", "z").end(), &[]).unwrap();
    assert_eq!(place.read(".wh.x"), "z");
}

#[test]
fn sealing_replaces_what_is_in_the_way_and_packing_keeps_ids() {
    let place = Place::new();
    let hostile = Archive::default()
        .symlink(".atoll", "/etc")
        .symlink("tmp", place.top.to_str().unwrap())
        .file("proc", "x")
        .pax(&[("uid", b"1000")])
        .file("mine", "x");
    place.unpack(&hostile.end(), &[]).unwrap();
    run(&place.target, "seal", b"\x7fELF the agent", &[]).unwrap();
    place.assert_untouched();
    assert_eq!(place.read(".atoll/agent"), "\x7fELF the agent");
    assert_eq!(
        fs::metadata(place.target.join(".atoll/agent")).unwrap().mode() & 0o7777,
        0o555
    );
    for name in [
        "proc",
        "dev",
        "sys",
        "run",
        "tmp",
        ".atoll/disk",
        ".atoll/root",
        ".atoll/cgroup",
    ] {
        assert!(place.target.join(name).symlink_metadata().unwrap().is_dir(), "{name}");
    }
    let output = place.top.join("output");
    fs::create_dir(&output).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_atoll-unpack"))
        .args(["pack", "--id-base", &support::ID_BASE.to_string(), "--target"])
        .arg(&place.target)
        .arg("--output")
        .arg(&output)
        .args(["--", "-d0", "-E", "noinline_data"])
        .status()
        .unwrap();
    assert!(status.success());
    let image = output.join("image.erofs");
    for (path, uid) in [("/mine", "1000"), ("/.atoll/agent", "0"), ("/tmp/.keep", "0")] {
        let dump = Command::new("dump.erofs")
            .arg(format!("--path={path}"))
            .arg(&image)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&dump.stdout).into_owned();
        assert!(text.contains(&format!("Uid: {uid} ")), "{path}: {text}");
    }
}

fn attribute(place: &Place, name: &str, key: &str) -> Vec<u8> {
    let path = std::ffi::CString::new(place.target.join(name).to_str().unwrap()).unwrap();
    let key = std::ffi::CString::new(key).unwrap();
    let mut value = vec![0_u8; 256];
    // SAFETY: all pointers live over the call, and the size is that of the buffer.
    let size = unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(size).expect("the attribute is there"));
    value
}

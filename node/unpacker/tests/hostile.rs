//! Archives that try to get out or to use the host up. Needs root, as the helper does.
mod support;
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use support::{Archive, ID_BASE, Place, header};
use tar::EntryType;

fn refused(archive: Archive, flags: &[&str], code: &str, part: &str) {
    let place = Place::new();
    let error = place.unpack(&archive.end(), flags).unwrap_err();
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    place.assert_untouched();
}

#[test]
fn names_with_dots_are_refused() {
    for name in ["../outside", "a/../../outside", "a/..", ".."] {
        refused(Archive::default().file(name, "x"), &[], "image_invalid", "climbs out");
    }
}

#[test]
fn absolute_names_land_inside() {
    let place = Place::new();
    let name = place.outside.to_str().unwrap().to_owned();
    place
        .unpack(&Archive::default().file(&name, "hostile").end(), &[])
        .unwrap();
    assert_eq!(place.read(&name[1..]), "hostile");
    place.assert_untouched();
}

#[test]
fn a_symlink_to_the_outside_leads_inside() {
    let place = Place::new();
    let top = place.top.to_str().unwrap().to_owned();
    let archive = Archive::default()
        .symlink("door", &top)
        .file("door/outside", "hostile")
        .end();
    let error = place.unpack(&archive, &[]).unwrap_err();
    assert_eq!(error["code"], "image_invalid", "{error}");
    place.assert_untouched();
    // The same with the path there inside: the write lands in the tree.
    let place = Place::new();
    let top = place.top.to_str().unwrap().to_owned();
    let archive = Archive::default()
        .directory(&top[1..])
        .symlink("door", &top)
        .symlink("climb", "../../../../../../../../..")
        .file("door/outside", "hostile")
        .file("climb/high", "hostile")
        .end();
    place.unpack(&archive, &[]).unwrap();
    assert_eq!(place.read(&format!("{}/outside", &top[1..])), "hostile");
    assert_eq!(place.read("high"), "hostile");
    place.assert_untouched();
}

#[test]
fn a_file_over_a_symlink_replaces_the_link() {
    let place = Place::new();
    let outside = place.outside.to_str().unwrap().to_owned();
    place
        .unpack(
            &Archive::default()
                .symlink("link", &outside)
                .file("link", "hostile")
                .end(),
            &[],
        )
        .unwrap();
    assert_eq!(place.read("link"), "hostile");
    place.assert_untouched();
}

#[test]
fn hard_links_stay_inside() {
    for target in ["../outside", "/etc/passwd", "nothing"] {
        let place = Place::new();
        let error = place
            .unpack(&Archive::default().hardlink("link", target).end(), &[])
            .unwrap_err();
        assert_eq!(error["code"], "image_invalid", "{error}");
        assert!(!place.has("link"));
        place.assert_untouched();
    }
    // Through a symlink to the outside: not there, because the symlink leads inside.
    let place = Place::new();
    let top = place.top.to_str().unwrap().to_owned();
    place
        .unpack(
            &Archive::default()
                .symlink("door", &top)
                .hardlink("link", "door/outside")
                .end(),
            &[],
        )
        .unwrap_err();
    assert_eq!(fs::metadata(&place.outside).unwrap().nlink(), 1);
    // To a symlink: the link itself, not what it names.
    let place = Place::new();
    place
        .unpack(
            &Archive::default().symlink("a", "/etc/passwd").hardlink("b", "a").end(),
            &[],
        )
        .unwrap();
    assert!(place.target.join("b").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn devices_are_skipped_and_reported() {
    let place = Place::new();
    let archive =
        Archive::default()
            .entry(EntryType::Char, "dev/null", "", b"")
            .entry(EntryType::Block, "sda", "", b"");
    let report = place.unpack(&archive.file("after", "x").end(), &[]).unwrap();
    assert_eq!(report["skippedDevices"]["count"], 2);
    assert_eq!(report["skippedDevices"]["names"][0], "dev/null");
    assert!(!place.has("dev/null") && !place.has("sda"));
    assert_eq!(place.read("after"), "x");
}

#[test]
fn sparse_files_are_refused() {
    refused(
        Archive::default().entry(EntryType::GNUSparse, "hole", "", b""),
        &[],
        "image_invalid",
        "sparse",
    );
    let records: &[(&str, &[u8])] = &[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"1099511627776")];
    refused(
        Archive::default().pax(records).file("hole", ""),
        &[],
        "image_invalid",
        "sparse",
    );
}

#[test]
fn a_size_beyond_the_limits_is_refused_before_it_is_written() {
    let mut archive = Archive::default();
    archive.raw(&header(EntryType::Regular, "huge", 1 << 50), b"");
    refused(archive, &[], "payload_too_large", "fileBytes");
    refused(
        Archive::default()
            .pax(&[("size", b"1125899906842624")])
            .file("huge", ""),
        &[],
        "payload_too_large",
        "fileBytes",
    );
    let two = || {
        Archive::default()
            .file("a", &"x".repeat(600))
            .file("b", &"x".repeat(600))
    };
    refused(two(), &["--content-bytes", "1000"], "payload_too_large", "contentBytes");
    refused(two(), &["--file-bytes", "599"], "payload_too_large", "fileBytes");
    refused(two(), &["--entries", "1"], "payload_too_large", "entries");
    refused(two(), &["--archive-bytes", "2048"], "payload_too_large", "archiveBytes");
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0_u8; 1 << 20];
    gzip.write_all(header(EntryType::Regular, "zeros", 1 << 28).as_bytes())
        .unwrap();
    for _ in 0..256 {
        gzip.write_all(&zeros).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "a bomb is small");
    let place = Place::new();
    let error = place.unpack(&bomb, &["--archive-bytes", "33554432"]).unwrap_err();
    assert_eq!(error["code"], "payload_too_large", "{error}");
    assert!(fs::metadata(place.target.join("zeros")).unwrap().len() <= 33_554_432);
    // Behind the end marker nobody unpacks anything, and the limit still holds.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        gzip.write_all(&zeros).unwrap();
    }
    let error = Place::new()
        .unpack(&gzip.finish().unwrap(), &["--archive-bytes", "33554432"])
        .unwrap_err();
    assert_eq!(error["code"], "payload_too_large", "{error}");
}

#[test]
fn damaged_archives_are_refused() {
    let whole = Archive::default().file("a", &"x".repeat(2000)).file("b", "y").end();
    for length in [0, 100, 511, 512, 700, 2000, 2560, 3584] {
        let place = Place::new();
        let error = place.unpack(&whole[..length], &[]).unwrap_err();
        assert!(error["message"].as_str().unwrap().contains("cut"), "{length}: {error}");
    }
    let mut flipped = whole.clone();
    flipped[0] ^= 1;
    let error = Place::new().unpack(&flipped, &[]).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("checksum"), "{error}");
    let error = Place::new()
        .unpack(&[0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8], &[])
        .unwrap_err();
    assert_eq!(error["code"], "image_invalid", "{error}");
    let error = Place::new().unpack(b"BZh91AY&SY", &[]).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("bzip2"), "{error}");
}

#[test]
fn long_names_have_a_limit() {
    let name = |length: usize| {
        let parts: Vec<String> = vec!["d".repeat(200); length / 201];
        parts.join("/")
    };
    let place = Place::new();
    let long = name(4000);
    place
        .unpack(
            &Archive::default()
                .pax(&[("path", long.as_bytes())])
                .file("x", "deep")
                .end(),
            &[],
        )
        .unwrap();
    let far = name(5000);
    refused(
        Archive::default().pax(&[("path", far.as_bytes())]).file("x", ""),
        &[],
        "payload_too_large",
        "nameBytes",
    );
    let deep = "d/".repeat(300);
    refused(
        Archive::default().pax(&[("path", deep.as_bytes())]).file("x", ""),
        &[],
        "payload_too_large",
        "depth",
    );
    let mut archive = Archive::default();
    archive.raw(&header(EntryType::GNULongName, "././@LongLink", 1 << 40), b"");
    refused(archive, &[], "payload_too_large", "extensionBytes");
}

#[test]
fn ids_outside_the_range_are_refused() {
    refused(
        Archive::default().pax(&[("uid", b"65536")]).file("x", ""),
        &[],
        "image_invalid",
        "uid 65536",
    );
    refused(
        Archive::default().pax(&[("gid", b"4294967295")]).file("x", ""),
        &[],
        "image_invalid",
        "gid",
    );
}

#[test]
fn nothing_in_the_tree_belongs_to_an_id_of_the_host() {
    let place = Place::new();
    let archive = Archive::default()
        .directory("d")
        .file("d/f", "x")
        .symlink("l", "f")
        .file("new/parent/f", "x");
    place
        .unpack(
            &archive
                .pax(&[("uid", b"1000"), ("gid", b"1001")])
                .file("theirs", "x")
                .end(),
            &[],
        )
        .unwrap();
    for name in ["d", "d/f", "l", "new", "new/parent", "new/parent/f", ""] {
        let found = place.target.join(name).symlink_metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (ID_BASE, ID_BASE), "{name}");
    }
    let found = place.target.join("theirs").metadata().unwrap();
    assert_eq!((found.uid(), found.gid()), (ID_BASE + 1000, ID_BASE + 1001));
}

#[test]
fn whiteouts_do_not_climb() {
    for name in [".wh...", ".wh..", ".wh.", "a/.wh..."] {
        refused(
            Archive::default().file(name, ""),
            &["--layer"],
            "image_invalid",
            "whiteout",
        );
    }
}

#[test]
fn a_plain_archive_takes_no_links() {
    refused(
        Archive::default().symlink("blobs", "/etc"),
        &["--plain"],
        "image_invalid",
        "only files",
    );
    refused(
        Archive::default().hardlink("a", "b"),
        &["--plain"],
        "image_invalid",
        "only files",
    );
}

//! A layer out of one overlay and into another.

use super::pack::{Item, Packing};
use super::write::Writing;
use crate::files::archive::Reader;
use crate::files::unpack::Fault;
use crate::kernel::descriptor;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("atoll-layer-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn open(&self, below: &str) -> OwnedFd {
        let path = self.0.join(below);
        std::fs::create_dir_all(&path).unwrap();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        descriptor::open(&path, libc::O_RDONLY | libc::O_DIRECTORY).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn packed(root: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut packing = Packing::begin(root)?;
    let mut bytes = Vec::new();
    while let Some(Item { head, content }) = packing.next()? {
        bytes.extend_from_slice(&head);
        if let Some((file, size)) = content {
            let mut whole = vec![0; size as usize];
            std::fs::File::from(file).read_exact_at(&mut whole, 0).unwrap();
            bytes.extend_from_slice(&whole);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.resize(bytes.len() + 1_024, 0);
    Ok(bytes)
}

fn applied(bytes: &[u8], root: &OwnedFd, split: usize) -> Result<(u64, u64), Fault> {
    let mut writing = Writing::over(root.as_raw_fd());
    let mut reader = Reader::new();
    for piece in bytes.chunks(split) {
        reader.push(piece, &mut |event| writing.take(event))?;
    }
    assert!(reader.may_end());
    writing.finish()
}

fn whiteout(path: &Path) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    assert_eq!(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR, 0) }, 0);
}

fn fill_upper(upper: &Path) {
    let long = "n".repeat(150);
    std::fs::create_dir_all(upper.join("home/user/deep")).unwrap();
    std::fs::write(upper.join("home/user/deep/file"), "content").unwrap();
    chown(upper.join("home/user"), Some(1_000), Some(1_001)).unwrap();
    chown(upper.join("home/user/deep/file"), Some(1_000), Some(1_000)).unwrap();
    std::fs::set_permissions(
        upper.join("home/user/deep/file"),
        std::fs::Permissions::from_mode(0o4711),
    )
    .unwrap();
    std::fs::hard_link(upper.join("home/user/deep/file"), upper.join("home/user/second")).unwrap();
    symlink("/nowhere/at all", upper.join("home/user/link")).unwrap();
    std::fs::write(upper.join("home").join(&long), vec![7; 100_000]).unwrap();
    std::fs::write(upper.join("home/\u{e4}"), "").unwrap();
    std::fs::write(upper.join("home/.wh.not-a-mark"), "mine").unwrap();
    let sparse = std::fs::File::create(upper.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 3_000_000).unwrap();
    std::fs::create_dir_all(upper.join("opaque")).unwrap();
    std::fs::write(upper.join("opaque/new"), "new").unwrap();
    let opaque = std::fs::File::open(upper.join("opaque")).unwrap();
    super::attributes::set(opaque.as_raw_fd(), b"trusted.overlay.opaque", b"y").unwrap();
    whiteout(&upper.join("gone"));
    whiteout(&upper.join("home/gone-folder"));
    std::fs::write(upper.join("was-folder"), "file now").unwrap();
    std::fs::create_dir_all(upper.join("etc")).unwrap();
    std::fs::write(upper.join("etc/machine-id"), "mine alone").unwrap();
    std::fs::create_dir_all(upper.join(".atoll/disk")).unwrap();
}

fn fill_lower(root: &Path) {
    std::fs::write(root.join("gone"), "x").unwrap();
    std::fs::create_dir_all(root.join("home/gone-folder/a/b")).unwrap();
    std::fs::create_dir_all(root.join("opaque/old/older")).unwrap();
    std::fs::write(root.join("opaque/old-file"), "x").unwrap();
    std::fs::create_dir_all(root.join("was-folder/below")).unwrap();
    std::fs::write(root.join("stays"), "stays").unwrap();
    symlink("stays", root.join("sparse")).unwrap();
}

#[test]
fn what_differs_comes_back_as_it_was() {
    let place = Place::new("round");
    let (upper, root) = (place.open("upper"), place.open("root"));
    let (up, at) = (place.0.join("upper"), place.0.join("root"));
    fill_upper(&up);
    fill_lower(&at);
    let bytes = packed(upper).unwrap();
    for split in [bytes.len(), 700] {
        applied(&bytes, &root, split).unwrap();
        let read = |name: &str| std::fs::read_to_string(at.join(name)).unwrap();
        assert_eq!(read("home/user/deep/file"), "content");
        assert_eq!(read("home/.wh.not-a-mark"), "mine");
        assert_eq!((read("stays"), read("was-folder")), ("stays".into(), "file now".into()));
        let link = std::fs::read_link(at.join("home/user/link")).unwrap();
        assert_eq!(link.to_str(), Some("/nowhere/at all"));
        let names = |path: &str| {
            let mut names: Vec<String> = std::fs::read_dir(at.join(path))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("opaque"), ["new"]);
        assert_eq!(names("."), ["etc", "home", "opaque", "sparse", "stays", "was-folder"]);
        assert!(names("etc").is_empty());
        assert_eq!(names("home").len(), 4);
        let (one, other) = (up.join("home/user/deep/file"), at.join("home/user/deep/file"));
        let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
        assert_eq!((one.mode(), one.uid(), one.gid()), (other.mode(), other.uid(), other.gid()));
        assert_eq!((one.mtime(), one.mtime_nsec()), (other.mtime(), other.mtime_nsec()));
        assert_eq!(other.nlink(), 2);
        let (one, other) = (up.join("home/user"), at.join("home/user"));
        let (one, other) = (one.metadata().unwrap(), other.metadata().unwrap());
        assert_eq!((one.gid(), one.mtime_nsec()), (other.gid(), other.mtime_nsec()));
        let sparse = at.join("sparse").metadata().unwrap();
        assert_eq!((sparse.len(), sparse.blocks() < 100), (3_000_003, true));
    }
}

#[test]
fn hostile_layers_stay_below_the_root() {
    let place = Place::new("hostile");
    let root = place.open("root");
    std::fs::write(place.0.join("secret"), "untouched").unwrap();
    symlink("..", place.0.join("root/up")).unwrap();
    let head = |path: &str| {
        let found: libc::stat = unsafe { std::mem::zeroed() };
        let entry = super::header::Entry {
            kind: tar::EntryType::Regular,
            path: path.as_bytes(),
            link: b"",
            found: &found,
            size: 0,
            attributes: &[],
        };
        entry.head().unwrap()
    };
    for path in
        ["../secret", "/secret", "up/secret", "up/.wh.secret", "etc/machine-id", "no/folder"]
    {
        assert!(applied(&head(path), &root, 512).is_err(), "{path}");
    }
    assert_eq!(std::fs::read_to_string(place.0.join("secret")).unwrap(), "untouched");
}

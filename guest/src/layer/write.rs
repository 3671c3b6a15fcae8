//! Writes the entries of a layer below a root. The layer is a sandbox's own disk and goes where it came
//! from, and yet every count is bounded and no link on the way is followed.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{ATTRIBUTE, LITERAL, MODIFIED, OPAQUE, WHITEOUT, attributes, is_left_out};
use crate::files::archive::{Event, Kind, Member};
use crate::files::path::{FOLDER_FLAGS, lstat};
use crate::files::remove::Removal;
use crate::files::unpack::{Fault, components};
use crate::kernel::{descriptor, folder};

/// Folders whose time is set once all is in them.
const FOLDERS_MAX: usize = 1 << 20;
const NEW_FOLDER_MODE: u32 = 0o700;
const NEW_FILE_MODE: u32 = 0o600;
/// A hole is left where a whole page is zeros: what was sparse must fit its disk again.
const PAGE_BYTES: usize = 4_096;

pub struct Writing {
    root: RawFd,
    open: Option<Open>,
    folders: Vec<(Vec<CString>, libc::timespec)>,
    entries: u64,
    bytes: u64,
}

struct Open {
    file: OwnedFd,
    member: Member,
    at: u64,
}

impl Writing {
    pub fn over(root: RawFd) -> Self {
        Self { root, open: None, folders: Vec::new(), entries: 0, bytes: 0 }
    }

    pub fn take(&mut self, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Begin(member) => self.begin(member),
            Event::Content(bytes) => {
                let Some(open) = &mut self.open else { return Ok(()) };
                open.write(bytes).map_err(|error| system(&open.member, error))?;
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Event::Finish => {
                self.entries += 1;
                let Some(open) = self.open.take() else { return Ok(()) };
                open.end().map_err(|error| system(&open.member, error))
            }
        }
    }

    /// Gives folders their times, the deepest first; entries and bytes are told.
    pub fn finish(self) -> Result<(u64, u64), Fault> {
        for (path, time) in self.folders.iter().rev() {
            let set = walk(self.root, path).and_then(|folder| set_time(folder.as_raw_fd(), *time));
            set.map_err(|error| Fault::System(shown(path), error))?;
        }
        Ok((self.entries, self.bytes))
    }

    fn begin(&mut self, member: Member) -> Result<(), Fault> {
        let path = components(&member.path)?;
        let Some((name, above)) = path.split_last() else { return Ok(()) };
        let joined = path.iter().map(|part| part.to_bytes()).collect::<Vec<_>>().join(&b'/');
        if is_left_out(&joined) {
            return Err(Fault::Archive(format!("entry {:?} is no sandbox's data", shown(&path))));
        }
        let folder = walk(self.root, above).map_err(|error| system(&member, error))?;
        let at = folder.as_raw_fd();
        let literal = member.records.iter().any(|(key, _)| key == LITERAL);
        let done = match name.to_bytes().strip_prefix(WHITEOUT) {
            Some(_) if literal => self.make(at, name, &path, &member),
            Some(_) if name.to_bytes() == OPAQUE => empty(at),
            Some(hidden) => {
                CString::new(hidden).map_err(io::Error::from).and_then(|hidden| remove(at, hidden))
            }
            None => self.make(at, name, &path, &member),
        };
        let opened = done.map_err(|error| system(&member, error))?;
        self.open = opened.map(|file| Open { file, member, at: 0 });
        Ok(())
    }

    fn make(
        &mut self,
        at: RawFd,
        name: &CString,
        path: &[CString],
        member: &Member,
    ) -> io::Result<Option<OwnedFd>> {
        let is_folder =
            lstat(at, name).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR);
        if !(is_folder && member.kind == Kind::Folder) {
            remove(at, name.clone())?;
        }
        match member.kind {
            Kind::File => {
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                return descriptor::open_at(at, name, flags, NEW_FILE_MODE).map(Some);
            }
            Kind::Folder => {
                if !is_folder {
                    check(unsafe { libc::mkdirat(at, name.as_ptr(), NEW_FOLDER_MODE) })?;
                }
                let opened = descriptor::open_at(at, name, FOLDER_FLAGS | libc::O_NOFOLLOW, 0)?;
                dress(opened.as_raw_fd(), member)?;
                if self.folders.len() >= FOLDERS_MAX {
                    return Err(io::Error::other(format!("it holds over {FOLDERS_MAX} folders")));
                }
                self.folders.push((path.to_vec(), time_of(member)));
            }
            Kind::Symlink => {
                let link = CString::new(member.link.clone())?;
                check(unsafe { libc::symlinkat(link.as_ptr(), at, name.as_ptr()) })?;
                dress_by_name(at, name, member)?;
            }
            Kind::HardLink => {
                let link = components(&member.link).map_err(|_| io::ErrorKind::InvalidData)?;
                let (first, above) = link.split_last().ok_or(io::ErrorKind::InvalidData)?;
                let folder = walk(self.root, above)?;
                let (from, to) = (folder.as_raw_fd(), name.as_ptr());
                check(unsafe { libc::linkat(from, first.as_ptr(), at, to, 0) })?;
                // gVisor's overlay takes the set-user-id bit of a linked file.
                if lstat(at, name)?.st_mode & libc::S_IFMT == libc::S_IFREG {
                    check(unsafe { libc::fchmodat(at, to, member.mode, 0) })?;
                }
            }
            Kind::Fifo => {
                check(unsafe { libc::mkfifoat(at, name.as_ptr(), NEW_FILE_MODE) })?;
                check(unsafe { libc::fchmodat(at, name.as_ptr(), member.mode, 0) })?;
                dress_by_name(at, name, member)?;
            }
            Kind::Device => return Err(io::Error::other("a layer holds no devices")),
        }
        Ok(None)
    }
}

impl Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for page in bytes.chunks(PAGE_BYTES) {
            if page.iter().any(|byte| *byte != 0) {
                write_at(self.file.as_raw_fd(), page, self.at)?;
            }
            self.at += page.len() as u64;
        }
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        let fd = self.file.as_raw_fd();
        check(unsafe { libc::ftruncate(fd, self.at as libc::off_t) })?;
        dress(fd, &self.member)
    }
}

fn write_at(fd: RawFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let (pointer, length) = (bytes.as_ptr().cast(), bytes.len());
        let written =
            descriptor::retry(|| unsafe { libc::pwrite(fd, pointer, length, at as libc::off_t) })?;
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

/// The mode last: a change of owner takes the set-user-id bit away.
fn dress(fd: RawFd, member: &Member) -> io::Result<()> {
    check(unsafe { libc::fchown(fd, member.uid as u32, member.gid as u32) })?;
    for (key, value) in &member.records {
        if let Some(name) = key.strip_prefix(ATTRIBUTE) {
            attributes::set(fd, name, value)?;
        }
    }
    set_time(fd, time_of(member))?;
    check(unsafe { libc::fchmod(fd, member.mode) })
}

fn dress_by_name(at: RawFd, name: &CString, member: &Member) -> io::Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    let (uid, gid) = (member.uid as u32, member.gid as u32);
    check(unsafe { libc::fchownat(at, name.as_ptr(), uid, gid, flags) })?;
    let times = [time_of(member); 2];
    check(unsafe { libc::utimensat(at, name.as_ptr(), times.as_ptr(), flags) })
}

fn time_of(member: &Member) -> libc::timespec {
    let own = member.records.iter().find(|(key, _)| key == MODIFIED);
    let own = own.and_then(|(_, value)| std::str::from_utf8(value).ok()?.split_once('.'));
    let parsed = own.and_then(|(seconds, rest)| Some((seconds.parse().ok()?, rest.parse().ok()?)));
    let (tv_sec, tv_nsec) = parsed.unwrap_or((member.modified_s as i64, 0));
    libc::timespec { tv_sec, tv_nsec }
}

fn set_time(fd: RawFd, time: libc::timespec) -> io::Result<()> {
    let times = [time; 2];
    check(unsafe { libc::futimens(fd, times.as_ptr()) })
}

/// Opens a folder below the root. A layer names each folder before what lies in it.
fn walk(root: RawFd, components: &[CString]) -> io::Result<OwnedFd> {
    let copy =
        descriptor::retry(|| unsafe { libc::fcntl(root, libc::F_DUPFD_CLOEXEC, 3) as isize })?;
    let mut folder = unsafe { OwnedFd::from_raw_fd(copy as RawFd) };
    for name in components {
        let flags = FOLDER_FLAGS | libc::O_NOFOLLOW;
        folder = descriptor::open_at(folder.as_raw_fd(), name, flags, 0)?;
    }
    Ok(folder)
}

fn empty(at: RawFd) -> io::Result<Option<OwnedFd>> {
    let here = descriptor::open_at(at, c".", FOLDER_FLAGS, 0)?;
    for name in folder::names(here.as_raw_fd(), usize::MAX)? {
        remove(at, name)?;
    }
    Ok(None)
}

/// Removes whatever has the name; nothing there is as good.
fn remove(at: RawFd, name: CString) -> io::Result<Option<OwnedFd>> {
    let above = descriptor::open_at(at, c".", FOLDER_FLAGS, 0)?;
    let mut removal = match Removal::begin(above, name, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        begun => begun?,
    };
    while !removal.step()? {}
    Ok(None)
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn system(member: &Member, error: io::Error) -> Fault {
    Fault::System(String::from_utf8_lossy(&member.path).into_owned(), error)
}

fn shown(path: &[CString]) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

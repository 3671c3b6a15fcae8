//! What the jail takes away, seen from inside it. One thread, since the jail forks: no test harness.
//! Each control has a twin without it, so that a test which always passes would show.
use atoll_unpack::jail::{self, Jail, Root};
use atoll_unpack::limits::UNPACK_ADDRESS_SPACE_BYTES;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const ID_BASE: u32 = 1_879_048_192;

fn main() {
    let top = std::env::temp_dir().join(format!("atoll-jail-{}", std::process::id()));
    let target = top.join("target");
    fs::create_dir_all(&target).unwrap();
    fs::write(top.join("outside"), "x").unwrap();
    let path = CString::new(target.to_str().unwrap()).unwrap();
    let mut count = 0;
    let mut check = |name: &str, work: &dyn Fn() -> bool| {
        let jail = Jail {
            id_base: ID_BASE,
            root: Root::Target(path.clone()),
            address_space_bytes: UNPACK_ADDRESS_SPACE_BYTES,
            file_bytes: 1 << 20,
            cpu_seconds: 2,
        };
        let result = jail::run(&jail, || if work() { 0 } else { 9 });
        count += 1;
        (name.to_owned(), result)
    };
    let holds = |(name, result): (String, Result<i32, _>)| match result {
        Ok(0) => println!("test {name} ... ok"),
        other => panic!("{name}: {other:?}"),
    };
    // 1 is the answer for a helper that was ended by a signal; work that went on says 0 or 9.
    let dies = |(name, result): (String, Result<i32, _>)| match result {
        Ok(1) => println!("test {name} ... ok"),
        other => panic!("{name}: {other:?}"),
    };
    let outside = top.join("outside").to_str().unwrap().to_owned();

    assert!(
        fs::read("/etc/passwd").is_ok() && fs::read(&outside).is_ok(),
        "outside both are readable"
    );
    holds(check("the host's files are gone", &|| {
        fs::read("/etc/passwd").is_err() && fs::read(&outside).is_err()
    }));
    holds(check("dots lead back to the root", &|| {
        fs::read("/../../../../etc/passwd").is_err() && fs::read_dir("/../..").is_ok()
    }));
    holds(check("the target is writable", &|| fs::write("/made", "x").is_ok()));
    let made = fs::metadata(target.join("made")).unwrap();
    assert_eq!(
        (made.uid(), made.gid()),
        (ID_BASE, ID_BASE),
        "and what is written belongs to no id of the host"
    );
    holds(check("it is process 1 of its own", &|| std::process::id() == 1));
    holds(check("ids outside the range cannot be given", &|| {
        let made = fs::File::open("/made").unwrap();
        std::os::unix::fs::fchown(&made, Some(65_535), None).is_ok()
            && std::os::unix::fs::fchown(&made, Some(65_536), None).is_err()
    }));
    holds(check("a file over the limit is an error", &|| {
        fs::write("/big", vec![0_u8; 1 << 21]).is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG))
    }));
    // SAFETY: a plain system call, as are those below; each is what the jail must not let through.
    dies(check(
        "there is no network",
        &|| unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } >= 0,
    ));
    dies(check(
        "nothing can be mounted",
        &|| unsafe { libc::mount(c"x".as_ptr(), c"/".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) } == 0,
    ));
    dies(check("no program can be started", &|| {
        Command::new("/made").spawn().is_ok()
    }));
    dies(check(
        "nobody can be traced",
        &|| unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == 0,
    ));
    dies(check(
        "no namespace can be made",
        &|| unsafe { libc::unshare(libc::CLONE_NEWUSER) } == 0,
    ));
    dies(check("CPU time has an end", &|| loop {
        std::hint::black_box(0);
    }));
    dies(check("memory has an end", &|| {
        std::hint::black_box(vec![1_u8; 2 << 30]).len() > 1
    }));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "x");
    assert!(Command::new("rm").arg("-rf").arg(&top).status().unwrap().success());
    println!("\ntest result: ok. {count} passed; 0 failed");
}

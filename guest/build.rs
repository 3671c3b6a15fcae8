//! Puts a link at target/release/atoll-agent: with a named target cargo builds one folder deeper,
//! and everything that installs the agent should find it where a plain build has it.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    let folder = Path::new(&root).join("target/release");
    std::fs::create_dir_all(&folder).expect("create target/release");
    let link = folder.join("atoll-agent");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(format!("../{target}/release/atoll-agent"), &link)
        .expect("link target/release/atoll-agent");
}

//! atoll-launcher: starts one sandbox's runtime and holds it (docs/reference/launcher-protocol.md).

mod cgroup;
mod end;
mod fault;
mod kernel;
mod launch;
mod reap;
mod record;
mod run;
mod shim;
mod start;

use std::path::Path;

const USAGE: &str = "usage: atoll-launcher run LAUNCH.json | atoll-launcher reap DIRECTORY | atoll-launcher --version";

fn main() {
    kernel::memory::give_back_large_buffers();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let code = match words.as_slice() {
        ["run", file] => run::run(Path::new(file)),
        ["reap", directory] => reap::reap(Path::new(directory)),
        ["--version"] => {
            println!("atoll-launcher {}", env!("CARGO_PKG_VERSION"));
            0
        }
        _ => {
            let fault = fault::Fault::new("invalid_request", "arguments", USAGE);
            eprintln!("{}", fault.line());
            2
        }
    };
    std::process::exit(code);
}

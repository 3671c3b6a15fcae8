//! `atoll-egress --control PATH …`: prints one line of JSON when it serves.
use atoll_egress::control::serve::control;
use atoll_egress::proxy::Proxy;
use atoll_egress::start::options::{Options, USAGE, host_resolvers};
use atoll_egress::start::privileges::drop_privileges;
use atoll_egress::start::seccomp;
use atoll_egress::tcp::original::Redirected;
use atoll_egress::tls::upstream::read_roots;
use serde_json::json;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

fn main() {
    if let Err(problem) = run() {
        eprintln!(
            "{}",
            json!({ "code": "start_failed", "message": format!("cannot start the egress proxy: {problem}") })
        );
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1)).map_err(|problem| format!("{problem}; usage: {USAGE}"))?;
    let roots = read_roots(&options.roots)?;
    let mut resolvers = options.resolvers.clone();
    if resolvers.is_empty() {
        let text = std::fs::read_to_string("/etc/resolv.conf")
            .map_err(|error| format!("cannot read /etc/resolv.conf: {error}"))?;
        resolvers = host_resolvers(&text);
    }
    if resolvers.is_empty() {
        return Err("there is no resolver; give one with --resolver".to_owned());
    }
    let socket = bind(&options)?;
    drop_privileges(options.uid, options.gid)?;
    seccomp::restrict()?;
    let proxy = Arc::new(Proxy::new(Arc::new(Redirected), Arc::new(roots), resolvers)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start its threads: {error}"))?;
    runtime.block_on(serve(proxy, socket, options))
}

async fn serve(proxy: Arc<Proxy>, socket: UnixListener, options: Options) -> Result<(), String> {
    let listener = tokio::net::UnixListener::from_std(socket)
        .map_err(|error| format!("cannot serve the control socket: {error}"))?;
    for (kind, descriptor) in options.listeners {
        // SAFETY: who started it passed this descriptor for this use, and nothing else here takes it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        proxy
            .listen(kind, Some(descriptor))
            .map_err(|refused| refused.message)?;
    }
    let ready = json!({ "ready": true, "pid": std::process::id(), "instance": proxy.instance });
    // Who started it may be gone already; it serves whoever comes next.
    let _ = writeln!(std::io::stdout(), "{ready}");
    control(proxy, listener, options.peer_uid).await;
    Ok(())
}

/// A socket that is left of an earlier life is in the way; a living one is not taken over.
fn bind(options: &Options) -> Result<UnixListener, String> {
    let path = &options.control;
    let broken = |error: std::io::Error| format!("cannot bind {}: {error}", path.display());
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(format!("{} already serves", path.display()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(broken(error)),
        _ => {}
    }
    let socket = UnixListener::bind(path).map_err(broken)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(broken)?;
    socket.set_nonblocking(true).map_err(broken)?;
    Ok(socket)
}

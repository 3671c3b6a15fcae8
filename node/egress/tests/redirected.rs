//! The real thing: a sandbox's, a router's and a host's network namespace, nftables that redirect, and the program
//! under its filter. Needs root, `ip` and `nft`; says so where it cannot run.
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const SERVER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const SANDBOX: &str = "10.201.0.2";
const LARGE_BYTES: usize = 20_000_000;

struct Net {
    sandbox: String,
    router: String,
    host: String,
    folder: PathBuf,
    proxy: Option<Child>,
}

impl Net {
    /// None where this machine cannot.
    fn make() -> Option<Self> {
        // SAFETY: no memory is passed.
        let root = unsafe { libc::geteuid() } == 0;
        let works = |program: &str, word: &str| {
            Command::new(program)
                .arg(word)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        if !root || !works("ip", "-V") || !works("nft", "-v") {
            eprintln!("skipped: it needs root, ip and nft");
            return None;
        }
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("atoll-egress-net-{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        let net = Self {
            sandbox: format!("aeg-s{id}"),
            router: format!("aeg-r{id}"),
            host: format!("aeg-h{id}"),
            folder,
            proxy: None,
        };
        let Self {
            sandbox, router, host, ..
        } = &net;
        for name in [sandbox, router, host] {
            run(&format!("ip netns add {name}"));
            run(&format!("ip -n {name} link set lo up"));
        }
        run(&format!("ip -n {host} addr add {SERVER}/32 dev lo"));
        run(&format!(
            "ip -n {router} link add gw type veth peer name eth0 netns {sandbox}"
        ));
        run(&format!("ip -n {router} addr add 10.201.0.1/30 dev gw"));
        run(&format!("ip -n {router} link set gw up"));
        run(&format!("ip -n {sandbox} addr add {SANDBOX}/30 dev eth0"));
        run(&format!("ip -n {sandbox} link set eth0 up"));
        run(&format!("ip -n {sandbox} route add default via 10.201.0.1"));
        let rules = "table ip r {\n\
            chain d {\n type nat hook prerouting priority dstnat;\n udp dport 53 redirect to :5353\n\
            tcp dport 53 redirect to :5353\n meta l4proto tcp redirect to :3129\n }\n\
            chain f {\n type filter hook forward priority 0; policy drop;\n }\n }\n";
        run_with(&format!("ip netns exec {router} nft -f -"), rules);
        Some(net)
    }

    fn start(&mut self, roots: &str) {
        std::fs::write(self.folder.join("roots.pem"), roots).unwrap();
        let (tcp, udp, dns) = inside(&self.router, || {
            let tcp = TcpListener::bind("0.0.0.0:3129").unwrap();
            (
                OwnedFd::from(tcp),
                OwnedFd::from(UdpSocket::bind("0.0.0.0:5353").unwrap()),
                OwnedFd::from(TcpListener::bind("0.0.0.0:5353").unwrap()),
            )
        });
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.host,
            env!("CARGO_BIN_EXE_atoll-egress"),
            "--control",
        ]);
        command
            .arg(self.folder.join("control.sock"))
            .arg("--roots")
            .arg(self.folder.join("roots.pem"));
        command.args(["--uid", "65534", "--gid", "65534", "--resolver", "127.0.0.1:5300"]);
        for (option, descriptor) in [("--tcp-fd", &tcp), ("--dns-udp-fd", &udp), ("--dns-tcp-fd", &dns)] {
            command.args([option, &descriptor.as_raw_fd().to_string()]);
        }
        let inherited = [tcp.as_raw_fd(), udp.as_raw_fd(), dns.as_raw_fd()];
        // SAFETY: only fcntl, which may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                for descriptor in inherited {
                    libc::fcntl(descriptor, libc::F_SETFD, 0);
                }
                Ok(())
            });
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("\"ready\":true"), "{line}");
        self.proxy = Some(child);
    }

    fn ask(&self, request: &Value) -> Value {
        let mut stream = UnixStream::connect(self.folder.join("control.sock")).unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(mut proxy) = self.proxy.take() {
            // Already gone where the test killed it.
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
        for name in [&self.sandbox, &self.router, &self.host] {
            run(&format!("ip netns del {name}"));
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn run(line: &str) {
    run_with(line, "");
}

fn run_with(line: &str, input: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let mut child = command.args(words).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
}

/// Runs on a thread that entered the namespace, and ends with it.
fn inside<T: Send + 'static>(name: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
    let thread = std::thread::spawn(move || {
        // SAFETY: the descriptor is open; only this thread changes.
        assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        act()
    });
    thread.join().unwrap()
}

/// Serves one request a connection: `/large` is long.
fn serve_http(mut stream: impl Read + Write) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let length = if head.starts_with(b"GET /large") {
        LARGE_BYTES
    } else {
        5
    };
    let answer = [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").into_bytes(),
        vec![b'x'; length],
    ]
    .concat();
    // The client may stop early.
    let _ = stream.write_all(&answer);
    let _ = stream.flush();
}

fn servers(host: &str, config: Arc<rustls::ServerConfig>) {
    let (clear, tls, ssh, dns) = inside(host, || {
        let bind = |port: u16| TcpListener::bind((SERVER, port)).unwrap();
        (
            bind(80),
            bind(443),
            bind(22),
            UdpSocket::bind("127.0.0.1:5300").unwrap(),
        )
    });
    std::thread::spawn(move || {
        clear.incoming().for_each(|stream| {
            std::thread::spawn(|| serve_http(stream.unwrap()));
        })
    });
    std::thread::spawn(move || {
        for stream in tls.incoming() {
            let config = config.clone();
            std::thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
                serve_http(&mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    std::thread::spawn(move || {
        ssh.incoming().for_each(|stream| {
            let _ = stream.unwrap().write_all(b"SSH-2.0-real\r\n");
        })
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((length, peer)) = dns.recv_from(&mut buffer) {
            let query = atoll_egress::dns::message::Query::parse(&buffer[..length]).unwrap();
            let reply = query.answer(atoll_egress::dns::message::Code::NoError, &[SERVER], 60);
            dns.send_to(&reply, peer).unwrap();
        }
    });
}

/// What a sandbox gets; empty where the connection is cut.
fn fetch(
    sandbox: &str,
    to: (Ipv4Addr, u16),
    tls: Option<(&'static str, Arc<rustls::ClientConfig>)>,
    request: String,
) -> String {
    inside(sandbox, move || {
        let Ok(mut stream) = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5)) else {
            return "no connection".to_owned();
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = Vec::new();
        // What came until an error is what came.
        match tls {
            None => {
                let _ = stream.write_all(request.as_bytes());
                let _ = stream.read_to_end(&mut bytes);
            }
            Some((name, config)) => {
                let connection = rustls::ClientConnection::new(config, ServerName::try_from(name).unwrap()).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream);
                let _ = stream.write_all(request.as_bytes());
                let _ = stream.read_to_end(&mut bytes);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn lookup(sandbox: &str, name: &'static str) -> Vec<u8> {
    inside(sandbox, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Whatever server is asked, ours answers in its name.
        socket.connect("8.8.8.8:53").unwrap();
        socket.send(&atoll_egress::dns::message::question(9, name)).unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    })
}

fn ca(name: &str) -> (String, String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, key.serialize_pem(), Issuer::new(params, key))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[test]
fn redirected_traffic_obeys_the_policy_and_ends_with_the_program() {
    let Some(mut net) = Net::make() else { return };
    let (public, _, issuer) = ca("public");
    let (own, own_key, _) = ca("atoll");
    let key = KeyPair::generate().unwrap();
    let names = vec!["web.test".to_owned(), "seen.test".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    servers(
        &net.host,
        Arc::new(
            config
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], key)
                .unwrap(),
        ),
    );
    net.start(&public);
    let client = |pem: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    };
    let (real, ours) = (client(&public), client(&own));
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let web = (SERVER, 443);
    // The reset may come before the client has noticed that it was connected.
    let is_reset = |answer: String| answer.is_empty() || answer == "no connection";
    assert!(
        is_reset(fetch(&net.sandbox, (SERVER, 80), None, get("/", "web.test"))),
        "no policy yet"
    );
    net.ask(&json!({ "do": "ca", "certificate": own, "key": own_key }));
    let rules = json!([
        { "id": "web", "host": "web.test", "action": "allow" },
        { "id": "seen", "host": "seen.test", "match": { "paths": ["/ok", "/large"] }, "action": "allow" },
        { "id": "git", "host": "web.test", "protocol": "tcp", "ports": [22], "action": "allow" },
    ]);
    net.ask(&json!({ "do": "policy", "address": SANDBOX, "policy": { "version": 1, "rules": rules } }));
    assert_eq!(lookup(&net.sandbox, "web.test")[7], 1);
    assert_eq!(lookup(&net.sandbox, "seen.test")[7], 1);
    assert_eq!(lookup(&net.sandbox, "evil.test")[3] & 15, 5);
    let sandbox = net.sandbox.clone();
    assert!(fetch(&sandbox, (SERVER, 80), None, get("/", "web.test")).ends_with("xxxxx"));
    assert!(fetch(&sandbox, (SERVER, 80), None, get("/", "evil.test")).starts_with("HTTP/1.1 403"));
    assert!(
        fetch(&sandbox, web, Some(("web.test", real.clone())), get("/", "web.test")).ends_with("xxxxx"),
        "relayed"
    );
    let large = fetch(
        &sandbox,
        web,
        Some(("web.test", real.clone())),
        get("/large", "web.test"),
    );
    assert!(large.len() > LARGE_BYTES, "spliced: {}", large.len());
    assert!(
        fetch(
            &sandbox,
            web,
            Some(("seen.test", ours.clone())),
            get("/ok", "seen.test")
        )
        .ends_with("xxxxx"),
        "terminated"
    );
    let large = fetch(
        &sandbox,
        web,
        Some(("seen.test", ours.clone())),
        get("/large", "seen.test"),
    );
    assert!(large.len() > LARGE_BYTES, "terminated: {}", large.len());
    assert!(
        fetch(
            &sandbox,
            web,
            Some(("seen.test", ours.clone())),
            get("/no", "seen.test")
        )
        .contains("egress_denied")
    );
    assert!(fetch(&sandbox, web, Some(("evil.test", ours.clone())), get("/", "evil.test")).contains("egress_denied"));
    assert_eq!(fetch(&sandbox, (SERVER, 22), None, String::new()), "SSH-2.0-real\r\n");
    assert!(is_reset(fetch(&sandbox, (SERVER, 25), None, "x".to_owned())));
    assert!(
        fetch(
            &sandbox,
            ([169, 254, 169, 254].into(), 80),
            None,
            get("/", "169.254.169.254")
        )
        .starts_with("HTTP/1.1 403")
    );
    assert!(
        is_reset(fetch(
            &sandbox,
            ([10, 201, 0, 1].into(), 3129),
            None,
            get("/", "web.test")
        )),
        "the listener itself"
    );
    let mut proxy = net.proxy.take().unwrap();
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert_eq!(
        fetch(&sandbox, (SERVER, 80), None, get("/", "web.test")),
        "no connection",
        "dead means refused"
    );
    net.start(&public);
    assert!(
        is_reset(fetch(&sandbox, (SERVER, 80), None, get("/", "web.test"))),
        "alive again, but without a policy"
    );
    net.ask(&json!({ "do": "policy", "address": SANDBOX, "policy": { "version": 1, "rules": rules } }));
    lookup(&sandbox, "web.test");
    assert!(fetch(&sandbox, (SERVER, 80), None, get("/", "web.test")).ends_with("xxxxx"));
}

//! The command line.
use crate::control::command::ListenKind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub const USAGE: &str = "atoll-egress --control PATH [--uid N --gid N] [--peer-uid N] [--resolver IP[:PORT]]... \
[--roots PEM] [--tcp-fd N] [--dns-udp-fd N] [--dns-tcp-fd N] [--threads N]";

#[derive(Debug)]
pub struct Options {
    pub control: PathBuf,
    /// Who it becomes; needed when it is started as root.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Who may use the control socket.
    pub peer_uid: u32,
    pub resolvers: Vec<SocketAddr>,
    pub roots: PathBuf,
    pub listeners: Vec<(ListenKind, i32)>,
    pub threads: usize,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut control = None;
        let mut options = Self {
            control: PathBuf::new(),
            uid: None,
            gid: None,
            peer_uid: 0,
            resolvers: Vec::new(),
            roots: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            listeners: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} takes a value"))?;
            let number = || {
                value
                    .parse::<u32>()
                    .map_err(|_| format!("{word} takes a number, not {value:?}"))
            };
            let descriptor =
                || number().and_then(|n| i32::try_from(n).map_err(|_| format!("{word}: {n} is no descriptor")));
            match word.as_str() {
                "--control" => control = Some(PathBuf::from(&value)),
                "--uid" => options.uid = Some(number()?),
                "--gid" => options.gid = Some(number()?),
                "--peer-uid" => options.peer_uid = number()?,
                "--resolver" => options
                    .resolvers
                    .push(server(&value).ok_or_else(|| format!("{value:?} is no resolver"))?),
                "--roots" => options.roots = PathBuf::from(&value),
                "--tcp-fd" => options.listeners.push((ListenKind::Tcp, descriptor()?)),
                "--dns-udp-fd" => options.listeners.push((ListenKind::DnsUdp, descriptor()?)),
                "--dns-tcp-fd" => options.listeners.push((ListenKind::DnsTcp, descriptor()?)),
                "--threads" => options.threads = number()?.clamp(1, 64) as usize,
                _ => return Err(format!("{word} is not known")),
            }
        }
        options.control = control.ok_or("--control is missing")?;
        Ok(options)
    }
}

/// The resolvers of the host's own configuration.
pub fn host_resolvers(text: &str) -> Vec<SocketAddr> {
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next());
    servers.filter_map(server).take(8).collect()
}

fn server(text: &str) -> Option<SocketAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_come_from_the_host() {
        let text = "# comment\nsearch x\nnameserver 10.0.0.1\n nameserver fd00::1 \nnameserver nonsense\n";
        let expected: [SocketAddr; 2] = ["10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()];
        assert_eq!(host_resolvers(text), expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        assert!(parse("--control /run/x --uid 7 --gid 7 --tcp-fd 3").is_ok());
        for wrong in [
            "--uid 7",
            "--control",
            "--control /x --uid seven",
            "--control /x --wat 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

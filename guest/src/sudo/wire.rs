//! What the `sudo` program and the agent say to each other: one request, then one byte per signal
//! to forward; the answers are a kind, a length and that many bytes.

/// Abstract name of the agent's socket.
pub const SOCKET_NAME: &[u8] = b"atoll-sudo";
pub const MAGIC: [u8; 4] = *b"ASU1";
/// Magic and the length of the request.
pub const HEADER_BYTES: usize = 8;
pub const REQUEST_MAX_BYTES: usize = 1 << 20;
pub const ANSWER_MAX_BYTES: usize = 4_096;
/// Standard input, output and error.
pub const DESCRIPTORS: usize = 3;

const STRINGS_MAX: usize = 8_192;
const FIXED_STRINGS: usize = 4;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Name, or `#uid`.
    pub user: Vec<u8>,
    pub cwd: Vec<u8>,
    pub login: bool,
    pub shell: bool,
    /// Whether stdin is a terminal that no session has yet.
    pub terminal: bool,
    /// Without a command only the right to run one is asked for.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`, laid over what the target user gets.
    pub env: Vec<Vec<u8>>,
}

impl Request {
    /// NUL-ended strings: user, cwd, flags, count of argv, argv, env.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = Vec::new();
        for (set, flag) in [(self.login, b'i'), (self.shell, b's'), (self.terminal, b't')] {
            flags.extend(set.then_some(flag));
        }
        let count = self.argv.len().to_string().into_bytes();
        let fixed = [&self.user, &self.cwd, &flags, &count];
        let mut bytes = Vec::new();
        for text in fixed.into_iter().chain(&self.argv).chain(&self.env) {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
        bytes
    }

    /// `None` for anything that `encode` does not make.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.strip_suffix(b"\0")?;
        let strings: Vec<&[u8]> = body.split(|byte| *byte == 0).take(STRINGS_MAX + 1).collect();
        if strings.len() < FIXED_STRINGS || strings.len() > STRINGS_MAX {
            return None;
        }
        let count: usize = std::str::from_utf8(strings[3]).ok()?.parse().ok()?;
        let rest = &strings[FIXED_STRINGS..];
        let (argv, env) = rest.split_at_checked(count)?;
        let named = |entry: &&[u8]| entry.iter().position(|byte| *byte == b'=').unwrap_or(0) > 0;
        if !env.iter().all(named) || strings[2].iter().any(|flag| !b"ist".contains(flag)) {
            return None;
        }
        let owned = |list: &[&[u8]]| list.iter().map(|text| text.to_vec()).collect();
        Some(Self {
            user: strings[0].to_vec(),
            cwd: strings[1].to_vec(),
            login: strings[2].contains(&b'i'),
            shell: strings[2].contains(&b's'),
            terminal: strings[2].contains(&b't'),
            argv: owned(argv),
            env: owned(env),
        })
    }
}

/// What the agent answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was started; the text says why.
    Refused(String),
    /// The caller may; nothing was asked to start.
    Allowed,
    Exited(i32),
    Signaled(i32),
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Refused(text) => (1, text.as_bytes().to_vec()),
            Self::Allowed => (2, Vec::new()),
            Self::Exited(code) => (3, code.to_be_bytes().to_vec()),
            Self::Signaled(signal) => (4, signal.to_be_bytes().to_vec()),
        };
        let length = payload.len().min(ANSWER_MAX_BYTES);
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.extend_from_slice(&payload[..length]);
        bytes
    }

    /// `None` while more has to come, or for what no agent says.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (length, payload) = rest.split_first_chunk::<4>()?;
        let payload = payload.get(..u32::from_be_bytes(*length) as usize)?;
        let number = || payload.try_into().ok().map(i32::from_be_bytes);
        match kind {
            1 => Some(Self::Refused(String::from_utf8_lossy(payload).into_owned())),
            2 => Some(Self::Allowed),
            3 => number().map(Self::Exited),
            4 => number().map(Self::Signaled),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let text = |list: &[&str]| list.iter().map(|text| text.as_bytes().to_vec()).collect();
        let request = Request {
            user: b"root".to_vec(),
            cwd: b"/x".to_vec(),
            login: true,
            shell: false,
            terminal: true,
            argv: text(&["echo", "", "\u{fc}"]),
            env: text(&["A=", "B=c=d"]),
        };
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }

    #[test]
    fn what_no_client_sends_is_refused() {
        for bytes in [
            &b""[..],
            b"root",
            b"root\0/\0\0",
            b"root\0/\0\x00x\0",
            b"root\0/\0\0-1\0",
            b"root\0/\0\x0018446744073709551615\0a\0",
            b"root\0/\0\x002\0a\0",
            b"root\0/\0\x000\0novalue\0",
            b"root\0/\0\x000\0=novalue\0",
            b"root\0/\0q\x000\0",
        ] {
            assert_eq!(Request::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn answers_come_in_pieces() {
        let answers = [
            Answer::Refused("no".into()),
            Answer::Allowed,
            Answer::Exited(3),
            Answer::Signaled(15),
        ];
        for answer in answers {
            let bytes = answer.encode();
            assert!((0..bytes.len()).all(|end| Answer::decode(&bytes[..end]).is_none()));
            assert_eq!(Answer::decode(&bytes), Some(answer));
        }
    }
}

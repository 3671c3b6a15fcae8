//! The options of sudo that make sense here; any other is refused by name.

use super::environment::Keep;

#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    Run(Options),
    Help,
    Version,
    /// Only the cached right was to be dropped, and there is none.
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub user: Vec<u8>,
    pub login: bool,
    pub shell: bool,
    pub folder: Option<Vec<u8>>,
    pub keep: Keep,
    pub assignments: Vec<Vec<u8>>,
    /// Empty: a shell with -i or -s, else only the right is asked for (-v).
    pub command: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Seen {
    user: Option<Vec<u8>>,
    folder: Option<Vec<u8>>,
    names: Option<Vec<Vec<u8>>>,
    login: bool,
    shell: bool,
    keep_all: bool,
    set_home: bool,
    validate: bool,
    forget: bool,
    help: bool,
    version: bool,
}

const TAKES_VALUE: &[u8] = b"uDp";
const LONG: [(&str, u8); 14] = [
    ("user", b'u'),
    ("chdir", b'D'),
    ("prompt", b'p'),
    ("login", b'i'),
    ("shell", b's'),
    ("non-interactive", b'n'),
    ("preserve-env", b'E'),
    ("set-home", b'H'),
    ("reset-timestamp", b'k'),
    ("remove-timestamp", b'K'),
    ("validate", b'v'),
    ("stdin", b'S'),
    ("help", b'h'),
    ("version", b'V'),
];

pub fn parse(arguments: Vec<Vec<u8>>) -> Result<Act, String> {
    let mut seen = Seen::default();
    let mut rest = arguments.into_iter().peekable();
    while let Some(argument) = rest.next_if(|next| next.starts_with(b"-") && next.len() > 1) {
        if argument == b"--" {
            break;
        }
        match argument.strip_prefix(b"--") {
            Some(long) => read_long(&mut seen, long, &mut rest)?,
            None => read_short(&mut seen, &argument[1..], &mut rest)?,
        }
    }
    let mut assignments = Vec::new();
    while let Some(entry) = rest.next_if(|next| is_assignment(next)) {
        assignments.push(entry);
    }
    finish(seen, assignments, rest.collect())
}

fn finish(seen: Seen, assignments: Vec<Vec<u8>>, command: Vec<Vec<u8>>) -> Result<Act, String> {
    if seen.help {
        return Ok(Act::Help);
    }
    if seen.version {
        return Ok(Act::Version);
    }
    if seen.login && seen.shell {
        return Err("you may not give both -i and -s".into());
    }
    if command.is_empty() && !seen.login && !seen.shell && !seen.validate {
        return match seen.forget {
            true => Ok(Act::Nothing),
            false => Err("no command was given; sudo -h tells how".into()),
        };
    }
    let keep = match (seen.keep_all, seen.names) {
        (true, _) => Keep::All { home: !seen.set_home && !seen.login },
        (false, Some(names)) => Keep::Named(names),
        (false, None) => Keep::Defaults,
    };
    Ok(Act::Run(Options {
        user: seen.user.unwrap_or_else(|| b"root".to_vec()),
        login: seen.login,
        shell: seen.shell,
        folder: seen.folder,
        keep,
        assignments,
        command,
    }))
}

fn read_long(
    seen: &mut Seen,
    long: &[u8],
    rest: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<(), String> {
    let text = String::from_utf8_lossy(long);
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.as_bytes().to_vec())),
        None => (text.as_ref(), None),
    };
    let Some((_, letter)) = LONG.iter().find(|(known, _)| *known == name) else {
        return Err(unknown(&format!("--{name}")));
    };
    match (TAKES_VALUE.contains(letter), value) {
        (true, Some(value)) => set(seen, *letter, Some(value)),
        (true, None) => set(seen, *letter, Some(needed(rest, &format!("--{name}"))?)),
        (false, Some(list)) if *letter == b'E' => {
            let names = list.split(|byte| *byte == b',').map(<[u8]>::to_vec);
            seen.names.get_or_insert_default().extend(names);
        }
        (false, Some(_)) => return Err(format!("option --{name} takes no value")),
        (false, None) => set(seen, *letter, None),
    }
    Ok(())
}

fn read_short(
    seen: &mut Seen,
    letters: &[u8],
    rest: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<(), String> {
    for (at, letter) in letters.iter().enumerate() {
        if TAKES_VALUE.contains(letter) {
            let value = match &letters[at + 1..] {
                b"" => needed(rest, &format!("-{}", char::from(*letter)))?,
                value => value.to_vec(),
            };
            set(seen, *letter, Some(value));
            return Ok(());
        }
        if !LONG.iter().any(|(_, known)| known == letter) {
            return Err(unknown(&format!("-{}", char::from(*letter))));
        }
        set(seen, *letter, None);
    }
    Ok(())
}

fn needed(rest: &mut impl Iterator<Item = Vec<u8>>, name: &str) -> Result<Vec<u8>, String> {
    rest.next().ok_or_else(|| format!("option {name} needs a value"))
}

fn unknown(name: &str) -> String {
    format!("option {name} is not known in this sandbox; sudo -h tells which are")
}

fn set(seen: &mut Seen, letter: u8, value: Option<Vec<u8>>) {
    match letter {
        b'u' => seen.user = value,
        b'D' => seen.folder = value,
        b'i' => seen.login = true,
        b's' => seen.shell = true,
        b'E' => seen.keep_all = true,
        b'H' => seen.set_home = true,
        b'v' => seen.validate = true,
        b'k' | b'K' => seen.forget = true,
        b'h' => seen.help = true,
        b'V' => seen.version = true,
        // -n, -S and -p are about a password that is never asked for.
        _ => {}
    }
}

/// `NAME=value` with a name that a shell could set.
fn is_assignment(text: &[u8]) -> bool {
    let name = text.split(|byte| *byte == b'=').next().unwrap_or_default();
    let letters = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    name.len() < text.len() && !name.is_empty() && letters && !name[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Act, String> {
        parse(line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
    }

    fn run(line: &str) -> Options {
        match read(line) {
            Ok(Act::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn words(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let options = run("-nEH -u www A=1 B_2= ls -u -E");
        assert_eq!(options.user, b"www");
        assert_eq!(options.keep, Keep::All { home: false });
        assert_eq!(options.assignments, words(&["A=1", "B_2="]));
        assert_eq!(options.command, words(&["ls", "-u", "-E"]));
        assert_eq!(run("-- -x y").command, words(&["-x", "y"]));
        assert_eq!(run("-uwww true").user, b"www");
        assert_eq!(run("--user=www true").user, b"www");
        assert_eq!(run("--user www true").user, b"www");
        assert_eq!(run("--preserve-env=A,B true").keep, Keep::Named(words(&["A", "B"])));
        assert_eq!(run("-p x -D /tmp true").folder, Some(b"/tmp".to_vec()));
        assert_eq!(run("./a=b").command, words(&["./a=b"]));
    }

    #[test]
    fn a_shell_or_nothing_may_be_asked_for() {
        assert!(run("-i").login);
        assert!(run("-s").shell);
        assert_eq!(run("-nv").command, words(&[]));
        assert_eq!(read("-k"), Ok(Act::Nothing));
        assert_eq!(run("-k true").command, words(&["true"]));
        assert_eq!(read("-V"), Ok(Act::Version));
        assert_eq!(read("--help"), Ok(Act::Help));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for line in ["-Z true", "--edit x", "-e x", "-b true", "-g wheel true", "-l"] {
            assert!(read(line).unwrap_err().contains("is not known"), "{line}");
        }
        for line in ["-n", "A=1", "-u", "-i -s", "--login=x true"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}

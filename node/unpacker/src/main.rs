//! `atoll-unpack unpack|select|seal|pack`: answers with one line of JSON.
use atoll_unpack::failure::{Failure, Outcome};
use atoll_unpack::jail::{self, Jail, Root};
use atoll_unpack::limits::{Limits, PACK_ADDRESS_SPACE_BYTES, UNPACK_ADDRESS_SPACE_BYTES};
use atoll_unpack::tree::Tree;
use atoll_unpack::unpack::{Flavour, unpack};
use atoll_unpack::{pack, seal, select};
use serde_json::{Value, json};
use std::ffi::CString;
use std::io;
use std::os::fd::FromRawFd;

#[derive(Default)]
struct Arguments {
    target: Option<CString>,
    output: Option<CString>,
    id_base: Option<u32>,
    flavour: Option<Flavour>,
    limits: Limits,
    program: String,
    from: String,
    name: String,
    options: Vec<String>,
}

fn main() {
    let result = run();
    std::process::exit(result.unwrap_or_else(|failure| jail::fail(&failure)));
}

fn run() -> Outcome<i32> {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let arguments = parse(words)?;
    let target = arguments.target.clone().ok_or_else(|| usage("--target is missing"))?;
    let id_base = arguments.id_base.ok_or_else(|| usage("--id-base is missing"))?;
    let limits = arguments.limits;
    let mut jail = Jail {
        id_base,
        root: Root::Target(target.clone()),
        address_space_bytes: UNPACK_ADDRESS_SPACE_BYTES,
        file_bytes: limits.file_bytes,
        cpu_seconds: limits.cpu_seconds,
    };
    match command.as_str() {
        "unpack" => {
            let flavour = arguments.flavour.unwrap_or(Flavour::Root);
            jail::run(&jail, || answer(unpack_here(flavour, limits)))
        }
        "select" => {
            let (from, name) = (arguments.from, arguments.name);
            jail::run(&jail, || answer(select_here(&from, &name, limits)))
        }
        "seal" => jail::run(&jail, || answer(seal_here())),
        "pack" => {
            let output = arguments.output.clone().ok_or_else(|| usage("--output is missing"))?;
            jail.root = Root::Programs { tree: target, output };
            jail.address_space_bytes = PACK_ADDRESS_SPACE_BYTES;
            jail.file_bytes = limits.archive_bytes;
            let null = std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/null")
                .map_err(|error| Failure::from_io("open /dev/null", &error))?
                .into();
            jail::run(&jail, || {
                match pack::pack(&arguments.program, &arguments.options, &null) {
                    Ok(code) => code,
                    Err(failure) => jail::fail(&failure),
                }
            })
        }
        _ => Err(usage("the command must be unpack, select, seal or pack")),
    }
}

fn unpack_here(flavour: Flavour, limits: Limits) -> Outcome<Value> {
    let tree = Tree::open(c"/")?;
    Ok(unpack(&tree, io::stdin().lock(), flavour, limits)?.to_json())
}

/// The result goes to descriptor 3, the answer to standard output as always.
fn select_here(from: &str, name: &str, limits: Limits) -> Outcome<Value> {
    // SAFETY: whoever asks for a selection passes that descriptor, and nobody else here uses it.
    let output = unsafe { std::fs::File::from_raw_fd(3) };
    let output = io::BufWriter::with_capacity(1 << 16, output);
    let selection = select::select(io::stdin().lock(), output, from, name, limits)?;
    Ok(json!({
        "entries": selection.entries,
        "isFile": selection.is_file,
        "contentHash": selection.content_hash,
    }))
}

fn seal_here() -> Outcome<Value> {
    let tree = Tree::open(c"/")?;
    Ok(json!({ "agentBytes": seal::seal(&tree, io::stdin().lock())? }))
}

fn answer(result: Outcome<Value>) -> i32 {
    match result {
        Ok(value) => {
            println!("{value}");
            0
        }
        Err(failure) => jail::fail(&failure),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Arguments> {
    let mut arguments = Arguments {
        program: "/usr/bin/mkfs.erofs".to_owned(),
        ..Arguments::default()
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--layer" => arguments.flavour = Some(Flavour::Layer),
            "--plain" => arguments.flavour = Some(Flavour::Plain),
            "--" => {
                arguments.options = words.collect();
                break;
            }
            _ => {
                let value = words.next().ok_or_else(|| usage(&format!("{word} takes a value")))?;
                set(&mut arguments, &word, value)?;
            }
        }
    }
    Ok(arguments)
}

fn set(arguments: &mut Arguments, word: &str, value: String) -> Outcome<()> {
    let number = |value: &str| {
        value
            .parse::<u64>()
            .map_err(|_| usage(&format!("{word} takes a number")))
    };
    let path = |value: String| CString::new(value).map_err(|_| usage(&format!("{word} takes a path")));
    match word {
        "--target" => arguments.target = Some(path(value)?),
        "--output" => arguments.output = Some(path(value)?),
        "--program" => arguments.program = value,
        "--from" => arguments.from = value,
        "--name" => arguments.name = value,
        "--id-base" => {
            let base = u32::try_from(number(&value)?).map_err(|_| usage("--id-base is too large"))?;
            if base == 0 {
                return Err(usage("--id-base must not be 0: the archive's root would be the host's"));
            }
            arguments.id_base = Some(base);
        }
        "--archive-bytes" => arguments.limits.archive_bytes = number(&value)?,
        "--content-bytes" => arguments.limits.content_bytes = number(&value)?,
        "--file-bytes" => arguments.limits.file_bytes = number(&value)?,
        "--entries" => arguments.limits.entries = number(&value)?,
        "--cpu-seconds" => arguments.limits.cpu_seconds = number(&value)?,
        _ => return Err(usage(&format!("{word} is not known"))),
    }
    Ok(())
}

fn usage(problem: &str) -> Failure {
    Failure {
        code: "invalid_request",
        message: format!(
            "atoll-unpack: {problem}; usage: atoll-unpack unpack|select|seal|pack --target DIR --id-base N [--layer|--plain] [--output DIR] [-- mkfs options]"
        ),
        entry: None,
    }
}

//! `atoll-launcher reap`: for a sandbox whose shim is lost, at whatever point.

use crate::end::exit::{self, Cause, Exit};
use crate::end::{self, Receipt};
use crate::fault::{Fault, Outcome};
use crate::record::Record;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Ends what the folder's record names, prints the receipt; the answer is the exit code.
pub fn reap(directory: &Path) -> i32 {
    match clean_and_tell(directory) {
        Ok(receipt) => {
            println!("{}", json!({ "receipt": receipt.json() }));
            0
        }
        Err(fault) => {
            eprintln!("{}", fault.line());
            1
        }
    }
}

fn clean_and_tell(directory: &Path) -> Outcome<Receipt> {
    if !directory.is_dir() {
        return Err(Fault::new(
            "not_found",
            "reap",
            format!("no directory {}", directory.display()),
        ));
    }
    let receipt = clean(directory)?;
    if !exit::path(directory).exists() {
        let message = "shim lost".to_owned();
        let lost = Exit {
            cause: Cause::Fault,
            end: None,
            oom_kills: 0,
            message,
        };
        exit::write(directory, &lost.json(Some(&receipt), None))?;
    }
    Ok(receipt)
}

/// Kills shims, spare and runtime by pid and start time, and all members of the cgroups; removes everything.
pub fn clean(directory: &Path) -> Outcome<Receipt> {
    let Some(record) = Record::read(directory) else {
        return Ok(remove_sockets(directory));
    };
    let mut shims = end::kill_shims(&[record.shim, record.spare]);
    // Either may have made a new other in the last moment, and written it down.
    if let Some(newer) = Record::read(directory) {
        shims += end::kill_shims(&[newer.shim, newer.spare]);
    }
    let mut receipt = end::everything(&record, &mut None)?;
    receipt.processes += shims;
    end::forget(&record);
    Ok(receipt)
}

fn remove_sockets(directory: &Path) -> Receipt {
    let removed = end::SOCKETS
        .iter()
        .filter(|name| fs::remove_file(directory.join(name)).is_ok())
        .count();
    Receipt {
        files: removed,
        ..Receipt::default()
    }
}

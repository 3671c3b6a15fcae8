//! What was done and what was left out, as one line of JSON.
use crate::failure::{Failure, printable};
use crate::limits::REPORTED_NAMES;
use serde_json::{Value, json};

#[derive(Default, Debug)]
pub struct Report {
    pub entries: u64,
    pub content_bytes: u64,
    pub archive_bytes: u64,
    /// Hash of the decompressed stream: an OCI layer's diff id.
    pub diff_id: String,
    pub whiteouts: u64,
    pub devices: Skipped,
    pub attributes: Skipped,
}

/// Things that were not taken over: how many, and the first few names.
#[derive(Default, Debug)]
pub struct Skipped {
    pub count: u64,
    pub names: Vec<String>,
}

impl Skipped {
    pub fn add(&mut self, name: &[u8]) {
        self.count += 1;
        if self.names.len() < REPORTED_NAMES {
            self.names.push(printable(name));
        }
    }

    fn to_json(&self) -> Value {
        json!({ "count": self.count, "names": self.names })
    }
}

impl Report {
    pub fn to_json(&self) -> Value {
        json!({
            "entries": self.entries,
            "contentBytes": self.content_bytes,
            "archiveBytes": self.archive_bytes,
            "diffId": format!("sha256:{}", self.diff_id),
            "whiteouts": self.whiteouts,
            "skippedDevices": self.devices.to_json(),
            "skippedAttributes": self.attributes.to_json(),
        })
    }
}

/// The error as it goes to standard output.
pub fn failure_json(failure: &Failure) -> Value {
    let mut error = json!({ "code": failure.code, "message": failure.message });
    if let Some(entry) = &failure.entry {
        error["entry"] = json!(entry);
    }
    json!({ "error": error })
}

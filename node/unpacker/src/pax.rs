//! Pax extended headers: `LENGTH KEY=VALUE\n` records.
use crate::failure::{Failure, Outcome};
use crate::limits::ATTRIBUTE_BYTES;

/// What an extended header says about the entry after it.
#[derive(Default, Debug)]
pub struct Extension {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

const ATTRIBUTE_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Parses one extended header into what has been gathered for the next entry.
pub fn parse(mut data: &[u8], into: &mut Extension) -> Outcome<()> {
    while !data.is_empty() {
        let (key, value, rest) = record(data)?;
        data = rest;
        match key {
            b"path" => into.path = Some(value.to_vec()),
            b"linkpath" => into.link = Some(value.to_vec()),
            b"size" => into.size = Some(number(value, "size")?),
            b"uid" => into.uid = Some(number(value, "uid")?),
            b"gid" => into.gid = Some(number(value, "gid")?),
            b"mtime" => into.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
            _ if key.starts_with(ATTRIBUTE_PREFIX) => {
                if value.len() > ATTRIBUTE_BYTES {
                    return Err(Failure::too_large(format!(
                        "an extended attribute has {} bytes; at most {ATTRIBUTE_BYTES} are taken",
                        value.len()
                    )));
                }
                into.attributes
                    .push((key[ATTRIBUTE_PREFIX.len()..].to_vec(), value.to_vec()));
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn sparse() -> Failure {
    Failure::invalid("the archive holds a sparse file, which is not read here; write it without --sparse")
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(data: &[u8]) -> Outcome<Record<'_>> {
    let broken = || Failure::invalid("a pax header is malformed; the archive is damaged");
    let space = data.iter().take(20).position(|&byte| byte == b' ').ok_or_else(broken)?;
    let length = usize::try_from(number(&data[..space], "record length")?).map_err(|_| broken())?;
    if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
        return Err(broken());
    }
    let body = &data[space + 1..length - 1];
    let equals = body.iter().position(|&byte| byte == b'=').ok_or_else(broken)?;
    Ok((&body[..equals], &body[equals + 1..], &data[length..]))
}

fn number(text: &[u8], what: &str) -> Outcome<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let parsed = if digits {
        std::str::from_utf8(text).ok().and_then(|t| t.parse().ok())
    } else {
        None
    };
    parsed.ok_or_else(|| Failure::invalid(format!("a pax header's {what} is no number; the archive is damaged")))
}

fn time(text: &[u8]) -> Outcome<(i64, u32)> {
    let broken = || Failure::invalid("a pax header's mtime is no time; the archive is damaged");
    let text = std::str::from_utf8(text).map_err(|_| broken())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| broken())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(broken());
    }
    let nanos: u32 = format!("{fraction:0<9}")[..9].parse().map_err(|_| broken())?;
    // Before 1970 a fraction counts backwards; whole seconds are near enough there.
    Ok((
        seconds,
        if seconds < 0 || whole.starts_with('-') {
            0
        } else {
            nanos
        },
    ))
}

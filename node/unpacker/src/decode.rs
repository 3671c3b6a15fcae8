//! Archive bytes: decompressed by what they begin with, counted, limited and hashed.
use crate::failure::{Failure, Outcome};
use crate::limits::ZSTD_WINDOW_LOG;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Read};

const READ_BUFFER_BYTES: usize = 256 * 1024;
const MAGIC_BYTES: usize = 6;

/// A plain tar stream from gzip, zstd or no compression at all.
pub fn decompress<'a>(input: impl Read + 'a) -> Outcome<Box<dyn Read + 'a>> {
    let mut magic = [0_u8; MAGIC_BYTES];
    let mut input = input;
    let mut have = 0;
    while have < MAGIC_BYTES {
        match input.read(&mut magic[have..]) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::from_io("read the archive", &error)),
        }
    }
    let head = io::Cursor::new(magic[..have].to_vec());
    let whole = BufReader::with_capacity(READ_BUFFER_BYTES, head.chain(input));
    match magic {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(zstd_reader(whole)?)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(unsupported("xz")),
        [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
        _ => Ok(Box::new(whole)),
    }
}

fn zstd_reader<'a>(input: impl BufRead + 'a) -> Outcome<impl Read + 'a> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(input)
        .map_err(|error| Failure::internal(format!("cannot start the zstd decoder: {error}")))?;
    reader
        .window_log_max(ZSTD_WINDOW_LOG)
        .map_err(|error| Failure::internal(format!("cannot limit the zstd window: {error}")))?;
    Ok(reader)
}

fn unsupported(name: &str) -> Failure {
    Failure::invalid(format!(
        "the archive is compressed with {name}, which is not read here; recompress it with gzip or zstd"
    ))
}

/// Counts and hashes what passes, and ends a bomb at the limit.
pub struct Metered<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
    limit_bytes: u64,
}

impl<R: Read> Metered<R> {
    pub fn new(inner: R, limit_bytes: u64) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
            limit_bytes,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the rest, so that the hash is that of the whole stream.
    pub fn finish(mut self) -> io::Result<(u64, String)> {
        io::copy(&mut self, &mut io::sink())?;
        let hex = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.bytes, hex))
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes > self.limit_bytes {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the unpacked archive is over {} bytes (archiveBytes)", self.limit_bytes),
            ));
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

//! Two sockets joined, untouched, until both ends are through.
use super::prefixed::Meter;
use super::splice::Pipe;
use crate::limits::{RELAY_BUFFER_BYTES, RELAY_IDLE, SPLICE_AFTER_BYTES};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Ends with both directions, at the first error, or after the idle time.
pub async fn relay(client: &mut TcpStream, upstream: &mut TcpStream, meter: &Meter) -> io::Result<()> {
    let (client, upstream) = (&*client, &*upstream);
    let both = async {
        tokio::try_join!(
            one_way(client, upstream, &meter.bytes_out),
            one_way(upstream, client, &meter.bytes_in)
        )
    };
    let idle = async {
        let mut last = meter.read();
        loop {
            sleep(RELAY_IDLE).await;
            let now = meter.read();
            if now == last {
                return;
            }
            last = now;
        }
    };
    tokio::select! {
        result = both => result.map(|_| ()),
        () = idle => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn one_way(from: &TcpStream, to: &TcpStream, counter: &AtomicU64) -> io::Result<()> {
    let ended = copy(from, to, counter).await?;
    if !ended {
        let pipe = Pipe::new()?;
        loop {
            let length = pipe.fill(from).await?;
            if length == 0 {
                break;
            }
            pipe.drain(to, length).await?;
            counter.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
    shut(to)
}

/// Through a buffer at first: most connections never need a pipe. False: not at its end, but worth one.
async fn copy(from: &TcpStream, to: &TcpStream, counter: &AtomicU64) -> io::Result<bool> {
    let mut buffer = vec![0; RELAY_BUFFER_BYTES];
    let mut total = 0;
    while total < SPLICE_AFTER_BYTES {
        from.readable().await?;
        let length = match from.try_read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        write_all(to, &buffer[..length]).await?;
        total += length as u64;
        counter.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(false)
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn shut(to: &TcpStream) -> io::Result<()> {
    match socket2::SockRef::from(to).shutdown(std::net::Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

/// What was read while looking, handed on.
pub async fn forward_prefix(upstream: &mut TcpStream, prefix: &[u8], meter: &Meter) -> io::Result<()> {
    upstream.write_all(prefix).await?;
    meter.bytes_out.fetch_add(prefix.len() as u64, Ordering::Relaxed);
    Ok(())
}

//! `POST /v1/ports/{port}`: a TCP connection inside, as one request.

use std::io;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::http::body::{ResponseBody, Sender};
use crate::http::error::{Answer, Code, Refusal};
use crate::http::request;

const READ_BYTES: usize = 65_536;

pub async fn connect(port: &str, body: Incoming) -> Answer<Response<ResponseBody>> {
    let number = port.parse::<u16>().ok().filter(|number| *number > 0);
    let Some(number) = number else {
        return Err(Refusal::invalid(format!("a port is 1 to 65535, not {port:?}")));
    };
    let stream = TcpStream::connect(("127.0.0.1", number)).await.map_err(|error| {
        let message = format!("cannot connect to port {number} inside: {error}; start a listener");
        Refusal::new(Code::ConnectionRefused, message)
    })?;
    let _ = stream.set_nodelay(true);
    let streamed = ResponseBody::streamed(None, |sender| carry(stream, body, sender));
    let mut response = Response::new(streamed);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

/// Both directions at once; each ends by itself, and the answer ends with the guest's side.
async fn carry(stream: TcpStream, body: Incoming, sender: Sender) -> io::Result<()> {
    let inward = async {
        write_body(&stream, body).await?;
        // The client has said everything; the listener may still answer.
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        result = read_all(&stream, &sender) => result,
        result = inward => result,
    }
}

async fn read_all(stream: &TcpStream, sender: &Sender) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => sender.send(buffer[..count].to_vec()).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write_body(stream: &TcpStream, mut body: Incoming) -> io::Result<()> {
    while let Some(bytes) =
        request::piece(&mut body).await.map_err(|refusal| io::Error::other(refusal.message))?
    {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            stream.writable().await?;
            match stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The listener reads no more; what it still says is carried to the end.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
    stream.ready(Interest::WRITABLE).await?;
    let socket = end_writing(stream);
    match socket {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

fn end_writing(stream: &TcpStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let fd = stream.as_raw_fd();
    crate::kernel::descriptor::retry(|| unsafe { libc::shutdown(fd, libc::SHUT_WR) as isize })
        .map(drop)
}

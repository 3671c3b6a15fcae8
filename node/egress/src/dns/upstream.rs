//! One question to the host's resolvers: a new socket, port and id each time.
use super::message::{Answer, question, read_answer};
use crate::limits::{DNS_ANSWER_BYTES, DNS_UPSTREAM_TRIES, DNS_UPSTREAM_WAIT};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

pub async fn ask(servers: &[SocketAddr], name: &str) -> Answer {
    for _ in 0..DNS_UPSTREAM_TRIES {
        for server in servers {
            let answer = match timeout(DNS_UPSTREAM_WAIT, by_datagram(*server, name)).await {
                Ok(Ok(Answer::Truncated)) => timeout(DNS_UPSTREAM_WAIT, by_stream(*server, name)).await,
                other => other,
            };
            if let Ok(Ok(answer @ (Answer::Addresses { .. } | Answer::NoName))) = answer {
                return answer;
            }
        }
    }
    Answer::Failed
}

async fn by_datagram(server: SocketAddr, name: &str) -> io::Result<Answer> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let id = random_id()?;
    socket.send(&question(id, name)).await?;
    let mut buffer = vec![0; DNS_ANSWER_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Somebody else's answer is waited out, not believed.
        if let Some(answer) = read_answer(&buffer[..length], id, name) {
            return Ok(answer);
        }
    }
}

async fn by_stream(server: SocketAddr, name: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let id = random_id()?;
    let packet = question(id, name);
    let mut framed = u16::try_from(packet.len()).unwrap_or(0).to_be_bytes().to_vec();
    framed.extend(packet);
    stream.write_all(&framed).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut buffer = vec![0; length.min(DNS_ANSWER_BYTES)];
    stream.read_exact(&mut buffer).await?;
    match read_answer(&buffer, id, name) {
        Some(Answer::Truncated) | None => Ok(Answer::Failed),
        Some(answer) => Ok(answer),
    }
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("cannot draw a query's id"))?;
    Ok(u16::from_be_bytes(bytes))
}

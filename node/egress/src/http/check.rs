//! For whom a request is: its one host, which must be the connection's.
use crate::name::{Host, authority};
use crate::policy::Reason;
use crate::policy::document::Protocol;
use http::header::HOST;
use http::request::Parts;
use http::{Method, Version};
use std::net::SocketAddrV4;

/// None: the Host is the address that the connection goes to.
pub fn host(parts: &Parts, scheme: Protocol, sni: Option<&str>, to: SocketAddrV4) -> Result<Option<String>, Reason> {
    if parts.method == Method::CONNECT {
        return Err(Reason::Unclear);
    }
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return Err(Reason::Unclear),
        (field, None) => field
            .map(|value| value.to_str().map_err(|_| Reason::Unclear))
            .transpose()?,
    };
    let text = if parts.version == Version::HTTP_2 {
        let text = parts.uri.authority().ok_or(Reason::Unclear)?.as_str();
        if field.is_some_and(|field| !field.eq_ignore_ascii_case(text)) {
            return Err(Reason::Mismatch);
        }
        text
    } else {
        if parts.uri.authority().is_some() {
            return Err(Reason::Unclear);
        }
        field.ok_or(Reason::Unclear)?
    };
    let (host, port) = authority(text).ok_or(Reason::Unclear)?;
    if port.is_some_and(|port| port != to.port()) {
        return Err(Reason::Mismatch);
    }
    match host {
        Host::Name(name) => match sni {
            Some(sni) if sni != name => Err(Reason::Mismatch),
            None if scheme == Protocol::Tls => Err(Reason::Mismatch),
            _ => Ok(Some(name)),
        },
        Host::Address(address) if sni.is_none() && address == *to.ip() => Ok(None),
        Host::Address(_) => Err(Reason::Mismatch),
    }
}

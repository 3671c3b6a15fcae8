//! Carries one client's bytes to the guest and back, with backpressure on both sides and bounded buffers.

use super::link::{Incoming, NONCE_BYTES, Outgoing, Piece};
use crate::kernel::poll::Interest;
use crate::kernel::{socket, timer};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How long the guest has to answer OPEN.
const OPEN_LIMIT_MS: u64 = 10_000;
/// Turns per wake-up, so that control requests are not starved by a stream.
const MOST_TURNS: usize = 16;

struct Client {
    socket: OwnedFd,
    opened: bool,
    since_ms: u64,
    /// The client did not take everything: nothing is read from the guest until it does.
    stalled: bool,
}

/// The link and, at most, one client.
pub struct Session {
    guest_in: OwnedFd,
    guest_out: OwnedFd,
    outgoing: Outgoing,
    incoming: Incoming,
    client: Option<Client>,
    /// The guest's end is gone: no further session.
    guest_gone: bool,
    pub generation: Option<u32>,
}

/// Places in the poll set.
pub struct Places {
    guest_in: usize,
    guest_out: usize,
    client: Option<usize>,
}

impl Session {
    pub const fn new(guest_in: OwnedFd, guest_out: OwnedFd) -> Self {
        Self {
            guest_in,
            guest_out,
            outgoing: Outgoing::new(),
            incoming: Incoming::new(),
            client: None,
            guest_gone: false,
            generation: None,
        }
    }

    pub fn descriptors(&self) -> [i32; 2] {
        [self.guest_in.as_raw_fd(), self.guest_out.as_raw_fd()]
    }

    /// Begins a session; an older client is replaced.
    pub fn open(&mut self, socket: OwnedFd) -> io::Result<()> {
        let nonce: [u8; NONCE_BYTES] = timer::random()?;
        self.incoming.idle();
        self.incoming.seek(nonce);
        self.outgoing.open(&nonce);
        self.client = Some(Client {
            socket,
            opened: false,
            since_ms: timer::monotonic_ms(),
            stalled: false,
        });
        Ok(())
    }

    /// Ends the session on this side; the guest hears of it.
    pub fn close(&mut self) {
        if self.client.take().is_some() {
            self.outgoing.close();
            self.incoming.idle();
        }
    }

    /// The sandbox has ended.
    pub fn abandon(&mut self) {
        self.client = None;
        self.guest_gone = true;
        self.incoming.idle();
        self.outgoing = Outgoing::new();
    }

    /// When to look again although nothing is ready.
    pub fn wake_in_ms(&self) -> Option<u64> {
        let client = self.client.as_ref().filter(|client| !client.opened)?;
        Some((client.since_ms + OPEN_LIMIT_MS).saturating_sub(timer::monotonic_ms()))
    }

    pub fn want(&self, interest: &mut Interest) -> Places {
        let (active, stalled, opened) = self
            .client
            .as_ref()
            .map_or((false, false, false), |client| {
                (true, client.stalled, client.opened)
            });
        let guest = |fd: &OwnedFd| if self.guest_gone { -1 } else { fd.as_raw_fd() };
        Places {
            guest_in: interest.add(guest(&self.guest_in), false, !self.outgoing.is_empty()),
            guest_out: interest.add(guest(&self.guest_out), active && !stalled, false),
            client: self.client.as_ref().map(|client| {
                interest.add(
                    client.socket.as_raw_fd(),
                    opened && self.outgoing.is_empty(),
                    stalled,
                )
            }),
        }
    }

    pub fn advance(&mut self, interest: &Interest, places: &Places) {
        if self.wake_in_ms() == Some(0) {
            self.close();
        }
        if interest.broken(places.guest_in) || interest.broken(places.guest_out) {
            // What the guest wrote before it went is still there to be read below.
            self.outgoing = Outgoing::new();
            if !interest.readable(places.guest_out) {
                self.abandon();
            }
        }
        self.write_guest();
        for _ in 0..MOST_TURNS {
            let client_ready = places.client.is_some_and(|place| interest.readable(place));
            if !client_ready || !self.read_client() {
                break;
            }
        }
        if let (Some(place), Some(client)) = (places.client, &mut self.client) {
            client.stalled &= !interest.writable(place);
        }
        for _ in 0..MOST_TURNS {
            if !self.read_guest() {
                break;
            }
        }
        if self.client.is_none() {
            self.outgoing.shrink();
        }
    }

    fn write_guest(&mut self) {
        while !self.outgoing.is_empty() && !self.guest_gone {
            match socket::write(self.guest_in.as_fd(), self.outgoing.rest()) {
                Ok(written) => self.outgoing.advance(written),
                Err(error) if socket::is_later(&error) => return,
                Err(_) => return self.abandon(),
            }
        }
    }

    /// True when there may be more at once.
    fn read_client(&mut self) -> bool {
        let Some(client) = self.client.as_ref().filter(|client| client.opened) else {
            // Not opened yet, and perhaps gone.
            self.drop_if_hung_up();
            return false;
        };
        if !self.outgoing.is_empty() {
            // The guest takes nothing: a client that left meanwhile must not wake us for ever.
            self.drop_if_hung_up();
            return false;
        }
        match self
            .outgoing
            .fill(|room| socket::read(client.socket.as_fd(), room))
        {
            Ok(1..) => {
                self.write_guest();
                true
            }
            Err(error) if socket::is_later(&error) => false,
            Ok(_) | Err(_) => {
                self.close();
                self.write_guest();
                false
            }
        }
    }

    fn drop_if_hung_up(&mut self) {
        let Some(client) = &self.client else { return };
        let mut one = Interest::new();
        let place = one.add(client.socket.as_raw_fd(), false, false);
        if one.wait(Some(0)).is_ok() && one.broken(place) {
            self.close();
        }
    }

    /// True when there may be more at once.
    fn read_guest(&mut self) -> bool {
        if self.client.is_none() || !self.deliver() {
            return false;
        }
        match self
            .incoming
            .fill(|room| socket::read(self.guest_out.as_fd(), room))
        {
            Ok(1..) => self.deliver(),
            Err(error) if socket::is_later(&error) => false,
            Ok(_) | Err(_) => {
                self.abandon();
                false
            }
        }
    }

    /// Hands over what is there. False when the client must be waited for, or is no more.
    fn deliver(&mut self) -> bool {
        loop {
            let Some(client) = &mut self.client else {
                return false;
            };
            match self.incoming.next() {
                Piece::More => return true,
                Piece::Opened(generation) => {
                    client.opened = true;
                    self.generation = Some(generation);
                }
                Piece::Payload(bytes) => match socket::write(client.socket.as_fd(), bytes) {
                    Ok(written) => self.incoming.consume(written),
                    Err(error) if socket::is_later(&error) => {
                        client.stalled = true;
                        return false;
                    }
                    Err(_) => {
                        self.close();
                        return false;
                    }
                },
                Piece::Closed => {
                    self.client = None;
                    self.incoming.idle();
                    return false;
                }
                Piece::Broken(_) => {
                    self.close();
                    return false;
                }
            }
        }
    }
}

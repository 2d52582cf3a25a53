//! Sends packets from one end of the demo's cable and counts those that come out of the other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use loader::{Error, ErrorKind, Result};

use super::topology::{Sockets, os};

/// How many packets a round sends.
pub(crate) const PACKETS: usize = 5;

/// How long a packet that should arrive is waited for. It takes microseconds; a busy machine may need more.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it must stay quiet before packets count as dropped. They cross the cable in the system call that sends
/// them, or soon after, and nothing tells when the last one was dropped.
const SILENCE: Duration = Duration::from_millis(400);
/// How long the first packet is waited for before another one is sent after it.
const RETRY: Duration = Duration::from_millis(50);

/// What should become of a round's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// All arrive.
    All,
    /// None arrives.
    None,
}

impl Expect {
    /// How many that is.
    pub(crate) fn packets(self) -> usize {
        match self {
            Self::All => PACKETS,
            Self::None => 0,
        }
    }

    fn patience(self) -> Duration {
        match self {
            Self::All => PATIENCE,
            Self::None => SILENCE,
        }
    }
}

/// The gateway, as a receiver of packets.
///
/// The payload of a packet is one byte, the number of its round, so that one that comes late is not counted in another.
#[derive(Debug)]
pub(crate) struct Receiver<'s> {
    socket: &'s UdpSocket,
    address: SocketAddr,
    round: u8,
}

impl<'s> Receiver<'s> {
    /// Waits until packets come through. The first ones may get lost: the kernel switches an interface on in its own
    /// time, and then the sender has to ask who has the gateway's address.
    pub(crate) fn open(sockets: &'s Sockets) -> Result<Self> {
        let socket = &sockets.gateway;
        let address = socket.local_addr().map_err(|error| os("getsockname(2)", "the gateway", &error))?;
        let receiver = Self { socket, address, round: 0 };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            receiver.send(&sockets.listed)?;
            if receiver.receive(Instant::now() + RETRY)?.is_some() {
                return Ok(receiver);
            }
        }
        Err(Error::new(
            ErrorKind::Os,
            format!("no packet came through the veth pair within {} s", PATIENCE.as_secs()),
        ))
    }

    /// Sends a round of packets from `source` and counts those that arrive.
    pub(crate) fn count(&mut self, source: &UdpSocket, expect: Expect) -> Result<usize> {
        self.round += 1;
        for _ in 0..PACKETS {
            self.send(source)?;
        }
        let deadline = Instant::now() + expect.patience();
        let mut arrived = 0;
        while arrived < PACKETS {
            match self.receive(deadline)? {
                Some(round) if round == self.round => arrived += 1,
                Some(_) => {}
                None => break,
            }
        }
        Ok(arrived)
    }

    fn send(&self, source: &UdpSocket) -> Result<()> {
        source
            .send_to(&[self.round], self.address)
            .map(drop)
            .map_err(|error| os("sendto(2)", "the gateway", &error))
    }

    /// The round of the next packet, or none if none has come until `deadline`. Looks at least once.
    fn receive(&self, deadline: Instant) -> Result<Option<u8>> {
        loop {
            // A timeout of 0 would mean to wait for ever.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket
                .set_read_timeout(Some(left))
                .map_err(|error| os("setsockopt(2)", "SO_RCVTIMEO", &error))?;
            let mut round = [0];
            match self.socket.recv(&mut round) {
                Ok(_) => return Ok(Some(round[0])),
                Err(error) if !is_timeout(&error) => return Err(os("recv(2)", "the gateway", &error)),
                Err(_) if Instant::now() >= deadline => return Ok(None),
                Err(_) => {}
            }
        }
    }
}

/// Linux answers EAGAIN, and EINTR when the process was stopped and continued.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

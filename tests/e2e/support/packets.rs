//! Packets sent from the far end of a veth pair and counted at the near one: UDP as a program would, and raw Ethernet.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc::PACKET_OUTGOING;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::veth::{FAR, Mac, NEAR, NEAR_V4, NEAR_V6, Veth};

/// How long to wait for a packet that must arrive. Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to look out for a packet that must not arrive. A veth pair delivers within microseconds.
const QUIET: Duration = Duration::from_millis(150);

/// Asserts that of five UDP packets from `source` to the near end `expected` arrive.
#[track_caller]
pub(crate) fn assert_udp(veth: &Veth, source: impl Into<IpAddr>, expected: usize) {
    let source = source.into();
    let arrived = udp_arrivals(veth, source, 5, expected);
    assert_eq!(arrived, expected, "UDP packets that arrived of 5 sent from {source}");
}

/// Sends `sent` UDP packets from `source` to the near end and returns how many arrived. Waits for `expected` of them
/// as long as it takes, and for any more only briefly.
fn udp_arrivals(veth: &Veth, source: IpAddr, sent: usize, expected: usize) -> usize {
    let destination: IpAddr = if source.is_ipv4() { NEAR_V4.into() } else { NEAR_V6.into() };
    arrivals(&bind(destination), &veth.far.run(|| bind(source)), sent, expected)
}

/// The same from the socket `far` to the socket `near`.
pub(crate) fn arrivals(near: &UdpSocket, far: &UdpSocket, sent: usize, expected: usize) -> usize {
    let to = near.local_addr().expect("the socket is bound");
    let from = far.local_addr().expect("the socket is bound");
    for number in 0..sent {
        far.send_to(&number.to_be_bytes(), to).expect("the far end is up");
    }
    let mut missing: Vec<_> = (0..sent).map(usize::to_be_bytes).collect();
    let patient = Instant::now() + PATIENCE;
    while missing.len() > sent - expected && take_one(near, from, patient, &mut missing) {}
    let quiet = Instant::now() + QUIET;
    while !missing.is_empty() && take_one(near, from, quiet, &mut missing) {}
    sent - missing.len()
}

fn bind(address: IpAddr) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(address, 0)).expect("the address is the interface's own")
}

/// Receives one packet, if one comes before `deadline`, and crosses it off `missing`. Returns whether to go on.
fn take_one(socket: &UdpSocket, from: SocketAddr, deadline: Instant, missing: &mut Vec<[u8; 8]>) -> bool {
    let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
        return false;
    };
    socket.set_read_timeout(Some(left)).expect("a socket takes a time limit");
    let mut payload = [0; 8];
    match socket.recv_from(&mut payload) {
        Ok((_, sender)) => {
            missing.retain(|number| sender != from || *number != payload);
            true
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        // With a time limit, even a signal without a handler can end the wait.
        Err(error) if error.kind() == ErrorKind::Interrupted => true,
        Err(error) => panic!("receiving UDP: {error}"),
    }
}

/// Values of the Ethernet type field.
pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    /// A VLAN tag (802.1Q).
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const IPV6: u16 = 0x86dd;
    /// An outer VLAN tag (802.1AD, "QinQ").
    pub(crate) const SERVICE_VLAN: u16 = 0x88a8;
}

/// An Ethernet frame. Its source address is its mark: no other frame has it, however little of the frame there is.
#[derive(Clone)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// A frame to the near end that carries `payload`, under `tags`, outermost first: each the Ethernet type of a tag
    /// and its VLAN number.
    pub(crate) fn new(veth: &Veth, tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Self {
        static MARK: AtomicU32 = AtomicU32::new(1);
        let mark = MARK.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        // Bit 1 of the first byte makes it a locally administered address, and bit 0 clear one of a single interface.
        let source = [2, 0, mark[0], mark[1], mark[2], mark[3]];
        let mut bytes = [veth.near_mac(), source].concat();
        for (tag, vlan) in tags {
            bytes.extend([tag.to_be_bytes(), vlan.to_be_bytes()].concat());
        }
        bytes.extend(kind.to_be_bytes());
        bytes.extend(payload);
        Self { bytes }
    }

    /// An IPv4 packet from `source`, under `tags`.
    pub(crate) fn ipv4(veth: &Veth, tags: &[(u16, u16)], source: std::net::Ipv4Addr) -> Self {
        // Version 4, 5 words; 20 bytes long; no fragment; TTL 64, protocol 253 (for experiments, RFC 3692).
        let mut header = [[0x45, 0, 0, 20], [0, 0, 0, 0], [64, 253, 0, 0], source.octets(), NEAR_V4.octets()];
        let sum: u32 =
            header.iter().map(|word| u32::from_be_bytes(*word)).map(|w| (w >> 16) + (w & 0xffff)).sum();
        let folded = (sum >> 16) + (sum & 0xffff);
        header[2][2..].copy_from_slice(&(!folded).to_be_bytes()[2..]);
        Self::new(veth, tags, ethertype::IPV4, header.as_flattened())
    }

    /// The first `len` bytes of the frame; at least the 14 of its Ethernet header.
    pub(crate) fn truncated(mut self, len: usize) -> Self {
        assert!((14..=self.bytes.len()).contains(&len), "no frame of {len} bytes comes from this one");
        self.bytes.truncate(len);
        self
    }

    /// Whether `bytes` are this frame as it arrives, its addresses perhaps swapped. The kernel takes an outer VLAN tag
    /// out of the bytes before it shows a frame.
    fn is(&self, bytes: &[u8]) -> bool {
        let mark: Mac = self.bytes[6..12].try_into().expect("a mark has six bytes");
        bytes.len() >= 12 && (bytes[..6] == mark || bytes[6..12] == mark)
    }
}

/// A raw socket on one end of the pair: sends frames as they are, and sees what comes in after XDP.
pub(crate) struct Wire {
    socket: OwnedFd,
    address: LinkAddr,
}

impl Wire {
    /// Taps `near0`.
    pub(crate) fn near() -> Self {
        Self::open(NEAR)
    }

    /// Taps `far0`.
    pub(crate) fn far(veth: &Veth) -> Self {
        veth.far.run(|| Self::open(FAR))
    }

    fn open(interface: &str) -> Self {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .expect("root may open a packet socket");
        let address = getifaddrs()
            .expect("the interfaces can be listed")
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address.as_ref()?.as_link_addr().copied())
            .unwrap_or_else(|| panic!("there is no interface {interface}"));
        Self { socket, address }
    }

    /// Sends `frame`.
    #[track_caller]
    pub(crate) fn send(&self, frame: &Frame) {
        let sent = sendto(self.socket.as_raw_fd(), &frame.bytes, &self.address, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.bytes.len()), "sending a frame");
    }

    /// Asserts that `frame` comes in here.
    #[track_caller]
    pub(crate) fn assert_sees(&self, frame: &Frame) {
        assert!(
            self.sees(frame, PATIENCE),
            "a frame did not arrive within {PATIENCE:?}: {:02x?}",
            frame.bytes
        );
    }

    /// Asserts that `frame` does not come in here.
    #[track_caller]
    pub(crate) fn assert_misses(&self, frame: &Frame) {
        assert!(!self.sees(frame, QUIET), "a frame arrived that should not have: {:02x?}", frame.bytes);
    }

    fn sees(&self, frame: &Frame, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if self.receive(left).is_some_and(|bytes| frame.is(&bytes)) {
                return true;
            }
        }
        false
    }

    /// The next frame that comes in, if one does within `patience`.
    fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        // A limit of zero would mean none.
        let limit = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX).max(1);
        let limit = TimeVal::new(limit / 1_000_000, limit % 1_000_000);
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &limit).expect("a socket takes a time limit");
        let mut bytes = vec![0; 65_536];
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
            Ok((len, from)) => {
                let comes_in_here = |from: LinkAddr| {
                    from.ifindex() == self.address.ifindex() && from.pkttype() != PACKET_OUTGOING
                };
                bytes.truncate(len);
                from.is_some_and(comes_in_here).then_some(bytes)
            }
            // With a time limit, even a signal without a handler can end the wait.
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            Err(errno) => panic!("receiving a frame: {errno}"),
        }
    }
}

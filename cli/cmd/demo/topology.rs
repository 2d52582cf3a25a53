//! The demo's world: two network namespaces, a veth pair between them, and a socket at each address.
//!
//! Nothing of it has a name outside this process. A network namespace lives as long as a thread or a socket is in it,
//! and the veth pair and what is attached to it go with the namespaces: whatever way the process ends, nothing stays.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::resume_unwind;
use std::{io, thread};

use loader::attach::Interface;
use loader::netlink::{Body, read_replies};
use loader::{Context as _, Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::unistd::{Pid, gettid};

use super::messages;

/// The name of both ends of the cable, each in its own namespace.
pub(crate) const INTERFACE: &str = "veth0";
/// The gateway's address. All three are of TEST-NET-1, which no real network uses (RFC 5737).
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The sender's address that will be blacklisted.
pub(crate) const LISTED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// The sender's other address.
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 78);
/// How many bits of the addresses are the network's.
const PREFIX: u8 = 24;

/// Room for an acknowledgement, which repeats the request when it is a refusal.
const ANSWER: usize = 4096;

/// The sockets at both ends. They may be used by any thread: a socket stays in the namespace in which it was made.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// At [`GATEWAY`].
    pub(crate) gateway: UdpSocket,
    /// At [`LISTED`].
    pub(crate) listed: UdpSocket,
    /// At [`OTHER`].
    pub(crate) other: UdpSocket,
}

/// Moves the calling thread into a new network namespace, the gateway, and lays a cable to another one, the sender.
///
/// Fails with kind [`PermissionDenied`](ErrorKind::PermissionDenied) without CAP_SYS_ADMIN, and with
/// [`Unsupported`](ErrorKind::Unsupported) on a kernel that lacks namespaces or veth.
pub(crate) fn build() -> Result<Sockets> {
    enter_new_namespace()?;
    let gateway = gettid();
    let sender = thread::Builder::new()
        .spawn(move || build_sender(gateway))
        .map_err(|error| os("clone(2)", "the sender's thread", &error))?;
    let [listed, other] = sender.join().unwrap_or_else(|panic| resume_unwind(panic))?;
    configure(&Netlink::open()?, &[GATEWAY])?;
    Ok(Sockets { gateway: bind(GATEWAY)?, listed, other })
}

/// The sender's side, made by a thread of its own that ends with it: the sockets keep the namespace.
fn build_sender(gateway: Pid) -> Result<[UdpSocket; 2]> {
    enter_new_namespace()?;
    let netlink = Netlink::open()?;
    let peer = gateway.as_raw().unsigned_abs();
    netlink.request("netlink(RTM_NEWLINK)", &messages::create_veth(INTERFACE, peer)).map_err(no_veth)?;
    configure(&netlink, &[LISTED, OTHER])?;
    Ok([bind(LISTED)?, bind(OTHER)?])
}

/// Gives this namespace's end of the cable its addresses and switches it on.
fn configure(netlink: &Netlink, addresses: &[Ipv4Addr]) -> Result<()> {
    let index = Interface::named(INTERFACE)?.index().get();
    for &address in addresses {
        netlink.request("netlink(RTM_NEWADDR)", &messages::add_address(index, address, PREFIX))?;
    }
    netlink.request("netlink(RTM_SETLINK)", &messages::set_up(index))
}

fn enter_new_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        Errno::EPERM => Error::new(
            ErrorKind::PermissionDenied,
            "the demo makes private network namespaces, which only root may do (CAP_SYS_ADMIN)",
        ),
        Errno::EINVAL => Error::new(
            ErrorKind::Unsupported,
            "the demo needs network namespaces, which this kernel was built without (CONFIG_NET_NS)",
        ),
        errno => Error::os("unshare(CLONE_NEWNET)", "a private network namespace", errno as i32),
    })
}

fn no_veth(error: Error) -> Error {
    if error.errno() != Some(Errno::EOPNOTSUPP as i32) {
        return error;
    }
    let message = "the demo needs a pair of veth interfaces, which this kernel does not know \
                   (CONFIG_VETH, or its module `veth` is not installed)";
    Error::new(ErrorKind::Unsupported, message)
}

/// A socket at `address`, at a port that the kernel chooses.
fn bind(address: Ipv4Addr) -> Result<UdpSocket> {
    UdpSocket::bind((address, 0)).map_err(|error| os("bind(2)", &address.to_string(), &error))
}

/// The error of a call that the standard library made.
pub(super) fn os(call: &str, object: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(errno) => Error::os(call, object, errno),
        None => Error::new(ErrorKind::Os, format!("{call} for {object} failed: {error}")),
    }
}

/// A socket to the kernel's routing family.
struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one in the namespace of the calling thread.
    fn open() -> Result<Self> {
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map(Self)
            .map_err(|errno| Error::os("socket(2)", "NETLINK_ROUTE", errno as i32))
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&self, call: &str, message: &[u8]) -> Result<()> {
        let refused = |errno| Error::os(call, format_args!("`{INTERFACE}`"), errno);
        let failed = |errno: Errno| refused(errno as i32);
        send(self.0.as_raw_fd(), message, MsgFlags::empty()).map_err(failed)?;
        let mut answer = [0; ANSWER];
        let len = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed)?;
        let reply = read_replies(&answer[..len]).context(|| call)?.pop();
        match reply.map(|reply| reply.body) {
            Some(Body::Ack { .. }) => Ok(()),
            Some(Body::Error { errno, .. }) => Err(refused(errno)),
            _ => Err(Error::new(ErrorKind::Malformed, format!("{call} was answered by something else"))),
        }
    }
}

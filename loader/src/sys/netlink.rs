//! Sockets to the kernel's routing family and to its generic families: open, send, receive.
//!
//! The socket is never bound and has no peer: the kernel gives it a port with the first message, and a message
//! without an address goes to the kernel itself (`netlink_sendmsg` in `net/netlink/af_netlink.c`).

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::Errno;

/// Opens a `NETLINK_ROUTE` socket in the network namespace of the calling thread, where it stays.
pub(crate) fn open_route() -> Result<OwnedFd, Errno> {
    let protocol = SockProtocol::NetlinkRoute;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?)
}

/// Opens a `NETLINK_GENERIC` socket in the network namespace of the calling thread, where it stays.
pub(crate) fn open_generic() -> Result<OwnedFd, Errno> {
    let protocol = SockProtocol::NetlinkGeneric;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?)
}

/// Has the kernel explain its refusals in a sentence. Kernels before 4.12 answer ENOPROTOOPT.
pub(crate) fn enable_extended_acks(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads as many bytes of `on` as the last argument says, which are all it has.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            (&raw const on).cast(),
            libc::c_int::BITS / 8,
        )
    };
    if result == -1 { Err(Errno::last()) } else { Ok(()) }
}

/// The cookie of the network namespace that the socket is in. Kernels before 5.14 answer ENOPROTOOPT.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut cookie = 0_u64;
    let mut len: libc::socklen_t = 8;
    // SAFETY: the kernel writes no more bytes to `cookie` than `len` says, which are all it has, and their number to
    // `len`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == -1 { Err(Errno::last()) } else { Ok(cookie) }
}

/// Sends one request to the kernel, which takes all of it or nothing.
pub(crate) fn send_request(socket: BorrowedFd<'_>, request: &[u8]) -> Result<(), Errno> {
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    Ok(())
}

/// Receives one datagram into `buffer` and gives its true length, which is larger than the buffer if the datagram
/// did not fit; the rest of it is then lost. Waits for one, also across signals.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC).map_err(Errno::from) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

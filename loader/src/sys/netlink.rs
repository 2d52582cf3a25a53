//! Sockets to the kernel's routing family and to its generic families: open, send, receive.
//!
//! A socket for requests is never bound and has no peer: the kernel gives it a port with the first message, and a
//! message without an address goes to the kernel itself (`netlink_sendmsg` in `net/netlink/af_netlink.c`).

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::Errno;
use crate::uapi::if_link::RTM_DELLINK;

/// Where a message of the routing family about a link has its type: `nlmsg_type` of `struct nlmsghdr`.
const NLMSG_TYPE: u32 = 4;
/// And the family: `ifi_family` of `struct ifinfomsg`.
const IFI_FAMILY: u32 = 16;
/// And the link's index: `ifi_index` there.
const IFI_INDEX: u32 = 20;
/// No address family in particular.
const AF_UNSPEC: u32 = 0;

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

/// Has the socket told when the interface `index` leaves its network namespace, and of nothing else: what nobody
/// receives yet stays in its buffer, which others would fill.
pub(crate) fn hear_of_departure(socket: BorrowedFd<'_>, index: u32) -> Result<(), Errno> {
    // The filter loads numbers in network byte order, and the message has the machine's.
    let load = |width, at| filter(libc::BPF_LD | libc::BPF_ABS | width, 0, at);
    let unless_equal = |skip, number| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skip, number);
    let give = |bytes| filter(libc::BPF_RET | libc::BPF_K, 0, bytes);
    let mut program = [
        load(libc::BPF_H, NLMSG_TYPE),
        unless_equal(5, RTM_DELLINK.to_be().into()),
        // A bridge has messages of a family of its own about the ports that leave it.
        load(libc::BPF_B, IFI_FAMILY),
        unless_equal(3, AF_UNSPEC),
        load(libc::BPF_W, IFI_INDEX),
        unless_equal(1, index.to_be()),
        give(u32::MAX),
        give(0),
    ];
    let program = libc::sock_fprog { len: 8, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of_val(&program)).expect("it is small");
    // SAFETY: the kernel reads `program`, and as many instructions as it says, which outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size,
        )
    };
    if result == -1 {
        return Err(Errno::last());
    }
    // A socket without a port hears nothing.
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let group = libc::RTNLGRP_LINK;
    // SAFETY: the kernel reads as many bytes of `group` as the last argument says, which are all it has.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            libc::c_uint::BITS / 8,
        )
    };
    if result == -1 { Err(Errno::last()) } else { Ok(()) }
}

/// An instruction of a socket filter, which skips `unless` of those that follow where it compares and finds another
/// number.
fn filter(code: u32, unless: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("codes are small"), jt: 0, jf: unless, k }
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

/// Receives one datagram that is there already; none if there is none.
pub(crate) fn receive_waiting(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT).map_err(Errno::from)
    {
        Err(Errno::EAGAIN) => Ok(None),
        result => result.map(Some),
    }
}

//! File descriptors handed to another process over a Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use super::Errno;

/// Descriptors that one message may carry.
pub(crate) const MAX_FDS: usize = 16;

/// Sends `data`, which is not empty, and with its first byte `fds`: one sendmsg(2). Gives how many bytes went.
pub(crate) fn send(socket: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let data = [IoSlice::new(data)];
    Ok(sendmsg(socket.as_raw_fd(), &data, control, MsgFlags::MSG_NOSIGNAL, None::<&UnixAddr>)?)
}

/// Receives what has come, and the descriptors that came with it: one recvmsg(2), again across signals. No bytes mean
/// that the other end is closed. EMFILE says that this process has no room for all descriptors.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    loop {
        let mut data = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut data, Some(&mut control), flags) {
            Err(nix::errno::Errno::EINTR) => continue,
            answer => answer?,
        };
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                // SAFETY: the kernel has just made these descriptors for this process, and told nobody else of them.
                fds.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(Errno(libc::EMFILE));
        }
        return Ok((message.bytes, fds));
    }
}

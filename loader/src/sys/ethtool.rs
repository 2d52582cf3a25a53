//! What a driver tells by ioctl(2), through any socket of the interface's network namespace.

use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::Errno;
use crate::uapi::ethtool::{
    ETHTOOL_DRIVER_LEN, ETHTOOL_GCHANNELS, ETHTOOL_GDRVINFO, ETHTOOL_GFLAGS, SIOCETHTOOL,
};
use crate::uapi::if_link::IFNAMSIZ;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; ETHTOOL_DRIVER_LEN],
    /// Versions, the bus, counts.
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_channels`: the largest numbers, then those in use.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Channels {
    cmd: u32,
    pub(crate) max_rx: u32,
    pub(crate) max_tx: u32,
    max_other: u32,
    pub(crate) max_combined: u32,
    pub(crate) rx: u32,
    pub(crate) tx: u32,
    other: u32,
    pub(crate) combined: u32,
}

const _: () = assert!(size_of::<DriverInfo>() == 196 && size_of::<Channels>() == 36);

/// The name of the driver of the interface `name`.
pub(crate) fn driver(socket: BorrowedFd<'_>, name: &str) -> Result<String, Errno> {
    let mut info = DriverInfo { cmd: ETHTOOL_GDRVINFO, driver: [0; ETHTOOL_DRIVER_LEN], rest: [0; 160] };
    // SAFETY: the kernel reads the command, and writes a `struct ethtool_drvinfo`, which is what `info` is.
    unsafe { ethtool(socket, name, (&raw mut info).cast())? };
    let end = info.driver.iter().position(|&byte| byte == 0).unwrap_or(ETHTOOL_DRIVER_LEN);
    Ok(String::from_utf8_lossy(&info.driver[..end]).into_owned())
}

/// What the interface `name` does with packets by itself: bits such as `ETH_FLAG_LRO`.
pub(crate) fn flags(socket: BorrowedFd<'_>, name: &str) -> Result<u32, Errno> {
    let mut value = Value { cmd: ETHTOOL_GFLAGS, data: 0 };
    // SAFETY: the kernel reads the command, and writes a `struct ethtool_value`, which is what `value` is.
    unsafe { ethtool(socket, name, (&raw mut value).cast())? };
    Ok(value.data)
}

/// The queues of the interface `name`.
pub(crate) fn channels(socket: BorrowedFd<'_>, name: &str) -> Result<Channels, Errno> {
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
    // SAFETY: the kernel reads the command, and writes a `struct ethtool_channels`, which is what `channels` is.
    unsafe { ethtool(socket, name, (&raw mut channels).cast())? };
    Ok(channels)
}

/// One ioctl(2).
///
/// # Safety
///
/// `data` points to the struct that belongs to the command in its first four bytes.
unsafe fn ethtool(socket: BorrowedFd<'_>, name: &str, data: *mut libc::c_void) -> Result<(), Errno> {
    /// `struct ifreq`: a name and a union of 24 bytes, here with a pointer.
    #[repr(C)]
    struct Request {
        name: [u8; IFNAMSIZ],
        data: *mut libc::c_void,
        rest: [u8; 16],
    }
    let mut request = Request { name: [0; IFNAMSIZ], data, rest: [0; 16] };
    let name = name.as_bytes();
    let room =
        request.name.get_mut(..name.len()).filter(|_| name.len() < IFNAMSIZ).ok_or(Errno(libc::ENODEV))?;
    room.copy_from_slice(name);
    // SAFETY: the kernel reads and writes the request, which is at least as long as a `struct ifreq`, and what `data`
    // points to, as the caller promises.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::Ioctl::from(SIOCETHTOOL), &raw mut request) };
    if answer == -1 { Err(Errno::last()) } else { Ok(()) }
}

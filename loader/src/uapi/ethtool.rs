//! `include/uapi/linux/ethtool.h`: what a driver tells of an interface to whoever asks.

/// The ioctl(2) that carries a command of ethtool (`include/uapi/linux/sockios.h`).
pub const SIOCETHTOOL: u16 = 0x8946;
/// Tell the driver's name: `struct ethtool_drvinfo`.
pub const ETHTOOL_GDRVINFO: u32 = 0x3;
/// Tell what the card does with packets by itself: `struct ethtool_value`.
pub const ETHTOOL_GFLAGS: u32 = 0x25;
/// Tell how many queues are in use, and how many there may be: `struct ethtool_channels` (3.0).
pub const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// In the answer to [`ETHTOOL_GFLAGS`]: large receive offload is on.
pub const ETH_FLAG_LRO: u32 = 1 << 15;
/// Bytes of a driver's name with its NUL.
pub const ETHTOOL_DRIVER_LEN: usize = 32;

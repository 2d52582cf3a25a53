//! What a guard has to tell, when nobody who asked is there any more: to syslog, or to the kernel's log.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process;

/// Where syslog listens.
const SYSLOG: &str = "/dev/log";
/// Where the kernel takes lines for its log.
const KERNEL_LOG: &str = "/dev/kmsg";

/// How much a line matters, as syslog(3) counts, with the facility `LOG_DAEMON`.
#[derive(Clone, Copy)]
pub(super) enum Level {
    Warning = 3 << 3 | 4,
    Notice = 3 << 3 | 5,
}

/// Writes one line. Where neither log takes it, it is lost.
pub(super) fn log(level: Level, text: impl Display) {
    let line = format!("<{}>xdpload[{}]: {text}", level as u8, process::id());
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(line.as_bytes(), SYSLOG));
    if sent.is_err() {
        let kernel = OpenOptions::new().append(true).open(KERNEL_LOG);
        let _ = kernel.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }
}

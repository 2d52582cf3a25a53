//! The buffer for the kernel's log of a program or of types, which grows until the log fits.

use crate::plan::FIRST_LOG_SIZE;

/// The kernel's log of one load, of a program or of types, and the buffer that it is written to.
///
/// There is no right size for the buffer: a log may take a few bytes or hundreds of megabytes, and the kernel
/// answers ENOSPC to a program that it would take when the log does not fit. So load without a log first, and on a
/// refusal with one, as long as [`VerifierLog::grow`] says that it is worth another try.
#[derive(Clone, Debug)]
pub struct VerifierLog {
    buffer: Vec<u8>,
    level: u32,
    /// Bytes that the last load's log takes as a whole, 0 where the kernel did not tell.
    size: usize,
}

/// Largest size in bytes that a kernel takes: `UINT_MAX >> 2`, since 5.2 (`kernel/bpf/log.c`).
const MAX: usize = (u32::MAX >> 2) as usize;

/// The same before; more is answered with EINVAL.
const OLD_MAX: usize = (u32::MAX >> 8) as usize;

impl VerifierLog {
    /// The verifier's way through the program, each instruction once for each path.
    pub const PATH: u32 = 1;
    /// As [`VerifierLog::PATH`], with the registers at every step.
    pub const STATES: u32 = 2;

    /// An empty log that asks the verifier for `level`, one of the constants above.
    pub fn new(level: u32) -> Self {
        Self { buffer: vec![0; FIRST_LOG_SIZE], level, size: 0 }
    }

    /// The level that was asked for.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// What the verifier wrote, up to the size of the buffer. If it did not fit, kernels since 6.4 keep the end of
    /// the log, and older ones its beginning.
    pub fn text(&self) -> String {
        let end = self.buffer.iter().position(|&byte| byte == 0).unwrap_or(self.buffer.len());
        String::from_utf8_lossy(&self.buffer[..end]).into_owned()
    }

    /// Makes the buffer larger: to what the last log takes, where the kernel told (6.4), else four times as large.
    /// False if it cannot help, since the buffer is as large as kernels allow.
    pub fn grow(&mut self) -> bool {
        let len = self.buffer.len();
        let wanted = match len.saturating_mul(4) {
            _ if self.size > len => self.size,
            // Not past what an older kernel takes without having tried that.
            more if len < OLD_MAX => more.min(OLD_MAX),
            more => more,
        };
        self.buffer = vec![0; wanted.min(MAX)];
        self.buffer.len() > len
    }

    /// Whether a kernel before 5.2 refuses the buffer for its size, and has written nothing.
    pub(crate) fn may_be_too_large(&self) -> bool {
        self.buffer.len() > OLD_MAX && self.buffer[0] == 0
    }

    /// The buffer, emptied for another load: the kernel leaves it alone if it refuses before it verifies.
    pub(crate) fn prepare(&mut self) -> &mut [u8] {
        self.buffer[0] = 0;
        &mut self.buffer
    }

    pub(crate) fn set_size(&mut self, size: u32) {
        self.size = size as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_grows_to_what_the_kernel_says_or_by_a_factor() {
        let mut log = VerifierLog::new(VerifierLog::PATH);
        assert!(log.grow());
        assert_eq!(log.buffer.len(), 4 * FIRST_LOG_SIZE);
        log.set_size(300_000);
        assert!(log.grow());
        assert_eq!(log.buffer.len(), 300_000);
        log.buffer = vec![0; OLD_MAX / 2];
        assert!(log.grow() && !log.may_be_too_large());
        assert_eq!(log.buffer.len(), OLD_MAX);
        assert!(log.grow() && log.may_be_too_large());
        log.buffer = vec![0; MAX];
        assert!(!log.grow());
    }

    #[test]
    fn the_text_ends_at_the_nul_byte() {
        let mut log = VerifierLog::new(VerifierLog::PATH);
        log.prepare()[..4].copy_from_slice(b"ab\0c");
        assert_eq!(log.text(), "ab");
        log.prepare();
        assert_eq!(log.text(), "");
    }
}

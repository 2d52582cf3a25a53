//! Running a program on a packet that no interface has seen.

use std::os::fd::AsFd as _;
use std::time::Duration;

use super::Program;
use crate::error::{Error, Result};
use crate::sys::{Errno, bpf};
use crate::uapi::bpf::{Cmd, XdpAction};

/// What came of a [test run](Program::test_run).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestRun {
    /// What the program returned; for XDP its verdict.
    pub verdict: XdpAction,
    /// How long one run took on average.
    pub duration: Duration,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

impl Program {
    /// Runs the program on the Ethernet frame `packet`, `repeat` times over, of which 0 means once: one
    /// `BPF_PROG_TEST_RUN` (4.12). To the program it has come in by the loopback interface.
    ///
    /// The kernel wants 14 bytes at least, and answers EINVAL to less. EINTR means that a signal came between two
    /// runs. What the program writes to maps stays there, and a redirect is not carried out.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> Result<TestRun> {
        match bpf::prog_test_run(self.as_fd(), packet, repeat) {
            Ok(run) => Ok(TestRun {
                verdict: XdpAction(run.retval),
                duration: Duration::from_nanos(run.duration.into()),
                packet: run.data,
            }),
            Err(errno) => Err(self.test_run_error(packet.len(), errno)),
        }
    }

    /// Sends `count` copies of the Ethernet frame `packet` where the program's verdicts say: one `BPF_PROG_TEST_RUN`
    /// with `BPF_F_TEST_XDP_LIVE_FRAMES` (5.18), a generator at the full rate of one CPU.
    ///
    /// To the program they come in by the interface `ifindex` of the calling thread's network namespace: `XDP_TX` sends
    /// them out there, `XDP_PASS` hands them to the network stack as received there. A frame that a driver has no room
    /// for is lost, and counts in the driver's statistics alone.
    pub fn send_live(&self, packet: &[u8], ifindex: u32, count: u32) -> Result<()> {
        bpf::prog_run_live(self.as_fd(), packet, ifindex, count)
            .map_err(|errno| self.test_run_error(packet.len(), errno))
    }

    fn test_run_error(&self, len: usize, errno: Errno) -> Error {
        let error = Error::os(&Cmd::PROG_TEST_RUN.call(), &self.label, errno.0);
        if errno == Errno::EINVAL && len < ETHERNET_HEADER {
            return error
                .context(format!("expected a frame of at least {ETHERNET_HEADER} bytes, found {len}"));
        }
        error
    }
}

/// Bytes of an Ethernet header: two addresses and a type.
const ETHERNET_HEADER: usize = 14;

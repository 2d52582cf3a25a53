//! Types that the kernel has taken: a handle that owns their fd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Privilege, VerifierLog, explain_refusal, verdict};
use crate::error::{Error, Result, escape};
use crate::sys::bpf;
use crate::uapi::bpf::Cmd;

/// BTF in the kernel, held by an fd. Maps and programs that were made with it keep it alive.
#[derive(Debug)]
pub struct LoadedBtf {
    fd: OwnedFd,
}

impl LoadedBtf {
    /// Hands over `data`, BTF in the machine's byte order: exactly one `BPF_BTF_LOAD` (4.18).
    ///
    /// With a `log` the error has the kernel's last words; ENOSPC then means that the log did not fit.
    pub fn load(data: &[u8], mut log: Option<&mut VerifierLog>) -> Result<Self> {
        let mut level = 0;
        let mut buffer: &mut [u8] = &mut [];
        if let Some(log) = log.as_deref_mut() {
            level = log.level();
            buffer = log.prepare();
        }
        let (answer, log_size) = bpf::btf_load(data, level, buffer);
        if let Some(log) = log.as_deref_mut() {
            log.set_size(log_size);
        }
        answer.map(|fd| Self { fd }).map_err(|errno| {
            let error = Error::os(&Cmd::BTF_LOAD.call(), "the object's types", errno.0);
            let text = log.as_deref().map(VerifierLog::text).unwrap_or_default();
            match verdict(&text) {
                Some(words) => error.with_kernel_message(escape(words)),
                None => explain_refusal(error, &[Privilege::Bpf]),
            }
        })
    }
}

impl AsFd for LoadedBtf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

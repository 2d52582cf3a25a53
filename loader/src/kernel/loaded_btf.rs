//! Types that the kernel has taken: a handle that owns their fd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::ids::btf_ids;
use super::{Privilege, VerifierLog, explain_refusal};
use crate::btf::Btf;
use crate::bytes::ByteOrder;
use crate::error::{Error, ErrorKind, Result, escape, quote};
use crate::sys::{Errno, bpf};
use crate::uapi::bpf::Cmd;
use crate::verifier::verdict;

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
            let error = Error::os(&Cmd::BTF_LOAD.call(), "the object's BTF", errno.0);
            let text = log.as_deref().map(VerifierLog::text).unwrap_or_default();
            match verdict(&text).filter(|words| !is_listed(words)) {
                Some(words) => error.with_kernel_message(escape(words)),
                None => explain_refusal(error, &[Privilege::Bpf]),
            }
        })
    }

    /// Opens the types with this id: one `BPF_BTF_GET_FD_BY_ID` (4.18). It needs CAP_SYS_ADMIN.
    pub fn from_id(id: u32) -> Result<Self> {
        bpf::btf_fd_by_id(id).map(|fd| Self { fd }).map_err(|errno| match errno {
            Errno::ENOENT => Error::new(ErrorKind::NotFound, format!("there are no types with id {id}")),
            errno => {
                let error = Error::os(&Cmd::BTF_GET_FD_BY_ID.call(), format_args!("types {id}"), errno.0);
                explain_refusal(error, &[Privilege::Admin])
            }
        })
    }

    /// Opens the types of the module `name`: for each of the kernel's types one `BPF_BTF_GET_NEXT_ID`,
    /// `BPF_BTF_GET_FD_BY_ID` and `BPF_OBJ_GET_INFO_BY_FD`, up to the module's (5.11).
    ///
    /// It needs CAP_SYS_ADMIN.
    pub fn of_module(name: &str) -> Result<Self> {
        for id in btf_ids() {
            let id = id?;
            let refused = |cmd: Cmd, errno: Errno| {
                let error = Error::os(&cmd.call(), format_args!("types {id}"), errno.0);
                explain_refusal(error, &[Privilege::Admin])
            };
            let fd = match bpf::btf_fd_by_id(id) {
                Ok(fd) => fd,
                // Gone since we were told of it.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(refused(Cmd::BTF_GET_FD_BY_ID, errno)),
            };
            match bpf::kernel_btf_name(fd.as_fd()) {
                Ok(Some(found)) if found == name.as_bytes() => return Ok(Self { fd }),
                Ok(_) | Err(Errno::ENOSPC) => {}
                Err(errno) => return Err(refused(Cmd::OBJ_GET_INFO_BY_FD, errno)),
            }
        }
        let message = format!("the kernel does not hold the types of module {} any more", quote(name));
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// The types themselves: one `BPF_OBJ_GET_INFO_BY_FD` for their size, and one for their bytes.
    pub fn read(&self) -> Result<Btf> {
        let ask = |data: &mut [u8]| {
            bpf::btf_data(self.fd.as_fd(), data)
                .map_err(|errno| Error::os(&Cmd::OBJ_GET_INFO_BY_FD.call(), "types", errno.0))
        };
        let mut data = vec![0; ask(&mut [])? as usize];
        // Types in the kernel never change.
        ask(&mut data)?;
        Btf::parse(&data, ByteOrder::NATIVE, "the kernel's BTF")
    }
}

/// Whether the last line of a log is of its listing of types: then it has no complaint. It has `name=number` last, the
/// parameters of a function, or what is declared and nowhere defined.
fn is_listed(line: &str) -> bool {
    let is_declared = line.contains("] FWD ") && [" struct", " union"].iter().any(|end| line.ends_with(end));
    is_declared || line.contains(" args=(") || line.rsplit(' ').next().is_some_and(|word| word.contains('='))
}

impl AsFd for LoadedBtf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_types_are_found_by_name_and_those_of_no_module_are_not() {
        assert!(LoadedBtf::of_module("vmlinux").is_ok());
        assert_eq!(
            LoadedBtf::of_module("no_such_module").unwrap_err().to_string(),
            "the kernel does not hold the types of module `no_such_module` any more"
        );
    }

    #[test]
    fn a_type_that_is_listed_is_no_complaint() {
        for line in [
            "type_id=117 offset=0 size=4",
            "[8] FUNC_PROTO (anon) return=6 args=(7 ctx)",
            "XDP_DROP val=1",
            "[9] FWD flow struct",
        ] {
            assert!(is_listed(line), "{line}");
        }
        for line in [
            "[3] STRUCT a size=4 vlen=1 Invalid name",
            "[9] FWD flow struct vlen != 0",
            "Unsupported section found",
        ] {
            assert!(!is_listed(line), "{line}");
        }
    }
}

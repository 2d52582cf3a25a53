//! The types of a kernel module as an fd, which a program hands over that calls the module's functions.

use std::os::fd::{AsFd as _, OwnedFd};

use super::ids::btf_ids;
use super::{Privilege, explain_refusal};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::sys::{Errno, bpf};
use crate::uapi::bpf::Cmd;

/// Opens the types of the module `name`: for each of the kernel's types one `BPF_BTF_GET_NEXT_ID`,
/// `BPF_BTF_GET_FD_BY_ID` and `BPF_OBJ_GET_INFO_BY_FD`, up to the module's (5.11).
///
/// It needs CAP_SYS_ADMIN.
pub fn module_btf_fd(name: &str) -> Result<OwnedFd> {
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
            Ok(Some(found)) if found == name.as_bytes() => return Ok(fd),
            Ok(_) | Err(Errno::ENOSPC) => {}
            Err(errno) => return Err(refused(Cmd::OBJ_GET_INFO_BY_FD, errno)),
        }
    }
    let message = format!("the kernel does not hold the types of module {} any more", quote(name));
    Err(Error::new(ErrorKind::NotFound, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_types_are_found_by_name_and_those_of_no_module_are_not() {
        assert!(module_btf_fd("vmlinux").is_ok());
        assert_eq!(
            module_btf_fd("no_such_module").unwrap_err().to_string(),
            "the kernel does not hold the types of module `no_such_module` any more"
        );
    }
}

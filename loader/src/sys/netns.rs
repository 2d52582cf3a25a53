//! A call made in another network namespace.

use std::io;
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::Errno;

/// Runs `call` on a thread of its own that has entered `namespace`, so that no other thread changes its namespace.
///
/// Fails as setns(2) does: EINVAL if the fd is not that of a network namespace, EPERM without CAP_SYS_ADMIN. What
/// `call` opens, such as a socket, stays in that namespace and may be used by any thread.
pub(crate) fn in_namespace<T: Send>(
    namespace: BorrowedFd<'_>,
    call: impl FnOnce() -> T + Send,
) -> Result<T, Errno> {
    let (mut call, mut answer) = (Some(call), None);
    run(namespace, &mut || answer = call.take().map(|call| call()))?;
    Ok(answer.expect("the call was made"))
}

/// Only this is compiled once for all calls: to make a thread takes two kilobytes of machine code.
fn run(namespace: BorrowedFd<'_>, call: &mut (dyn FnMut() + Send)) -> Result<(), Errno> {
    thread::scope(|scope| {
        let entered = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            call();
            Ok(())
        };
        let thread = thread::Builder::new().spawn_scoped(scope, entered).map_err(|error| errno_of(&error))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Why no thread could be made; EAGAIN is what clone(2) says at the limit.
fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EAGAIN, Errno)
}

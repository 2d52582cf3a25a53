//! The start of the program, in place of the one in Rust's runtime: that makes a dozen system calls more, half of all
//! that loading a small object takes, for a message when the stack overflows, which here stays a plain SIGSEGV.
//!
//! What of it matters is done: no file that is opened becomes standard output by accident, and a reader that goes away
//! is an error to handle (EPIPE), not a signal that ends a load half-way. So is a file that may not grow (EFBIG).

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::fs::OpenOptions;
use std::os::fd::{AsFd as _, IntoRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::{io, process};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

/// What the C library calls.
// SAFETY: no other function is called `main`, and the C library calls this one as the C standard says.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    open_standard_streams();
    let errors: SigSet = [Signal::SIGPIPE, Signal::SIGXFSZ].into_iter().collect();
    let _ = errors.thread_block();
    let count = usize::try_from(count).unwrap_or_default();
    // SAFETY: the kernel has put `count` strings there, each with a NUL byte at its end, and nobody changes them.
    let words = (0..count).map(|index| unsafe { CStr::from_ptr(*words.add(index)) });
    let words: Vec<OsString> = words.map(|word| OsStr::from_bytes(word.to_bytes()).to_owned()).collect();
    // It also writes out what standard output still holds back.
    process::exit(crate::main(&words).code().into())
}

/// Opens /dev/null for each of standard input, output and error that is closed. Otherwise the next file to be opened
/// would get its number, and the answer would be written there.
fn open_standard_streams() {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut streams =
        [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].map(|stream| PollFd::new(stream, PollFlags::empty()));
    if poll(&mut streams, PollTimeout::ZERO).is_err() {
        return;
    }
    let is_closed =
        |stream: &PollFd| stream.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL));
    for _ in streams.iter().filter(|stream| is_closed(stream)) {
        // Of the numbers that are free, the kernel gives the lowest. It stays open.
        let _ = OpenOptions::new().read(true).write(true).open("/dev/null").map(IntoRawFd::into_raw_fd);
    }
}

/// The C library's own asks the kernel for memory a dozen times before a small object is loaded, and is slow.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Where a panic ends the program, nobody walks up the stack: the message says where it happened, and that is all. They
/// stand in for libunwind, and with it go the readers of debug information, which the static program does not have.
/// That is a sixth of it.
#[cfg(all(panic = "abort", target_env = "musl"))]
mod unwinding {
    use std::ffi::{c_int, c_void};
    use std::process;

    /// `_URC_END_OF_STACK`
    const END_OF_STACK: c_int = 5;

    // SAFETY: this is the function of the Itanium C++ ABI, for a stack that ends at once.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_: *const c_void, _: *const c_void) -> c_int {
        END_OF_STACK
    }

    /// What only an unwinder leads to.
    macro_rules! never_called {
        ($($name:ident)*) => {$(
            // SAFETY: nothing unwinds, and so nothing calls this.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> usize {
                process::abort()
            }
        )*};
    }

    never_called! {
        _Unwind_GetDataRelBase _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart
        _Unwind_GetTextRelBase _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
    }
}

//! Which missing privilege explains a refusal: looked at only after the kernel has said no, never before.

use std::path::Path;

use nix::libc::{EACCES, ENOSYS, EPERM, EROFS};

use super::memcg_accounting;
use super::permissions::{Access, permissions, user_and_groups, way_to};
use super::{Capabilities, Privilege};
use crate::diagnosis::{
    Verdict, who_bars, why_no_bpffs, why_no_perf_event, why_no_perf_memory, why_no_socket, why_not_permitted,
    why_rejected,
};
use crate::error::Error;
use crate::features::Answer;
use crate::sys::bpf;
use crate::uapi::bpf::Cmd;

/// Says of a refusal that is a matter of privileges which of those `needed` this process lacks, or who else refuses.
///
/// If it lacks none and nobody is seen, the error stays as it is: nothing is guessed.
pub(crate) fn explain_refusal(error: Error, needed: &[Privilege]) -> Error {
    let Some(errno) = error.errno().filter(|errno| [EPERM, EACCES, ENOSYS].contains(errno)) else {
        return error;
    };
    let mut facts = permissions();
    if facts.has_all(needed) {
        facts.blank = error.call().and_then(command).and_then(bpf::refusal_of_blank);
    }
    told(error, why_not_permitted(errno, needed, &facts))
}

/// Says that the memory of a map or program was refused for RLIMIT_MEMLOCK (before 5.11). What memory is charged to has
/// been probed: where that could not tell, because the limit refuses that as well, another look is taken.
pub(crate) fn explain_memlock(error: Error, accounting: Answer) -> Error {
    let needed = &[Privilege::Bpf];
    let mut facts = permissions();
    let is_open = error.errno() == Some(EPERM) && error.rule().is_none();
    if !is_open || accounting == Answer::Yes || !facts.may_meet_memlock() || !facts.has_all(needed) {
        return error;
    }
    facts.learn_accounting(match accounting {
        Answer::Unknown => memcg_accounting(),
        known => known,
    });
    told(error, why_not_permitted(EPERM, needed, &facts))
}

/// The same for mount(2) of a bpffs on `path`.
pub(crate) fn explain_mount(error: Error, path: &Path) -> Error {
    let errno = error.errno().unwrap_or_default();
    told(error, why_no_bpffs(&path.to_string_lossy(), errno, &permissions()))
}

/// The same for socket(2).
pub(crate) fn explain_socket(error: Error) -> Error {
    let errno = error.errno().unwrap_or_default();
    told(error, why_no_socket(errno, &permissions()))
}

/// The same for perf_event_open(2).
pub(crate) fn explain_perf_event(error: Error) -> Error {
    let errno = error.errno().unwrap_or_default();
    told(error, why_no_perf_event(errno, &permissions()))
}

/// The same for mmap(2) of what that call has opened.
pub(crate) fn explain_perf_memory(error: Error) -> Error {
    let errno = error.errno().unwrap_or_default();
    told(error, why_no_perf_memory(errno, &permissions()))
}

/// Says whose directory or file bars the way to `path`, if one does.
pub(crate) fn explain_path(error: Error, path: &Path, access: Access) -> Error {
    let (uid, groups) = user_and_groups();
    let way = way_to(path, access, error.errno() == Some(EROFS));
    let verdict = who_bars(&way, uid, &groups);
    told(error, verdict)
}

/// Says that the verifier's words, with which it refused a program, are for those without CAP_PERFMON.
pub(crate) fn explain_rejection(error: Error) -> Error {
    let words = error.verifier_log().unwrap_or_default();
    let verdict = Capabilities::current().ok().and_then(|held| why_rejected(words, held));
    told(error, verdict)
}

fn told(error: Error, verdict: Option<Verdict>) -> Error {
    match verdict {
        Some(verdict) => error.with_verdict(verdict),
        None => error,
    }
}

/// The command of bpf(2) in the name of a call such as `bpf(BPF_MAP_CREATE)`.
fn command(call: &str) -> Option<Cmd> {
    Cmd::from_name(call.strip_prefix("bpf(")?.strip_suffix(')')?)
}

#[cfg(test)]
mod tests {
    use nix::libc::EBUSY;

    use super::*;

    #[test]
    fn other_refusals_are_left_alone() {
        let busy = explain_refusal(Error::os("bpf(BPF_MAP_CREATE)", "a map", EBUSY), &[Privilege::Bpf]);
        assert_eq!((busy.rule(), busy.help()), (None, None));
        assert_eq!(command("bpf(BPF_MAP_CREATE)"), Some(Cmd::MAP_CREATE));
        assert_eq!(command("mount(2)"), None);
    }
}

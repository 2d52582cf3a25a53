//! Why an attach was refused, and what this process may do: looks at the interface and the process, and the verdict.
//!
//! A [`Plan`] lists every call that carrying it out makes; the looks here come after it, and change nothing. The
//! verdicts themselves are made in [`diagnosis`](crate::diagnosis), from facts alone.

use std::path::Path;

use nix::libc::{EACCES, EBUSY, EEXIST, ENOSYS, EPERM};

use crate::attach::{Interface, NetNs, RouteSocket, SETLINK};
use crate::diagnosis::{
    AttachWish, DISPATCHER, Holder, InterfaceFacts, Permissions, Privilege, Verdict, forecast,
    held_otherwise, why_not_permitted, why_refused,
};
use crate::error::{Cause, Error, Result};
use crate::kernel::{memcg_accounting, permissions};
use crate::netlink::Mode;
use crate::plan::{AttachBy, Call, Plan, Target};
use crate::sys::bpf;
use crate::uapi::bpf::{BPF_F_XDP_HAS_FRAGS, Cmd};

/// Adds to the error with which `plan` has failed the rule that it broke on its interface, and the command that would
/// work, or all capabilities that it takes and this process lacks; pins of `bpf_link`s are looked for below `bpffs`. An
/// error of another kind stays as it is, and so does one whose cause is not certain.
pub fn explain(error: Error, plan: &Plan, bpffs: impl AsRef<Path>) -> Error {
    let bpffs = bpffs.as_ref();
    let error = explain_lack(error, &privileges_for(plan));
    match attach_of(&error, plan) {
        Some(attach) => {
            explain_in(error, plan, attach, attach.mode.fallback().unwrap_or(attach.mode.first()), bpffs)
        }
        None => error,
    }
}

/// The same for the refusal of native mode, after which `plan` went on in generic mode.
pub fn explain_native(error: Error, plan: &Plan, bpffs: impl AsRef<Path>) -> Error {
    let bpffs = bpffs.as_ref();
    match attach_of(&error, plan) {
        Some(attach) => explain_in(error, plan, attach, Mode::Native, bpffs),
        None => error,
    }
}

/// The attach that has failed: the only one, or of several the one at which the plan did.
fn attach_of<'p>(error: &Error, plan: &'p Plan) -> Option<&'p Target> {
    match &plan.attach[..] {
        [attach] => Some(attach),
        several => several.get(error.target()?),
    }
}

/// Adds to the error of a call that was refused for the lack of a capability those that this process lacks for what
/// would come `later`, so that all can be granted at once.
pub fn explain_lack(error: Error, later: &[Privilege]) -> Error {
    let own = privileges_of(error.call().unwrap_or_default());
    let facts = permissions();
    if error.errno() != Some(EPERM) || !facts.lacks_any(own) {
        return error;
    }
    match why_not_permitted(EPERM, &[own, later].concat(), &facts) {
        Some(verdict) => error.with_verdict(verdict),
        None => error,
    }
}

/// What a call takes, by the name that errors give it.
fn privileges_of(call: &str) -> &'static [Privilege] {
    match call {
        SETLINK => &[Privilege::Interface],
        "bpf(BPF_MAP_CREATE)" | "bpf(BPF_BTF_LOAD)" => &[Privilege::Bpf],
        "bpf(BPF_PROG_LOAD)" => &[Privilege::Bpf, Privilege::BpfNetwork],
        _ if call.ends_with("_BY_ID)") || call.ends_with("_NEXT_ID)") => &[Privilege::Admin],
        _ => &[],
    }
}

/// What carrying out `plan` takes for certain.
fn privileges_for(plan: &Plan) -> Vec<Privilege> {
    let mut privileges = Vec::new();
    for call in plan.calls() {
        match call {
            Call::MapCreate(_) | Call::BtfLoad(_) => privileges.push(Privilege::Bpf),
            Call::ProgLoad(_) => privileges.extend([Privilege::Bpf, Privilege::BpfNetwork]),
            Call::SetXdp(_) => privileges.push(Privilege::Interface),
            _ => {}
        }
    }
    privileges
}

fn explain_in(error: Error, plan: &Plan, attach: &Target, mode: Mode, bpffs: &Path) -> Error {
    let wish = AttachWish {
        mode,
        frags: takes_fragments(plan),
        by_link: matches!(attach.by, AttachBy::Link { .. }),
        replace: attach.replace,
    };
    let facts = || look(attach, bpffs).ok();
    // A program for the card is refused when it is loaded.
    let is_attach = error.call().is_some_and(|call| {
        call == SETLINK
            || call == Cmd::LINK_CREATE.call()
            || mode == Mode::Offload && call == Cmd::PROG_LOAD.call()
    });
    let verdict = match error.errno() {
        Some(errno) if is_attach && errno != EPERM => {
            facts().and_then(|facts| why_refused(wish, errno, error.kernel_message(), &facts))
        }
        // The program that is there was seen before the kernel was asked: worth a word if it is more than a program.
        None if error.cause() == Some(Cause::Occupied) => {
            let special =
                |holder: &Holder| holder.link.is_some() || holder.name.as_deref() == Some(DISPATCHER);
            facts().filter(|facts| facts.holders.iter().any(special)).and_then(|facts| {
                let mode = facts.link.xdp.programs().first()?.mode;
                forecast(AttachWish { mode, ..wish }, &facts)
            })
        }
        // The link through which the program was to be replaced is not where it was looked for.
        None if error.cause() == Some(Cause::Missing) && wish.by_link && wish.replace => {
            facts().and_then(|facts| held_otherwise(wish, &facts))
        }
        _ => None,
    };
    match verdict {
        Some(verdict) => error.with_verdict(verdict),
        None => error,
    }
}

fn look(target: &Target, bpffs: &Path) -> Result<InterfaceFacts> {
    let netns = target.netns.as_deref().map(NetNs::at).transpose()?;
    RouteSocket::open(netns.as_ref())?.facts(&target.interface, bpffs)
}

/// Adds to the error for a program that is on `interface` already how it is held there.
pub fn explain_occupied(error: Error, interface: &Interface, bpffs: impl AsRef<Path>) -> Error {
    let bpffs = bpffs.as_ref();
    let Ok(facts) = interface.facts(bpffs) else { return error };
    let mode = facts.link.xdp.programs().first().map_or(Mode::Native, |program| program.mode);
    match forecast(AttachWish { mode, frags: None, by_link: false, replace: false }, &facts) {
        Some(verdict) => error.with_verdict(verdict),
        None => error,
    }
}

/// Adds to the error with which detaching what runs on `interface` has failed who holds it by a `bpf_link`, or which
/// interface above it has a program.
pub fn explain_detach(error: Error, interface: &Interface, bpffs: impl AsRef<Path>) -> Error {
    let bpffs = bpffs.as_ref();
    let Some(errno @ (EBUSY | EEXIST)) = error.errno() else { return error };
    let Ok(facts) = interface.facts(bpffs) else { return error };
    let held = |holder: &Holder| {
        let wish = AttachWish { mode: holder.program.mode, frags: None, by_link: false, replace: true };
        why_refused(wish, errno, error.kernel_message(), &facts)
    };
    match facts.holders.iter().find_map(held) {
        Some(verdict) => error.with_verdict(verdict),
        None => error,
    }
}

/// Whether the program that the plan loads takes multi-buffer packets; none if it loads none.
fn takes_fragments(plan: &Plan) -> Option<bool> {
    plan.calls().find_map(|call| match call {
        Call::ProgLoad(load) => Some(load.flags & BPF_F_XDP_HAS_FRAGS != 0),
        _ => None,
    })
}

/// What this process may do, with bpf(2) tried: one command without content, and a look at what memory is charged to.
pub fn examine_process() -> Permissions {
    let mut facts = permissions();
    if facts.has_all(&[Privilege::Bpf, Privilege::BpfNetwork]) {
        facts.blank = bpf::refusal_of_blank(Cmd::PROG_LOAD);
        facts.learn_accounting(memcg_accounting());
    }
    facts
}

/// Why a call that takes the privileges `needed` would be refused; none if it would not, as far as `facts` tell.
pub fn would_be_refused(needed: &[Privilege], facts: &Permissions) -> Option<Verdict> {
    let answered = facts.blank.filter(|errno| [EACCES, ENOSYS].contains(errno));
    let in_its_namespace = facts.in_user_namespace == Some(true) && facts.has_all(needed);
    // What counts in the process's own user namespace is enough for what belongs to it.
    if in_its_namespace { None } else { why_not_permitted(answered.unwrap_or(EPERM), needed, facts) }
}

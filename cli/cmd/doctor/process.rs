//! What this process may do.

use std::fmt;

use loader::diagnosis::{Privilege, Verdict};
use loader::doctor::{examine_process, would_be_refused};
use loader::features::Answer;
use loader::uapi::capability::Capability;
use loader::{Error, escape};
use serde::Serialize;

use super::Outlook;
use crate::{guard, remedy};

/// The call without which nothing can be asked about interfaces, as errors name it.
const SOCKET: &str = "socket(2)";

/// What bears on the work of this tool, of all that a process may have.
const CAPABILITIES: [Capability; 5] = [
    Capability::BPF,
    Capability::NET_ADMIN,
    Capability::PERFMON,
    Capability::SYS_ADMIN,
    Capability::SYS_RESOURCE,
];

#[derive(Serialize)]
pub(super) struct Process {
    uid: u32,
    capabilities: Vec<String>,
    in_user_namespace: Option<bool>,
    seccomp_filters: Option<u32>,
    lockdown: Option<String>,
    unprivileged_bpf_disabled: Option<u32>,
    /// In bytes; none where the kernel does not charge anything to it that is loaded.
    pub(super) memlock: Option<u64>,
    /// To create maps and load programs.
    load: Outlook,
    /// To load those that compare pointers, or subtract them, as the blocklist's does.
    load_with_pointers: Outlook,
    /// To attach them.
    attach: Outlook,
    /// To open what others have loaded by its id, as replacing and detaching take.
    open_by_id: Outlook,
    /// To mount a bpffs.
    mount: Outlook,
    /// To start the guard of a change on trial.
    trial: Outlook,
}

impl Process {
    /// What it may do, where looking at the interfaces has met this `refusal`.
    pub(super) fn new(compares: Answer, refusal: Option<&Error>) -> Self {
        let facts = examine_process();
        let outlook = |needed: &[Privilege]| match would_be_refused(needed, &facts) {
            // The interfaces and mounts may be those of another one.
            None if facts.in_user_namespace == Some(true) => Outlook::new(Answer::Unknown),
            verdict => Outlook::unless(verdict),
        };
        let without_proc = || Verdict {
            rule: "/proc is not mounted, and the guard of a trial is started from /proc/self/exe".to_owned(),
            help: Some(guard::WITHOUT_PROC.into()),
        };
        let trial = match compares {
            Answer::No => Some(Verdict::without_help(
                "this kernel cannot compare what is there with what is to be undone (Linux 5.7)",
            )),
            _ => (!guard::can_start()).then(without_proc),
        };
        let held = facts.capabilities.unwrap_or_default();
        let charged = facts.memcg_accounting == Some(false);
        Self {
            uid: facts.uid,
            capabilities: CAPABILITIES
                .iter()
                .filter(|it| held.has(**it))
                .map(|it| format!("{it:?}"))
                .collect(),
            in_user_namespace: facts.in_user_namespace,
            seccomp_filters: facts
                .seccomp
                .map(|seccomp| seccomp.filters.unwrap_or(u32::from(seccomp.mode != 0))),
            lockdown: facts.lockdown.clone(),
            unprivileged_bpf_disabled: facts.unprivileged_bpf_disabled,
            memlock: facts.memlock.filter(|limit| charged && *limit != u64::MAX),
            load: outlook(&[Privilege::Bpf, Privilege::BpfNetwork]),
            load_with_pointers: outlook(&[Privilege::Bpf, Privilege::BpfNetwork, Privilege::Perfmon]),
            attach: without_socket(refusal).unwrap_or_else(|| outlook(&[Privilege::Interface])),
            open_by_id: outlook(&[Privilege::Admin]),
            mount: outlook(&[Privilege::Mount]),
            trial: Outlook::unless(trial),
        }
    }
}

/// No program is attached without a netlink socket, whatever the privileges; none where that is not what was refused.
fn without_socket(refusal: Option<&Error>) -> Option<Outlook> {
    let refusal = refusal.filter(|refusal| refusal.call() == Some(SOCKET))?;
    let rule = refusal.rule().map_or_else(|| refusal.to_string(), ToOwned::to_owned);
    Some(Outlook { rule: Some(rule), remedy: remedy::help(refusal), ..Outlook::new(Answer::No) })
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |number: Option<u32>| number.map_or("unknown".to_owned(), |number| number.to_string());
        let none = if self.capabilities.is_empty() { "none of those that matter" } else { "" };
        writeln!(f, "this process (uid {})", self.uid)?;
        writeln!(f, "  capabilities: {none}{}", self.capabilities.join(" "))?;
        if self.in_user_namespace == Some(true) {
            writeln!(f, "  in a user namespace of its own")?;
        }
        writeln!(f, "  seccomp filters: {}", known(self.seccomp_filters))?;
        writeln!(f, "  kernel.unprivileged_bpf_disabled: {}", known(self.unprivileged_bpf_disabled))?;
        if let Some(lockdown) = &self.lockdown {
            writeln!(f, "  lockdown: {}", escape(lockdown))?;
        }
        if let Some(limit) = self.memlock {
            writeln!(f, "  RLIMIT_MEMLOCK: {limit} bytes")?;
        }
        writeln!(f, "  load programs: {}", self.load)?;
        writeln!(
            f,
            "  load those that compute with pointers, as `block on` does: {}",
            self.load_with_pointers
        )?;
        writeln!(f, "  attach them: {}", self.attach)?;
        writeln!(f, "  open programs of others (replace, detach): {}", self.open_by_id)?;
        writeln!(f, "  mount a bpffs: {}", self.mount)?;
        writeln!(f, "  undo changes that are not confirmed: {}", self.trial)
    }
}

//! Which missing privilege explains a refusal: looked at only after the kernel has said EPERM, never before.

use nix::libc::EPERM;

use super::Capabilities;
use crate::error::Error;
use crate::uapi::capability::Capability;

/// A privilege that a call takes (`kernel/bpf/syscall.c`, Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// To create maps and load programs.
    Bpf,
    /// To create maps and load programs that have to do with network interfaces.
    BpfNetwork,
    /// To open what others have made, by its id; to mount.
    Admin,
}

impl Privilege {
    fn is_held(self, held: Capabilities) -> bool {
        match self {
            Self::Bpf => held.has_bpf(),
            Self::BpfNetwork => held.has_net_admin() || held.has_sys_admin(),
            Self::Admin => held.has_sys_admin(),
        }
    }

    fn capability(self) -> Capability {
        match self {
            Self::Bpf => Capability::BPF,
            Self::BpfNetwork => Capability::NET_ADMIN,
            Self::Admin => Capability::SYS_ADMIN,
        }
    }
}

/// Says in the help of an EPERM which of the capabilities that the call takes this process lacks.
///
/// If it lacks none, the refusal has another cause (a user namespace, lockdown, a security module), and the error
/// stays as it is: nothing is guessed.
pub(crate) fn explain_refusal(error: Error, needed: &[Privilege]) -> Error {
    if error.errno() != Some(EPERM) {
        return error;
    }
    match Capabilities::current().ok().and_then(|held| lacking(held, needed)) {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// What `held` lacks of what is `needed`, in words; none if all is there.
fn lacking(held: Capabilities, needed: &[Privilege]) -> Option<String> {
    let missing: Vec<_> = needed.iter().filter(|privilege| !privilege.is_held(held)).collect();
    let names: Vec<_> = missing.iter().map(|privilege| format!("{:?}", privilege.capability())).collect();
    let before = if missing.contains(&&Privilege::Bpf) { " (before Linux 5.8: CAP_SYS_ADMIN)" } else { "" };
    (!names.is_empty()).then(|| format!("this process lacks {}{before}", names.join(" and ")))
}

#[cfg(test)]
mod tests {
    use nix::libc::EBUSY;

    use super::*;

    const LOAD: [Privilege; 2] = [Privilege::Bpf, Privilege::BpfNetwork];

    fn help(held: &[Capability], needed: &[Privilege]) -> String {
        let held = held.iter().fold(0, |bits, capability| bits | 1 << capability.0);
        lacking(Capabilities::of_bits(held), needed).unwrap_or_default()
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            help(&[], &LOAD),
            "this process lacks CAP_BPF and CAP_NET_ADMIN (before Linux 5.8: CAP_SYS_ADMIN)"
        );
        assert_eq!(help(&[Capability::BPF], &LOAD), "this process lacks CAP_NET_ADMIN");
        assert_eq!(
            help(&[Capability::BPF, Capability::NET_ADMIN], &[Privilege::Admin]),
            "this process lacks CAP_SYS_ADMIN"
        );
    }

    #[test]
    fn with_all_privileges_nothing_is_guessed() {
        assert_eq!(help(&[Capability::SYS_ADMIN], &LOAD), "");
        assert_eq!(help(&[Capability::BPF, Capability::NET_ADMIN], &LOAD), "");
        let busy = explain_refusal(Error::os("bpf(BPF_MAP_CREATE)", "a map", EBUSY), &LOAD);
        assert_eq!(busy.help(), None);
    }
}

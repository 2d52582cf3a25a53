//! What a process lacks where the kernel says EPERM: one culprit, or none where it is not certain.

use nix::libc::{EACCES, EAFNOSUPPORT, ENOSYS, EPERM};

use super::Verdict;
use crate::error::{escape, quote};
use crate::features::Answer;
use crate::uapi::capability::Capability;

/// A set of capabilities.
///
/// In a user namespace of its own a process may have them all, and bpf(2) will still refuse it: the kernel looks
/// for CAP_BPF and CAP_SYS_ADMIN in the first user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Those whose bits are set, as capget(2) gives them.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether this very capability is there.
    pub fn has(self, capability: Capability) -> bool {
        self.0.checked_shr(u32::from(capability.0)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Whether maps may be created and programs loaded: CAP_BPF (5.8), or CAP_SYS_ADMIN, which includes it.
    pub fn has_bpf(self) -> bool {
        self.has(Capability::BPF) || self.has_sys_admin()
    }

    /// Whether programs may see kernel pointers: CAP_PERFMON (5.8), or CAP_SYS_ADMIN, which includes it.
    pub fn has_perfmon(self) -> bool {
        self.has(Capability::PERFMON) || self.has_sys_admin()
    }

    /// Whether a program may be attached to an interface: CAP_NET_ADMIN, which CAP_SYS_ADMIN does not include here.
    pub fn has_net_admin(self) -> bool {
        self.has(Capability::NET_ADMIN)
    }

    /// Whether maps and programs may be opened by id, and a bpffs mounted: CAP_SYS_ADMIN.
    pub fn has_sys_admin(self) -> bool {
        self.has(Capability::SYS_ADMIN)
    }

    /// Whether limits may be raised: CAP_SYS_RESOURCE.
    pub fn has_sys_resource(self) -> bool {
        self.has(Capability::SYS_RESOURCE)
    }
}

/// A privilege that a call takes (`kernel/bpf/syscall.c`, `net/core/rtnetlink.c`, Linux 6.18).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// To create maps and load programs.
    Bpf,
    /// To create maps and load programs that have to do with network interfaces.
    BpfNetwork,
    /// To load programs that see kernel pointers: that compare or subtract them, for instance.
    Perfmon,
    /// To open what others have made, by its id.
    Admin,
    /// To mount. The user namespace is that of the mounts.
    Mount,
    /// To change an interface. The user namespace is that of the interface's network namespace.
    Interface,
}

impl Privilege {
    fn is_held(self, held: Capabilities) -> bool {
        match self {
            Self::Bpf => held.has_bpf(),
            Self::BpfNetwork => held.has_net_admin() || held.has_sys_admin(),
            Self::Perfmon => held.has_perfmon(),
            Self::Admin | Self::Mount => held.has_sys_admin(),
            Self::Interface => held.has_net_admin(),
        }
    }

    fn capability(self, facts: &Permissions) -> Capability {
        match self {
            Self::Bpf | Self::Perfmon if facts.knows_no_bpf() => Capability::SYS_ADMIN,
            Self::Bpf => Capability::BPF,
            Self::BpfNetwork | Self::Interface => Capability::NET_ADMIN,
            Self::Perfmon => Capability::PERFMON,
            Self::Admin | Self::Mount => Capability::SYS_ADMIN,
        }
    }

    /// Whether the kernel looks for it in the first user namespace, wherever the process is.
    fn is_of_the_first(self) -> bool {
        !matches!(self, Self::Mount | Self::Interface)
    }
}

/// What /proc tells of the seccomp filters of a process.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seccomp {
    /// 0 for none, 1 for the strict mode, 2 for filters.
    pub mode: u32,
    /// How many filters there are; kernels before 5.9 do not tell.
    pub filters: Option<u32>,
}

/// What a process may do, and what may stand in its way. What could not be learnt is none.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The effective capabilities.
    pub capabilities: Option<Capabilities>,
    /// The capabilities that it can come to have: its bounding set. No program that it starts has others, not as root
    /// and not by setcap(8).
    pub bounding: Option<Capabilities>,
    /// The number of the last capability that the kernel knows.
    pub last_capability: Option<u32>,
    /// The user that it is to file systems.
    pub uid: u32,
    /// Whether it is in another user namespace than the machine's first one.
    pub in_user_namespace: Option<bool>,
    /// Its seccomp filters.
    pub seccomp: Option<Seccomp>,
    /// The kernel's lockdown: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// The security modules of the kernel, by name.
    pub security_modules: Option<String>,
    /// The sysctl `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// RLIMIT_MEMLOCK in bytes.
    pub memlock: Option<u64>,
    /// Whether maps and programs are charged to the memory control group (5.11), and so not to RLIMIT_MEMLOCK.
    pub memcg_accounting: Option<bool>,
    /// How the kernel answers the refused command of bpf(2) when nothing is handed over with it: an errno. Its own
    /// checks of that come to another end than EPERM for whoever has the privileges.
    pub blank: Option<i32>,
    /// Whether /sys is mounted read-only, as container runtimes do.
    pub sys_is_read_only: Option<bool>,
}

impl Permissions {
    /// Notes what a look for [`MemcgAccounting`](crate::features::Feature::MemcgAccounting) has found.
    pub fn learn_accounting(&mut self, answer: Answer) {
        self.memcg_accounting = match answer {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Unknown => None,
        };
    }

    /// Whether it is known to lack one of `needed`, wherever the kernel looks for it.
    pub fn lacks_any(&self, needed: &[Privilege]) -> bool {
        let is_lacking = |held| needed.iter().any(|privilege| !privilege.is_held(held));
        self.capabilities.is_some_and(is_lacking)
    }

    /// Whether the kernel is one before 5.8, for sure.
    fn knows_no_bpf(&self) -> bool {
        self.last_capability.is_some_and(|last| last < u32::from(Capability::BPF.0))
    }

    /// Whether there is a limit to the memory of maps and programs, on a kernel that has one, which it may not raise.
    pub fn may_meet_memlock(&self) -> bool {
        let may_raise = self.capabilities.is_some_and(Capabilities::has_sys_resource);
        !may_raise && self.memlock.is_some_and(|limit| limit != u64::MAX)
    }

    /// Whether it is known to have all of `needed`, where the kernel looks for them.
    pub fn has_all(&self, needed: &[Privilege]) -> bool {
        let held = self.capabilities.unwrap_or_default();
        let counts =
            |privilege: &Privilege| self.in_user_namespace == Some(false) || !privilege.is_of_the_first();
        needed.iter().all(|privilege| privilege.is_held(held) && counts(privilege))
    }
}

/// Why a call that takes the privileges `needed` was refused with `errno`.
///
/// None if it lacks nothing that can be seen, or if too little is known: nothing is guessed.
pub fn why_not_permitted(errno: i32, needed: &[Privilege], facts: &Permissions) -> Option<Verdict> {
    let by_privilege = || lacking(needed, facts).or_else(|| namespace(needed, facts));
    match errno {
        EPERM => by_privilege().or_else(|| someone_else(errno, facts)).or_else(|| memlock(needed, facts)),
        EACCES | ENOSYS if facts.has_all(needed) => someone_else(errno, facts),
        _ => None,
    }
}

/// What `facts` lack of what is `needed`.
fn lacking(needed: &[Privilege], facts: &Permissions) -> Option<Verdict> {
    let held = facts.capabilities?;
    let mut missing: Vec<_> = needed.iter().filter(|privilege| !privilege.is_held(held)).collect();
    // It comes with others.
    let admin = Capability::SYS_ADMIN;
    if missing.iter().any(|privilege| privilege.capability(facts) == admin) {
        let with_it = Capabilities::from_bits(1 << admin.0);
        missing.retain(|privilege| privilege.capability(facts) == admin || !privilege.is_held(with_it));
    }
    let names = names(&missing, facts);
    let listed = match &names[..] {
        [] => return None,
        [name] => name.clone(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    };
    let is_bpf = missing.contains(&&Privilege::Bpf);
    let before = if is_bpf && !facts.knows_no_bpf() { " (before Linux 5.8: CAP_SYS_ADMIN)" } else { "" };
    let sysctl = match facts.unprivileged_bpf_disabled {
        Some(value) if is_bpf && value != 0 => {
            format!(", needed since kernel.unprivileged_bpf_disabled is {value}")
        }
        _ => String::new(),
    };
    let is_of_interface =
        missing.contains(&&Privilege::Interface) && !missing.contains(&&Privilege::BpfNetwork);
    let place =
        if is_of_interface { " in the user namespace of the interface's network namespace" } else { "" };
    let rule = format!("this process lacks {listed}{before}{place}{sysctl}");
    Some(Verdict::new(rule, out_of_bounds(&missing, facts).unwrap_or_else(|| or_setcap(&names, held))))
}

/// The capabilities that these privileges are, each once.
fn names(privileges: &[&Privilege], facts: &Permissions) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in privileges.iter().map(|privilege| format!("{:?}", privilege.capability(facts))) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// How to come to what is `missing` where neither root nor setcap(8) gives it: the process was started without.
fn out_of_bounds(missing: &[&Privilege], facts: &Permissions) -> Option<String> {
    if facts.in_user_namespace == Some(true) && missing.iter().any(|privilege| privilege.is_of_the_first()) {
        return Some("run it as root outside of its user namespace, in which none counts".to_owned());
    }
    let bounding = facts.bounding?;
    let outside: Vec<_> = missing.iter().copied().filter(|privilege| !privilege.is_held(bounding)).collect();
    if outside.is_empty() {
        return None;
    }
    let list = names(&outside, facts).join(" ");
    let options = list.replace("CAP_", "--cap-add ");
    Some(format!(
        "root has no {} here either: start the container with `{options}`, or add it to CapabilityBoundingSet= of \
         the service",
        list.replace(' ', " and no ")
    ))
}

/// How a program gets the capabilities `missing` beside those that it has, which setcap(8) would take away if they were
/// not named too.
fn or_setcap(missing: &[String], held: Capabilities) -> String {
    let others = [Capability::BPF, Capability::NET_ADMIN, Capability::PERFMON, Capability::SYS_ADMIN];
    let others = others.into_iter().filter(|other| held.has(*other)).map(|other| format!("{other:?}"));
    let words = missing.iter().cloned().chain(others).collect::<Vec<_>>().join(",").to_ascii_lowercase();
    format!("run it as root, or grant it to the program: setcap {words}+ep FILE")
}

/// Capabilities that are there and do not count.
fn namespace(needed: &[Privilege], facts: &Permissions) -> Option<Verdict> {
    let of_the_first = needed.iter().find(|privilege| privilege.is_of_the_first());
    match (of_the_first, facts.in_user_namespace?) {
        (_, false) => None,
        (Some(privilege), true) => {
            let rule = format!(
                "this process is in a user namespace, where its {:?} does not count: bpf(2) checks it in the \
                 initial one",
                privilege.capability(facts)
            );
            Some(Verdict::new(rule, "run it outside of that user namespace"))
        }
        (None, true) => {
            let rule = "this process is in a user namespace that does not own the network namespace or the mounts \
                        that it is to change";
            Some(Verdict::new(rule, "run it outside of that user namespace"))
        }
    }
}

/// Somebody who refuses the command before the kernel's own checks: even without any content, which these would
/// answer otherwise.
fn someone_else(errno: i32, facts: &Permissions) -> Option<Verdict> {
    if facts.blank != Some(errno) || facts.in_user_namespace != Some(false) {
        return None;
    }
    if let Some(Seccomp { mode: mode @ 1.., filters }) = facts.seccomp {
        let what = match (mode, filters) {
            (1, _) => "the strict mode of seccomp".to_owned(),
            (_, Some(filters)) if filters > 1 => {
                format!("one of the {filters} seccomp filters of this process")
            }
            _ => "the seccomp filter of this process".to_owned(),
        };
        let remedy = "let the filter pass bpf(2): for a container with `--security-opt seccomp=PROFILE`, for a \
                      service with `SystemCallFilter=bpf`";
        return Some(Verdict::new(format!("{what} refuses bpf(2)"), remedy));
    }
    let lockdown = facts.lockdown.as_deref().filter(|state| *state != "none");
    match (lockdown, &facts.security_modules) {
        _ if errno == ENOSYS => {
            Some(Verdict::without_help("this kernel was built without bpf(2) (CONFIG_BPF_SYSCALL)"))
        }
        (Some(state), _) => {
            let rule = format!("this kernel is locked down ({}) and refuses bpf(2)", escape(state));
            Some(Verdict::new(rule, "start the kernel with lockdown=none, which secure boot may forbid"))
        }
        (None, Some(modules)) => {
            let rule = format!("one of the kernel's security modules ({}) refuses bpf(2)", escape(modules));
            Some(Verdict::new(rule, "its log (`dmesg`, `ausearch -m avc`) names the policy"))
        }
        (None, None) => Some(Verdict::without_help("a security module of the kernel refuses bpf(2)")),
    }
}

/// Why a netlink socket could not be opened: the kernel lets everybody, so that it is somebody else who refuses.
pub fn why_no_socket(errno: i32, facts: &Permissions) -> Option<Verdict> {
    let is_filtered = facts.seccomp.is_some_and(|seccomp| seccomp.mode != 0);
    if !is_filtered || ![EPERM, EACCES, EAFNOSUPPORT].contains(&errno) {
        return None;
    }
    let rule = "a netlink socket takes no capability: the seccomp filter of this process refuses it, or a security \
                module";
    let remedy = "let socket(2) pass for AF_NETLINK: for a container with `--security-opt seccomp=PROFILE`, for a \
                  service with `RestrictAddressFamilies=AF_NETLINK AF_UNIX AF_INET`";
    Some(Verdict::new(rule, remedy))
}

/// Why perf_event_open(2) refused the event of a CPU: `perf_allow_cpu()` in `include/linux/perf_event.h`, 6.18, or
/// somebody before it.
pub fn why_no_perf_event(errno: i32, facts: &Permissions) -> Option<Verdict> {
    if ![EPERM, EACCES].contains(&errno) {
        return None;
    }
    let asked = "perf_event_open(2) asks for where kernel.perf_event_paranoid is above 0";
    if let Some(verdict) = lacking(&[Privilege::Perfmon], facts) {
        return Some(Verdict { rule: format!("{}, which {asked}", verdict.rule), ..verdict });
    }
    if facts.in_user_namespace == Some(true) {
        let rule = format!(
            "this process is in a user namespace, where it does not have the CAP_PERFMON that {asked}"
        );
        return Some(Verdict::new(rule, "run it outside of that user namespace"));
    }
    facts.seccomp.filter(|seccomp| seccomp.mode != 0).map(|_| {
        let rule = "the seccomp filter of this process refuses perf_event_open(2), or a security module";
        let remedy = "let the filter pass it: for a container with `--security-opt seccomp=PROFILE`, for a service \
                      with `SystemCallFilter=perf_event_open`";
        Verdict::new(rule, remedy)
    })
}

/// Why mmap(2) refused the ring of such an event: `perf_mmap()` in `kernel/events/core.c`, 6.18, says EPERM for nothing
/// else than its size.
pub fn why_no_perf_memory(errno: i32, facts: &Permissions) -> Option<Verdict> {
    let held = facts.capabilities?;
    let may_lock = held.has(Capability::IPC_LOCK) && facts.in_user_namespace == Some(false);
    if errno != EPERM || may_lock {
        return None;
    }
    let limit = facts.memlock?;
    let rule = format!(
        "the rings of a user may have kernel.perf_event_mlock_kb for each online CPU, and beyond that RLIMIT_MEMLOCK, \
         which is {limit} bytes, unless this process has CAP_IPC_LOCK"
    );
    let remedy = "ask for fewer pages, or raise the limit: ulimit -l unlimited, or LimitMEMLOCK=infinity for a service";
    Some(Verdict::new(rule, remedy))
}

/// The limit that kernels before 5.11 charge maps and programs to.
fn memlock(needed: &[Privilege], facts: &Permissions) -> Option<Verdict> {
    let limit = facts.memlock?;
    // Whoever may, raises it on the way.
    let meets = facts.may_meet_memlock() && facts.memcg_accounting == Some(false);
    if !meets || !needed.contains(&Privilege::Bpf) {
        return None;
    }
    let rule = format!(
        "RLIMIT_MEMLOCK is {limit} bytes, and this kernel (before 5.11) charges maps and programs to it"
    );
    Some(Verdict::new(rule, "raise it first: ulimit -l unlimited, or LimitMEMLOCK=infinity for a service"))
}

/// Why no bpffs can be mounted at `path`, where none is.
pub fn why_no_bpffs(path: &str, errno: i32, facts: &Permissions) -> Option<Verdict> {
    let cause = why_not_permitted(errno, &[Privilege::Mount], facts)?;
    let rule = format!("{}, and no bpffs is at {}", cause.rule, quote(path));
    if facts.sys_is_read_only == Some(true) && path.starts_with("/sys/") {
        let rule = format!("{rule}: /sys is mounted read-only, as in a container");
        return Some(Verdict::new(rule, "start the container with `-v /sys/fs/bpf:/sys/fs/bpf`"));
    }
    Some(Verdict::new(rule, how_to_mount(path)))
}

/// The remedy where no bpffs is at `path`.
pub fn how_to_mount(path: &str) -> String {
    format!("as root: mount -t bpf bpf {path}")
}

/// What the verifier says only to programs of whoever lacks CAP_PERFMON: `allow_ptr_leaks` and `bypass_spec_v1` in
/// `kernel/bpf/verifier.c`.
const WITHOUT_PERFMON: [&str; 8] = [
    "pointer -= pointer prohibited",
    "pointer comparison prohibited",
    "leaks addr",
    "prohibited for !root",
    "has pointer with unsupported alu operation",
    "attempt to corrupt spilled pointer on stack",
    "from different maps, paths or scalars",
    "partial copy of pointer",
];

/// The helpers that `bpf_base_func_proto()` in `kernel/bpf/helpers.c` keeps for whoever has it.
const HELPERS_OF_PERFMON: [&str; 11] = [
    "bpf_trace_printk#",
    "bpf_get_current_task#",
    "bpf_probe_read_user#",
    "bpf_probe_read_kernel#",
    "bpf_probe_read_user_str#",
    "bpf_probe_read_kernel_str#",
    "bpf_snprintf_btf#",
    "bpf_get_current_task_btf#",
    "bpf_snprintf#",
    "bpf_task_pt_regs#",
    "bpf_trace_vprintk#",
];

/// Whether the verifier refused a program, with these words, for the lack of CAP_PERFMON.
pub fn why_rejected(words: &str, held: Capabilities) -> Option<Verdict> {
    let remedy = or_setcap(&[format!("{:?}", Capability::PERFMON)], held);
    let said = |sign: &&&str| words.contains(**sign);
    if held.has_perfmon() {
        return None;
    }
    if WITHOUT_PERFMON.iter().any(|sign| said(&sign)) {
        let rule = "this process lacks CAP_PERFMON, without which the verifier does not let pointers leak, be \
                    compared or be subtracted";
        return Some(Verdict::new(rule, remedy));
    }
    if words.contains("CAP_PERFMON") {
        let rule = "this process lacks CAP_PERFMON, without which the verifier lets programs neither use arenas nor \
                    read what the kernel's own pointers lead to";
        return Some(Verdict::new(rule, remedy));
    }
    let is_unknown = words.contains("cannot use helper") || words.contains("unknown func");
    let helper = HELPERS_OF_PERFMON.iter().filter(|_| is_unknown).find(said)?;
    let rule = format!("this process lacks CAP_PERFMON, which {} takes", helper.trim_end_matches('#'));
    Some(Verdict::new(rule, remedy))
}

#[cfg(test)]
mod tests {
    use nix::libc::{EBUSY, EINVAL};

    use super::*;

    const LOAD: [Privilege; 2] = [Privilege::Bpf, Privilege::BpfNetwork];
    const ALL: [Capability; 4] =
        [Capability::BPF, Capability::NET_ADMIN, Capability::PERFMON, Capability::SYS_ADMIN];

    fn held(list: &[Capability]) -> Capabilities {
        Capabilities(list.iter().fold(0, |bits, capability| bits | 1 << capability.0))
    }

    /// A process of the first user namespace with these capabilities, on a kernel that answers as it should.
    fn process(capabilities: &[Capability]) -> Permissions {
        Permissions {
            capabilities: Some(held(capabilities)),
            in_user_namespace: Some(false),
            seccomp: Some(Seccomp::default()),
            lockdown: Some("none".to_owned()),
            unprivileged_bpf_disabled: Some(0),
            memlock: Some(65_536),
            memcg_accounting: Some(true),
            blank: Some(EINVAL),
            ..Permissions::default()
        }
    }

    fn rule(errno: i32, needed: &[Privilege], facts: &Permissions) -> String {
        why_not_permitted(errno, needed, facts).map_or_else(String::new, |verdict| verdict.rule)
    }

    #[test]
    fn sys_admin_includes_bpf_but_not_net_admin() {
        let admin = held(&[Capability::SYS_ADMIN]);
        assert!(admin.has_bpf() && admin.has_perfmon() && !admin.has_net_admin());
        let bpf = held(&[Capability::BPF]);
        assert!(bpf.has_bpf() && !bpf.has_perfmon() && !bpf.has_sys_admin());
        assert!(!Capabilities(u64::MAX).has(Capability(64)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let both = "this process lacks CAP_BPF and CAP_NET_ADMIN (before Linux 5.8: CAP_SYS_ADMIN)";
        assert_eq!(rule(EPERM, &LOAD, &process(&[])), both);
        let disabled = Permissions { unprivileged_bpf_disabled: Some(2), ..process(&[]) };
        assert_eq!(
            rule(EPERM, &LOAD, &disabled),
            format!("{both}, needed since kernel.unprivileged_bpf_disabled is 2")
        );
        let bpf = process(&[Capability::BPF]);
        assert_eq!(rule(EPERM, &LOAD, &bpf), "this process lacks CAP_NET_ADMIN");
        let loader = process(&[Capability::BPF, Capability::NET_ADMIN]);
        assert_eq!(rule(EPERM, &[Privilege::Admin], &loader), "this process lacks CAP_SYS_ADMIN");
        let verdict = why_not_permitted(EPERM, &LOAD, &process(&[])).unwrap();
        assert!(verdict.help.unwrap().to_string().ends_with("setcap cap_bpf,cap_net_admin+ep FILE"));
        // What it has already stays.
        let half = process(&[Capability::NET_ADMIN]);
        let verdict = why_not_permitted(EPERM, &[Privilege::Bpf], &half).unwrap();
        assert!(verdict.help.unwrap().to_string().ends_with("setcap cap_bpf,cap_net_admin+ep FILE"));
        assert_eq!(
            rule(EPERM, &[Privilege::Interface], &bpf),
            "this process lacks CAP_NET_ADMIN in the user namespace of the interface's network namespace"
        );
    }

    #[test]
    fn what_root_lacks_too_is_not_had_from_root() {
        let says = |held: &[Capability], bounding: &[Capability]| {
            let facts = Permissions { bounding: Some(self::held(bounding)), ..process(held) };
            why_not_permitted(EPERM, &LOAD, &facts).unwrap().help.unwrap().to_string()
        };
        assert!(says(&[], &ALL).starts_with("run it as root, or grant it"));
        // CAP_SYS_ADMIN includes CAP_BPF.
        assert!(says(&[], &[Capability::SYS_ADMIN]).starts_with("run it as root, or grant it"));
        let without = says(&[], &[]);
        assert!(without.starts_with("root has no CAP_BPF and no CAP_NET_ADMIN here either: "), "{without}");
        assert!(without.contains("`--cap-add BPF --cap-add NET_ADMIN`"), "{without}");
        let half = says(&[Capability::BPF], &[Capability::BPF]);
        assert!(half.contains("with `--cap-add NET_ADMIN`, or"), "{half}");
        let inside = Permissions { in_user_namespace: Some(true), ..process(&[]) };
        let help = why_not_permitted(EPERM, &LOAD, &inside).unwrap().help.unwrap().to_string();
        assert!(help.starts_with("run it as root outside of its user namespace"), "{help}");
        let help = why_not_permitted(EPERM, &[Privilege::Interface], &inside).unwrap().help.unwrap();
        assert!(help.to_string().starts_with("run it as root, or grant it"), "{help}");
    }

    #[test]
    fn capabilities_of_a_user_namespace_do_not_count() {
        let inside = Permissions { in_user_namespace: Some(true), ..process(&ALL) };
        let words = "this process is in a user namespace, where its CAP_BPF does not count";
        assert!(rule(EPERM, &LOAD, &inside).starts_with(words));
        assert!(rule(EPERM, &[Privilege::Interface], &inside).contains("does not own the network namespace"));
    }

    #[test]
    fn a_filter_is_told_by_its_answer_to_a_command_without_content() {
        let filtered = Permissions {
            seccomp: Some(Seccomp { mode: 2, filters: Some(1) }),
            blank: Some(EPERM),
            ..process(&ALL)
        };
        assert_eq!(rule(EPERM, &LOAD, &filtered), "the seccomp filter of this process refuses bpf(2)");
        let three = Permissions { seccomp: Some(Seccomp { mode: 2, filters: Some(3) }), ..filtered.clone() };
        assert!(rule(EPERM, &LOAD, &three).starts_with("one of the 3 seccomp filters"));
        let silent = Permissions { blank: Some(ENOSYS), ..filtered.clone() };
        assert!(rule(ENOSYS, &LOAD, &silent).contains("seccomp"));
        // A filter that lets bpf(2) pass is not to blame.
        let innocent = Permissions { blank: Some(EINVAL), ..filtered };
        assert_eq!(rule(EPERM, &LOAD, &innocent), "");
    }

    #[test]
    fn lockdown_and_security_modules_are_the_last_to_blame() {
        let refused = Permissions { blank: Some(EPERM), ..process(&ALL) };
        let locked = Permissions { lockdown: Some("integrity".to_owned()), ..refused.clone() };
        assert_eq!(rule(EPERM, &LOAD, &locked), "this kernel is locked down (integrity) and refuses bpf(2)");
        let selinux = Permissions { security_modules: Some("capability,selinux".to_owned()), ..refused };
        let words = "one of the kernel's security modules (capability,selinux) refuses bpf(2)";
        assert_eq!(rule(EPERM, &LOAD, &selinux), words);
        let none = Permissions { blank: Some(ENOSYS), ..process(&ALL) };
        assert!(rule(ENOSYS, &LOAD, &none).contains("CONFIG_BPF_SYSCALL"));
    }

    #[test]
    fn a_filter_is_named_where_a_socket_is_refused() {
        let filtered = Permissions { seccomp: Some(Seccomp { mode: 2, filters: Some(1) }), ..process(&[]) };
        for errno in [EPERM, EACCES, EAFNOSUPPORT] {
            assert!(why_no_socket(errno, &filtered).unwrap().rule.contains("the seccomp filter"));
            assert_eq!(why_no_socket(errno, &process(&ALL)), None);
        }
        assert_eq!(why_no_socket(EBUSY, &filtered), None);
    }

    #[test]
    fn what_bars_the_way_to_perf_events_is_told() {
        let rule = |errno, facts: &Permissions| {
            why_no_perf_event(errno, facts).map_or_else(String::new, |verdict| verdict.rule)
        };
        let lacking = "this process lacks CAP_PERFMON, which perf_event_open(2) asks for where ";
        assert!(rule(EACCES, &process(&[Capability::BPF])).starts_with(lacking));
        let old = Permissions { last_capability: Some(37), ..process(&[]) };
        assert!(rule(EACCES, &old).starts_with("this process lacks CAP_SYS_ADMIN, which "));
        let inside = Permissions { in_user_namespace: Some(true), ..process(&ALL) };
        assert!(rule(EACCES, &inside).starts_with("this process is in a user namespace"));
        let filtered = Permissions { seccomp: Some(Seccomp { mode: 2, filters: None }), ..process(&ALL) };
        assert!(
            rule(EPERM, &filtered)
                .starts_with("the seccomp filter of this process refuses perf_event_open(2)")
        );
        assert_eq!(rule(EACCES, &process(&ALL)), "");
        assert_eq!(rule(EBUSY, &process(&[])), "");
    }

    #[test]
    fn only_the_size_bars_the_way_to_the_memory_of_perf_events() {
        let limited = why_no_perf_memory(EPERM, &process(&ALL)).unwrap();
        assert!(limited.rule.contains("RLIMIT_MEMLOCK, which is 65536 bytes, unless "), "{}", limited.rule);
        let free = process(&[Capability::IPC_LOCK]);
        assert_eq!(why_no_perf_memory(EPERM, &free), None);
        let inside = Permissions { in_user_namespace: Some(true), ..free };
        assert!(why_no_perf_memory(EPERM, &inside).is_some(), "it counts in the first namespace alone");
        assert_eq!(why_no_perf_memory(EINVAL, &process(&[])), None);
    }

    #[test]
    fn a_kernel_without_cap_bpf_is_told_of_none() {
        let old = Permissions { last_capability: Some(37), ..process(&[Capability::NET_ADMIN]) };
        let verdict = why_not_permitted(EPERM, &LOAD, &old).unwrap();
        assert_eq!(verdict.rule, "this process lacks CAP_SYS_ADMIN");
        assert!(verdict.help.unwrap().to_string().contains("setcap cap_sys_admin,cap_net_admin+ep"));
        let twice = [Privilege::Bpf, Privilege::Admin];
        assert_eq!(rule(EPERM, &twice, &old), "this process lacks CAP_SYS_ADMIN");
        let new = Permissions { last_capability: Some(40), ..old };
        assert_eq!(rule(EPERM, &LOAD, &new), "this process lacks CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN)");
    }

    #[test]
    fn memlock_is_blamed_only_where_it_is_charged() {
        let old = Permissions { memcg_accounting: Some(false), ..process(&ALL) };
        assert_eq!(
            rule(EPERM, &LOAD, &old),
            "RLIMIT_MEMLOCK is 65536 bytes, and this kernel (before 5.11) charges maps and programs to it"
        );
        let unlimited = Permissions { memlock: Some(u64::MAX), ..old.clone() };
        assert_eq!(rule(EPERM, &LOAD, &unlimited), "");
        // Who may raise it has done so.
        let raised = Permissions {
            capabilities: Some(held(&[&ALL[..], &[Capability::SYS_RESOURCE]].concat())),
            ..old.clone()
        };
        assert_eq!(rule(EPERM, &LOAD, &raised), "");
        assert_eq!(rule(EPERM, &LOAD, &Permissions { memcg_accounting: None, ..old }), "");
    }

    #[test]
    fn nothing_is_guessed() {
        assert_eq!(rule(EPERM, &LOAD, &process(&ALL)), "");
        assert_eq!(rule(EPERM, &LOAD, &Permissions::default()), "");
        assert_eq!(rule(EBUSY, &LOAD, &process(&[])), "");
    }

    #[test]
    fn a_container_gets_its_bpffs_from_outside() {
        let verdict = |facts| why_no_bpffs("/sys/fs/bpf", EPERM, &facts).unwrap();
        let outside = verdict(process(&[]));
        assert_eq!(outside.rule, "this process lacks CAP_SYS_ADMIN, and no bpffs is at `/sys/fs/bpf`");
        assert_eq!(outside.help, Some("as root: mount -t bpf bpf /sys/fs/bpf".into()));
        let inside = verdict(Permissions { sys_is_read_only: Some(true), ..process(&[]) });
        assert!(inside.rule.ends_with("/sys is mounted read-only, as in a container"));
        assert!(inside.help.unwrap().to_string().contains("-v /sys/fs/bpf:/sys/fs/bpf"));
    }

    #[test]
    fn the_verifiers_words_show_that_perfmon_is_missing() {
        let bpf = held(&[Capability::BPF, Capability::NET_ADMIN]);
        let words = "R3 pointer comparison prohibited";
        assert!(why_rejected(words, bpf).unwrap().rule.starts_with("this process lacks CAP_PERFMON"));
        assert_eq!(why_rejected(words, held(&ALL)), None);
        for words in [
            "CAP_BPF and CAP_PERFMON are required to use arena",
            "'struct xdp_buff' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN",
        ] {
            assert!(why_rejected(words, bpf).unwrap().rule.starts_with("this process lacks CAP_PERFMON"));
        }
        let helper = "program of this type cannot use helper bpf_get_current_task#35";
        let rule = "this process lacks CAP_PERFMON, which bpf_get_current_task takes";
        assert_eq!(why_rejected(helper, bpf).unwrap().rule, rule);
        assert_eq!(why_rejected("cannot use helper bpf_msg_push_data#90", bpf), None);
        assert_eq!(why_rejected("invalid access to packet", bpf), None);
    }
}

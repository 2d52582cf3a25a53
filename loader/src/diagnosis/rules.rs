//! The rules by which the kernel and its drivers refuse to attach, in the order in which `dev_xdp_attach()` in
//! `net/core/dev.c` comes to them (Linux 6.18): the sentences that stand for each, and the facts that break it.

use nix::libc::{E2BIG, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, ENOTCONN, EOPNOTSUPP, ERANGE};

use super::{AttachWish, Channels, DISPATCHER, Holder, InterfaceFacts, Verdict, native_limit};
use crate::error::{Help, Quoted, Remedy, escape, quote, shell_word};
use crate::netlink::{InterfaceInfo, Mode, XdpFeatures, XdpProgram};
use crate::uapi::genetlink::XdpFeature;

/// A rule.
pub(super) struct Rule {
    /// What the kernel's sentence has in it, in lower case, when this rule is broken.
    pub(super) words: &'static [&'static str],
    /// By which numbers it is refused where no sentence comes.
    pub(super) errnos: &'static [i32],
    /// Whether the facts break it, in words.
    pub(super) broken: fn(AttachWish, &InterfaceFacts) -> Option<Verdict>,
    /// What to say where the kernel names it, but the facts do not tell how it is broken.
    pub(super) said: fn(AttachWish, &InterfaceFacts) -> Verdict,
}

/// The drivers' own rules stand last, the more special before the more general.
pub(super) const RULES: [Rule; 18] = [
    Rule { words: &["active bpf xdp link"], errnos: &[EBUSY], broken: held_by_link, said: somebody_holds_it },
    Rule { words: &["upper device"], errnos: &[EEXIST], broken: program_above, said: something_is_above },
    Rule {
        words: &["program with bpf link"],
        errnos: &[EBUSY],
        broken: held_by_netlink,
        said: somebody_holds_it,
    },
    Rule { words: &["does not match expected"], errnos: &[], broken: never, said: changed_meanwhile },
    Rule { words: &["already attached"], errnos: &[EBUSY], broken: same_mode, said: somebody_holds_it },
    Rule { words: &["native and generic"], errnos: &[EEXIST], broken: other_mode, said: somebody_holds_it },
    Rule {
        words: &["bound to different device", "offloaded program"],
        errnos: &[],
        broken: never,
        said: bound,
    },
    Rule { words: &["bpf_xdp_devmap programs"], errnos: &[], broken: never, said: for_devmaps },
    Rule { words: &["bpf_xdp_cpumap programs"], errnos: &[], broken: never, said: for_cpumaps },
    Rule { words: &["tcp-data-split", "memory provider"], errnos: &[], broken: never, said: split_headers },
    Rule {
        words: &["any_header_sg", "single page"],
        errnos: &[],
        broken: never,
        said: host_without_header_sg,
    },
    Rule { words: &["bonding mode"], errnos: &[EOPNOTSUPP], broken: bond_mode, said: no_native_mode },
    Rule { words: &["slave"], errnos: &[EOPNOTSUPP], broken: bond_slave, said: no_native_mode },
    Rule { words: &["peer is detached"], errnos: &[ENOTCONN], broken: never, said: no_peer },
    Rule {
        words: &["mtu", "without frags", "does not support frags", "frame size"],
        errnos: &[ERANGE, EINVAL, EOPNOTSUPP],
        broken: too_long,
        said: mtu_too_large,
    },
    Rule {
        words: &["lro", "gro_hw", "gro-hw", "hw-gro", "hw gro"],
        errnos: &[EINVAL, EOPNOTSUPP],
        broken: joined,
        said: joins_packets,
    },
    Rule {
        words: &["queue", "ring", "channel"],
        errnos: &[ENOSPC, ENOMEM, E2BIG],
        broken: too_few_queues,
        said: queues_short,
    },
    Rule {
        words: &["native mode", "not support xdp"],
        errnos: &[EOPNOTSUPP, EINVAL],
        broken: no_driver,
        said: no_native_mode,
    },
];

fn never(_: AttachWish, _: &InterfaceFacts) -> Option<Verdict> {
    None
}

fn name(facts: &InterfaceFacts) -> String {
    shell_word(&facts.link.name)
}

/// What another program's command begins with where the interface is in another network namespace.
fn inside(facts: &InterfaceFacts) -> String {
    match facts.netns.as_deref() {
        None => String::new(),
        Some(path) if path.contains('/') => format!("nsenter --net={} ", shell_word(path)),
        Some(name) => format!("ip netns exec {} ", shell_word(name)),
    }
}

fn quoted(facts: &InterfaceFacts) -> Quoted<'_> {
    quote(&facts.link.name)
}

/// The program by its id, and by its name where that is known.
fn program(holder: &Holder) -> String {
    match holder.name.as_deref() {
        Some(name) if !name.is_empty() => format!("{} ({})", holder.program, quote(name)),
        _ => holder.program.to_string(),
    }
}

fn holder_in(facts: &InterfaceFacts, mode: Mode) -> Option<Holder> {
    let plain =
        |program: XdpProgram| Holder { program, name: None, link: None, pin: None, processes: Vec::new() };
    facts.holder(mode).cloned().or_else(|| facts.link.xdp.in_mode(mode).map(plain))
}

fn held_by_link(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let holder = holder_in(facts, wish.mode)?;
    let link = holder.link?;
    if wish.by_link && wish.replace {
        return None;
    }
    let pin = match (&holder.pin, &holder.processes[..]) {
        (Some(pin), _) => format!(", pinned at {},", quote(pin)),
        (None, []) => String::new(),
        (None, processes) => {
            let list: Vec<_> = processes.iter().map(ToString::to_string).collect();
            format!(", which {} has open,", escape(&list.join(" and ")))
        }
    };
    let rule = format!(
        "bpf_link {link}{pin} holds {}, which can only be changed through that link",
        program(&holder)
    );
    let through_it = Remedy::ReplaceByLink { at: facts.at(&facts.link), holders: holder.processes };
    Some(Verdict::new(rule, through_it))
}

pub(super) fn held_otherwise(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let mode = facts.link.xdp.programs().first()?.mode;
    let holder = holder_in(facts, mode)?;
    if holder.link.is_some() {
        return held_by_link(AttachWish { mode, replace: false, ..wish }, facts);
    }
    // Whoever may not ask for its name may not ask for its link.
    holder.name.as_ref()?;
    let rule = format!("no bpf_link holds {}, which was attached by netlink", program(&holder));
    Some(Verdict::new(rule, replace(mode, facts)))
}

fn held_by_netlink(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    if wish.by_link { same_mode(wish, facts) } else { None }
}

fn same_mode(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let holder = holder_in(facts, wish.mode).filter(|_| wish.by_link || !wish.replace)?;
    if holder.name.as_deref() == Some(DISPATCHER) {
        let rule = format!(
            "libxdp's dispatcher, {}, is attached, and runs the programs that xdp-loader has added to it",
            holder.program
        );
        let remedy = format!(
            "{1}xdp-loader status {0}, and to detach all of them: {1}xdp-loader unload {0} --all",
            name(facts),
            inside(facts)
        );
        return Some(Verdict::new(rule, remedy));
    }
    // Whoever may not ask for its name may not ask for its link.
    let by = if holder.name.is_some() { ", by netlink" } else { "" };
    let rule = format!("{} is attached already{by}", program(&holder));
    Some(Verdict::new(rule, replace(wish.mode, facts)))
}

fn replace(mode: Mode, facts: &InterfaceFacts) -> Remedy {
    Remedy::Replace { mode: Some(mode), at: Some(facts.at(&facts.link)) }
}

fn look(facts: &InterfaceFacts) -> Remedy {
    Remedy::Look { at: facts.at(&facts.link), above: false }
}

fn somebody_holds_it(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    Verdict::new(format!("a program on {} is in the way", quoted(facts)), ("to see it: ", look(facts)))
}

fn changed_meanwhile(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let rule = format!(
        "the program on {} is not the one that was seen: somebody changed it meanwhile",
        quoted(facts)
    );
    Verdict::new(rule, ("check it, and try again: ", look(facts)))
}

fn other_mode(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let other = match wish.mode {
        Mode::Native => Mode::Generic,
        Mode::Generic => Mode::Native,
        Mode::Offload => return None,
    };
    let holder = holder_in(facts, other)?;
    if holder.link.is_some() {
        return held_by_link(AttachWish { mode: other, replace: false, ..wish }, facts);
    }
    let rule = format!(
        "{} is attached, and the kernel does not allow native and generic mode at once",
        program(&holder)
    );
    Some(Verdict::new(rule, replace(other, facts)))
}

fn program_above(_: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let upper = facts.uppers.iter().find(|upper| !upper.xdp.is_empty())?;
    let rule = format!(
        "{} runs on {}, which is stacked on {}, and the kernel changes none below it",
        upper.xdp.programs()[0],
        quote(&upper.name),
        quoted(facts)
    );
    Some(Verdict::new(rule, Remedy::Detach(facts.at(upper))))
}

fn something_is_above(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let look = Remedy::Look { at: facts.at(&facts.link), above: true };
    Verdict::new(format!("an interface stacked on {} has a program", quoted(facts)), look)
}

fn bound(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let rule = "the program was loaded for another interface, or for offload to a card";
    Verdict::new(rule, Remedy::LoadAnew(facts.at(&facts.link)))
}

fn for_devmaps(_: AttachWish, _: &InterfaceFacts) -> Verdict {
    Verdict::new(
        "the program's expected_attach_type is BPF_XDP_DEVMAP: it runs for entries of a devmap, not on an interface",
        "build it for the section `xdp`, or put it into a devmap",
    )
}

fn for_cpumaps(_: AttachWish, _: &InterfaceFacts) -> Verdict {
    Verdict::new(
        "the program's expected_attach_type is BPF_XDP_CPUMAP: it runs for entries of a cpumap, not on an interface",
        "build it for the section `xdp`, or put it into a cpumap",
    )
}

fn split_headers(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let rule = format!("{} splits headers from data (tcp-data-split, or a memory provider)", quoted(facts));
    Verdict::new(
        rule,
        format!(
            "{}ethtool -G {} tcp-data-split off, or build the program for `xdp.frags`",
            inside(facts),
            name(facts)
        ),
    )
}

fn host_without_header_sg(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let rule =
        "the virtual machine's host puts header and data of a packet into two buffers (no any_header_sg)";
    Verdict::new(rule, use_mode(Mode::Generic, facts))
}

fn use_mode(mode: Mode, facts: &InterfaceFacts) -> Remedy {
    Remedy::UseMode { mode, at: Some(facts.at(&facts.link)) }
}

/// That, or else generic mode, which is behind it.
fn or_generic(other: String, facts: &InterfaceFacts) -> Help {
    (other + ", or: ", use_mode(Mode::Generic, facts)).into()
}

/// What native XDP on a bond takes: `bond_xdp_check()` in `drivers/net/bonding/bond_main.c`.
fn bond_mode(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    const NAMES: [&str; 7] =
        ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];
    let mode = facts.link.bond_mode.filter(|_| wish.mode == Mode::Native && facts.is("bond"))?;
    if matches!(mode, 0 | 1 | 2 | 4) {
        return None;
    }
    let rule = format!(
        "{} is a bond in mode {mode} ({}), and native mode takes balance-rr, active-backup, balance-xor and 802.3ad",
        quoted(facts),
        NAMES.get(usize::from(mode)).unwrap_or(&"unknown")
    );
    let other = format!("{}ip link set dev {} type bond mode 802.3ad", inside(facts), name(facts));
    Some(Verdict::new(rule, or_generic(other, facts)))
}

fn bond_slave(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    if wish.mode != Mode::Native || !facts.is("bond") {
        return None;
    }
    if let Some((slave, _)) = facts.ports.iter().find(|(slave, _)| !slave.xdp.is_empty()) {
        let rule = format!(
            "{} runs on the slave {} of the bond {}",
            slave.xdp.programs()[0],
            quote(&slave.name),
            quoted(facts)
        );
        return Some(Verdict::new(rule, Remedy::Detach(facts.at(slave))));
    }
    let (slave, _) = facts.ports.iter().find(|(_, features)| lacks(*features, XdpFeature::BASIC))?;
    let rule = format!("the slave {} of the bond {} has no native mode", quote(&slave.name), quoted(facts));
    Some(Verdict::new(rule, or_generic("take it out of the bond".to_owned(), facts)))
}

fn lacks(features: Option<XdpFeatures>, feature: XdpFeature) -> bool {
    features.is_some_and(|features| !features.has(feature))
}

fn no_peer(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    Verdict::new(format!("the veth {} no longer has a peer", quoted(facts)), "create the pair again")
}

/// Whose MTU a driver holds to its limit: a veth that of its peer, from which the packets come.
fn measured(facts: &InterfaceFacts) -> Option<&InterfaceInfo> {
    if facts.is("veth") { facts.peer.as_ref() } else { Some(&facts.link) }
}

fn too_long(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let (limit, link) = (native_limit(facts)?, measured(facts)?);
    if wish.mode != Mode::Native || wish.frags == Some(true) || link.mtu <= limit {
        return None;
    }
    let page = facts.page_size?;
    let whose = if facts.is("veth") { "its peer " } else { "" };
    let rule = format!(
        "the MTU of {whose}{} is {}, and native mode takes at most {limit} (a page of {page} bytes less {} for XDP and \
         the link header) unless the program takes multi-buffer packets (xdp.frags)",
        quote(&link.name),
        link.mtu,
        page - limit
    );
    let (inside, place) = if facts.is("veth") && facts.peer_is_elsewhere() {
        (String::new(), " in its network namespace")
    } else {
        (inside(facts), "")
    };
    let other = format!(
        "{inside}ip link set dev {} mtu {limit}{place}, or build the program for the section `xdp.frags`",
        shell_word(&link.name)
    );
    Some(Verdict::new(rule, or_generic(other, facts)))
}

fn mtu_too_large(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let other = format!(
        "lower it ({}ip link set dev {} mtu 1500), or build the program for the section `xdp.frags`",
        inside(facts),
        measured(facts).map_or_else(|| name(facts), |link| shell_word(&link.name))
    );
    let rule = match measured(facts) {
        Some(link) => format!("the MTU of {}, {}, is too large for native mode", quote(&link.name), link.mtu),
        None => format!("the MTU of the peer of {} is too large for native mode", quoted(facts)),
    };
    Verdict::new(rule, or_generic(other, facts))
}

fn joined(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    (wish.mode == Mode::Native && facts.lro == Some(true)).then(|| joins_packets(wish, facts))
}

/// What ethtool(8) with these words does about it, or else generic mode.
fn ethtool(rule: String, words: &str, facts: &InterfaceFacts) -> Verdict {
    Verdict::new(rule, or_generic(format!("{}ethtool {words}", inside(facts)), facts))
}

fn joins_packets(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let rule =
        format!("{} joins packets before a program could see them (LRO or GRO in hardware)", quoted(facts));
    ethtool(rule, &format!("-K {} lro off rx-gro-hw off", name(facts)), facts)
}

/// A veth wants a receive queue for each by which its peer sends (`veth_xdp_set()` in `drivers/net/veth.c`).
fn too_few_queues(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let (own, peer) = (facts.channels?, facts.peer_channels?);
    let (have, want) = (own.receiving(), peer.sending());
    if wish.mode != Mode::Native || !facts.is("veth") || have >= want {
        return None;
    }
    let rule = format!(
        "{} has {have} receive queue{}, but its peer {} has {want} transmit queues: native mode needs as many",
        quoted(facts),
        if have == 1 { "" } else { "s" },
        facts.peer.as_ref().map_or_else(String::new, |peer| quote(&peer.name).to_string()),
    );
    let words = if own.max_rx >= want {
        format!("-L {} rx {want}", name(facts))
    } else {
        let peer = facts.peer.as_ref().map_or("PEER", |peer| &peer.name);
        format!("-L {} tx {}", shell_word(peer), own.max_rx)
    };
    Some(ethtool(rule, &words, facts))
}

fn queues_short(_: AttachWish, facts: &InterfaceFacts) -> Verdict {
    match facts.channels {
        Some(Channels { combined, max_combined, .. }) if combined > 1 => {
            let rule = format!(
                "{} uses {combined} of at most {max_combined} channels, and native mode needs some of its own",
                quoted(facts)
            );
            ethtool(rule, &format!("-L {} combined {}", name(facts), combined / 2), facts)
        }
        _ if facts.is("veth") => {
            let rule =
                format!("{} has fewer receive queues than its peer has transmit queues", quoted(facts));
            ethtool(rule, &format!("-L {} rx N", name(facts)), facts)
        }
        _ => {
            let rule = format!("{} has too few queues for native mode", quoted(facts));
            ethtool(rule, &format!("-l {} shows them", name(facts)), facts)
        }
    }
}

/// Whether the driver has no such mode. A veth that could do it with more queues tells no features either.
fn no_driver(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    let lacking = match wish.mode {
        Mode::Native => lacks(facts.features, XdpFeature::BASIC) && !facts.is("veth"),
        Mode::Offload => lacks(facts.features, XdpFeature::HW_OFFLOAD),
        Mode::Generic => false,
    };
    lacking.then(|| no_native_mode(wish, facts))
}

fn no_native_mode(wish: AttachWish, facts: &InterfaceFacts) -> Verdict {
    let driver = facts.driver.as_ref().map_or_else(String::new, |driver| format!(" ({})", escape(driver)));
    if wish.mode == Mode::Offload {
        let rule = format!("the driver of {}{driver} does not support offload", quoted(facts));
        return Verdict::new(rule, use_mode(Mode::Native, facts));
    }
    let rule = format!("the driver of {}{driver} has no native mode", quoted(facts));
    let ports: Vec<_> =
        facts.ports.iter().filter(|(_, features)| !lacks(*features, XdpFeature::BASIC)).collect();
    let names: Vec<_> = ports.iter().map(|(port, _)| escape(&port.name)).collect();
    let elsewhere = match (&facts.lower, names.len()) {
        (_, 1) => format!("attach to its port {}", names[0]),
        (_, 2..) => format!("attach to its ports {}", names.join(", ")),
        (Some(lower), _) => format!("attach to {}, which is below it", escape(&lower.name)),
        (None, _) => return Verdict::new(rule, use_mode(Mode::Generic, facts)),
    };
    Verdict::new(rule, or_generic(elsewhere, facts))
}

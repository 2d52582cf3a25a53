//! Which rule a refused attach breaks: by the kernel's own words where it has any, else by the facts alone.

use super::rules::{self, RULES, Rule};
use super::{InterfaceFacts, Verdict};
use crate::netlink::Mode;

/// How a program is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachWish {
    /// Where it is to run.
    pub mode: Mode,
    /// Whether it takes multi-buffer packets (`xdp.frags`), if that is known.
    pub frags: Option<bool>,
    /// Whether a `bpf_link` is to hold it.
    pub by_link: bool,
    /// Whether it is to take the place of one that is there.
    pub replace: bool,
}

/// The rule by which the kernel has refused `wish` with `errno` and, where it gave one, the sentence `message`.
///
/// None where neither its words nor the facts tell: nothing is guessed.
pub fn why_refused(
    wish: AttachWish,
    errno: i32,
    message: Option<&str>,
    facts: &InterfaceFacts,
) -> Option<Verdict> {
    if let Some(message) = message {
        let message = message.to_ascii_lowercase();
        let rule = RULES.iter().find(|rule| rule.words.iter().any(|words| message.contains(words)))?;
        return Some((rule.broken)(wish, facts).unwrap_or_else(|| (rule.said)(wish, facts)));
    }
    let broken = |rule: &Rule| (rule.broken)(wish, facts);
    RULES.iter().filter(|rule| rule.errnos.contains(&errno)).find_map(broken)
}

/// The first rule that the kernel would refuse `wish` by. None where it would take it, as far as the facts tell.
pub fn forecast(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    RULES.iter().find_map(|rule| (rule.broken)(wish, facts))
}

/// How the program is held that was to be replaced through a `bpf_link` which is not where it was looked for.
pub fn held_otherwise(wish: AttachWish, facts: &InterfaceFacts) -> Option<Verdict> {
    rules::held_otherwise(wish, facts)
}

#[cfg(test)]
mod tests {
    use nix::libc::{EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, ERANGE};

    use super::super::{Channels, DISPATCHER, Holder, Process, Whereabouts};
    use super::*;
    use crate::error::{Help, Remedy};
    use crate::netlink::{InterfaceInfo, XdpFeatures, XdpProgram, XdpState};
    use crate::uapi::genetlink::XdpFeature;

    const NATIVE: AttachWish =
        AttachWish { mode: Mode::Native, frags: Some(false), by_link: false, replace: false };
    const GENERIC: AttachWish = AttachWish { mode: Mode::Generic, ..NATIVE };
    const FRAGS: AttachWish = AttachWish { frags: Some(true), ..NATIVE };
    const ALL: XdpFeatures = XdpFeatures { bits: 0x7f, zero_copy_segments: 1 };
    const NONE: XdpFeatures = XdpFeatures { bits: 0, zero_copy_segments: 0 };

    fn link(name: &str, kind: &str, mtu: u32) -> InterfaceInfo {
        InterfaceInfo {
            index: 3,
            name: name.to_owned(),
            kind: Some(kind.to_owned()),
            mtu,
            ..InterfaceInfo::default()
        }
    }

    fn running(mode: Mode, id: u32) -> XdpState {
        XdpState::from_programs([XdpProgram { mode, id: Some(id) }])
    }

    fn facts(name: &str, kind: &str) -> InterfaceFacts {
        InterfaceFacts {
            link: link(name, kind, 1500),
            page_size: Some(4096),
            driver: Some(kind.to_owned()),
            lro: Some(false),
            features: Some(ALL),
            ..InterfaceFacts::default()
        }
    }

    fn queues(rx: u32, tx: u32) -> Channels {
        Channels { rx, tx, max_rx: 8, max_tx: 8, ..Channels::default() }
    }

    fn veth(peer_mtu: u32) -> InterfaceFacts {
        InterfaceFacts {
            peer: Some(link("far0", "veth", peer_mtu)),
            channels: Some(queues(1, 1)),
            peer_channels: Some(queues(1, 1)),
            ..facts("near0", "veth")
        }
    }

    /// The verdict on a refusal, as `rule | help`.
    fn why(wish: AttachWish, errno: i32, message: Option<&str>, facts: &InterfaceFacts) -> String {
        why_refused(wish, errno, message, facts).map_or_else(String::new, said)
    }

    fn said(verdict: Verdict) -> String {
        let help = verdict.help.map_or_else(String::new, |help| help.to_string());
        format!("{} | {help}", verdict.rule)
    }

    #[test]
    fn a_packet_must_fit_a_page() {
        let words = "the MTU of its peer `far0` is 9000, and native mode takes at most 3506 (a page of 4096 bytes less \
                     590 for XDP and the link header) unless the program takes multi-buffer packets (xdp.frags)";
        for message in [None, Some("veth: Peer MTU is too large to set XDP")] {
            let told = why(NATIVE, ERANGE, message, &veth(9000));
            assert!(told.starts_with(words), "{told}");
            assert!(told.contains("ip link set dev far0 mtu 3506"), "{told}");
            assert!(told.contains("`xdp.frags`") && told.ends_with(", or: attach in generic mode"), "{told}");
        }
        assert!(forecast(NATIVE, &veth(3507)).is_some());
        assert_eq!(forecast(NATIVE, &veth(3506)), None);
        assert_eq!(forecast(FRAGS, &veth(9000)), None);
        assert_eq!(forecast(GENERIC, &veth(9000)), None);
    }

    #[test]
    fn other_drivers_say_their_limit_themselves() {
        let mut eth0 = facts("eth0", "mlx5_core");
        eth0.link.mtu = 9000;
        let message = "XDP is not allowed with mtu 9000, max 3498";
        let told = why(NATIVE, EINVAL, Some(message), &eth0);
        assert!(told.starts_with("the MTU of `eth0`, 9000, is too large for native mode"), "{told}");
        // Without a word, EINVAL may mean anything.
        assert_eq!(why(NATIVE, EINVAL, None, &eth0), "");
        let virtio = InterfaceFacts { link: link("eth0", "", 9000), ..facts("eth0", "virtio_net") };
        let told = why(NATIVE, EINVAL, None, &virtio);
        assert!(told.starts_with("the MTU of `eth0` is 9000, and native mode takes at most 3506"), "{told}");
    }

    #[test]
    fn a_veth_needs_a_queue_for_each_of_its_peers() {
        let few = InterfaceFacts { peer_channels: Some(queues(4, 4)), ..veth(1500) };
        for message in [None, Some("XDP expects number of rx queues not less than peer tx queues")] {
            let told = why(NATIVE, ENOSPC, message, &few);
            let words = "`near0` has 1 receive queue, but its peer `far0` has 4 transmit queues: native mode needs as \
                         many";
            assert!(told.starts_with(words), "{told}");
            assert!(told.contains("ethtool -L near0 rx 4"), "{told}");
        }
    }

    #[test]
    fn large_receive_offload_is_named() {
        let joined = InterfaceFacts { lro: Some(true), ..facts("eth0", "mlx5_core") };
        for (errno, message) in [
            (EINVAL, Some("XDP is not allowed with LRO")),
            (
                EOPNOTSUPP,
                Some("Can't set XDP while host is implementing GRO_HW/CSUM, disable GRO_HW/CSUM first"),
            ),
        ] {
            let told = why(NATIVE, errno, message, &joined);
            assert!(told.contains("ethtool -K eth0 lro off"), "{told}");
        }
    }

    #[test]
    fn too_few_rings_are_named_with_their_number() {
        let channels = Some(Channels { combined: 8, max_combined: 8, ..Channels::default() });
        let full = InterfaceFacts { channels, ..facts("eth0", "ena") };
        let told = why(NATIVE, ENOMEM, Some("Too few free TX rings available"), &full);
        assert!(
            told.starts_with("`eth0` uses 8 of at most 8 channels, and native mode needs some"),
            "{told}"
        );
        assert!(told.contains("ethtool -L eth0 combined 4"), "{told}");
    }

    #[test]
    fn a_bridge_leads_to_its_ports() {
        let mut bridge = InterfaceFacts { features: Some(NONE), ..facts("br0", "bridge") };
        bridge.ports = vec![(link("p0", "veth", 1500), Some(ALL)), (link("p1", "ifb", 1500), Some(NONE))];
        let message = Some("Underlying driver does not support XDP in native mode");
        let told = why(NATIVE, EOPNOTSUPP, message, &bridge);
        assert_eq!(
            told,
            "the driver of `br0` (bridge) has no native mode | attach to its port p0, or: attach in generic \
             mode"
        );
        assert_eq!(why(NATIVE, EOPNOTSUPP, None, &bridge), told);
        let vlan = InterfaceFacts {
            features: Some(NONE),
            lower: Some(link("eth0", "", 1500)),
            ..facts("eth0.7", "vlan")
        };
        assert!(why(NATIVE, EOPNOTSUPP, message, &vlan).contains("attach to eth0, which is below it"));
        assert_eq!(forecast(GENERIC, &bridge), None);
    }

    #[test]
    fn offload_takes_a_card_for_it() {
        let features = Some(XdpFeatures { bits: XdpFeature::BASIC.0, zero_copy_segments: 0 });
        let offload = AttachWish { mode: Mode::Offload, ..NATIVE };
        let told = why(offload, EOPNOTSUPP, None, &InterfaceFacts { features, ..facts("eth0", "ixgbe") });
        assert!(told.starts_with("the driver of `eth0` (ixgbe) does not support offload"), "{told}");
    }

    #[test]
    fn a_bond_has_modes_and_slaves_that_native_mode_wants() {
        let mut bond = facts("bond0", "bond");
        bond.link.bond_mode = Some(3);
        let told = why(NATIVE, EOPNOTSUPP, Some("No native XDP support for the current bonding mode"), &bond);
        assert!(told.starts_with("`bond0` is a bond in mode 3 (broadcast)"), "{told}");
        bond.link.bond_mode = Some(1);
        bond.ports = vec![(link("p0", "dummy", 1500), Some(NONE)), (link("p1", "veth", 1500), Some(ALL))];
        let told = why(NATIVE, EOPNOTSUPP, Some("Slave device does not support XDP"), &bond);
        assert!(told.starts_with("the slave `p0` of the bond `bond0` has no native mode"), "{told}");
        bond.ports[0] =
            (InterfaceInfo { xdp: running(Mode::Native, 9), ..link("p0", "veth", 1500) }, Some(ALL));
        let message = "Slave has XDP program loaded, please unload before enslaving";
        let told = why(NATIVE, EOPNOTSUPP, Some(message), &bond);
        assert!(told.starts_with("XDP program 9 in native mode runs on the slave `p0`"), "{told}");
        assert!(told.ends_with("| detach what is on `p0`"), "{told}");
    }

    #[test]
    fn a_program_above_forbids_one_below() {
        let above = InterfaceInfo { xdp: running(Mode::Generic, 9), ..link("bond0", "bond", 1500) };
        let slave = InterfaceFacts { uppers: vec![above], ..facts("eth0", "ixgbe") };
        for message in [None, Some("Cannot attach when an upper device already has a program")] {
            let told = why(NATIVE, EEXIST, message, &slave);
            assert!(
                told.starts_with("XDP program 9 in generic mode runs on `bond0`, which is stacked on `eth0`"),
                "{told}"
            );
            assert!(told.ends_with("| detach what is on `bond0`"), "{told}");
        }
    }

    fn held(mode: Mode, link: Option<u32>) -> InterfaceFacts {
        let mut facts = veth(1500);
        facts.link.xdp = running(mode, 12);
        let program = facts.link.xdp.programs()[0];
        let name = Some("xdp_drop".to_owned());
        let pin = link.map(|_| "/sys/fs/bpf/edge".to_owned());
        facts.holders = vec![Holder { program, name, link, pin, processes: Vec::new() }];
        facts
    }

    #[test]
    fn native_and_generic_exclude_each_other() {
        let told = why(GENERIC, EEXIST, None, &held(Mode::Native, None));
        assert!(told.starts_with("XDP program 12 in native mode (`xdp_drop`) is attached"), "{told}");
        let message = "Native and generic XDP can't be active at the same time";
        assert_eq!(why(GENERIC, EEXIST, Some(message), &held(Mode::Native, None)), told);
        assert!(told.contains("the kernel does not allow native and generic mode at once"), "{told}");
    }

    #[test]
    fn a_bpf_link_lets_nobody_else_change_what_it_holds() {
        let told =
            why(NATIVE, EBUSY, Some("Can't replace active BPF XDP link"), &held(Mode::Native, Some(7)));
        let words =
            "bpf_link 7, pinned at `/sys/fs/bpf/edge`, holds XDP program 12 in native mode (`xdp_drop`)";
        assert!(told.starts_with(words), "{told}");
        assert!(told.ends_with("| replace or detach it through that link"), "{told}");
        let taken = why(AttachWish { by_link: true, ..NATIVE }, EBUSY, None, &held(Mode::Native, None));
        assert!(taken.starts_with("XDP program 12 in native mode (`xdp_drop`) is attached"), "{taken}");
    }

    /// Elsewhere another interface may have the name.
    #[test]
    fn a_remedy_says_where_the_interface_is() {
        let there =
            |facts| InterfaceFacts { netns: Some("edge".to_owned()), bpffs: Some("/b".into()), ..facts };
        let at = |interface: &str| Whereabouts {
            interface: interface.to_owned(),
            netns: Some("edge".to_owned()),
            bpffs: Some("/b".into()),
        };
        let remedy = |wish, errno, facts| {
            let help = why_refused(wish, errno, None, &facts).and_then(|verdict| verdict.help);
            help.as_ref().and_then(Help::remedy).cloned()
        };
        let mut by_link = there(held(Mode::Native, Some(7)));
        by_link.holders[0].processes.push(Process { id: 12, name: "guard".to_owned() });
        let holders = by_link.holders[0].processes.clone();
        let through_it = Remedy::ReplaceByLink { at: at("near0"), holders };
        assert_eq!(remedy(NATIVE, EBUSY, by_link), Some(through_it));
        let replace = Remedy::Replace { mode: Some(Mode::Native), at: Some(at("near0")) };
        assert_eq!(remedy(GENERIC, EEXIST, there(held(Mode::Native, None))), Some(replace));
        let few = there(InterfaceFacts { peer_channels: Some(queues(4, 4)), ..veth(1500) });
        let told = why(NATIVE, ENOSPC, None, &few);
        assert!(told.contains("| ip netns exec edge ethtool -L near0 rx 4, or: "), "{told}");
        let generic = Remedy::UseMode { mode: Mode::Generic, at: Some(at("near0")) };
        assert_eq!(remedy(NATIVE, ENOSPC, few.clone()), Some(generic));
        let by_path = InterfaceFacts { netns: Some("/proc/7/ns/net".to_owned()), ..few };
        let told = why(NATIVE, ENOSPC, None, &by_path);
        assert!(told.contains("| nsenter --net=/proc/7/ns/net ethtool"), "{told}");
    }

    #[test]
    fn the_dispatcher_is_known_by_its_name() {
        let mut facts = held(Mode::Native, None);
        facts.holders[0].name = Some(DISPATCHER.to_owned());
        let told = why(NATIVE, EBUSY, Some("XDP program already attached"), &facts);
        assert!(
            told.starts_with("libxdp's dispatcher, XDP program 12 in native mode, is attached"),
            "{told}"
        );
        assert!(told.contains("xdp-loader"), "{told}");
    }

    #[test]
    fn what_the_kernel_says_is_taken_at_its_word() {
        for (message, rule) in [
            (
                "BPF_XDP_DEVMAP programs can not be attached to a device",
                "expected_attach_type is BPF_XDP_DEVMAP",
            ),
            ("unable to install XDP to device using tcp-data-split", "tcp-data-split"),
            ("unable to install XDP to device using memory provider", "memory provider"),
            ("XDP expects header/data in single page, any_header_sg required", "any_header_sg"),
            ("Program bound to different device", "another interface"),
            ("Cannot set XDP when peer is detached", "peer"),
            ("Active program does not match expected", "meanwhile"),
        ] {
            let told = why(NATIVE, EINVAL, Some(message), &veth(1500));
            assert!(told.contains(rule), "{message}: {told}");
        }
        assert_eq!(why(NATIVE, EINVAL, Some("something new"), &veth(9000)), "");
    }
}

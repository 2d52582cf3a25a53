//! The blocklist's packet program: what it makes of each packet, where its maps say what they should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use loader::attach;
use loader::features::{Answer, Feature};
use loader::insn::Call;
use loader::uapi::bpf::{BPF_F_MMAPABLE, XdpAction};
use loader::{Interface, Kernel, Mode, Object};

use crate::blocklist_tables::{Added, BUCKETS, COUNT_ONLY, DEFAULT_DROP, Rule, Tables, prebuilt};
use crate::packets::{Frame, Wire, ethertype};
use crate::sandbox::Sandbox;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};

const PASS: XdpAction = XdpAction::PASS;
const DROP: XdpAction = XdpAction::DROP;

/// Numbers of `enum block_verdict`.
mod verdict {
    pub(super) const OTHER: usize = 0;
    pub(super) const PASSED4: usize = 1;
    pub(super) const PASSED6: usize = 2;
    pub(super) const DROPPED4: usize = 3;
    pub(super) const DROPPED6: usize = 4;
    pub(super) const ALLOWED: usize = 5;
    pub(super) const WOULD_DROP: usize = 6;
    pub(super) const TRUNCATED: usize = 7;
}

/// Test runs come in by the loopback interface.
const LOOPBACK: u32 = 1;
const PPPOE: u16 = 0x8864;
const PROBE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const PROBE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1357, 0x9bdf);

/// An Ethernet frame with these types and what follows each; the last one is the packet.
fn frame(layers: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    for (kind, rest) in layers {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(*rest);
    }
    bytes
}

fn ipv4(source: Ipv4Addr) -> Vec<u8> {
    [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0][..], &source.octets(), &[192, 0, 2, 1], &[0; 8]].concat()
}

/// An IPv6 packet that carries `next_header`, whose first byte is `first`.
fn ipv6(source: Ipv6Addr, next_header: u8, hop_limit: u8, first: u8) -> Vec<u8> {
    let payload = [first, 0, 0, 0, 0, 0, 0, 0];
    [&[0x60, 0, 0, 0, 0, 8, next_header, hop_limit][..], &source.octets(), &[0; 16], &payload].concat()
}

/// A UDP packet from `source` in the plainest frame.
fn plain(source: IpAddr) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => frame(&[(ethertype::IPV4, &ipv4(source))]),
        IpAddr::V6(source) => frame(&[(ethertype::IPV6, &ipv6(source, 17, 64, 0))]),
    }
}

impl Tables {
    fn verdict_on(&self, bytes: &[u8]) -> XdpAction {
        self.program().test_run(bytes, 1).expect("the kernel runs it").verdict
    }

    fn drops(&self, source: impl Into<IpAddr>) -> bool {
        self.verdict_on(&plain(source.into())) == DROP
    }

    /// Asserts the verdict on a frame, and that it is counted as `counted`, and as nothing else.
    #[track_caller]
    fn assert_counts(&self, bytes: &[u8], verdict: XdpAction, counted: usize) {
        let mut expected = self.verdicts(LOOPBACK);
        assert_eq!(self.verdict_on(bytes), verdict, "{bytes:02x?}");
        expected[counted].0 += 1;
        expected[counted].1 += bytes.len() as u64;
        assert_eq!(self.verdicts(LOOPBACK), expected, "{bytes:02x?}");
    }
}

/// The first and the last address of a prefix, and those before and after it.
fn edges(rule: Rule) -> ([IpAddr; 2], Vec<IpAddr>) {
    match rule.address {
        IpAddr::V4(first) => {
            let (first, host) = (u32::from(first), u32::MAX.checked_shr(rule.length.into()).unwrap_or(0));
            let outside = [first.checked_sub(1), (first | host).checked_add(1)];
            let outside = outside.into_iter().flatten().map(|number| Ipv4Addr::from(number).into());
            ([first, first | host].map(|number| Ipv4Addr::from(number).into()), outside.collect())
        }
        IpAddr::V6(first) => {
            let (first, host) = (u128::from(first), u128::MAX.checked_shr(rule.length.into()).unwrap_or(0));
            let outside = [first.checked_sub(1), (first | host).checked_add(1)];
            let outside = outside.into_iter().flatten().map(|number| Ipv6Addr::from(number).into());
            ([first, first | host].map(|number| Ipv6Addr::from(number).into()), outside.collect())
        }
    }
}

/// One rule of this length around `address`: what is in it drops and is counted, what is beside it passes.
fn check_length(tables: &mut Tables, address: impl Into<IpAddr>, length: u8) {
    let rule = Rule::around(address, length);
    let added = tables.add(rule, 0);
    let (inside, outside) = edges(rule);
    for source in inside {
        assert!(tables.drops(source), "{source} is in {rule:?}");
    }
    for source in outside {
        assert!(!tables.drops(source), "{source} is not in {rule:?}");
    }
    let bytes = plain(rule.address).len() as u64;
    assert_eq!(tables.hits(&added), (2, 2 * bytes), "{rule:?}");
    tables.remove(&added);
    assert!(!tables.drops(rule.address), "{rule:?} is gone");
}

#[test]
fn a_rule_of_each_ipv4_length_drops_what_it_covers() {
    let _sandbox = need!(Sandbox::new());
    for mut tables in [Tables::load(&prebuilt()), Tables::load_fine(&prebuilt())] {
        for length in (0..=32).rev() {
            check_length(&mut tables, PROBE, length);
        }
        check_length(&mut tables, Ipv4Addr::UNSPECIFIED, 32);
        check_length(&mut tables, Ipv4Addr::BROADCAST, 32);
    }
}

#[test]
fn a_rule_of_each_ipv6_length_drops_what_it_covers() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    for length in (0..=128).rev() {
        check_length(&mut tables, PROBE6, length);
    }
}

/// What numbers are drawn from; the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) ^ (self.0 << 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 8) % limit
    }

    /// An address in one of few networks, so that rules lie in each other and beside each other.
    fn address(&mut self) -> IpAddr {
        let bits = self.next() & self.next();
        if self.below(2) == 0 {
            return Ipv4Addr::from(0x0a00_0000 | (bits & 0x0301_0fff) as u32).into();
        }
        Ipv6Addr::from(
            0x2001_0db8 << 96 | u128::from(bits & 0x0000_0003_0101_0303) << 48 | u128::from(bits & 7),
        )
        .into()
    }
}

/// Whatever the tables look like after many changes, and whichever rules have ended, the program agrees with a list
/// that is read from end to end.
#[test]
fn the_program_agrees_with_a_list() {
    let _sandbox = need!(Sandbox::new());
    agree_with_a_list(Tables::load(&prebuilt()));
}

#[test]
fn the_program_agrees_with_a_large_list() {
    let _sandbox = need!(Sandbox::new());
    agree_with_a_list(Tables::load_fine(&prebuilt()));
}

fn agree_with_a_list(mut tables: Tables) {
    let mut random = Random(4);
    let mut rules: Vec<(Rule, u32, Added)> = Vec::new();
    let (mut wide, mut dropped) = (0, 0);
    for round in 0..6_000 {
        let address = random.address();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = longest
            - u8::try_from(random.below(u64::from(longest) / 2).min(random.below(12))).expect("it is small");
        let rule = Rule::around(address, length);
        if rules.len() > 1_500 || round % 5 == 4 && !rules.is_empty() {
            let (.., added) =
                rules.swap_remove(usize::try_from(random.below(rules.len() as u64)).expect("it is small"));
            tables.remove(&added);
        } else if rules.iter().all(|(other, ..)| *other != rule) {
            let end = [0, LONG_AGO, NOT_YET][usize::try_from(random.below(3)).expect("it is small")];
            let added = tables.add(rule, end);
            wide += usize::from(added.is_wide() && rule.address.is_ipv4());
            rules.push((rule, end, added));
        }
        let source = random.address();
        let expected = rules.iter().any(|(rule, end, _)| *end != LONG_AGO && rule.covers(source));
        dropped += usize::from(expected);
        assert_eq!(tables.drops(source), expected, "{source} in round {round}");
    }
    assert!(
        wide > 50 && rules.len() > 15 * BUCKETS as usize / 2,
        "buckets overflowed: {wide} of {}",
        rules.len()
    );
    assert!((600..5_400).contains(&dropped), "both verdicts were seen: {dropped}");
}

/// Frames around a packet, with a name for each.
fn wrapped(kind: u16, packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let ppp = if kind == ethertype::IPV4 { [0x00, 0x21] } else { [0x00, 0x57] };
    let session = [&[0x11, 0, 0, 1, 0, 60][..], &ppp, packet].concat();
    let (inner, outer): (&[u8], &[u8]) = (&[0, 7], &[0, 9]);
    vec![
        ("plain", frame(&[(kind, packet)])),
        ("802.1Q", frame(&[(ethertype::VLAN, inner), (kind, packet)])),
        ("802.1AD", frame(&[(ethertype::SERVICE_VLAN, outer), (kind, packet)])),
        ("QinQ", frame(&[(ethertype::SERVICE_VLAN, outer), (ethertype::VLAN, inner), (kind, packet)])),
        ("802.1Q twice", frame(&[(ethertype::VLAN, outer), (ethertype::VLAN, inner), (kind, packet)])),
        ("PPPoE", frame(&[(PPPOE, &session)])),
        ("PPPoE in 802.1Q", frame(&[(ethertype::VLAN, inner), (PPPOE, &session)])),
    ]
}

#[test]
fn addresses_are_found_under_tags_and_sessions() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    tables.add(Rule::around(PROBE, 32), 0);
    tables.add(Rule::around(PROBE6, 64), 0);
    for (kind, listed, clean, dropped, passed) in [
        (ethertype::IPV4, ipv4(PROBE), ipv4(OTHER), verdict::DROPPED4, verdict::PASSED4),
        (
            ethertype::IPV6,
            ipv6(PROBE6, 17, 64, 0),
            ipv6(Ipv6Addr::LOCALHOST, 17, 64, 0),
            verdict::DROPPED6,
            verdict::PASSED6,
        ),
    ] {
        for (_, bytes) in wrapped(kind, &listed) {
            tables.assert_counts(&bytes, DROP, dropped);
        }
        for (_, bytes) in wrapped(kind, &clean) {
            tables.assert_counts(&bytes, PASS, passed);
        }
    }
}

#[test]
fn fragments_are_judged_like_whole_packets() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    tables.add(Rule::around(PROBE, 32), 0);
    tables.add(Rule::around(PROBE6, 128), 0);
    // The first fragment, one in the middle, the last one.
    for flags in [[0x20, 0], [0x20, 185], [0, 185]] {
        let mut packet = ipv4(PROBE);
        packet[6..8].copy_from_slice(&flags);
        tables.assert_counts(&frame(&[(ethertype::IPV4, &packet)]), DROP, verdict::DROPPED4);
    }
    // The fragment header of IPv6 is 44.
    tables.assert_counts(&frame(&[(ethertype::IPV6, &ipv6(PROBE6, 44, 64, 58))]), DROP, verdict::DROPPED6);
}

#[test]
fn what_is_not_ip_and_neighbour_discovery_pass_whatever_the_default() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    tables.add(Rule::around(PROBE6, 0), 0);
    tables.set(DEFAULT_DROP);
    let arp = PROBE.octets().repeat(7);
    let tag: &[u8] = &[0, 7];
    for bytes in [
        frame(&[(ethertype::ARP, &arp)]),
        frame(&[(ethertype::VLAN, tag), (ethertype::ARP, &arp)]),
        // LLDP, a third tag, PPPoE's discovery, LCP in a PPPoE session.
        frame(&[(0x88cc, &arp)]),
        frame(&[
            (ethertype::VLAN, tag),
            (ethertype::VLAN, tag),
            (ethertype::VLAN, tag),
            (ethertype::IPV4, &ipv4(PROBE)),
        ]),
        frame(&[(0x8863, &[0x11, 9, 0, 0, 0, 0, 0, 0])]),
        frame(&[(PPPOE, &[0x11, 0, 0, 1, 0, 8, 0xc0, 0x21, 9, 9, 9, 9])]),
    ] {
        tables.assert_counts(&bytes, PASS, verdict::OTHER);
    }
    for kind in 133..=137 {
        let discovery = |hop_limit| frame(&[(ethertype::IPV6, &ipv6(PROBE6, 58, hop_limit, kind))]);
        tables.assert_counts(&discovery(255), PASS, verdict::OTHER);
        // It has been routed, and so it is none.
        tables.assert_counts(&discovery(254), DROP, verdict::DROPPED6);
    }
    for kind in [128, 132, 138] {
        tables.assert_counts(
            &frame(&[(ethertype::IPV6, &ipv6(PROBE6, 58, 255, kind))]),
            DROP,
            verdict::DROPPED6,
        );
    }
}

#[test]
fn a_frame_cut_short_passes() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    tables.set(DEFAULT_DROP);
    for (kind, packet, header) in
        [(ethertype::IPV4, ipv4(PROBE), 20), (ethertype::IPV6, ipv6(PROBE6, 17, 64, 0), 40)]
    {
        for (name, bytes) in wrapped(kind, &packet) {
            let whole = bytes.len() - packet.len() + header;
            for len in 14..whole {
                let before = tables.verdicts(LOOPBACK)[verdict::TRUNCATED].0;
                assert_eq!(tables.verdict_on(&bytes[..len]), PASS, "{name}, {len} bytes");
                assert_eq!(
                    tables.verdicts(LOOPBACK)[verdict::TRUNCATED].0,
                    before + 1,
                    "{name}, {len} bytes"
                );
            }
            assert_eq!(tables.verdict_on(&bytes[..whole]), DROP, "{name}");
        }
    }
}

#[test]
fn count_only_counts_what_it_would_drop() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    let added = [PROBE.into(), IpAddr::from(PROBE6)]
        .map(|address| (address, tables.add(Rule::around(address, 24), 0)));
    tables.set(COUNT_ONLY);
    for (address, added) in &added {
        tables.assert_counts(&plain(*address), PASS, verdict::WOULD_DROP);
        assert_eq!(tables.hits(added).0, 1);
    }
    tables.assert_counts(&plain(OTHER.into()), PASS, verdict::PASSED4);
    tables.set(DEFAULT_DROP);
    tables.assert_counts(&plain(OTHER.into()), PASS, verdict::WOULD_DROP);
    tables.unset(COUNT_ONLY);
    tables.assert_counts(&plain(OTHER.into()), DROP, verdict::DROPPED4);
    tables.assert_counts(&plain(Ipv6Addr::LOCALHOST.into()), DROP, verdict::DROPPED6);
}

#[test]
fn what_is_allowed_passes_rules_and_the_default() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    let added = tables.add(Rule::around(PROBE, 24), 0);
    tables.add(Rule::around(PROBE6, 48), 0);
    tables.allow(Rule::around(PROBE, 30));
    tables.allow(Rule::around(PROBE6, 64));
    tables.assert_counts(&plain(PROBE.into()), PASS, verdict::ALLOWED);
    tables.assert_counts(&plain(PROBE6.into()), PASS, verdict::ALLOWED);
    assert_eq!(tables.hits(&added), (0, 0));
    tables.assert_counts(&plain(Ipv4Addr::new(198, 51, 100, 80).into()), DROP, verdict::DROPPED4);
    // Without a rule it is not asked, and the packet is an ordinary one.
    tables.remove(&added);
    tables.assert_counts(&plain(PROBE.into()), PASS, verdict::PASSED4);
    tables.set(DEFAULT_DROP);
    tables.assert_counts(&plain(PROBE.into()), PASS, verdict::ALLOWED);
    tables.assert_counts(&plain(OTHER.into()), DROP, verdict::DROPPED4);
}

/// Times at which a rule may end: a second after the machine has started, and in more than a century.
const LONG_AGO: u32 = 1;
const NOT_YET: u32 = u32::MAX;

#[test]
fn a_rule_that_has_ended_is_as_if_absent() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    // In a bucket, in `wide`, in `trie6`; with a shorter one around each that goes on.
    for (address, lengths) in [
        (IpAddr::from(PROBE), [32, 24]),
        (PROBE.into(), [23, 17]),
        (PROBE.into(), [16, 8]),
        (PROBE6.into(), [128, 64]),
        (PROBE6.into(), [127, 63]),
    ] {
        let [inner, outer] = lengths.map(|length| Rule::around(address, length));
        let ended = tables.add(inner, LONG_AGO);
        assert!(!tables.drops(address), "{inner:?} has ended");
        let around = tables.add(outer, NOT_YET);
        assert!(tables.drops(address), "{outer:?} goes on");
        assert_eq!([&ended, &around].map(|added| tables.hits(added).0), [0, 1]);
        tables.remove(&around);
        tables.remove(&ended);
        let renewed = tables.add(inner, NOT_YET);
        assert!(tables.drops(address), "{inner:?} begins again");
        tables.remove(&renewed);
    }
    let endless = tables.add(Rule::around(Ipv4Addr::UNSPECIFIED, 0), LONG_AGO);
    assert!(!tables.drops(PROBE));
    tables.remove(&endless);
}

#[test]
fn among_rules_that_match_the_longest_counts() {
    let _sandbox = need!(Sandbox::new());
    let mut tables = Tables::load(&prebuilt());
    let mut added: Vec<_> =
        [0, 7, 16, 17, 23, 24, 31, 32].map(|n| tables.add(Rule::around(PROBE, n), 0)).into();
    while let Some(longest) = added.pop() {
        assert!(tables.drops(PROBE));
        assert_eq!(tables.hits(&longest).0, 1);
        assert!(added.iter().all(|shorter| tables.hits(shorter).0 == 0));
        tables.remove(&longest);
    }
    assert!(!tables.drops(PROBE));
}

/// On a real interface, with the index of that interface.
fn judge_on_the_wire(object: &Object, mode: Mode) {
    let (_sandbox, veth) = need!(pair(&[]));
    let mut tables = Tables::load(object);
    let added = tables.add(Rule::around(BLOCKED, 32), 0);
    let near0 = Interface::named(NEAR).expect("the pair is there");
    let attached = attach::attach(tables.program(), &near0, mode).expect("the interface takes it");
    let (near, far) = (Wire::near(), Wire::far(&veth));
    let tags: [&[(u16, u16)]; 3] =
        [&[], &[(ethertype::VLAN, 7)], &[(ethertype::SERVICE_VLAN, 9), (ethertype::VLAN, 7)]];
    for tags in tags {
        let blocked = Frame::ipv4(&veth, tags, BLOCKED);
        far.send(&blocked);
        near.assert_misses(&blocked);
        let harmless = Frame::ipv4(&veth, tags, OTHER);
        far.send(&harmless);
        near.assert_sees(&harmless);
    }
    assert_eq!(tables.hits(&added).0, 3);
    let verdicts = tables.verdicts(veth.near_index());
    assert_eq!([verdicts[verdict::DROPPED4].0, verdicts[verdict::PASSED4].0], [3, 3]);
    drop(attached);
}

#[test]
fn packets_are_dropped_on_an_interface() {
    judge_on_the_wire(&prebuilt(), Mode::Native);
}

#[test]
fn packets_are_dropped_on_an_interface_in_generic_mode() {
    judge_on_the_wire(&prebuilt(), Mode::Generic);
}

/// The same program, when the loader says that it takes multi-buffer packets.
#[test]
fn the_program_takes_large_packets() {
    need!(crate::requirement::kernel((5, 18), "XDP on multi-buffer packets"));
    let mut object = prebuilt();
    object.programs[0].kind.frags = true;
    judge_on_the_wire(&object, Mode::Native);
}

/// Helpers that came before 4.11, no function beside the program, no variable, no more than 4,096 instructions: that
/// is what the kernels before 5.2 have room for.
#[test]
fn the_object_asks_little_of_a_kernel() {
    let object = prebuilt();
    assert!(object.data.is_empty() && object.functions.is_empty() && object.externs.is_empty());
    assert_eq!(object.programs.len(), 1);
    let insns = &object.programs[0].function.insns;
    assert!(insns.len() <= 4_096, "{} instructions", insns.len());
    for insn in insns.iter().filter(|insn| insn.is_call()) {
        // bpf_map_lookup_elem, bpf_ktime_get_ns.
        assert!(matches!(insn.call(), Some(Call::Helper(1 | 5))), "{insn:?}");
    }
}

/// Nothing that came after 4.16 but the verifier: no types, no names, no arrays to be mapped.
#[test]
fn the_program_does_without_types_and_names() {
    let _sandbox = need!(Sandbox::new());
    let mut object = prebuilt();
    object.btf = None;
    for map in &mut object.maps {
        map.types = None;
        map.shape.flags &= !BPF_F_MMAPABLE;
    }
    let mut kernel = Kernel::current().expect("a kernel tells its version");
    for feature in
        [Feature::ObjectNames, Feature::ExpectedAttachType, Feature::GlobalData, Feature::MmapableArrays]
    {
        kernel.learn(feature, Answer::No);
    }
    let mut tables = Tables::load_into(&kernel, &object);
    assert_eq!(tables.program().info().expect("the kernel tells").name, "");
    for length in [32, 24, 17, 8] {
        check_length(&mut tables, PROBE, length);
    }
    check_length(&mut tables, PROBE6, 64);
}

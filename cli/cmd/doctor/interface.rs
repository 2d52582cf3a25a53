//! What an interface allows.

use std::fmt;

use loader::diagnosis::{AttachWish, Channels, Holder, InterfaceFacts, Verdict, forecast, native_limit};
use loader::escape;
use loader::features::{Answer, Feature};
use loader::kernel::probe;
use loader::netlink::{InterfaceInfo, Mode, XdpFeatures};
use loader::uapi::genetlink::XdpFeature;
use serde::Serialize;

use super::Outlook;
use crate::output::NamedInterface;

#[derive(Serialize)]
pub(super) struct Interface {
    #[serde(flatten)]
    at: NamedInterface,
    up: bool,
    mtu: u32,
    /// What its packets begin with.
    link_type: String,
    /// Whether that is an Ethernet header, which nearly every program for XDP expects.
    ethernet: bool,
    kind: Option<String>,
    driver: Option<String>,
    /// What the driver can do with XDP; none where the kernel does not tell.
    features: Option<Vec<&'static str>>,
    /// The largest MTU, of the peer for a veth, that native mode takes without `xdp.frags`, where it is known.
    native_mtu_limit: Option<u32>,
    lro: Option<bool>,
    queues: Option<Queues>,
    peer: Option<Peer>,
    /// The interfaces that stand on it.
    uppers: Vec<String>,
    /// The ports of a bridge or bond.
    ports: Vec<String>,
    programs: Vec<Program>,
    native: Outlook,
    /// Native mode for a program that takes multi-buffer packets.
    frags: Outlook,
    generic: Outlook,
}

#[derive(Serialize)]
struct Queues {
    receive: u32,
    transmit: u32,
}

#[derive(Serialize)]
struct Peer {
    interface: String,
    mtu: u32,
    /// Whether it is in another network namespace.
    elsewhere: bool,
}

#[derive(Serialize)]
struct Program {
    mode: String,
    id: Option<u32>,
    name: Option<String>,
    link: Option<Link>,
}

/// The bpf_link that holds a program.
#[derive(Serialize)]
struct Link {
    id: u32,
    pin: Option<String>,
}

impl Interface {
    pub(super) fn new(facts: &InterfaceFacts) -> Self {
        // A veth has native mode since 4.19, and an old kernel does not tell of drivers.
        let has_native =
            !facts.is("veth") || facts.features.is_some() || probe(Feature::GlobalData) == Answer::Yes;
        let names =
            |links: &mut dyn Iterator<Item = &InterfaceInfo>| links.map(|link| link.name.clone()).collect();
        let queues =
            |channels: Channels| Queues { receive: channels.receiving(), transmit: channels.sending() };
        let peer = facts.peer.as_ref().map(|peer| Peer {
            interface: peer.name.clone(),
            mtu: peer.mtu,
            elsewhere: facts.peer_is_elsewhere(),
        });
        Self {
            at: NamedInterface::new(&facts.link.name, facts.link.index),
            up: facts.link.up,
            mtu: facts.link.mtu,
            link_type: facts.link.hardware_type.to_string(),
            ethernet: facts.link.has_ethernet_header(),
            kind: facts.link.kind.clone(),
            driver: facts.driver.clone(),
            features: facts.features.map(XdpFeatures::names),
            native_mtu_limit: native_limit(facts).filter(|_| has_native),
            lro: facts.lro,
            queues: facts.channels.map(queues),
            peer,
            uppers: names(&mut facts.uppers.iter()),
            ports: names(&mut facts.ports.iter().map(|(port, _)| port)),
            programs: facts.holders.iter().map(Program::new).collect(),
            native: native(facts, false, has_native),
            frags: native(facts, true, has_native),
            generic: Outlook::unless(forecast(wish(Mode::Generic, false), facts)),
        }
    }
}

fn wish(mode: Mode, frags: bool) -> AttachWish {
    AttachWish { mode, frags: Some(frags), by_link: false, replace: false }
}

/// Native mode. Where neither the kernel nor a rule that is known tells of the driver, nobody can.
fn native(facts: &InterfaceFacts, frags: bool, has_native: bool) -> Outlook {
    let lacks = |feature| facts.features.is_some_and(|features| !features.has(feature));
    if frags && probe(Feature::XdpFrags) == Answer::No {
        return Outlook::unless(Some(Verdict::without_help(Feature::XdpFrags.lacking())));
    }
    match forecast(wish(Mode::Native, frags), facts) {
        None if facts.features.is_none() && !(facts.is("veth") && has_native) => {
            Outlook::new(Answer::Unknown)
        }
        None if frags && lacks(XdpFeature::RX_SG) => {
            let rule = "the driver does not hand multi-buffer packets to a program";
            Outlook::unless(Some(Verdict::without_help(rule)))
        }
        verdict => Outlook::unless(verdict),
    }
}

impl Program {
    fn new(holder: &Holder) -> Self {
        Self {
            mode: holder.program.mode.to_string(),
            id: holder.program.id,
            name: holder.name.clone(),
            link: holder.link.map(|id| Link { id, pin: holder.pin.clone() }),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.as_deref().unwrap_or("unknown");
        let state = if self.up { "up" } else { "down" };
        writeln!(f, "{} ({})", self.at.name(), self.at.ifindex)?;
        writeln!(f, "  {state}, MTU {}, driver {}", self.mtu, escape(driver))?;
        if !self.ethernet {
            let link_type = &self.link_type;
            writeln!(
                f,
                "  its packets have no Ethernet header (link type {link_type}), which most XDP programs expect"
            )?;
        }
        match self.features.as_deref() {
            None => writeln!(f, "  XDP features of the driver: the kernel does not tell (Linux 6.3)")?,
            Some([]) => writeln!(f, "  XDP features of the driver: none")?,
            Some(names) => writeln!(f, "  XDP features of the driver: {}", names.join(" "))?,
        }
        if let Some(Queues { receive, transmit }) = self.queues {
            writeln!(f, "  queues: {receive} to receive, {transmit} to send")?;
        }
        if self.lro == Some(true) {
            writeln!(f, "  large receive offload is on")?;
        }
        if let Some(Peer { interface, mtu, elsewhere }) = &self.peer {
            let place = if *elsewhere { " in another network namespace" } else { "" };
            writeln!(f, "  peer {}{place}, MTU {mtu}", escape(interface))?;
        }
        if let Some(limit) = self.native_mtu_limit {
            let whose = if self.peer.is_some() { "its peer's MTU" } else { "the MTU" };
            writeln!(f, "  native mode without `xdp.frags` takes {whose} up to {limit}")?;
        }
        for (what, names) in [("under", &self.uppers), ("ports", &self.ports)] {
            if !names.is_empty() {
                let names: Vec<_> = names.iter().map(|name| escape(name)).collect();
                writeln!(f, "  {what} {}", names.join(", "))?;
            }
        }
        self.programs.iter().try_for_each(|program| writeln!(f, "  {program}"))?;
        writeln!(f, "  native: {}", self.native)?;
        // Said once.
        for (what, outlook) in [("native with `xdp.frags`", &self.frags), ("generic", &self.generic)] {
            match &outlook.rule {
                Some(rule) if Some(rule) == self.native.rule.as_ref() => {
                    writeln!(f, "  {what}: no, for the same reason")?;
                }
                _ => writeln!(f, "  {what}: {outlook}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has a program in {} mode", self.mode)?;
        if let Some(id) = self.id {
            write!(f, ", id {id}")?;
        }
        if let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) {
            write!(f, ", {}", escape(name))?;
        }
        if let Some(Link { id, pin }) = &self.link {
            write!(f, ", held by bpf_link {id}")?;
            pin.iter().try_for_each(|pin| write!(f, ", pinned at {}", escape(pin)))?;
        }
        Ok(())
    }
}

//! All that can be learnt of an interface before a program is attached to it, or after it was refused.
//!
//! Nothing here changes anything, and what may not be asked or is not told is left out.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Interface, Link, NetNs, RouteSocket, link_of, link_pins};
use crate::diagnosis::{Channels, Holder, InterfaceFacts, Process};
use crate::error::Result;
use crate::netlink::{self, InterfaceInfo, InterfaceRef, XdpFeatures, XdpProgram};
use crate::order::sort_by_key;
use crate::pin;
use crate::program::Program;
use crate::sys::{ethtool, netlink as sys_netlink, os};
use crate::uapi::ethtool::ETH_FLAG_LRO;

/// Room for an answer of a generic family about one thing.
const ANSWER: usize = 16 * 1024;

impl RouteSocket {
    /// What is known of `which`: the interface, its driver, its peer, what it stands on and what stands on it. Pins of
    /// `bpf_link`s are looked for below `bpffs`.
    pub fn facts(&self, which: &InterfaceRef, bpffs: impl AsRef<Path>) -> Result<InterfaceFacts> {
        let bpffs = bpffs.as_ref();
        let link = self.interface(which)?;
        Ok(Neighbourhood::new(self, bpffs)?.facts(link))
    }

    /// The same of all interfaces.
    pub fn all_facts(&self, bpffs: impl AsRef<Path>) -> Result<Vec<InterfaceFacts>> {
        let bpffs = bpffs.as_ref();
        let around = Neighbourhood::new(self, bpffs)?;
        let links: Vec<_> = around.links.clone();
        Ok(links.into_iter().map(|link| around.facts(link)).collect())
    }
}

impl Interface {
    /// What is known of it now; see [`RouteSocket::facts`].
    pub fn facts(&self, bpffs: impl AsRef<Path>) -> Result<InterfaceFacts> {
        let bpffs = bpffs.as_ref();
        self.socket().facts(&InterfaceRef::Index(self.index()), bpffs)
    }
}

/// All interfaces of a namespace.
struct Neighbourhood<'s> {
    socket: &'s RouteSocket,
    /// In the order of their indexes.
    links: Vec<InterfaceInfo>,
    netdev: Option<Netdev>,
    pins: Vec<(u32, PathBuf)>,
    bpffs: Option<PathBuf>,
}

impl<'s> Neighbourhood<'s> {
    fn new(socket: &'s RouteSocket, bpffs: &Path) -> Result<Self> {
        let mut links = socket.interfaces()?;
        sort_by_key(&mut links, |link| link.index);
        let has_programs = links.iter().any(|link| !link.xdp.is_empty());
        let pins = if has_programs { link_pins(bpffs) } else { Vec::new() };
        let bpffs = (bpffs != Path::new(pin::BPFFS_ROOT)).then(|| bpffs.to_path_buf());
        Ok(Self { socket, links, netdev: Netdev::open(socket), pins, bpffs })
    }

    fn facts(&self, link: InterfaceInfo) -> InterfaceFacts {
        let fd = self.socket.fd();
        let is_veth = link.kind.as_deref() == Some("veth");
        let peer = if is_veth { self.peer(&link) } else { None };
        let here = peer.as_ref().filter(|_| link.lower_netns.is_none());
        let ports = self.links.iter().filter(|port| port.master == Some(link.index));
        InterfaceFacts {
            page_size: os::page_size(),
            driver: ethtool::driver(fd, &link.name).ok().filter(|driver| !driver.is_empty()),
            lro: ethtool::flags(fd, &link.name).ok().map(|flags| flags & ETH_FLAG_LRO != 0),
            channels: self.channels(&link),
            features: self.features(&link),
            peer_channels: here.and_then(|peer| self.channels(peer)),
            peer,
            lower: if is_veth { None } else { self.lower(&link).cloned() },
            uppers: self.uppers(&link),
            ports: ports.map(|port| (port.clone(), self.features(port))).collect(),
            holders: link.xdp.programs().iter().map(|program| self.holder(&link, *program)).collect(),
            link,
            netns: self.socket.namespace().map(NetNs::name),
            bpffs: self.bpffs.clone(),
        }
    }

    fn channels(&self, link: &InterfaceInfo) -> Option<Channels> {
        let told = ethtool::channels(self.socket.fd(), &link.name).ok()?;
        let ethtool::Channels { rx, tx, combined, max_rx, max_tx, max_combined, .. } = told;
        Some(Channels { rx, tx, combined, max_rx, max_tx, max_combined })
    }

    fn features(&self, link: &InterfaceInfo) -> Option<XdpFeatures> {
        self.netdev.as_ref()?.features(link.index)
    }

    fn peer(&self, link: &InterfaceInfo) -> Option<InterfaceInfo> {
        match link.lower_netns {
            None => self.lower(link).cloned(),
            Some(netns) => self.socket.interface_elsewhere(netns, link.lower?).ok(),
        }
    }

    fn lower(&self, link: &InterfaceInfo) -> Option<&InterfaceInfo> {
        let index = link.lower.filter(|_| link.lower_netns.is_none())?;
        let found = self.links.binary_search_by_key(&index, |other| other.index);
        found.ok().map(|place| &self.links[place])
    }

    /// What stands on `link`, directly or by way of another.
    fn uppers(&self, link: &InterfaceInfo) -> Vec<InterfaceInfo> {
        let mut found: Vec<InterfaceInfo> = Vec::new();
        let mut below = vec![link.clone()];
        while let Some(lower) = below.pop() {
            for upper in &self.links {
                let is_on_it = upper.kind.as_deref() != Some("veth")
                    && upper.lower_netns.is_none()
                    && upper.lower == Some(lower.index);
                let is_new =
                    upper.index != link.index && !found.iter().any(|other| other.index == upper.index);
                if is_new && (is_on_it || lower.master == Some(upper.index)) {
                    found.push(upper.clone());
                    below.push(upper.clone());
                }
            }
        }
        found
    }

    /// Who holds `program`: by the pins of links, which need no privilege but to be read, else by all links.
    fn holder(&self, link: &InterfaceInfo, program: XdpProgram) -> Holder {
        let holds = |pin: &&(u32, PathBuf)| {
            let state = Link::open_pinned(&pin.1).and_then(|link| link.state());
            state.is_ok_and(|state| state.holds(link.index, program))
        };
        let name = program.id.and_then(|id| Program::from_id(id).ok()?.info().ok()).map(|info| info.name);
        if let Some((id, path)) = self.pins.iter().find(holds) {
            let pin = Some(path.to_string_lossy().into_owned());
            return Holder { program, name, link: Some(*id), pin, processes: Vec::new() };
        }
        let found = link_of(link, program).ok().flatten().and_then(|link| link.state().ok());
        let id = found.map(|state| state.id);
        Holder {
            program,
            name,
            link: id,
            pin: None,
            processes: id.map(processes_with_link).unwrap_or_default(),
        }
    }
}

/// The processes that have an fd of the link, as far as /proc shows them.
fn processes_with_link(id: u32) -> Vec<Process> {
    let mark = format!("link_id:\t{id}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let fds = fs::read_dir(entry.path().join("fdinfo")).into_iter().flatten().flatten();
        let has_it = |fd: fs::DirEntry| {
            fs::read_to_string(fd.path()).is_ok_and(|info| info.lines().any(|line| line == mark))
        };
        if fds.into_iter().any(has_it) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(Process { id: pid, name: name.trim_end_matches('\n').to_owned() });
        }
    }
    found
}

/// A socket to the family `netdev`.
struct Netdev {
    fd: OwnedFd,
    family: u16,
}

impl Netdev {
    /// Opens one in the namespace of `socket`; none before 6.3.
    fn open(socket: &RouteSocket) -> Option<Self> {
        let fd = socket.in_its_namespace(sys_netlink::open_generic).ok()?.ok()?;
        let answer = ask(&fd, &netlink::get_netdev_family(1))?;
        let family = netlink::read_family(&answer).ok()??;
        Some(Self { fd, family })
    }

    fn features(&self, index: u32) -> Option<XdpFeatures> {
        let answer = ask(&self.fd, &netlink::get_xdp_features(self.family, index, 2))?;
        netlink::read_xdp_features(&answer).ok()?
    }
}

/// One request, one answer.
fn ask(fd: &OwnedFd, request: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = vec![0; ANSWER];
    sys_netlink::send_request(fd.as_fd(), request).ok()?;
    let len = sys_netlink::receive(fd.as_fd(), &mut buffer).ok()?;
    buffer.get(..len).map(<[u8]>::to_vec)
}

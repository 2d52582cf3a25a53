//! Where the blocklist is on: here, only in other network namespaces, or nowhere, so that it drops nothing.

use blocklist::{Blocklist, running_on};
use loader::attach::{Interface, NetNs, RouteSocket};
use loader::netlink::InterfaceInfo;
use loader::{Error, ErrorKind, Result, quote, shell_word};

use crate::output;

/// An interface of another network namespace that the blocklist is on.
pub(super) struct Elsewhere {
    /// Its name, and what names its namespace.
    pub(super) words: String,
    pub(super) index: u32,
}

/// The error for an interface with a blocklist that nothing at `blocklist` leads to. `again` has the options that name
/// its namespace and the bpffs once more.
pub(super) fn another(interface: &Interface, blocklist: &Blocklist, again: &str) -> Error {
    let message = format!(
        "a blocklist is on {interface} that is not the one at {}: its pins are gone, or elsewhere",
        quote(&blocklist.dir().to_string_lossy())
    );
    let name = shell_word(interface.name());
    Error::new(ErrorKind::Conflict, message).with_help(format!(
        "--bpffs leads to one that is pinned elsewhere; `xdpload detach {name}{again}` takes it off"
    ))
}

/// Says so if the blocklist is on no interface at all. What cannot be looked at is no reason to fail.
pub(super) fn tell_if_nowhere(blocklist: &Blocklist) {
    if is_nowhere(blocklist) {
        output::remark("note: the blocklist is on no interface, so no packet is dropped");
    }
}

/// Whether it is certain that the blocklist is on no interface of a network namespace that may be looked at.
pub(super) fn is_nowhere(blocklist: &Blocklist) -> bool {
    let look = || -> Result<bool> {
        let ids = blocklist.program_ids()?;
        // Somebody has removed the pins: nobody can tell.
        if ids.is_empty() {
            return Ok(false);
        }
        let socket = RouteSocket::open(None)?;
        let is_here = socket.interfaces()?.iter().any(|link| running_on(link, &ids).is_some());
        Ok(!is_here && elsewhere(&ids, &socket).is_empty())
    };
    look().unwrap_or_default()
}

/// The interfaces that it is on in other network namespaces than that of `here`, as far as they may be looked at.
pub(super) fn elsewhere(ids: &[u32], here: &RouteSocket) -> Vec<Elsewhere> {
    let mut found = Vec::new();
    let Ok((namespaces, _)) = NetNs::all() else { return found };
    for (namespace, links) in others(namespaces, ids, here) {
        for link in links {
            let words = format!("{} in {namespace}", quote(&link.name));
            found.push(Elsewhere { words, index: link.index });
        }
    }
    found
}

/// Those of the namespaces that it is on in and that are not that of `here`, each with its interfaces, as far as they
/// may be looked at.
pub(super) fn others(
    namespaces: Vec<NetNs>,
    ids: &[u32],
    here: &RouteSocket,
) -> Vec<(NetNs, Vec<InterfaceInfo>)> {
    let look = |namespace: &NetNs| -> Result<Vec<InterfaceInfo>> {
        if here.is_in(namespace)? {
            return Ok(Vec::new());
        }
        let mut links = RouteSocket::open(Some(namespace))?.interfaces()?;
        links.retain(|link| running_on(link, ids).is_some());
        Ok(links)
    };
    let mut found = Vec::new();
    for namespace in namespaces {
        let links = look(&namespace).unwrap_or_default();
        if !links.is_empty() {
            found.push((namespace, links));
        }
    }
    found
}

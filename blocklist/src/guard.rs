//! Addresses that a rule must not cover, lest whoever adds it be locked out.

use std::net::IpAddr;

use ipnet::IpNet;
use loader::attach::RouteSocket;
use loader::{Error, Result};
use nix::ifaddrs::getifaddrs;

use crate::prefix::{canonical, single};
use crate::rules::{Reader, Unlisted};

/// An address, and whose it is in words such as `the default gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub whose: String,
    /// Whether somebody there is at work on this host, who must be heard.
    pub is_peer: bool,
}

impl Protected {
    fn new(address: IpAddr, whose: String) -> Self {
        Self { address, whose, is_peer: false }
    }
}

/// What locks somebody out.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOut {
    /// A rule that covers every address.
    Everything(IpNet),
    /// A rule that covers one that is protected.
    Rule(IpNet, Protected),
    /// No rule, but that what is not allowed is dropped.
    Default(Protected),
}

impl LockOut {
    /// Whom an exception would save.
    pub fn protected(&self) -> Option<&Protected> {
        match self {
            Self::Everything(_) => None,
            Self::Rule(_, protected) | Self::Default(protected) => Some(protected),
        }
    }
}

impl std::fmt::Display for LockOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything(prefix) => write!(f, "{prefix} covers every address"),
            Self::Rule(prefix, Protected { address, whose, .. }) if single(*address) == *prefix => {
                write!(f, "{address} is {whose}")
            }
            Self::Rule(prefix, Protected { address, whose, .. }) => {
                write!(f, "{prefix} covers {address}, {whose}")
            }
            Self::Default(Protected { address, whose, .. }) => {
                write!(f, "nothing allows {address}, {whose}, and what is not allowed is dropped")
            }
        }
    }
}

/// The default gateways of all routing tables, in the network namespace of the calling thread.
pub fn default_gateways() -> Result<Vec<Protected>> {
    let gateway = |address| Protected::new(address, "the default gateway".to_owned());
    Ok(RouteSocket::open(None)?.default_gateways()?.into_iter().map(gateway).collect())
}

/// The addresses of this host, in the network namespace of the calling thread.
///
/// Loopback addresses are left out: no packet from a network has them.
pub fn of_this_host() -> Result<Vec<Protected>> {
    let mut found = Vec::new();
    let entries = getifaddrs().map_err(|errno| Error::os("getifaddrs(3)", "this host", errno as i32))?;
    for entry in entries {
        let address = entry.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        if let Some(address) = address.filter(|address| !address.is_loopback()) {
            let whose = format!("an address of this host ({})", entry.interface_name);
            found.push(Protected::new(address, whose));
        }
    }
    Ok(found)
}

/// The first rule among `prefixes` that covers everything, or a protected address that no exception saves.
pub fn first_lock_out(
    prefixes: impl IntoIterator<Item = IpNet>,
    protected: &[Protected],
    exceptions: Option<&Reader>,
) -> Result<Option<LockOut>> {
    first_among(&mut prefixes.into_iter(), protected, exceptions)
}

fn first_among(
    prefixes: &mut dyn Iterator<Item = IpNet>,
    protected: &[Protected],
    exceptions: Option<&Reader>,
) -> Result<Option<LockOut>> {
    let mut saved = vec![false; protected.len()];
    if let Some(reader) = exceptions {
        for (saved, protected) in saved.iter_mut().zip(protected) {
            *saved = reader.allowed(protected.address)?.is_some();
        }
    }
    let at_risk: Vec<_> =
        protected.iter().zip(saved).filter(|(_, saved)| !saved).map(|(own, _)| own).collect();
    Ok(prefixes.map(canonical).find_map(|prefix| {
        if prefix.prefix_len() == 0 {
            return Some(LockOut::Everything(prefix));
        }
        let covered = at_risk.iter().find(|protected| prefix.contains(&protected.address));
        covered.map(|&protected| LockOut::Rule(prefix, protected.clone()))
    }))
}

/// What locks somebody out as soon as packets are dropped by the rules as they are, with `unlisted` and `exceptions`.
pub fn locked_out(
    protected: &[Protected],
    reader: &mut Reader,
    unlisted: Unlisted,
    exceptions: &[IpNet],
) -> Result<Option<LockOut>> {
    for own in protected {
        if exceptions.iter().any(|exception| exception.contains(&own.address)) {
            continue;
        }
        if let Some(rule) = reader.test(own.address)?.rule {
            return Ok(Some(LockOut::Rule(rule.prefix, own.clone())));
        }
        if own.is_peer && unlisted != Unlisted::Pass {
            return Ok(Some(LockOut::Default(own.clone())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_locks_out_says_whom() {
        let protected = [Protected::new("192.0.2.1".parse().unwrap(), "the default gateway".to_owned())];
        for (prefix, words) in [
            ("192.0.2.1/32", Some("192.0.2.1 is the default gateway")),
            ("192.0.2.0/24", Some("192.0.2.0/24 covers 192.0.2.1, the default gateway")),
            ("0.0.0.0/0", Some("0.0.0.0/0 covers every address")),
            ("198.51.100.0/24", None),
            ("2001:db8::/32", None),
        ] {
            let found = first_lock_out([prefix.parse().unwrap()], &protected, None).unwrap();
            assert_eq!(found.map(|found| found.to_string()).as_deref(), words);
        }
    }
}

//! Addresses that a rule must not cover, lest whoever adds it be locked out.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use loader::Result;
use nix::ifaddrs::getifaddrs;

use crate::prefix::Shown;
use crate::rules::Reader;

/// An address, and whose it is in words such as `the default gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub whose: String,
}

/// A rule that would lock somebody out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// What it would be about.
    pub prefix: IpNet,
    /// What it would cover; none where it covers every address.
    pub protected: Option<Protected>,
}

impl std::fmt::Display for LockOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.protected {
            Some(Protected { address, whose }) if crate::prefix::single(*address) == self.prefix => {
                write!(f, "{} is {whose}", Shown(self.prefix))
            }
            Some(Protected { address, whose }) => write!(f, "{} covers {address}, {whose}", self.prefix),
            None => write!(f, "{} covers every address", self.prefix),
        }
    }
}

/// The addresses of this host and of its default gateways, as far as `/proc` and the kernel tell.
///
/// Loopback addresses are left out: no packet from a network has them.
pub fn of_this_host() -> Vec<Protected> {
    let gateway = |address| Protected { address, whose: "the default gateway".to_owned() };
    let mut found: Vec<_> = gateways().into_iter().map(gateway).collect();
    for entry in getifaddrs().into_iter().flatten() {
        let address = entry.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        if let Some(address) = address.filter(|address| !address.is_loopback()) {
            let whose = format!("an address of this host ({})", entry.interface_name);
            found.push(Protected { address, whose });
        }
    }
    found
}

fn gateways() -> Vec<IpAddr> {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let mut found: Vec<_> = read("route").lines().filter_map(gateway4).collect();
    found.extend(read("ipv6_route").lines().filter_map(gateway6));
    found.dedup();
    found
}

/// The gateway of a line of `/proc/net/route`, if it is of the default route.
fn gateway4(line: &str) -> Option<IpAddr> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "00000000", gateway, _, _, _, _, "00000000", ..] = words[..] else { return None };
    // The kernel prints the bytes of the address as if they were a number of this machine.
    let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
    (!address.is_unspecified()).then_some(IpAddr::V4(address))
}

/// The gateway of a line of `/proc/net/ipv6_route`, if it is of the default route.
fn gateway6(line: &str) -> Option<IpAddr> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [destination, "00", _, _, gateway, ..] = words[..] else { return None };
    let is_default = destination.bytes().all(|digit| digit == b'0');
    let address = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
    (is_default && !address.is_unspecified()).then_some(IpAddr::V6(address))
}

/// The first rule among `prefixes` that covers everything, or a protected address that no exception saves.
pub fn first_lock_out(
    prefixes: impl IntoIterator<Item = IpNet>,
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
    Ok(prefixes.into_iter().find_map(|prefix| {
        if prefix.prefix_len() == 0 {
            return Some(LockOut { prefix, protected: None });
        }
        let covered = at_risk.iter().find(|protected| prefix.contains(&protected.address));
        covered.map(|&protected| LockOut { prefix, protected: Some(protected.clone()) })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_found_in_the_tables() {
        let bytes = u32::from_ne_bytes([192, 0, 2, 1]);
        let line = format!("eth0\t00000000\t{bytes:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0");
        assert_eq!(gateway4(&line), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(gateway4("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"), None);
        assert_eq!(gateway4("Iface\tDestination\tGateway"), None);
        let zeros = "0".repeat(32);
        let line = format!("{zeros} 00 {zeros} 00 20010db8000000000000000000000001 00000400 1 0 3 eth0");
        assert_eq!(gateway6(&line), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(gateway6(&format!("{zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 200200 lo")), None);
    }

    #[test]
    fn a_rule_that_locks_out_says_whom() {
        let protected =
            [Protected { address: "192.0.2.1".parse().unwrap(), whose: "the default gateway".to_owned() }];
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

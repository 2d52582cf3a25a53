//! Refuses rules that would lock out whoever adds them.

use std::env;
use std::net::IpAddr;

use blocklist::guard::{LockOut, Protected, default_gateways, first_lock_out, locked_out, of_this_host};
use blocklist::list::Item;
use blocklist::prefix::{IpNet, covering, everything};
use blocklist::{Blocklist, Reader, Unlisted};
use loader::attach::{NetNs, RouteSocket};
use loader::{Error, ErrorKind, Result, escape};

use super::reach;
use crate::ancestors::{about, ancestors};
use crate::output;
use crate::remedy::Commands as _;

/// What sshd tells its sessions: the peer's address and port, and its own.
const SSH_CONNECTION: &str = "SSH_CONNECTION";

/// Fails if one of the rules would cover an address that this host, its gateway or this session has, unless `force`.
pub(super) fn check(prefixes: &[IpNet], reader: &Reader, force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    check_among(&protected(reader.blocklist()), prefixes, reader, force)
}

/// The same, for whoever knows which addresses these are.
pub(super) fn check_among(
    protected: &[Protected],
    prefixes: &[IpNet],
    reader: &Reader,
    force: bool,
) -> Result<()> {
    if force {
        return Ok(());
    }
    match first_lock_out(prefixes.iter().copied(), protected, Some(reader))? {
        None => Ok(()),
        Some(found) => {
            let exception = match found.protected() {
                Some(Protected { address, .. }) => {
                    let allow = reader.blocklist().command(&format!("allow add {address}"));
                    format!("{allow} makes an exception; ")
                }
                None => String::new(),
            };
            Err(refused(&found, &format!("{exception}--force overrides this check")))
        }
    }
}

/// Fails if this session or the gateway will not be heard any more, now that packets are dropped by what is there, with
/// these exceptions and what becomes of the rest; `turned_on` is a namespace that they will be dropped in.
pub(super) fn check_all(
    reader: &mut Reader,
    turned_on: Option<&NetNs>,
    unlisted: Unlisted,
    exceptions: &[IpNet],
    help: &str,
) -> Result<()> {
    let mut heard = with_session(gateways, &others(reader.blocklist()));
    if let Some(namespace) = turned_on {
        heard.append(&mut within(namespace, gateways));
    }
    match locked_out(&heard, reader, unlisted, exceptions)? {
        None => Ok(()),
        Some(found) => Err(refused(&found, help)),
    }
}

/// Fails if one of the exceptions is about every address, so that no rule would count, unless `force`.
pub(super) fn check_exceptions(exceptions: &[IpNet], force: bool) -> Result<()> {
    match exceptions.iter().find(|exception| exception.prefix_len() == 0 && !force) {
        None => Ok(()),
        Some(all) => {
            let message = format!("refused, nothing was changed: {all} lets every address pass");
            Err(Error::new(ErrorKind::Conflict, message).with_help("--force overrides this check"))
        }
    }
}

fn refused(found: &LockOut, help: &str) -> Error {
    let message = format!("refused, nothing was changed: {found}");
    Error::new(ErrorKind::Conflict, message).with_help(help.to_owned())
}

/// The few prefixes of a list, sorted as it is, that may lock somebody out.
pub(super) fn risky(items: &[Item], protected: &[Protected]) -> Vec<IpNet> {
    let mut risky = everything().to_vec();
    for protected in protected {
        risky.extend(covering(protected.address));
    }
    risky.retain(|prefix| items.binary_search_by_key(prefix, Item::prefix).is_ok());
    risky
}

/// Addresses that no rule of the blocklist should cover, in this network namespace and all others that it is on in.
pub(super) fn protected(blocklist: &Blocklist) -> Vec<Protected> {
    with_session(of_namespace, &others(blocklist))
}

/// The peer of this session, and what `look` finds here and in other namespaces.
fn with_session(look: fn() -> Vec<Protected>, elsewhere: &[NetNs]) -> Vec<Protected> {
    let mut found = Vec::new();
    if let Some(address) = ssh_peer() {
        let whose = "the peer of this SSH connection".to_owned();
        found.push(Protected { address, whose, is_peer: true });
    }
    found.append(&mut look());
    for namespace in elsewhere {
        found.append(&mut within(namespace, look));
    }
    found
}

/// Those that the network namespace of this thread has.
fn of_namespace() -> Vec<Protected> {
    let mut own = told(of_this_host(), "addresses of this host");
    let mut found = gateways();
    found.append(&mut own);
    found
}

/// The network namespaces with a name, other than the own one, that the blocklist is on in. One that may not be looked
/// at is no reason to fail.
fn others(blocklist: &Blocklist) -> Vec<NetNs> {
    let look = || -> Result<_> {
        let named = NetNs::all_named()?;
        // Most hosts have none, and an `add` is short.
        if named.is_empty() {
            return Ok(Vec::new());
        }
        Ok(reach::others(named, &blocklist.program_ids()?, &RouteSocket::open(None)?))
    };
    look().unwrap_or_default().into_iter().map(|(namespace, _)| namespace).collect()
}

/// What `look` finds in a namespace, with words that say where.
fn within(namespace: &NetNs, look: fn() -> Vec<Protected>) -> Vec<Protected> {
    let mut found = namespace.run(look).unwrap_or_default();
    for protected in &mut found {
        protected.whose = format!("{} in {namespace}", protected.whose);
    }
    found
}

fn gateways() -> Vec<Protected> {
    told(default_gateways(), "the default gateway")
}

/// What the kernel has told of; a rule that covers what it has not told of cannot be refused.
fn told(answer: Result<Vec<Protected>>, whose: &str) -> Vec<Protected> {
    answer.unwrap_or_else(|error| {
        let error = escape(&error.to_string()).into_owned();
        output::remark(format_args!("warning: rules that lock out {whose} are not refused: {error}"));
        Vec::new()
    })
}

/// The other end of the SSH connection that this process runs in. sudo takes the variable away, so that it is looked
/// for in the processes above as well.
fn ssh_peer() -> Option<IpAddr> {
    let own = env::var(SSH_CONNECTION).ok();
    own.and_then(|value| address_of(&value)).or_else(|| ancestors().find_map(peer_of))
}

fn peer_of(process: u32) -> Option<IpAddr> {
    let environment = about(process, "environ")?;
    let variables = environment.split(|&byte| byte == 0);
    let mut values = variables.filter_map(|variable| {
        std::str::from_utf8(variable).ok()?.strip_prefix(SSH_CONNECTION)?.strip_prefix('=')
    });
    values.find_map(address_of)
}

/// The address may have the interface behind it, if it is of the link.
fn address_of(value: &str) -> Option<IpAddr> {
    let word = value.split_whitespace().next()?;
    let address: IpAddr = word.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_the_first_word() {
        for (value, address) in [
            ("192.0.2.7 50000 192.0.2.1 22", Some("192.0.2.7")),
            ("fe80::7%eth0 50000 fe80::1%eth0 22", Some("fe80::7")),
            ("::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22", Some("192.0.2.7")),
            ("", None),
        ] {
            assert_eq!(address_of(value), address.map(|address| address.parse().unwrap()));
        }
    }
}

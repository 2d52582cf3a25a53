//! `xdpload block off`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use blocklist::{Blocklist, Lock, is_blocklist, running_on};
use loader::attach::{self, Interface, NetNs, RouteSocket};
use loader::doctor;
use loader::netlink::{InterfaceInfo, InterfaceRef};
use loader::{Cause, Error, ErrorKind, Result, escape, quote_each, shell_word};
use serde::Serialize;

use super::args::Off;
use super::{blocklist, reach};
use crate::cmd::{detach, open_all};
use crate::output;
use crate::remedy::Commands as _;

pub(super) fn off(args: &Off) -> Result<()> {
    let netns = crate::cmd::netns(&args.place)?;
    let blocklist = blocklist(&args.bpffs);
    let lock = blocklist.lock().map_err(|error| {
        let lost = || find_lost(args, netns.as_ref()).ok().flatten();
        let is_absent = error.kind() == ErrorKind::NotFound;
        let again = format!("{}{}", args.place.once_more(), args.bpffs.once_more());
        is_absent
            .then(lost)
            .flatten()
            .map_or(error, |interface| reach::another(&interface, &blocklist, &again))
    })?;
    let mut ids = blocklist.program_ids()?;
    let socket = Arc::new(RouteSocket::open(netns.as_ref())?);
    let all = running(&blocklist, &mut ids, &socket)?;
    let mut chosen = match &args.interfaces[..] {
        [] => all.clone(),
        links => open_all(links, netns.as_ref())?,
    };
    for interface in &chosen {
        if running_on(&interface.look()?, &ids).is_none() {
            return Err(not_on(interface));
        }
    }
    let elsewhere = if args.purge { running_elsewhere(&blocklist, &mut ids, &socket)? } else { Vec::new() };
    let here = all.iter().filter(|interface| chosen.iter().all(|own| own.index() != interface.index()));
    let left = here.count() + if args.interfaces.is_empty() { 0 } else { elsewhere.len() };
    if args.purge && left > 0 {
        let message = format!("the blocklist stays on {left} other interfaces, which need its rules");
        let purge = blocklist.command("off --purge");
        return Err(
            Error::new(ErrorKind::Conflict, message).with_help(format!("{purge} turns it off everywhere"))
        );
    }
    chosen.extend(elsewhere);
    let first = chosen.first().filter(|_| !args.interfaces.is_empty()).map(not_on);
    let interfaces = take_off_all(chosen, &ids, &args.bpffs.root)?;
    // Somebody else has taken it off meanwhile.
    if let (Some(error), true) = (first, interfaces.is_empty() && !args.purge) {
        return Err(error);
    }
    if args.purge {
        purge(&blocklist, &lock, &args.bpffs.root)?;
    }
    output::changed(args.form, &OffDocument { interfaces, purged: args.purge })
}

fn not_on(interface: &Interface) -> Error {
    Error::new(ErrorKind::NotFound, format!("the blocklist is not on {interface}"))
}

/// Where there is no blocklist to turn off, an interface that still has the program of one, which drops as before,
/// though its pins are gone.
fn find_lost(args: &Off, netns: Option<&NetNs>) -> Result<Option<Interface>> {
    let socket = Arc::new(RouteSocket::open(netns)?);
    let chosen = open_all(&args.interfaces, netns)?;
    let is_chosen = |link: &InterfaceInfo| {
        args.interfaces.is_empty() || chosen.iter().any(|interface| interface.index().get() == link.index)
    };
    let has_one =
        |link: &InterfaceInfo| link.xdp.programs().iter().any(|program| program.id.is_some_and(is_blocklist));
    let lost = socket.interfaces()?.into_iter().find(|link| is_chosen(link) && has_one(link));
    lost.map(|link| Interface::find(&InterfaceRef::named(link.name)?, socket)).transpose()
}

/// Takes the program off all `interfaces`, and tells their names.
///
/// While an interface has a program, the kernel changes none below it (a macvlan and what it stands on, a bridge and
/// its ports), wherever the upper one is. So whoever is refused is asked again when others have let go; what stays then
/// keeps none of the others.
fn take_off_all(mut interfaces: Vec<Interface>, ids: &[u32], bpffs: &Path) -> Result<Vec<String>> {
    let mut taken: Vec<String> = Vec::new();
    loop {
        let (before, mut refused, mut first) = (interfaces.len(), Vec::new(), None);
        for interface in interfaces {
            match take_off(&interface, ids, bpffs) {
                Ok(true) => taken.push(interface.name().to_owned()),
                Ok(false) => {}
                // It has gone meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    first.get_or_insert(error);
                    refused.push(interface);
                }
            }
        }
        let Some(error) = first else { return Ok(taken) };
        if refused.len() == before {
            return Err(partly_off(error, &taken, &refused));
        }
        interfaces = refused;
    }
}

/// The first refusal, and where the blocklist is off and on now.
fn partly_off(error: Error, taken: &[String], refused: &[Interface]) -> Error {
    let stays = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if taken.is_empty() {
        return error.context(format!("the blocklist stays on {stays}"));
    }
    let taken = quote_each(&mut taken.iter().map(|name| &**name));
    error.context(format!("the blocklist is off on {taken}, but stays on {stays}"))
}

/// Takes the program off, whatever holds it: after a trial that is a link. Where somebody has put another in its place
/// meanwhile, there is nothing to do, and the answer is false.
fn take_off(interface: &Interface, ids: &[u32], bpffs: &Path) -> Result<bool> {
    let Some(running) = running_on(&interface.look()?, ids) else { return Ok(false) };
    let id = running.id;
    if !detach::is_own_link(interface, bpffs)? {
        let done = attach::detach(interface, id, bpffs).map(|_| true);
        return done.map_err(|error| match id {
            Some(id) if error.cause() == Some(Cause::CannotCompare) => {
                let name = shell_word(interface.name());
                error
                    .with_help(format!("without a comparison by the kernel: xdpload detach {name} --id {id}"))
            }
            _ => doctor::explain_detach(error, interface, bpffs),
        });
    }
    attach::detach_links(interface, id, bpffs)?;
    attach::remove_shared_directory(bpffs);
    Ok(true)
}

/// The interfaces that it is on in all network namespaces that may be entered, but for that of `here`.
fn running_elsewhere(
    blocklist: &Blocklist,
    ids: &mut Vec<u32>,
    here: &RouteSocket,
) -> Result<Vec<Interface>> {
    let mut all = Vec::new();
    for namespace in NetNs::all()?.0 {
        if here.is_in(&namespace)? {
            continue;
        }
        let found =
            RouteSocket::open(Some(&namespace)).and_then(|socket| running(blocklist, ids, &Arc::new(socket)));
        match found {
            Err(error) if is_left_out(&error) => {}
            found => all.extend(found?),
        }
    }
    Ok(all)
}

/// Whether a namespace is passed over: nobody is asked to have the right to enter it for what is mostly in one
/// namespace, it may be gone, and a file in its place may be none.
fn is_left_out(error: &Error) -> bool {
    let kinds = [ErrorKind::InvalidInput, ErrorKind::NotFound];
    error.errno() == Some(nix::libc::EPERM) || kinds.contains(&error.kind())
}

/// Removes the blocklist, and the directory that it is in if that is empty now.
fn purge(blocklist: &Blocklist, lock: &Lock, bpffs: &Path) -> Result<()> {
    blocklist.purge(lock)?;
    attach::remove_shared_directory(bpffs);
    Ok(())
}

/// The interfaces that the blocklist is on. A program whose pin is gone is known by its maps, and joins `ids`.
fn running(blocklist: &Blocklist, ids: &mut Vec<u32>, socket: &Arc<RouteSocket>) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    for link in socket.interfaces()? {
        let programs = link.xdp.programs().iter().filter_map(|program| program.id);
        let unpinned: Vec<_> =
            programs.filter(|id| !ids.contains(id)).filter(|id| blocklist.is_used_by(*id)).collect();
        ids.extend(unpinned);
        if running_on(&link, ids).is_some() {
            found.push(Interface::find(&InterfaceRef::named(link.name)?, socket.clone())?);
        }
    }
    Ok(found)
}

#[derive(Serialize)]
struct OffDocument {
    interfaces: Vec<String>,
    purged: bool,
}

impl fmt::Display for OffDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interfaces.iter().try_for_each(|name| writeln!(f, "the blocklist is off: {}", escape(name)))?;
        if self.purged { writeln!(f, "all rules, exceptions and counts are gone") } else { Ok(()) }
    }
}

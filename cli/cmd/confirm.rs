//! `xdpload confirm`: keep the changes that are on trial, or that of one interface.

use std::fmt;

use loader::attach::RouteSocket;
use loader::netlink::{InterfaceInfo, InterfaceRef};
use loader::{Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use crate::cmd::block;
use crate::guard::{Guards, Pending, is_without_sockets};
use crate::output::NamedInterface;
use crate::{args, output};

pub(crate) fn run(args: &args::Confirm) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let socket = RouteSocket::open(netns.as_ref())?;
    let mut guards = Guards::new(netns.as_ref());
    let (link, absent) = match &args.interface {
        None => (None, guards.of_absent(&socket.interfaces()?)),
        Some(link) => match socket.interface(link) {
            Err(error) if error.kind() == ErrorKind::NotFound => match absent(link, &socket, &mut guards)? {
                absent if absent.is_empty() => return Err(error),
                absent => (None, absent),
            },
            found => (Some(found?), Vec::new()),
        },
    };
    let mut document = Document { confirmed: Vec::new(), default_drop: false };
    // Whatever becomes of one, the others are confirmed.
    let mut refusals = Vec::new();
    let links = match &link {
        Some(link) => vec![link.clone()],
        None if args.interface.is_some() => Vec::new(),
        None => waiting(&socket, &mut guards, &mut refusals)?,
    };
    let links = links.iter().map(|link| (link.index, &*link.name));
    let absent = absent.iter().map(|(index, pending)| (*index, &*pending.name));
    for (index, name) in links.chain(absent) {
        match guards.confirm(index) {
            Ok(Some(pending)) => document.confirmed.push(Confirmed::new(name, index, pending)),
            Ok(None) => {}
            Err(error) => refusals.push(of(name, error)),
        }
    }
    if args.interface.is_none() || link.is_some() {
        match block::confirm_default(&args.bpffs.root, link.as_ref()) {
            Ok(default_drop) => document.default_drop = default_drop,
            Err(error) => refusals.push(error),
        }
    }
    let none = document.confirmed.is_empty() && !document.default_drop;
    let last = refusals.pop();
    refusals.iter().for_each(output::error);
    match last {
        None if none => Err(none_waits(link.as_ref())),
        None => output::changed(args.form, &document),
        Some(error) if none => Err(error),
        Some(error) => output::changed(args.form, &document).and(Err(error)),
    }
}

/// The change of the interface `link`, which is not there, but was when the change was made.
fn absent(link: &InterfaceRef, socket: &RouteSocket, guards: &mut Guards<'_>) -> Result<Vec<(u32, Pending)>> {
    let mut absent = guards.of_absent(&socket.interfaces()?);
    absent.retain(|(index, pending)| match link {
        InterfaceRef::Name(name) => name.as_str() == pending.name,
        InterfaceRef::Index(number) => number.get() == *index,
        InterfaceRef::Digits(name, number) => name.as_str() == pending.name || number.get() == *index,
    });
    Ok(absent)
}

/// The interfaces whose changes wait. Where that cannot be told, `refusals` gets why not.
fn waiting(
    socket: &RouteSocket,
    guards: &mut Guards<'_>,
    refusals: &mut Vec<Error>,
) -> Result<Vec<InterfaceInfo>> {
    let mut waiting = Vec::new();
    for link in socket.interfaces()? {
        match guards.pending(link.index) {
            Ok(pending) => waiting.extend(pending.map(|_| link)),
            Err(error) if is_without_sockets(&error) => {
                refusals.push(error.context("looking for changes on trial"));
                break;
            }
            Err(error) => refusals.push(of(&link.name, error)),
        }
    }
    Ok(waiting)
}

fn of(name: &str, error: Error) -> Error {
    error.context(format!("the change of {}", quote(name)))
}

#[cold]
fn none_waits(link: Option<&InterfaceInfo>) -> Error {
    let of = link.map(|link| format!(" of {}", quote(&link.name))).unwrap_or_default();
    Error::new(ErrorKind::NotFound, format!("no change{of} waits to be confirmed"))
        .with_help("the time may be up; `xdpload status` shows what is there now")
}

#[derive(Serialize)]
struct Document {
    confirmed: Vec<Confirmed>,
    /// Whether it lasts that the blocklist drops what no rule is about.
    default_drop: bool,
}

/// A change that lasts now.
#[derive(Serialize)]
struct Confirmed {
    #[serde(flatten)]
    at: NamedInterface,
    /// The program that stays; none where one was taken off.
    program: Option<u32>,
    /// What would have been put back.
    instead_of: Vec<Option<u32>>,
    /// Where the bpf_link of the program is pinned now.
    pin: Option<String>,
    /// The network namespace that the interface has been moved to, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
}

impl Confirmed {
    fn new(name: &str, index: u32, pending: Pending) -> Self {
        Self {
            at: NamedInterface::new(name, index),
            program: pending.new,
            instead_of: pending.before.iter().map(|program| program.id).collect(),
            pin: pending.pin.map(|pin| pin.display().to_string()),
            netns: pending.netns,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.confirmed.iter().try_for_each(|confirmed| confirmed.fmt(f))?;
        if self.default_drop {
            writeln!(f, "confirmed: the blocklist drops whatever is not allowed")?;
        }
        Ok(())
    }
}

impl fmt::Display for Confirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = self.at.name();
        match self.program {
            Some(id) => write!(f, "confirmed: program {id} stays on {interface}")?,
            None => write!(f, "confirmed: {interface} stays without the program that was detached")?,
        }
        self.netns.iter().try_for_each(|netns| write!(f, ", now in network namespace {}", quote(netns)))?;
        match &self.pin {
            Some(pin) => writeln!(f, ", held by a bpf_link that is pinned at {}", escape(pin)),
            None => writeln!(f),
        }
    }
}

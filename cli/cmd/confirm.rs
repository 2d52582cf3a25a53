//! `xdpload confirm`: keep a change that is on trial.

use std::fmt;

use loader::attach::{NetNs, RouteSocket};
use loader::netlink::LinkInfo;
use loader::{Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use crate::guard::{self, Pending};
use crate::{args, output};

pub(crate) fn run(args: &args::Confirm) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let socket = RouteSocket::open(netns.as_ref())?;
    let link = match &args.interface {
        Some(link) => socket.link(link)?,
        None => only_pending(&socket, netns.as_ref())?,
    };
    let Some(pending) = guard::confirm(netns.as_ref(), link.index)? else {
        return Err(none_waits(&format!("no change of {}", quote(&link.name))));
    };
    output::answer(args.form, &Document::new(&link, pending))
}

/// The only interface whose change waits.
fn only_pending(socket: &RouteSocket, netns: Option<&NetNs>) -> Result<LinkInfo> {
    let mut waiting = Vec::new();
    for link in socket.links()? {
        if guard::pending(netns, link.index)?.is_some() {
            waiting.push(link);
        }
    }
    match waiting.len() {
        0 => Err(none_waits("no change")),
        1 => Ok(waiting.remove(0)),
        _ => {
            let names: Vec<_> = waiting.iter().map(|link| quote(&link.name)).collect();
            let message = format!("changes of {} wait to be confirmed", names.join(" and "));
            Err(Error::new(ErrorKind::InvalidInput, message).with_help("say which: xdpload confirm IF"))
        }
    }
}

#[cold]
fn none_waits(subject: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{subject} waits to be confirmed"))
        .with_help("the time may be up; `xdpload status` shows what is there now")
}

#[derive(Serialize)]
struct Document {
    interface: String,
    ifindex: u32,
    /// The program that stays; none where one was taken off.
    program: Option<u32>,
    /// What would have been put back.
    instead_of: Vec<Option<u32>>,
    /// Where the bpf_link of the program is pinned now.
    pin: Option<String>,
}

impl Document {
    fn new(link: &LinkInfo, pending: Pending) -> Self {
        Self {
            interface: link.name.clone(),
            ifindex: link.index,
            program: pending.new,
            instead_of: pending.before.iter().map(|program| program.id).collect(),
            pin: pending.pin.map(|pin| pin.display().to_string()),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = escape(&self.interface);
        match self.program {
            Some(id) => write!(f, "confirmed: program {id} stays on {interface}")?,
            None => write!(f, "confirmed: {interface} stays without the program that was taken off")?,
        }
        match &self.pin {
            Some(pin) => writeln!(f, ", held by a bpf_link that is pinned at {}", escape(pin)),
            None => writeln!(f),
        }
    }
}

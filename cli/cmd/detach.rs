//! `xdpload detach`: take off the program of an interface.

use std::fmt;

use loader::attach::{self, DetachedLink, Interface};
use loader::netlink::XdpProgram;
use loader::{Result, escape};
use serde::Serialize;

use crate::{args, output};

pub(crate) fn run(args: &args::Detach) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let interface = Interface::open(&args.interface, netns.as_ref())?;
    let programs = if args.link {
        let links = attach::detach_links(&interface, args.id, &args.bpffs.root)?;
        links.iter().map(Program::held_by).collect()
    } else {
        attach::detach(&interface, args.id)?.iter().map(Program::new).collect()
    };
    output::answer(args.form, &Document { interface: interface.name().to_owned(), detached: programs })
}

#[derive(Serialize)]
struct Document {
    interface: String,
    detached: Vec<Program>,
}

#[derive(Serialize)]
struct Program {
    id: Option<u32>,
    mode: String,
    /// The bpf_link that held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    #[serde(skip)]
    words: String,
}

#[derive(Serialize)]
struct Link {
    id: u32,
    /// The pins that were removed.
    pins: Vec<String>,
}

impl Program {
    fn new(program: &XdpProgram) -> Self {
        Self { id: program.id, mode: program.mode.to_string(), link: None, words: program.to_string() }
    }

    fn held_by(link: &DetachedLink) -> Self {
        let pins = link.pins.iter().map(|pin| pin.display().to_string()).collect();
        Self { link: Some(Link { id: link.id, pins }), ..Self::new(&link.program) }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detached.iter().try_for_each(|program| {
            write!(f, "detached {} from {}", program.words, escape(&self.interface))?;
            if let Some(Link { id, pins }) = &program.link {
                write!(f, ", and bpf_link {id}")?;
                let pins: Vec<_> = pins.iter().map(|pin| escape(pin)).collect();
                if !pins.is_empty() {
                    write!(f, ", and removed its pin {}", pins.join(", "))?;
                }
            }
            writeln!(f)
        })
    }
}

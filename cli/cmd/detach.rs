//! `xdpload detach`: take off the program of an interface.

use std::fmt;

use loader::attach::{self, DetachedLink, Interface};
use loader::netlink::XdpProgram;
use loader::{Context as _, Result, escape};
use serde::Serialize;

use crate::{args, output};

pub(crate) fn run(args: &args::Detach) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let interface = Interface::open(&args.interface, netns.as_ref())?;
    let bpffs = &args.bpffs.root;
    let detached: Vec<Program> = if args.link {
        attach::detach_links(&interface, args.id, bpffs)?.iter().map(Program::held_by).collect()
    } else {
        attach::detach(&interface, args.id)?.iter().map(Program::new).collect()
    };
    let mut unpinned = Vec::new();
    for id in detached.iter().filter_map(|program| program.id) {
        let pins = attach::let_go_of_prog_arrays(bpffs, &interface, id)
            .context(|| format!("program {id} is detached, but the pins of its prog arrays stay"))?;
        unpinned.extend(pins.iter().map(|pin| pin.to_string_lossy().into_owned()));
    }
    output::answer(args.form, &Document { interface: interface.name().to_owned(), detached, unpinned })
}

#[derive(Serialize)]
struct Document {
    interface: String,
    detached: Vec<Program>,
    /// The pins of prog arrays that were kept for these programs.
    unpinned: Vec<String>,
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
        })?;
        self.unpinned.iter().try_for_each(|path| writeln!(f, "unpinned {}", escape(path)))
    }
}

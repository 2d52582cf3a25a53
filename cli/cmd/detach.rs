//! `xdpload detach`: take off the program of an interface.

use std::fmt;

use loader::attach::{self, Interface};
use loader::netlink::XdpProgram;
use loader::{Context as _, Result, escape};
use serde::Serialize;

use crate::{args, output};

pub(crate) fn run(args: &args::Detach) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let interface = Interface::open(&args.interface, netns.as_ref())?;
    let detached = attach::detach(&interface, args.id)?;
    let mut unpinned = Vec::new();
    for id in detached.iter().filter_map(|program| program.id) {
        let pins = attach::let_go_of_prog_arrays(&args.bpffs, &interface, id)
            .context(|| format!("program {id} is detached, but the pins of its prog arrays stay"))?;
        unpinned.extend(pins.iter().map(|pin| pin.to_string_lossy().into_owned()));
    }
    let programs = detached.iter().map(Program::new).collect();
    let interface = interface.name().to_owned();
    output::answer(args.form, &Document { interface, detached: programs, unpinned })
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
    #[serde(skip)]
    words: String,
}

impl Program {
    fn new(program: &XdpProgram) -> Self {
        Self { id: program.id, mode: program.mode.to_string(), words: program.to_string() }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detached.iter().try_for_each(|program| {
            writeln!(f, "detached {} from {}", program.words, escape(&self.interface))
        })?;
        self.unpinned.iter().try_for_each(|path| writeln!(f, "unpinned {}", escape(path)))
    }
}

//! `xdpload detach`: take off the program of an interface.

use std::fmt;

use loader::attach::{self, Interface};
use loader::netlink::XdpProgram;
use loader::{Result, escape};
use serde::Serialize;

use crate::{args, output};

pub(crate) fn run(args: &args::Detach) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let interface = Interface::open(&args.interface, netns.as_ref())?;
    let detached = attach::detach(&interface, args.id)?;
    let programs = detached.iter().map(Program::new).collect();
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
        })
    }
}

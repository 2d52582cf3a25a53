//! `xdpload status`: which XDP programs run on which interfaces.

use std::fmt;

use loader::attach::RouteSocket;
use loader::map::Map;
use loader::netlink::{LinkInfo, XdpProgram};
use loader::program::{Program, ProgramInfo};
use loader::{Result, escape};
use serde::Serialize;

use crate::format::hex;
use crate::{args, output};

pub(crate) fn run(args: &args::Status) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let socket = RouteSocket::open(netns.as_ref())?;
    let links = match &args.interface {
        Some(link) => vec![socket.link(link)?],
        None => socket.links()?.into_iter().filter(|link| !link.xdp.is_empty()).collect(),
    };
    output::answer(args.form, &Document { interfaces: links.iter().map(Interface::new).collect() })
}

#[derive(Serialize)]
struct Document {
    interfaces: Vec<Interface>,
}

#[derive(Serialize)]
struct Interface {
    name: String,
    index: u32,
    mtu: u32,
    programs: Vec<Running>,
}

#[derive(Serialize)]
struct Running {
    mode: String,
    id: Option<u32>,
    /// What the kernel says of the program; without the privilege to ask, why not.
    #[serde(flatten)]
    details: Details,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Details {
    Known(Known),
    Unknown { error: String },
}

#[derive(Serialize)]
struct Known {
    name: String,
    tag: String,
    maps: Vec<MapName>,
    /// Nanoseconds and runs; zero unless `kernel.bpf_stats_enabled` is on.
    run_time_ns: u64,
    run_count: u64,
}

#[derive(Serialize)]
struct MapName {
    id: u32,
    name: String,
}

impl Interface {
    fn new(link: &LinkInfo) -> Self {
        Self {
            name: link.name.clone(),
            index: link.index,
            mtu: link.mtu,
            programs: link.xdp.programs().iter().map(Running::new).collect(),
        }
    }
}

impl Running {
    fn new(program: &XdpProgram) -> Self {
        let details = match program.id.map(look).transpose() {
            Ok(Some(known)) => Details::Known(known),
            Ok(None) => Details::Unknown { error: "this kernel does not tell the program's id".to_owned() },
            Err(error) => {
                let help = error.help().map_or_else(String::new, |help| format!("; {help}"));
                Details::Unknown { error: format!("{error}{help}") }
            }
        };
        Self { mode: program.mode.to_string(), id: program.id, details }
    }
}

fn look(id: u32) -> Result<Known> {
    let info: ProgramInfo = Program::from_id(id)?.info()?;
    let maps = info.map_ids.iter().map(|&id| Ok(MapName { id, name: Map::from_id(id)?.info()?.name }));
    Ok(Known {
        name: info.name.clone(),
        tag: hex(&info.tag),
        maps: maps.collect::<Result<_>>()?,
        run_time_ns: u64::try_from(info.run_time.as_nanos()).unwrap_or(u64::MAX),
        run_count: info.run_count,
    })
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interfaces.is_empty() {
            return writeln!(f, "no interface has an XDP program");
        }
        self.interfaces.iter().try_for_each(|interface| interface.fmt(f))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("{} ({})", escape(&self.name), self.index);
        if self.programs.is_empty() {
            return writeln!(f, "{head}  no XDP program");
        }
        self.programs.iter().try_for_each(|program| writeln!(f, "{head}  {program}"))
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mode)?;
        if let Some(id) = self.id {
            write!(f, "  id {id}")?;
        }
        match &self.details {
            Details::Known(known) => known.fmt(f),
            Details::Unknown { error } => write!(f, "  ({})", escape(error)),
        }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}  tag {}", escape(&self.name), self.tag)?;
        let maps: Vec<_> =
            self.maps.iter().map(|map| format!("{} (id {})", escape(&map.name), map.id)).collect();
        if !maps.is_empty() {
            write!(f, "  maps {}", maps.join(", "))?;
        }
        if self.run_count > 0 {
            write!(f, "  {} runs, {} ns each", self.run_count, self.run_time_ns / self.run_count)?;
        }
        Ok(())
    }
}

//! `xdpload attach`: load an object and attach its program, or attach one that is loaded already.

use std::fmt;
use std::path::PathBuf;

use loader::load::{AttachedTo, Loaded};
use loader::{Result, escape};
use serde::Serialize;

use super::transcript::{self, RecordDocument};
use crate::format::hex;
use crate::{args, output};

pub(crate) fn run(args: &args::Attach) -> Result<()> {
    let (interfaces, source) = args.split()?;
    let target = |interface| super::target(interface, &args.target, args.pin.as_deref());
    let targets = interfaces.iter().map(target).collect();
    let planned = super::plan(&source, &args.load, targets, |loader| {
        loader.keep_maps(super::keep(args.target.upgrade))
    })?;
    let loaded = transcript::execute(&planned, &args.report)?;
    loaded.attachments().iter().for_each(warn);
    output::answer(args.form, &Document::new(&loaded, args))
}

/// Says aloud what the user may not have asked for.
fn warn(attached: &AttachedTo) {
    if let Some(refusal) = &attached.native_refusal {
        output::remark(format_args!(
            "warning: attached in generic mode, which is much slower: native mode was refused: {}",
            escape(&refusal.to_string())
        ));
    }
    if attached.info.is_none() {
        output::remark("warning: it is attached, but the kernel tells neither its id nor its tag");
    }
    if let Some(warning) = &attached.warning {
        output::remark(format_args!("warning: the kernel says: {}", escape(warning)));
    }
}

#[derive(Serialize)]
struct Document {
    interface: String,
    ifindex: u32,
    mode: String,
    program: Program,
    replaced: Option<u32>,
    /// The bpf_link that holds the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    maps: Vec<String>,
    /// Where prog arrays are pinned while the program is attached.
    prog_arrays: Vec<ProgArray>,
    /// Those of the maps that are the replaced program's.
    kept: Vec<String>,
    copied: Vec<Copied>,
    /// The other interfaces, if several were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<Place>,
    transcript: Vec<RecordDocument>,
}

/// Where the program was attached too.
#[derive(Serialize)]
struct Place {
    interface: String,
    ifindex: u32,
    mode: String,
    replaced: Option<u32>,
    prog_arrays: Vec<ProgArray>,
}

impl Place {
    fn new(attached: &AttachedTo) -> Self {
        let array = |(map, pin): &(String, PathBuf)| ProgArray {
            map: map.clone(),
            pin: pin.to_string_lossy().into_owned(),
        };
        Self {
            interface: attached.name.clone(),
            ifindex: attached.index,
            mode: attached.mode.to_string(),
            replaced: attached.replaced.and_then(|program| program.id),
            prog_arrays: attached.prog_arrays.iter().map(array).collect(),
        }
    }
}

/// What the kernel does not tell of a link is none.
#[derive(Serialize)]
struct Link {
    id: Option<u32>,
    pin: Option<String>,
}

/// A map whose entries were copied from the replaced program's.
#[derive(Serialize)]
struct Copied {
    map: String,
    entries: usize,
}

/// A prog array, and the pin that keeps it filled.
#[derive(Serialize)]
struct ProgArray {
    map: String,
    pin: String,
}

/// What the kernel does not tell of a program (before 4.13) is none.
#[derive(Serialize)]
struct Program {
    name: String,
    id: Option<u32>,
    tag: Option<String>,
    map_ids: Vec<u32>,
}

impl Document {
    fn new(loaded: &Loaded, args: &args::Attach) -> Self {
        let (by_object, by_link) = (args.prog_id.is_none() && args.pinned.is_none(), args.target.link);
        let (attached, others) = loaded.attachments().split_first().expect("the plan was to attach");
        let (name, _) = loaded.programs().next().expect("the plan was to load a program");
        let info = attached.info.as_ref();
        // One that was loaded by somebody else has the name that the kernel keeps.
        let existing = info.filter(|info| !info.name.is_empty() && !by_object);
        let name = existing.map_or(name, |info| &info.name);
        let Place { interface, ifindex, mode, replaced, prog_arrays } = Place::new(attached);
        Self {
            interface,
            ifindex,
            mode,
            program: Program {
                name: name.to_owned(),
                id: info.map(|info| info.id),
                tag: info.map(|info| hex(&info.tag)),
                map_ids: info.map(|info| info.map_ids.clone()).unwrap_or_default(),
            },
            replaced,
            link: by_link.then(|| Link { id: attached.link.map(|link| link.id), pin: args.pin.clone() }),
            kept: loaded.kept_maps().to_vec(),
            copied: loaded
                .copied_maps()
                .iter()
                .map(|(map, entries)| Copied { map: map.clone(), entries: *entries })
                .collect(),
            maps: loaded.maps().map(|(name, _)| name.to_owned()).collect(),
            prog_arrays,
            also: others.iter().map(Place::new).collect(),
            transcript: loaded.transcript().iter().map(RecordDocument::new).collect(),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program { name, id, tag, .. } = &self.program;
        let (name, interface) = (escape(name), escape(&self.interface));
        write!(f, "attached {name}")?;
        if let (Some(id), Some(tag)) = (id, tag) {
            write!(f, " (id {id}, tag {tag})")?;
        }
        write!(f, " to {interface} in {} mode", self.mode)?;
        if let Some(Link { id, pin }) = &self.link {
            let id = id.map_or_else(String::new, |id| format!(" {id}"));
            let pin = pin.as_ref().map_or_else(String::new, |pin| format!(" pinned at {}", escape(pin)));
            write!(f, " by bpf_link{id}{pin}")?;
        }
        write_replaced(f, self.replaced)?;
        if !self.kept.is_empty() {
            let kept: Vec<_> = self.kept.iter().map(|map| escape(map)).collect();
            writeln!(f, "went on with its maps {}", kept.join(", "))?;
        }
        self.copied.iter().try_for_each(|Copied { map, entries }| {
            writeln!(f, "copied {entries} entries of its map {} into a new one", escape(map))
        })?;
        write_kept(f, &self.prog_arrays)?;
        self.also.iter().try_for_each(|place| {
            write!(f, "attached it to {} in {} mode", escape(&place.interface), place.mode)?;
            write_replaced(f, place.replaced)?;
            write_kept(f, &place.prog_arrays)
        })
    }
}

fn write_replaced(f: &mut fmt::Formatter<'_>, replaced: Option<u32>) -> fmt::Result {
    match replaced {
        Some(id) => writeln!(f, ", replacing program {id}"),
        None => writeln!(f),
    }
}

fn write_kept(f: &mut fmt::Formatter<'_>, prog_arrays: &[ProgArray]) -> fmt::Result {
    prog_arrays.iter().try_for_each(|ProgArray { map, pin }| {
        let (map, pin) = (escape(map), escape(pin));
        writeln!(f, "prog array {map} is pinned at {pin} until the program is detached")
    })
}

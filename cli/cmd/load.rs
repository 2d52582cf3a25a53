//! `xdpload load`: load an object and pin its programs and maps, without attaching anything.

use std::fmt;

use loader::load::Loaded;
use loader::plan::{Call, Plan};
use loader::{Result, escape};
use serde::Serialize;

use super::transcript::{self, RecordDocument};
use crate::format::hex;
use crate::{args, output};

pub(crate) fn run(args: &args::LoadAndPin) -> Result<()> {
    let planned = super::plan_of_object(&args.file.object, &args.load, |loader| {
        let loader = if args.all { loader.all_programs() } else { loader };
        loader.pin_under(&args.pin)
    })?;
    let loaded = transcript::execute(&planned, &args.report)?;
    output::answer(args.form, &Document::new(&planned.plan, &loaded))
}

#[derive(Serialize)]
struct Document {
    programs: Vec<Program>,
    maps: Vec<Map>,
    transcript: Vec<RecordDocument>,
}

/// What the kernel does not tell of a program is none.
#[derive(Serialize)]
struct Program {
    name: String,
    pin: String,
    id: Option<u32>,
    tag: Option<String>,
    map_ids: Vec<u32>,
}

#[derive(Serialize)]
struct Map {
    name: String,
    pin: Option<String>,
}

impl Document {
    fn new(plan: &Plan, loaded: &Loaded) -> Self {
        let program = |name: &str, pin: &str| {
            let info = loaded.info(name);
            Program {
                name: name.to_owned(),
                pin: pin.to_owned(),
                id: info.map(|info| info.id),
                tag: info.map(|info| hex(&info.tag)),
                map_ids: info.map(|info| info.map_ids.clone()).unwrap_or_default(),
            }
        };
        let pins = plan.steps.iter().filter_map(|step| match &step.call {
            Call::PinProgram { program, path } => Some((&plan.programs[program.0], path)),
            _ => None,
        });
        let pin_of = |map: &str| plan.pins().find(|(name, _)| *name == map).map(|(_, pin)| pin.to_owned());
        Self {
            programs: pins.map(|(name, pin)| program(name, pin)).collect(),
            maps: loaded.maps().map(|(map, _)| Map { name: map.to_owned(), pin: pin_of(map) }).collect(),
            transcript: loaded.transcript().iter().map(RecordDocument::new).collect(),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Program { name, pin, id, tag, .. } in &self.programs {
            write!(f, "program {}", escape(name))?;
            if let (Some(id), Some(tag)) = (id, tag) {
                write!(f, " (id {id}, tag {tag})")?;
            }
            writeln!(f, " pinned at {}", escape(pin))?;
        }
        self.maps.iter().try_for_each(|Map { name, pin }| match pin {
            Some(pin) => writeln!(f, "map {} pinned at {}", escape(name), escape(pin)),
            None => Ok(()),
        })
    }
}

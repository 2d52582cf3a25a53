//! `xdpload load`: load an object and pin its programs and maps, without attaching anything.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use loader::plan::{BpfLinkCall, Call, Plan, ProgramSlot};
use loader::{Result, doctor, escape};
use serde::Serialize;

use super::extend::{Extended, extend};
use super::transcript::{self, Executed, RecordDocument, Telling};
use crate::args::{Form, Load, Report};
use crate::format::hex;
use crate::{output, remedy};

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = HELP)]
pub(crate) struct LoadAndPin {
    /// The object file: ELF, compiled with `clang -target bpf -c`
    pub(crate) object: PathBuf,
    #[command(flatten)]
    pub(crate) load: Load,
    /// Load every program of the object
    #[arg(long, conflicts_with = "prog")]
    pub(crate) all: bool,
    /// Pin programs at DIR/NAME, and maps at DIR/maps/NAME unless the object or --pin-map says where; a map that is
    /// already pinned there is reused
    #[arg(long, value_name = "DIR")]
    pub(crate) pin: String,
    #[command(flatten)]
    pub(crate) extended: Extended,
    #[command(flatten)]
    pub(crate) report: Report,
    #[command(flatten)]
    pub(crate) form: Form,
}

const HELP: &str = "\
Examples:
  xdpload load xdp.o --pin /sys/fs/bpf/edge    # then: attach eth0 --pinned ...
  xdpload load xdp.o --all --pin /sys/fs/bpf/edge
  xdpload load policy.o --target-prog 42 --pin /sys/fs/bpf/policy";

pub(crate) fn run(args: &LoadAndPin) -> Result<()> {
    let planned = super::plan_of_object(&args.object, &args.load, &mut |loader| {
        let loader = if args.all { loader.all_programs() } else { loader };
        extend(loader.pin_under(&args.pin), &args.extended)
    })?;
    let telling = Telling::new(&args.report, args.form);
    let executed = transcript::execute(&planned, telling)
        .map_err(|error| doctor::explain(error, &planned.plan, &args.load.bpffs.root))
        .map_err(remedy::in_words_of_load)?;
    output::changed(args.form, &Document::new(&planned.plan, executed))
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
    /// The `bpf_link` that lets an extension take the place of its function.
    link: Option<Link>,
}

#[derive(Serialize)]
struct Link {
    pin: String,
}

#[derive(Serialize)]
struct Map {
    name: String,
    pin: Option<String>,
}

impl Document {
    fn new(plan: &Plan, executed: Executed) -> Self {
        let Executed { loaded, transcript } = executed;
        let link_pins = links_of_extensions(plan);
        let program = |slot: ProgramSlot, pin: &str| {
            let name = &plan.programs[slot.0];
            let info = loaded.info(name);
            let link = link_pins.iter().find(|(extension, _)| *extension == slot);
            Program {
                name: name.clone(),
                pin: pin.to_owned(),
                id: info.map(|info| info.id),
                tag: info.map(|info| hex(&info.tag)),
                map_ids: info.map(|info| info.map_ids.clone()).unwrap_or_default(),
                link: link.map(|(_, path)| Link { pin: (*path).to_owned() }),
            }
        };
        let pins = plan.steps.iter().filter_map(|step| match &step.call {
            Call::PinProgram { program, path } => Some((*program, path)),
            _ => None,
        });
        let pin_of = |map: &str| plan.pins().find(|(name, _)| *name == map).map(|(_, pin)| pin.to_owned());
        Self {
            programs: pins.map(|(slot, pin)| program(slot, pin)).collect(),
            maps: loaded.maps().map(|(map, _)| Map { name: map.to_owned(), pin: pin_of(map) }).collect(),
            transcript,
        }
    }
}

/// Each extension is given its link by one step, and the next one pins that.
fn links_of_extensions(plan: &Plan) -> Vec<(ProgramSlot, &str)> {
    let pairs = plan.steps.iter().zip(plan.steps.iter().skip(1));
    pairs
        .filter_map(|(extend, pin)| match (&extend.call, &pin.call) {
            (Call::Extend { program }, Call::BpfLink(BpfLinkCall::Pin { path })) => Some((*program, &**path)),
            _ => None,
        })
        .collect()
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Program { name, pin, id, tag, link, .. } in &self.programs {
            write!(f, "program {}", escape(name))?;
            if let (Some(id), Some(tag)) = (id, tag) {
                write!(f, " (id {id}, tag {tag})")?;
            }
            writeln!(f, " pinned at {}", escape(pin))?;
            if let Some(Link { pin }) = link {
                writeln!(f, "  replaces its function while its bpf_link is pinned at {}", escape(pin))?;
            }
        }
        self.maps.iter().try_for_each(|Map { name, pin }| match pin {
            Some(pin) => writeln!(f, "map {} pinned at {}", escape(name), escape(pin)),
            None => Ok(()),
        })
    }
}

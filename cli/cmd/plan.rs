//! `xdpload plan`: every kernel call that an attach would make, before any is made.

mod lines;

use clap::Args;
use loader::core_reloc;
use loader::netlink::{InterfaceRef, Mode, ModeChoice};
use loader::plan::{self, Alternative, Call, ResolvedExtern, Step};
use loader::{Error, ErrorKind, Result, errno_name};
use serde::Serialize;

use super::calls::CallDocument;
use super::extend::{Extended, extend};
use crate::args::{Form, Load, Source, Target};
use crate::output;

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = HELP)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) load: Load,
    /// Plan for loading every program of the object
    #[arg(long, conflicts_with_all = ["prog", "dev", "pinned", "prog_id"])]
    pub(crate) all: bool,
    /// Plan for attaching to this interface, by name or index; may be repeated
    #[arg(long, value_name = "IF")]
    pub(crate) dev: Vec<InterfaceRef>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Plan for pinning programs and maps under this directory, or, with --dev and --link, the bpf_link at this path
    #[arg(long, value_name = "DIR|PATH")]
    pub(crate) pin: Option<String>,
    #[command(flatten)]
    pub(crate) extended: Extended,
    /// Show the fallbacks for old kernels, and the bytes that each call passes
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) form: Form,
}

const HELP: &str = "\
Examples:
  xdpload plan xdp.o                           # of loading it
  xdpload plan xdp.o --dev eth0                # of `xdpload attach eth0 xdp.o`
  xdpload plan xdp.o --dev eth0 --replace --keep-maps
  xdpload plan xdp.o --all --pin /sys/fs/bpf/edge   # of `xdpload load`
  xdpload plan xdp.o --btf vmlinux --kconfig config # for another kernel";

pub(crate) fn run(args: &Plan) -> Result<()> {
    let pin = args.pin.as_deref();
    let targets = args.dev.iter().map(|link| super::target(link, &args.target, pin)).collect();
    if pin.is_some() && !args.dev.is_empty() && !args.target.link {
        let message = "with `--dev` only a bpf_link is pinned";
        return Err(Error::new(ErrorKind::InvalidInput, message).with_help("add --link, or leave out --dev"));
    }
    if args.dev.is_empty() {
        refuse_options_of_attaching(&args.target)?;
    }
    let pin_dir = pin.filter(|_| args.dev.is_empty());
    let planned = super::plan(&args.source, &args.load, targets, &|loader| {
        let loader = if args.all { loader.all_programs() } else { loader };
        let loader = loader.keep_maps(super::keep_maps(args.target.upgrade));
        match pin_dir {
            Some(dir) => extend(loader.pin_under(dir), &args.extended),
            None => loader,
        }
    })?;
    let plan = match args.target.trial.confirm {
        Some(_) => planned.plan.on_trial(&args.load.bpffs.text())?,
        None => planned.plan,
    };
    match args {
        Plan { form: Form { json: true }, .. } => output::answer_json(&Document::new(&plan)),
        Plan { verbose: true, .. } => lines::print(&format!("{plan:#}")),
        _ => lines::print(&plan.to_string()),
    }
}

/// What only an attach is asked for would be ignored without one.
fn refuse_options_of_attaching(target: &Target) -> Result<()> {
    let given = [
        ("--netns", target.place.netns.is_some()),
        ("--mode", target.mode != ModeChoice::Only(Mode::Native)),
        ("--replace", target.replace),
        ("--link", target.link),
        ("--confirm", target.trial.confirm.is_some()),
    ];
    let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
    let message = format!("`{option}` says how to attach, and nothing is to be attached");
    Err(Error::new(ErrorKind::InvalidInput, message).with_help("say where: --dev IF"))
}

/// The plan as a document: the steps as a tree, each with its system calls.
#[derive(Serialize)]
struct Document {
    maps: Vec<String>,
    programs: Vec<String>,
    relocations: Vec<RelocationDocument>,
    externs: Vec<ExternDocument>,
    steps: Vec<StepDocument>,
}

/// A number in a program that was adapted to the kernel's types.
#[derive(Serialize)]
struct RelocationDocument {
    program: String,
    instruction: usize,
    number: &'static str,
    of: String,
    before: u64,
    after: Option<u64>,
    unfit: Option<String>,
}

/// What programs take from the kernel.
#[derive(Serialize)]
struct ExternDocument {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct StepDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    only_if: Option<&'static str>,
    /// The map that the condition is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
    /// For how many things the calls are made again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<&'static str>,
    /// The number of the first of its calls, as in the text.
    number: String,
    calls: Vec<CallDocument>,
    /// Why a map becomes another size than was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapted: Option<String>,
    /// The refusals after which the same calls are made again, a few times.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    again_on: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<StepDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    otherwise: Vec<AlternativeDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undo: Vec<CallDocument>,
}

#[derive(Serialize)]
struct AlternativeDocument {
    on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<String>,
    /// How that is found out, unless it is known already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probe: Vec<CallDocument>,
    steps: Vec<StepDocument>,
}

fn call_list(plan: &plan::Plan, at: usize, call: &Call) -> Vec<CallDocument> {
    plan.kernel_calls_at(at, call).iter().map(CallDocument::new).collect()
}

impl Document {
    fn new(plan: &plan::Plan) -> Self {
        Self {
            maps: plan.maps.clone(),
            programs: plan.programs.clone(),
            relocations: RelocationDocument::list(plan),
            externs: plan.externs.iter().map(|external| ExternDocument::new(plan, external)).collect(),
            steps: StepDocument::list(plan, &plan.steps),
        }
    }
}

impl RelocationDocument {
    fn list(plan: &plan::Plan) -> Vec<Self> {
        let mut all = Vec::new();
        for (program, relocations) in plan.programs.iter().zip(&plan.relocations) {
            all.extend(relocations.iter().map(|it| Self {
                program: program.clone(),
                instruction: it.insn,
                number: core_reloc::noun(it.kind),
                of: it.subject.clone(),
                before: it.before,
                after: it.after,
                unfit: it.unfit.map(|unfit| unfit.to_string()),
            }));
        }
        all
    }
}

impl ExternDocument {
    fn new(plan: &plan::Plan, external: &ResolvedExtern) -> Self {
        Self { name: external.name.clone(), value: plan.extern_value(external) }
    }
}

impl StepDocument {
    fn list(plan: &plan::Plan, steps: &[Step]) -> Vec<Self> {
        steps.iter().map(|step| Self::new(plan, step)).collect()
    }

    fn new(plan: &plan::Plan, step: &Step) -> Self {
        Self {
            only_if: step.when.name(),
            map: step.when.map().map(|map| plan.maps[map.0].clone()),
            repeated: step.call.repeated(),
            number: step.number.to_string(),
            calls: call_list(plan, step.at, &step.call),
            adapted: step.call.adapted().map(|adapted| adapted.to_string()),
            again_on: step.call.again_on().iter().map(|&errno| errno_name(errno)).collect(),
            then: Self::list(plan, &step.then),
            otherwise: step.otherwise.iter().map(|other| AlternativeDocument::new(plan, other)).collect(),
            undo: plan.undo(&step.call).map(|undo| call_list(plan, step.at, &undo)).unwrap_or_default(),
        }
    }
}

impl AlternativeDocument {
    fn new(plan: &plan::Plan, other: &Alternative) -> Self {
        Self {
            on: other.on.to_string(),
            lacking: other.lacking.map(|feature| feature.to_string()),
            probe: other.lacking.map(|feature| call_list(plan, 0, &Call::Probe(feature))).unwrap_or_default(),
            steps: StepDocument::list(plan, &other.steps),
        }
    }
}

//! `xdpload attach`: load an object and attach its program, or attach one that is loaded already.

use std::fmt;
use std::path::PathBuf;

use loader::doctor;
use loader::load::{AttachedTo, Comparison, RunsAlready};
use loader::plan::Plan;
use loader::{Cause, Error, Interface, LinkRef, Result, escape, quote};
use serde::Serialize;

use super::transcript::{Executed, RecordDocument, Telling};
use super::trial::{self, TrialDocument};
use crate::format::hex;
use crate::guard::Guard;
use crate::{args, output};

pub(crate) fn run(args: &args::Attach) -> Result<()> {
    let (interfaces, source) = args.split()?;
    let target = |interface| super::target(interface, &args.target, args.pin.as_deref());
    let targets = interfaces.iter().map(target).collect();
    let planned = super::plan(&source, &args.load, targets, |loader| {
        loader.keep_maps(super::keep(args.target.upgrade))
    })?;
    let bpffs = args.load.bpffs.root.as_path();
    let explain = |error| doctor::explain(error, &planned.plan, bpffs);
    let guard = trial::guard(args.target.trial, &args.target.place, &args.load.bpffs)?;
    let telling = Telling::new(&args.report, args.form);
    let executed = trial::execute(&planned, telling, guard.as_ref(), &args.load.bpffs.text());
    let executed = match executed {
        Err(refusal) if refusal.cause() == Some(Cause::Occupied) && may_run_already(&source, args) => {
            let running = runs_already(&planned.plan, &interfaces, args, refusal);
            return output::answer(args.form, &running.map_err(explain)?);
        }
        executed => executed.map_err(explain)?,
    };
    let explain_native = |refusal| doctor::explain_native(refusal, &planned.plan, bpffs);
    executed.loaded.attachments().iter().for_each(|attached| super::warn(attached, explain_native));
    output::changed(args.form, &Document::new(executed, args, guard.as_ref()))
}

/// Whether a program that is there would do, if it is the one that was to be attached.
fn may_run_already(source: &args::Source, args: &args::Attach) -> bool {
    source.object.is_some() && !args.target.replace
}

/// What to answer where the program of `plan` runs already, on all interfaces; where another does, or none, the
/// `refusal` stands.
fn runs_already(
    plan: &Plan,
    interfaces: &[LinkRef],
    args: &args::Attach,
    refusal: Error,
) -> Result<Document> {
    let netns = super::netns(&args.target.place)?;
    let mut places = Vec::new();
    for interface in interfaces {
        let interface = Interface::open(interface, netns.as_ref())?;
        if interface.look()?.xdp.is_empty() {
            return Err(refusal);
        }
        match plan.compare(&interface, &args.load.bpffs.root) {
            Ok(Comparison::Same(running)) => places.push((interface, running)),
            Ok(Comparison::Different(difference)) => {
                let name = quote(interface.name());
                let on = if interfaces.len() == 1 { String::new() } else { format!("on {name}, ") };
                return Err(another(refusal, &format!("{on}{difference}")));
            }
            // Whoever may not look, or cannot tell, must take it for another.
            Ok(_) | Err(_) => return Err(refusal),
        }
    }
    Ok(Document::of_running(plan, &places))
}

/// What is there is another program.
fn another(refusal: Error, difference: &str) -> Error {
    let message = format!("{refusal}, and is not the same: {difference}");
    refusal.with_message(message)
}

#[derive(Serialize)]
struct Document {
    interface: String,
    ifindex: u32,
    mode: String,
    /// Whether the program ran there before, so that nothing was changed.
    already: bool,
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
    /// How the change is taken back, unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialDocument>,
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
    /// How the change is taken back there, unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialDocument>,
}

impl Place {
    fn of_running((interface, running): &(Interface, RunsAlready)) -> Self {
        Self {
            interface: interface.name().to_owned(),
            ifindex: interface.index().get(),
            mode: running.program.mode.to_string(),
            replaced: None,
            prog_arrays: Vec::new(),
            trial: None,
        }
    }

    fn new(attached: &AttachedTo, guard: Option<&Guard>) -> Self {
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
            trial: guard.map(|guard| TrialDocument::of(guard, attached)),
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
    fn of_running(plan: &Plan, places: &[(Interface, RunsAlready)]) -> Self {
        let (first, others) = places.split_first().expect("the plan is to attach");
        let RunsAlready { info, link, .. } = &first.1;
        let Place { interface, ifindex, mode, .. } = Place::of_running(first);
        Self {
            interface,
            ifindex,
            mode,
            already: true,
            program: Program {
                name: plan.programs.first().cloned().unwrap_or_default(),
                id: Some(info.id),
                tag: Some(hex(&info.tag)),
                map_ids: info.map_ids.clone(),
            },
            replaced: None,
            link: link.map(|link| Link { id: Some(link.id), pin: None }),
            maps: plan.maps[..plan.maps.len() - plan.templates].to_vec(),
            prog_arrays: Vec::new(),
            kept: Vec::new(),
            copied: Vec::new(),
            also: others.iter().map(Place::of_running).collect(),
            trial: None,
            transcript: Vec::new(),
        }
    }

    fn new(executed: Executed, args: &args::Attach, guard: Option<&Guard>) -> Self {
        let Executed { loaded, transcript } = executed;
        let (by_object, by_link) = (args.prog_id.is_none() && args.pinned.is_none(), args.target.link);
        let (attached, others) = loaded.attachments().split_first().expect("the plan was to attach");
        let (name, _) = loaded.programs().next().expect("the plan was to load a program");
        let info = attached.info.as_ref();
        // One that was loaded by somebody else has the name that the kernel keeps.
        let existing = info.filter(|info| !info.name.is_empty() && !by_object);
        let name = existing.map_or(name, |info| &info.name);
        let Place { interface, ifindex, mode, replaced, prog_arrays, trial } = Place::new(attached, guard);
        Self {
            interface,
            ifindex,
            mode,
            already: false,
            program: Program {
                name: name.to_owned(),
                id: info.map(|info| info.id),
                tag: info.map(|info| hex(&info.tag)),
                map_ids: info.map(|info| info.map_ids.clone()).unwrap_or_default(),
            },
            replaced,
            // While on trial, the guard's link holds what netlink would.
            link: (by_link || attached.link.is_some())
                .then(|| Link { id: attached.link.map(|link| link.id), pin: args.pin.clone() }),
            kept: loaded.kept_maps().to_vec(),
            copied: loaded
                .copied_maps()
                .iter()
                .map(|(map, entries)| Copied { map: map.clone(), entries: *entries })
                .collect(),
            maps: loaded.maps().map(|(name, _)| name.to_owned()).collect(),
            prog_arrays,
            also: others.iter().map(|attached| Place::new(attached, guard)).collect(),
            trial,
            transcript,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program { name, id, tag, .. } = &self.program;
        let (name, interface) = (escape(name), escape(&self.interface));
        if !self.already {
            f.write_str("attached ")?;
        }
        f.write_str(&name)?;
        if let (Some(id), Some(tag)) = (id, tag) {
            write!(f, " (id {id}, tag {tag})")?;
        }
        if self.already {
            let others: Vec<_> =
                self.also.iter().map(|place| format!(", {}", escape(&place.interface))).collect();
            let interfaces = format!("{interface}{}", others.concat());
            return writeln!(f, " runs on {interfaces} in {} mode already: nothing was changed", self.mode);
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
            writeln!(f, "kept map(s): {}", kept.join(", "))?;
        }
        self.copied.iter().try_for_each(|Copied { map, entries }| {
            writeln!(f, "copied {entries} entries of its map {} into a new one", escape(map))
        })?;
        write_kept(f, &self.prog_arrays)?;
        self.trial.iter().try_for_each(|trial| trial.fmt(f))?;
        self.also.iter().try_for_each(|place| {
            write!(f, "attached it to {} in {} mode", escape(&place.interface), place.mode)?;
            write_replaced(f, place.replaced)?;
            write_kept(f, &place.prog_arrays)?;
            place.trial.iter().try_for_each(|trial| trial.fmt(f))
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

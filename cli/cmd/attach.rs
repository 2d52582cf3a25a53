//! `xdpload attach`: load an object and attach its program, or attach one that is loaded already.

use std::fmt;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use loader::attach::NetNs;
use loader::doctor;
use loader::load::{AttachedTo, Comparison, RunsAlready};
use loader::netlink::XdpProgram;
use loader::plan::Plan;
use loader::{Cause, Error, ErrorKind, Interface, InterfaceRef, Result, escape, quote, shell_word};
use serde::Serialize;

use super::transcript::{Executed, RecordDocument, Telling};
use super::trial::{self, TrialDocument};
use crate::format::hex;
use crate::guard::{Guard, Pending, pending};
use crate::output::NamedInterface;
use crate::{args, output};

pub(crate) fn run(args: &args::Attach) -> Result<()> {
    let (interfaces, source) = args.split()?;
    let target = |interface| super::target(interface, &args.target, args.pin.as_deref());
    let targets = interfaces.iter().map(target).collect();
    let planned = super::plan(&source, &args.load, targets, &|loader| {
        loader.keep_maps(super::keep_maps(args.target.upgrade))
    })?;
    // Left to the kernel, which takes back all memory of a process that ends at once.
    let planned = ManuallyDrop::new(planned);
    let bpffs = args.load.bpffs.root.as_path();
    let explain = |error| doctor::explain(error, &planned.plan, bpffs);
    let guard = trial::guard(args.target.trial, &args.target.place, &args.load.bpffs)?;
    let telling = Telling::new(&args.report, args.form);
    let executed = trial::execute(&planned, telling, guard.as_ref(), &args.load.bpffs.text());
    let executed = match executed {
        // Who says that it is to be replaced is taken at their word.
        Err(refusal) if refusal.cause() == Some(Cause::Occupied) && !args.target.replace => {
            let running = runs_already(&planned.plan, &interfaces, args, refusal);
            return output::answer(args.form, &running.map_err(explain)?);
        }
        executed => executed.map_err(explain)?,
    };
    let explain_native = |refusal| doctor::explain_native(refusal, &planned.plan, bpffs);
    executed.loaded.attachments().iter().for_each(|attached| super::warn(attached, explain_native));
    output::changed(args.form, &Document::new(executed, args, guard.as_ref()))
}

/// What to answer where the program of `plan` runs already, on all interfaces; where another does, or none, the
/// `refusal` stands.
fn runs_already(
    plan: &Plan,
    interfaces: &[InterfaceRef],
    args: &args::Attach,
    refusal: Error,
) -> Result<Document> {
    let netns = super::netns(&args.target.place)?;
    let (mut places, mut trials) = (Vec::new(), Vec::new());
    for interface in interfaces {
        let interface = Interface::open(interface, netns.as_ref())?;
        let seen = interface.look()?.xdp;
        if seen.is_empty() {
            return Err(refusal);
        }
        let difference = match plan.compare(&interface, &args.load.bpffs.root) {
            Ok(Comparison::Same(running)) => {
                trials.push(trial_of(&interface, &[running.program], netns.as_ref()));
                places.push((interface, running));
                continue;
            }
            Ok(Comparison::HeldOtherwise(running)) => {
                let trial = trial_of(&interface, &[running.program], netns.as_ref());
                if trial.is_some() {
                    // Until it is over, the guard has the link.
                    trials.push(trial);
                    places.push((interface, running));
                    continue;
                }
                match running.link {
                    Some(link) => format!("bpf_link {} holds it", link.id),
                    None => "it was attached by netlink".to_owned(),
                }
            }
            Ok(Comparison::Different(difference)) => difference.to_string(),
            Err(reason) if reason.kind() == ErrorKind::PermissionDenied => {
                let trial = trial_of(&interface, seen.programs(), netns.as_ref());
                return Err(not_compared(refusal, &reason, (&interface, trial.as_ref()), args));
            }
            // Whoever cannot tell must take it for another.
            Ok(_) | Err(_) => return Err(refusal),
        };
        let name = quote(interface.name());
        let on = if interfaces.len() == 1 { String::new() } else { format!("on {name}, ") };
        return Err(another(refusal, &format!("{on}{difference}")));
    }
    let again = format!("{}{}", args.target.place.once_more(), args.load.bpffs.once_more());
    let wanted = args.target.trial.confirm.is_some();
    let attached = places.iter().zip(trials).map(|((interface, running), trial)| {
        let trial = trial::note_unchanged(interface, trial, wanted.then_some("the program"), &again);
        Attached::of_running(interface, running, trial)
    });
    Ok(Document::of_running(plan, attached.collect(), &places[0].1, args))
}

/// The trial that one of the `programs` is on, if this user may know of it.
fn trial_of(interface: &Interface, programs: &[XdpProgram], netns: Option<&NetNs>) -> Option<Pending> {
    // A service that may use no Unix sockets does without the remark.
    let pending = pending(netns, interface.index().get()).unwrap_or_default();
    pending
        .filter(|pending| pending.new.is_some() && programs.iter().any(|program| program.id == pending.new))
}

/// What is there is another program.
fn another(refusal: Error, difference: &str) -> Error {
    let message = format!("{refusal}, and is not the same: {difference}");
    refusal.with_message(message)
}

/// What is there may be the same, and this process may not look.
fn not_compared(
    refusal: Error,
    reason: &Error,
    (interface, trial): (&Interface, Option<&Pending>),
    args: &args::Attach,
) -> Error {
    let message = format!("{refusal}, and could not be compared");
    let because = reason.rule().map(|rule| format!(": {rule}")).unwrap_or_default();
    let (name, netns) = (shell_word(interface.name()), args.target.place.once_more());
    let again = format!("{netns}{}", args.load.bpffs.once_more());
    if let Some(trial) = trial {
        let otherwise = trial::or_else(&trial.before);
        let rule = format!("it is on trial: unless confirmed within {} s, {otherwise}", trial.left.as_secs());
        let help = format!("xdpload confirm {name}{again}, which keeps it");
        return refusal.with_message(message).with_rule(rule).with_help(help);
    }
    let pinned = format!(
        ", or attach what is pinned, which anybody can compare: xdpload load OBJ --pin DIR, then: xdpload attach \
         {name} --pinned DIR/NAME{again}"
    );
    let help = format!("run it as root{}", if args.is_of_object() { &pinned } else { "" });
    refusal.with_message(message).with_rule(format!("{reason}{because}")).with_help(help)
}

#[derive(Serialize)]
struct Document {
    /// Whether the program ran there before, so that nothing was changed.
    already: bool,
    program: Program,
    maps: Vec<String>,
    /// Those of the maps that are the replaced program's.
    kept: Vec<String>,
    copied: Vec<Copied>,
    /// The interfaces, in the order in which they were named.
    attached: Vec<Attached>,
    transcript: Vec<RecordDocument>,
}

/// Where the program was attached.
#[derive(Serialize)]
struct Attached {
    #[serde(flatten)]
    at: NamedInterface,
    mode: String,
    replaced: Option<u32>,
    /// The bpf_link that holds the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    /// Where prog arrays are pinned while the program is attached.
    prog_arrays: Vec<ProgArray>,
    /// How the change is taken back, unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialDocument>,
}

impl Attached {
    fn of_running(interface: &Interface, running: &RunsAlready, trial: Option<TrialDocument>) -> Self {
        Self {
            at: NamedInterface::of(interface),
            mode: running.program.mode.to_string(),
            replaced: None,
            link: running.link.map(|link| Link { id: Some(link.id), pin: None }),
            prog_arrays: Vec::new(),
            trial,
        }
    }

    fn new(attached: &AttachedTo, args: &args::Attach, guard: Option<&Guard>) -> Self {
        let array = |(map, pin): &(String, PathBuf)| ProgArray {
            map: map.clone(),
            pin: pin.to_string_lossy().into_owned(),
        };
        Self {
            at: NamedInterface::of(&attached.interface),
            mode: attached.mode.to_string(),
            replaced: attached.replaced.and_then(|program| program.id),
            // While on trial, the guard's link holds what netlink would.
            link: (args.target.link || attached.link.is_some())
                .then(|| Link { id: attached.link.map(|link| link.id), pin: args.pin.clone() }),
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
    fn of_running(plan: &Plan, attached: Vec<Attached>, running: &RunsAlready, args: &args::Attach) -> Self {
        let info = &running.info;
        let name = if args.is_of_object() { plan.programs.first() } else { Some(&info.name) };
        Self {
            already: true,
            program: Program {
                name: name.cloned().unwrap_or_default(),
                id: Some(info.id),
                tag: Some(hex(&info.tag)),
                map_ids: info.map_ids.clone(),
            },
            maps: plan.maps[..plan.maps.len() - plan.templates].to_vec(),
            kept: Vec::new(),
            copied: Vec::new(),
            attached,
            transcript: Vec::new(),
        }
    }

    fn new(executed: Executed, args: &args::Attach, guard: Option<&Guard>) -> Self {
        let Executed { loaded, transcript } = executed;
        let first = loaded.attachments().first().expect("the plan was to attach");
        let (name, _) = loaded.programs().next().expect("the plan was to load a program");
        let info = first.info.as_ref();
        // One that was loaded by somebody else has the name that the kernel keeps.
        let existing = info.filter(|info| !info.name.is_empty() && !args.is_of_object());
        let name = existing.map_or(name, |info| &info.name);
        Self {
            already: false,
            program: Program {
                name: name.to_owned(),
                id: info.map(|info| info.id),
                tag: info.map(|info| hex(&info.tag)),
                map_ids: info.map(|info| info.map_ids.clone()).unwrap_or_default(),
            },
            maps: loaded.maps().map(|(name, _)| name.to_owned()).collect(),
            kept: loaded.kept_maps().to_vec(),
            copied: loaded
                .copied_maps()
                .iter()
                .map(|(map, entries)| Copied { map: map.clone(), entries: *entries })
                .collect(),
            attached: loaded.attachments().iter().map(|place| Attached::new(place, args, guard)).collect(),
            transcript,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, others) = self.attached.split_first().expect("the plan was to attach");
        let Program { name, id, tag, .. } = &self.program;
        if !self.already {
            f.write_str("attached ")?;
        }
        f.write_str(&escape(name))?;
        if let (Some(id), Some(tag)) = (id, tag) {
            write!(f, " (id {id}, tag {tag})")?;
        }
        if self.already {
            let interfaces: Vec<_> = self.attached.iter().map(|place| place.at.name()).collect();
            let (interfaces, mode) = (interfaces.join(", "), &first.mode);
            return writeln!(f, " runs on {interfaces} in {mode} mode already: nothing was changed");
        }
        write!(f, " to {} in {} mode", first.at.name(), first.mode)?;
        if let Some(Link { id, pin }) = &first.link {
            let id = id.map_or_else(String::new, |id| format!(" {id}"));
            let pin = pin.as_ref().map_or_else(String::new, |pin| format!(" pinned at {}", escape(pin)));
            write!(f, " by bpf_link{id}{pin}")?;
        }
        write_replaced(f, first.replaced)?;
        if !self.kept.is_empty() {
            let kept: Vec<_> = self.kept.iter().map(|map| escape(map)).collect();
            writeln!(f, "kept map(s): {}", kept.join(", "))?;
        }
        self.copied.iter().try_for_each(|Copied { map, entries }| {
            writeln!(f, "copied {entries} entries of its map {} into a new one", escape(map))
        })?;
        write_kept(f, &first.prog_arrays)?;
        first.trial.iter().try_for_each(|trial| trial.fmt(f))?;
        others.iter().try_for_each(|place| {
            write!(f, "attached it to {} in {} mode", place.at.name(), place.mode)?;
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

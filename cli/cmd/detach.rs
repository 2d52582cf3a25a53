//! `xdpload detach`: detach the program from an interface, or from several.

use std::fmt;
use std::path::Path;

use loader::attach::{self, DetachedLink, Interface, OnTrial, RolledBack, Trial};
use loader::diagnosis::Privilege;
use loader::netlink::XdpProgram;
use loader::{Cause, Context as _, Error, ErrorKind, Result, doctor, escape, shell_word};
use serde::Serialize;

use super::trial::{self, TrialDocument};
use crate::guard::{self, Guard};
use crate::output::{self, NamedInterface};
use crate::{args, remedy};

pub(crate) fn run(args: &args::Detach) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let interfaces = super::open_all(&args.interfaces, netns.as_ref())?;
    let guard = trial::guard(args.trial, &args.place, &args.bpffs)?;
    let mut detached = Vec::new();
    let mut refusals = Vec::new();
    match &guard {
        Some(guard) => detached = on_trial(args, &interfaces, guard)?,
        // Whatever becomes of one, the others are detached.
        None => interfaces.iter().for_each(|interface| match for_good(args, interface) {
            Ok(document) => detached.push(document),
            Err(error) => refusals.push(error),
        }),
    }
    let last = refusals.pop();
    refusals.iter().for_each(output::error);
    let answered =
        if detached.is_empty() { Ok(()) } else { output::changed(args.form, &Document { detached }) };
    answered.and(last.map_or(Ok(()), Err))
}

/// Detaches what runs on an interface.
fn for_good(args: &args::Detach, interface: &Interface) -> Result<DetachedFrom> {
    let bpffs = &args.bpffs.root;
    // What a trial has left is held by a link that nobody has asked for.
    let by_link = args.link || is_own_link(interface, bpffs)?;
    let detached = take_off(interface, &[args.id], bpffs, by_link).map_err(|error| {
        let later: &[_] = if by_link { &[] } else { &[Privilege::Interface] };
        tell_of_trial(propose_id(doctor::explain_lack(error, later), args, interface), args, interface)
    })?;
    let mut unpinned = Vec::new();
    for program in &detached {
        let Some(id) = program.id else { continue };
        let pins = match attach::let_go_of_prog_arrays(bpffs, interface, id) {
            // Where this user may not look, it has made no pins.
            Err(error) if !program.compared && error.kind() == ErrorKind::PermissionDenied => Vec::new(),
            pins => {
                pins.context(|| format!("program {id} is detached, but the pins of its prog arrays stay"))?
            }
        };
        unpinned.extend(pins.iter().map(|pin| pin.to_string_lossy().into_owned()));
    }
    attach::remove_shared_directory(bpffs);
    Ok(DetachedFrom { at: NamedInterface::of(interface), programs: detached, unpinned, trial: None })
}

/// Detaches what runs on all interfaces until `guard` puts it back, or on none of them. Until the trial is confirmed,
/// the guard may need the pins of prog arrays.
fn on_trial(args: &args::Detach, interfaces: &[Interface], guard: &Guard) -> Result<Vec<DetachedFrom>> {
    let bpffs = &args.bpffs.root;
    let mut trials = Vec::new();
    for interface in interfaces {
        let by_link = args.link || is_own_link(interface, bpffs)?;
        let trial = Trial::of_detach(interface, args.id, bpffs, by_link)
            .context(|| format!("detaching from {interface}"))
            .map_err(|error| tell_of_trial(error, args, interface))?;
        trial.send(&guard.socket)?;
        trials.push((trial, by_link));
    }
    let mut all = Vec::new();
    for (interface, (trial, by_link)) in interfaces.iter().zip(&trials) {
        // Nothing else than what the guard knows.
        let ids: Vec<_> = trial.before.iter().map(|(program, _)| program.id).collect();
        let programs = take_off(interface, &ids, bpffs, *by_link)
            .map_err(|error| give_up(error, guard, trial, !all.is_empty()))?;
        all.push(DetachedFrom {
            at: NamedInterface::of(interface),
            programs,
            unpinned: Vec::new(),
            trial: None,
        });
    }
    let trials: Vec<_> = trials.into_iter().map(|(trial, _)| trial).collect();
    for (document, trial) in all.iter_mut().zip(begin(guard, trials, interfaces)?) {
        document.trial = Some(trial);
    }
    Ok(all)
}

/// Tells the guard of a refusal, and has it put back what others had if anything is taken off already.
fn give_up(error: Error, guard: &Guard, trial: &Trial, others_are_off: bool) -> Error {
    if changed_nothing(&error, trial) {
        // A guard that is gone puts nothing back.
        let _ = attach::tell_unchanged(&guard.socket, trial.ifindex);
    }
    match attach::take_back(&guard.socket) {
        Err(failure) if others_are_off => error.context(format!("the others stay detached ({failure})")),
        _ => error,
    }
}

/// Detaches the programs with these ids, or all where there is none.
fn take_off(interface: &Interface, ids: &[Option<u32>], bpffs: &Path, by_link: bool) -> Result<Vec<Program>> {
    let mut detached = Vec::new();
    for &id in ids {
        if by_link {
            detached.extend(attach::detach_links(interface, id, bpffs)?.iter().map(Program::held_by));
            continue;
        }
        let (done, compared) = match (attach::detach(interface, id, bpffs), id) {
            (Err(error), Some(id)) if may_go_uncompared(&error) => {
                (attach::detach_uncompared(interface, id), false)
            }
            (done, _) => (done, true),
        };
        let programs = done.map_err(|error| doctor::explain_detach(error, interface, bpffs))?;
        detached.extend(programs.iter().map(|program| Program::new(program, compared)));
    }
    Ok(detached)
}

/// Whether there was nothing to compare with, or no kernel that could: whoever names the program takes that upon
/// himself.
fn may_go_uncompared(error: &Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied || error.cause() == Some(Cause::CannotCompare)
}

/// Nothing is there, for the time being, where a detach is on trial.
fn tell_of_trial(error: Error, args: &args::Detach, interface: &Interface) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let netns = super::netns(&args.place).unwrap_or_default();
    let pending = guard::pending(netns.as_ref(), interface.index().get()).unwrap_or_default();
    let Some(pending) = pending.filter(|pending| pending.new.is_none()) else { return error };
    let (name, again) =
        (shell_word(interface.name()), format!("{}{}", args.place.once_more(), args.bpffs.once_more()));
    error
        .with_rule(format!(
            "it was detached on trial: unless that is confirmed within {} s, {}",
            pending.left.as_secs(),
            trial::or_else(&pending.before)
        ))
        .with_help(format!("xdpload confirm {name}{again}"))
}

/// Who may change the interface, but cannot have what runs on it compared, may name it by its number.
fn propose_id(error: Error, args: &args::Detach, interface: &Interface) -> Error {
    let is_permitted = || {
        let process = doctor::examine_process();
        doctor::would_be_refused(&[Privilege::Interface], &process).is_none()
    };
    let is_ours = may_go_uncompared(&error) && args.id.is_none() && !args.link;
    let (true, Ok(seen)) = (is_ours && is_permitted(), interface.look()) else { return error };
    let [XdpProgram { id: Some(id), .. }] = seen.xdp.programs() else { return error };
    let again = format!("{}{}", args.place.once_more(), args.bpffs.once_more());
    let uncompared = format!(
        "without a comparison by the kernel: xdpload detach {} --id {id}{again}",
        shell_word(interface.name())
    );
    // Such a link lets nobody else detach what it holds, and may not be looked for either.
    let unless = "or, unless a bpf_link holds it,";
    // Root cannot have it compared either by a kernel that cannot.
    let help = match remedy::help(&error) {
        _ if error.cause() == Some(Cause::CannotCompare) => uncompared,
        Some(before) => format!("{before}; {unless} {uncompared}"),
        None => format!("run it as root; {unless} {uncompared}"),
    };
    error.with_help(help)
}

/// Whether it is certain that a detach which ended in `error` has taken nothing off. Otherwise the guard looks, and
/// would take what somebody else has taken off meanwhile for this change.
fn changed_nothing(error: &Error, trial: &Trial) -> bool {
    trial.before.len() == 1 && matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}

/// Tells the guard of what was taken off; what it does not hear of is put back at once.
fn begin(guard: &Guard, trials: Vec<Trial>, interfaces: &[Interface]) -> Result<Vec<TrialDocument>> {
    let document = |trial: &Trial| {
        let before = trial.before.iter().map(|(program, _)| *program).collect();
        TrialDocument::of_detach(guard, &trial.name, before)
    };
    let documents = trials.iter().map(document).collect();
    let Err(mut error) = attach::tell_made(&guard.socket) else { return Ok(documents) };
    for (trial, interface) in trials.into_iter().zip(interfaces) {
        let name = trial.name.clone();
        let put_back = OnTrial::of(trial, interface.clone()).and_then(|mut on_trial| on_trial.put_back());
        error = match put_back {
            Ok(RolledBack::PutBack) => error,
            Ok(RolledBack::LeftAlone(found)) => error.context(format!("{name} stays detached: {found}")),
            Err(failure) => error.context(format!("{name} stays detached ({failure})")),
        };
    }
    Err(error)
}

/// Whether a link that a trial has left holds what is on the interface.
pub(super) fn is_own_link(interface: &Interface, bpffs: &Path) -> Result<bool> {
    let Some(link) = attach::open_own_link(bpffs, interface)? else { return Ok(false) };
    let (state, seen) = (link.state()?, interface.look()?);
    Ok(seen.xdp.programs().iter().any(|program| state.holds(seen.index, *program)))
}

#[derive(Serialize)]
struct Document {
    detached: Vec<DetachedFrom>,
}

#[derive(Serialize)]
struct DetachedFrom {
    #[serde(flatten)]
    at: NamedInterface,
    programs: Vec<Program>,
    /// The pins of prog arrays that were kept for these programs.
    unpinned: Vec<String>,
    /// How the change is taken back, unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialDocument>,
}

#[derive(Serialize)]
struct Program {
    id: Option<u32>,
    mode: String,
    /// Whether the kernel has compared it with what runs there.
    compared: bool,
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
    fn new(program: &XdpProgram, compared: bool) -> Self {
        let (mode, words) = (program.mode.to_string(), program.to_string());
        Self { id: program.id, mode, compared, link: None, words }
    }

    fn held_by(link: &DetachedLink) -> Self {
        let pins = link.pins.iter().map(|pin| pin.display().to_string()).collect();
        Self { link: Some(Link { id: link.id, pins }), ..Self::new(&link.program, false) }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detached.iter().try_for_each(|interface| interface.fmt(f))
    }
}

impl fmt::Display for DetachedFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.programs.iter().try_for_each(|program| {
            write!(f, "detached {} from {}", program.words, self.at.name())?;
            if !program.compared && program.link.is_none() {
                write!(f, "; the kernel did not compare it, which takes CAP_SYS_ADMIN and Linux 5.7")?;
            }
            if let Some(Link { id, pins }) = &program.link {
                write!(f, ", and bpf_link {id}")?;
                let pins: Vec<_> = pins.iter().map(|pin| escape(pin)).collect();
                if !pins.is_empty() {
                    write!(f, ", and removed its pin {}", pins.join(", "))?;
                }
            }
            writeln!(f)
        })?;
        self.unpinned.iter().try_for_each(|path| writeln!(f, "unpinned {}", escape(path)))?;
        self.trial.iter().try_for_each(|trial| trial.fmt(f))
    }
}

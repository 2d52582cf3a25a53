//! `xdpload detach`: detach the program from an interface.

use std::fmt;
use std::path::Path;

use loader::attach::{self, DetachedLink, Interface, OnTrial, RolledBack, Trial};
use loader::doctor;
use loader::netlink::XdpProgram;
use loader::{Context as _, Error, ErrorKind, Result, escape};
use serde::Serialize;

use super::trial::{self, TrialDocument};
use crate::guard::Guard;
use crate::{args, output};

pub(crate) fn run(args: &args::Detach) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let interface = Interface::open(&args.interface, netns.as_ref())?;
    let bpffs = &args.bpffs.root;
    // What a trial has left is held by a link that nobody has asked for.
    let by_link = args.link || is_own_link(&interface, bpffs)?;
    let guard = trial::guard(args.trial, &args.place, &args.bpffs)?;
    let trial = match &guard {
        Some(guard) => {
            let trial = Trial::of_detach(&interface, args.id, bpffs, by_link)?;
            trial.send(&guard.socket)?;
            Some((guard, trial))
        }
        None => None,
    };
    // Nothing else than what the guard knows.
    let on_trial = trial.iter().flat_map(|(_, trial)| &trial.before).map(|(program, _)| program.id);
    let ids: Vec<_> = if trial.is_some() { on_trial.collect() } else { vec![args.id] };
    let detached = take_off(&interface, &ids, bpffs, by_link).inspect_err(|error| {
        if let Some((guard, trial)) = trial.as_ref().filter(|(_, trial)| changed_nothing(error, trial)) {
            // A guard that is gone puts nothing back.
            let _ = attach::tell_unchanged(&guard.socket, trial.ifindex);
        }
    })?;
    if by_link && trial.is_none() {
        attach::remove_shared_directory(bpffs);
    }
    let mut unpinned = Vec::new();
    let trial = trial.map(|(guard, trial)| begin(guard, trial)).transpose()?;
    // Until it is confirmed, the guard may need them.
    let gone = if trial.is_some() { &[][..] } else { &detached[..] };
    for id in gone.iter().filter_map(|program| program.id) {
        let pins = attach::let_go_of_prog_arrays(bpffs, &interface, id)
            .context(|| format!("program {id} is detached, but the pins of its prog arrays stay"))?;
        unpinned.extend(pins.iter().map(|pin| pin.to_string_lossy().into_owned()));
    }
    output::answer(args.form, &Document { interface: interface.name().to_owned(), detached, unpinned, trial })
}

/// Detaches the programs with these ids, or all where there is none.
fn take_off(interface: &Interface, ids: &[Option<u32>], bpffs: &Path, by_link: bool) -> Result<Vec<Program>> {
    let mut detached = Vec::new();
    for &id in ids {
        if by_link {
            detached.extend(attach::detach_links(interface, id, bpffs)?.iter().map(Program::held_by));
        } else {
            let programs = attach::detach(interface, id, bpffs)
                .map_err(|error| doctor::explain_detach(error, interface, bpffs))?;
            detached.extend(programs.iter().map(Program::new));
        }
    }
    Ok(detached)
}

/// Whether it is certain that a detach which ended in `error` has taken nothing off. Otherwise the guard looks, and
/// would take what somebody else has taken off meanwhile for this change.
fn changed_nothing(error: &Error, trial: &Trial) -> bool {
    trial.before.len() == 1 && matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound)
}

/// Tells the guard of what was taken off; what it does not hear of is put back at once.
fn begin(guard: &Guard, trial: Trial) -> Result<TrialDocument> {
    let before = trial.before.iter().map(|(program, _)| *program).collect();
    let document = TrialDocument::of_detach(guard, &trial.name, before);
    match attach::tell_made(&guard.socket) {
        Ok(()) => Ok(document),
        Err(error) => match OnTrial::new(trial).and_then(|mut on_trial| on_trial.put_back()) {
            Ok(RolledBack::PutBack) => Err(error),
            Ok(RolledBack::LeftAlone(found)) => Err(error.context(format!("it stays detached: {found}"))),
            Err(failure) => Err(error.context(format!("it stays detached ({failure})"))),
        },
    }
}

/// Whether a link that a trial has left holds what is on the interface.
pub(super) fn is_own_link(interface: &Interface, bpffs: &Path) -> Result<bool> {
    let Some(link) = attach::open_own_link(bpffs, interface)? else { return Ok(false) };
    let (state, seen) = (link.state()?, interface.look()?);
    Ok(seen.xdp.programs().iter().any(|program| state.holds(seen.index, *program)))
}

#[derive(Serialize)]
struct Document {
    interface: String,
    detached: Vec<Program>,
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
    fn new(program: &XdpProgram) -> Self {
        Self { id: program.id, mode: program.mode.to_string(), link: None, words: program.to_string() }
    }

    fn held_by(link: &DetachedLink) -> Self {
        let pins = link.pins.iter().map(|pin| pin.display().to_string()).collect();
        Self { link: Some(Link { id: link.id, pins }), ..Self::new(&link.program) }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detached.iter().try_for_each(|program| {
            write!(f, "detached {} from {}", program.words, escape(&self.interface))?;
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

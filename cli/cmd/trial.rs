//! What commands that change an interface share when the change is on trial (`--confirm`).

use std::fmt;
use std::path;

use loader::attach::Interface;
use loader::load::AttachedTo;
use loader::netlink::XdpProgram;
use loader::{Error, Result, escape, quote, shell_word};
use serde::Serialize;

use super::Planned;
use super::transcript::{self, Executed, Telling};
use crate::guard::{Guard, Pending};
use crate::{args, output};

/// Starts a guard, if the command line asks for one.
pub(crate) fn guard(trial: args::Trial, place: &args::Place, bpffs: &args::Bpffs) -> Result<Option<Guard>> {
    let Some(patience) = trial.confirm else { return Ok(None) };
    let netns = place.netns.as_deref().map(|netns| absolute(&args::netns_path(netns))).transpose()?;
    let guard = Guard::start(patience, netns.as_deref())?;
    Ok(Some(Guard { again: format!("{}{}", place.once_more(), bpffs.once_more()), ..guard }))
}

/// The guard works in another directory.
fn absolute(path: &str) -> Result<String> {
    match path::absolute(path) {
        Ok(absolute) => Ok(absolute.display().to_string()),
        Err(error) => Err(Error::io("getcwd(3)", quote(path), &error)),
    }
}

/// Carries out a plan that attaches, with its bpffs at `bpffs`: on trial if there is a guard, which takes it back if it
/// fails in the middle.
pub(crate) fn execute(
    planned: &Planned,
    telling: Telling,
    guard: Option<&Guard>,
    bpffs: &str,
) -> Result<Executed> {
    let Some(guard) = guard else { return transcript::execute(planned, telling) };
    let plan = planned.plan.clone().on_trial(bpffs)?;
    transcript::execute_with(&Planned { plan, btf_flaw: planned.btf_flaw.clone() }, telling, Some(guard))
}

/// A change on trial.
#[derive(Serialize)]
pub(crate) struct TrialDocument {
    seconds_left: u64,
    /// The process that waits.
    guard: u32,
    /// The ids of the programs that it puts back.
    puts_back: Vec<Option<u32>>,
    /// What becomes of the interface if the guard is killed; none of a change that an earlier command has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_guard: Option<WithoutGuard>,
    /// What follows `xdpload confirm`.
    #[serde(skip)]
    words: String,
    #[serde(skip)]
    before: Vec<XdpProgram>,
}

/// What a guard that is killed cannot put back.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum WithoutGuard {
    /// Nothing: the guard's `bpf_link` goes with it, and the program with that.
    ProgramGoes,
    /// The new program stays, in the place of another.
    ProgramStays,
    /// The new program stays, since the kernel has no such links.
    NoLinks,
    /// What was taken off stays off.
    StaysOff,
}

impl TrialDocument {
    pub(crate) fn of(guard: &Guard, attached: &AttachedTo) -> Self {
        let without_guard = match (&attached.replaced, &attached.link) {
            (Some(_), _) => WithoutGuard::ProgramStays,
            (None, Some(_)) => WithoutGuard::ProgramGoes,
            (None, None) => WithoutGuard::NoLinks,
        };
        Self::new(guard, attached.interface.name(), attached.replaced.into_iter().collect(), without_guard)
    }

    /// Of taking `before` off `interface`.
    pub(super) fn of_detach(guard: &Guard, interface: &str, before: Vec<XdpProgram>) -> Self {
        Self::new(guard, interface, before, WithoutGuard::StaysOff)
    }

    fn new(guard: &Guard, interface: &str, before: Vec<XdpProgram>, without_guard: WithoutGuard) -> Self {
        Self {
            seconds_left: guard.patience.as_secs(),
            guard: guard.pid,
            puts_back: before.iter().map(|program| program.id).collect(),
            without_guard: Some(without_guard),
            words: format!("{}{}", escape(interface), guard.again),
            before,
        }
    }

    /// Of a change that an earlier command has made; the interface is named by `words`.
    fn of_pending(pending: Pending, words: String) -> Self {
        Self {
            seconds_left: pending.left.as_secs(),
            guard: pending.pid,
            puts_back: pending.before.iter().map(|program| program.id).collect(),
            without_guard: None,
            words,
            before: pending.before,
        }
    }
}

/// What happens to a change that nobody confirms, made where `before` ran.
pub(super) fn or_else(before: &[XdpProgram]) -> String {
    match before {
        [] => "the program is detached".to_owned(),
        before => {
            let list: Vec<_> = before.iter().map(ToString::to_string).collect();
            format!("{} is restored", list.join(" and "))
        }
    }
}

/// Remarks on an `interface` where nothing was changed: which `trial` it was on before, which is given back, or that
/// `what` was wanted on trial, and is not. `again` are the options by which the interface is named once more.
pub(super) fn note_unchanged(
    interface: &Interface,
    trial: Option<Pending>,
    what: Option<&str>,
    again: &str,
) -> Option<TrialDocument> {
    if let (None, Some(what)) = (&trial, what) {
        output::remark(format_args!("note: {what} is on {interface} already, so it is not on trial there"));
    }
    let words = format!("{}{again}", shell_word(interface.name()));
    let trial = TrialDocument::of_pending(trial?, words);
    output::remark(format_args!(
        "note: {interface} has it on trial: `xdpload confirm {}` within {} s keeps it; otherwise {}",
        trial.words,
        trial.seconds_left,
        or_else(&trial.before)
    ));
    Some(trial)
}

impl fmt::Display for TrialDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds_left: seconds, guard, before, .. } = self;
        let Some(without_guard) = self.without_guard else { return Ok(()) };
        let then = or_else(before);
        let confirm = &self.words;
        writeln!(
            f,
            "run `xdpload confirm {confirm}` within {seconds} s to keep the change; otherwise {then}"
        )?;
        let limit = match without_guard {
            WithoutGuard::ProgramGoes => "goes with it",
            WithoutGuard::ProgramStays => "stays, since nothing but the guard knows the one before",
            WithoutGuard::NoLinks => "stays, since this kernel has no bpf_link for XDP (Linux 5.9)",
            WithoutGuard::StaysOff => "stays off, since nothing but the guard knows it",
        };
        writeln!(f, "if the guard of this trial, process {guard}, is killed, the program {limit}")
    }
}

//! The calls of a plan as they are told while it is carried out, and in the answer.

use std::mem::ManuallyDrop;

use loader::load::{ExecuteOptions, Loaded, Outcome, Record};
use loader::plan::{Call, MapSlot, Plan, Step};
use loader::{Result, errno_name, escape, quote};
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use super::calls::CallDocument;
use super::{Planned, mount};
use crate::guard::Guard;
use crate::{args, output};

/// What is told of the calls while a plan is carried out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Telling {
    /// Each is printed.
    verbose: bool,
    /// Each is kept for the answer.
    json: bool,
}

impl Telling {
    pub(crate) fn new(report: &args::Report, form: args::Form) -> Self {
        Self { verbose: report.verbose, json: form.json }
    }
}

/// A plan that was carried out.
pub(crate) struct Executed {
    /// Left to the kernel, which closes at once what a process that ends still has.
    pub(crate) loaded: ManuallyDrop<Loaded>,
    /// Every call, where the answer is JSON: in words it has none.
    pub(crate) transcript: Vec<RecordDocument>,
}

/// Carries a plan out, and tells of it.
pub(super) fn execute(planned: &Planned, telling: Telling) -> Result<Executed> {
    execute_with(planned, telling, None)
}

/// The same with the guard of a plan on trial.
pub(super) fn execute_with(planned: &Planned, telling: Telling, guard: Option<&Guard>) -> Result<Executed> {
    let (mut transcript, mut types) = (Vec::new(), TypeRefusals::default());
    let mut waits = waits(&planned.plan.steps);
    // One change of one interface is made or is not.
    if !waits && planned.plan.attach.len() > 1 {
        hold_signals();
    }
    let observe = |record: &Record<'_>| {
        types.see(record);
        // Nothing that lasts comes before, and from here on nobody is waited for.
        if waits && matches!(record.call, Call::Lock { .. } | Call::MapCreate(_) | Call::ProgLoad(_)) {
            hold_signals();
            waits = false;
        }
        if telling.verbose {
            output::remark(record);
        }
        if telling.json {
            transcript.push(RecordDocument::new(record));
        }
    };
    let options =
        ExecuteOptions { guard: guard.map(|guard| &guard.socket), timed: telling.verbose || telling.json };
    let loaded = planned.plan.execute_with(options, observe)?;
    if let Some(flaw) = &planned.btf_flaw {
        output::remark(format_args!("warning: loaded without {}", escape(flaw)));
    }
    if let Some(refusal) = loaded.btf_refusal() {
        let rule = refusal.rule().map_or_else(String::new, |rule| format!("; {rule}"));
        let words = format!("{refusal}{rule}");
        output::remark(format_args!("warning: loaded without BTF: {}", escape(&words)));
    }
    types.warn(&planned.plan);
    loaded.mounted().into_iter().for_each(mount::warn_if_it_passes);
    Ok(Executed { loaded: ManuallyDrop::new(loaded), transcript })
}

/// Whether these steps may wait for another run, however long that takes.
fn waits(steps: &[Step]) -> bool {
    steps.iter().any(|step| {
        let others = step.otherwise.iter().any(|other| waits(&other.steps));
        matches!(step.call, Call::Lock { .. }) || others || waits(&step.then)
    })
}

/// Lets a change come to its end, and its answer be given, before a signal ends this process: the one half of it would
/// be left behind, and nobody would have been told which.
fn hold_signals() {
    let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    // Where that is refused, signals are as dangerous as before.
    let _ = signals.thread_block();
}

/// The maps whose entries the kernel knows without their types, which it has refused.
#[derive(Default)]
struct TypeRefusals {
    /// The last refusal of a map with types.
    last: Option<(MapSlot, i32)>,
    made: Vec<(MapSlot, i32)>,
}

impl TypeRefusals {
    fn see(&mut self, record: &Record<'_>) {
        let Call::MapCreate(create) = record.call else { return };
        match (&record.outcome, create.types, self.last) {
            (Outcome::Refused(errno), Some(_), _) => self.last = Some((create.map, *errno)),
            (Outcome::Fd(_), None, Some((map, errno))) if map == create.map => self.made.push((map, errno)),
            _ => {}
        }
    }

    fn warn(&self, plan: &Plan) {
        for &(map, errno) in &self.made {
            let name = plan.maps.get(map.0).map_or("", String::as_str);
            output::remark(format_args!(
                "warning: map {}: the kernel refused the types of its entries ({}); they are shown as bytes",
                quote(name),
                errno_name(errno)
            ));
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RecordDocument {
    /// The number of the first of its calls in the plan, unless it is a probe or takes a call back.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    calls: Vec<CallDocument>,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    microseconds: Option<u128>,
}

impl RecordDocument {
    fn new(record: &Record<'_>) -> Self {
        Self {
            number: record.number.map(|number| number.to_string()),
            calls: record.kernel_calls().iter().map(CallDocument::new).collect(),
            outcome: record.outcome.to_string(),
            microseconds: record.took.map(|took| took.as_micros()),
        }
    }
}

//! The calls of a plan as they are told while it is carried out, and in the answer.

use loader::load::{Loaded, Record};
use loader::{Result, escape};
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
    pub(crate) loaded: Loaded,
    /// Every call, where the answer is JSON: in words it has none.
    pub(crate) transcript: Vec<RecordDocument>,
}

/// Carries a plan out, and tells of it.
pub(super) fn execute(planned: &Planned, telling: Telling) -> Result<Executed> {
    execute_with(planned, telling, None)
}

/// The same with the guard of a plan on trial.
pub(super) fn execute_with(planned: &Planned, telling: Telling, guard: Option<&Guard>) -> Result<Executed> {
    let mut transcript = Vec::new();
    let observe = |record: &Record<'_>| {
        if telling.verbose {
            output::remark(record);
        }
        if telling.json {
            transcript.push(RecordDocument::new(record));
        }
    };
    let loaded = match guard {
        Some(guard) => planned.plan.execute_on_trial(&guard.socket, observe)?,
        None => planned.plan.execute(observe)?,
    };
    if let Some(flaw) = &planned.btf_flaw {
        output::remark(format_args!("warning: loaded without {}", escape(flaw)));
    }
    if let Some(refusal) = loaded.btf_refusal() {
        output::remark(format_args!("warning: loaded without BTF: {}", escape(&refusal.to_string())));
    }
    loaded.mounted().into_iter().for_each(mount::warn_if_it_passes);
    Ok(Executed { loaded, transcript })
}

#[derive(Serialize)]
pub(crate) struct RecordDocument {
    /// The number of the first of its calls in the plan, unless it is a probe or takes a call back.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    calls: Vec<CallDocument>,
    outcome: String,
    microseconds: u128,
}

impl RecordDocument {
    fn new(record: &Record<'_>) -> Self {
        Self {
            number: record.number.map(|number| number.to_string()),
            calls: record.kernel_calls().iter().map(CallDocument::new).collect(),
            outcome: record.outcome.to_string(),
            microseconds: record.took.as_micros(),
        }
    }
}

//! The calls of a plan as they are told while it is carried out, and in the answer.

use std::fmt;

use loader::load::{Loaded, Outcome, Record};
use loader::{Result, errno_name, escape};
use serde::Serialize;

use super::calls::CallDocument;
use super::{Planned, mount};
use crate::guard::Guard;
use crate::{args, output};

/// Carries a plan out, and tells of it as `report` says.
pub(super) fn execute(planned: &Planned, report: &args::Report) -> Result<Loaded> {
    execute_with(planned, report, None)
}

/// The same with the guard of a plan on trial.
pub(super) fn execute_with(
    planned: &Planned,
    report: &args::Report,
    guard: Option<&Guard>,
) -> Result<Loaded> {
    let observe = |record: &Record| {
        if report.verbose {
            output::remark(Line(record));
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
    Ok(loaded)
}

#[derive(Serialize)]
pub(super) struct RecordDocument {
    calls: Vec<CallDocument>,
    outcome: String,
    microseconds: u128,
}

/// The whole transcript, where the answer is to have it: in words it has not.
pub(super) fn documents(loaded: &Loaded, form: args::Form) -> Vec<RecordDocument> {
    let records = if form.json { loaded.transcript() } else { &[] };
    records.iter().map(RecordDocument::new).collect()
}

impl RecordDocument {
    fn new(record: &Record) -> Self {
        Self {
            calls: record.calls.iter().map(CallDocument::new).collect(),
            outcome: outcome(&record.outcome),
            microseconds: record.took.as_micros(),
        }
    }
}

/// A line of `-v`: the calls, the last one's outcome, the time.
struct Line<'r>(&'r Record);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { calls, outcome: answer, took, .. } = self.0;
        for (index, call) in calls.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", escape(&call.to_string()))?;
        }
        write!(f, " -> {} ({} us)", escape(&outcome(answer)), took.as_micros())
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Fd(fd) => format!("fd {fd}"),
        Outcome::Refused(errno) => errno_name(*errno),
        Outcome::Found(words) => words.clone(),
        _ => "done".to_owned(),
    }
}

//! `xdpload attach`: load an object and attach its program.

use std::fmt;
use std::fs;
use std::path::Path;

use loader::features::Kernel;
use loader::load::{AttachedTo, Loaded, Outcome, Record};
use loader::{Error, Result, errno_name, escape, quote};
use serde::Serialize;

use super::plan::CallDocument;
use crate::format::hex;
use crate::{args, output};

pub(crate) fn run(args: &args::Attach) -> Result<()> {
    let object = super::open_to_load(&args.load)?;
    let loader = super::loader(&object, &args.load)?.attach_to(super::target(&args.interface, &args.target));
    let plan = loader.plan(&Kernel::current()?)?;
    let loaded = plan.execute(|record| {
        if args.verbose {
            output::remark(Line(record));
        }
    });
    let loaded = match (loaded, &args.verifier_log) {
        (Err(error), Some(path)) => return Err(keep_log(path, error)),
        (loaded, _) => loaded?,
    };
    if let Some(flaw) = &object.btf_flaw {
        output::remark(format_args!("warning: loaded without the object's types: {}", escape(flaw)));
    }
    if let Some(refusal) = loaded.btf_refusal() {
        output::remark(format_args!("warning: loaded without types: {}", escape(&refusal.to_string())));
    }
    if let Some(attached) = loaded.attached() {
        warn(attached);
    }
    output::answer(args.form, &Document::new(&loaded))
}

/// Writes the verifier's log where the user wants it.
fn keep_log(path: &Path, error: Error) -> Error {
    let Some(log) = error.verifier_log() else {
        return error;
    };
    match fs::write(path, log) {
        Ok(()) => error,
        Err(failure) => error.context(format!("cannot write {}: {failure}", quote(&path.to_string_lossy()))),
    }
}

/// Says aloud what the user may not have asked for.
fn warn(attached: &AttachedTo) {
    if let Some(refusal) = &attached.native_refusal {
        output::remark(format_args!(
            "warning: attached in generic mode, which is much slower: native mode was refused: {}",
            escape(&refusal.to_string())
        ));
    }
    if attached.info.is_none() {
        output::remark("warning: it is attached, but the kernel tells neither its id nor its tag");
    }
    if let Some(warning) = &attached.warning {
        output::remark(format_args!("warning: the kernel says: {}", escape(warning)));
    }
}

#[derive(Serialize)]
struct Document {
    interface: String,
    ifindex: u32,
    mode: String,
    program: Program,
    replaced: Option<u32>,
    maps: Vec<String>,
    transcript: Vec<RecordDocument>,
}

/// What the kernel does not tell of a program (before 4.13) is none.
#[derive(Serialize)]
struct Program {
    name: String,
    id: Option<u32>,
    tag: Option<String>,
    map_ids: Vec<u32>,
}

#[derive(Serialize)]
struct RecordDocument {
    calls: Vec<CallDocument>,
    outcome: String,
    microseconds: u128,
}

impl Document {
    fn new(loaded: &Loaded) -> Self {
        let attached = loaded.attached().expect("the plan was to attach");
        let (name, _) = loaded.programs().next().expect("the plan was to load a program");
        let info = attached.info.as_ref();
        Self {
            interface: attached.name.clone(),
            ifindex: attached.index,
            mode: attached.mode.to_string(),
            program: Program {
                name: name.to_owned(),
                id: info.map(|info| info.id),
                tag: info.map(|info| hex(&info.tag)),
                map_ids: info.map(|info| info.map_ids.clone()).unwrap_or_default(),
            },
            replaced: attached.replaced.and_then(|program| program.id),
            maps: loaded.maps().map(|(name, _)| name.to_owned()).collect(),
            transcript: loaded.transcript().iter().map(RecordDocument::new).collect(),
        }
    }
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

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program { name, id, tag, .. } = &self.program;
        let (name, interface) = (escape(name), escape(&self.interface));
        write!(f, "attached {name}")?;
        if let (Some(id), Some(tag)) = (id, tag) {
            write!(f, " (id {id}, tag {tag})")?;
        }
        write!(f, " to {interface} in {} mode", self.mode)?;
        match self.replaced {
            Some(id) => writeln!(f, ", replacing program {id}"),
            None => writeln!(f),
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

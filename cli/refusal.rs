//! How a refusal by the verifier is told: five lines, a JSON document, and the whole log in a file if that is wished.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use loader::error::Instruction;
use loader::{Error, Explanation, errno_name, escape, quote};
use serde::Serialize;

use crate::args::Form;
use crate::{output, remedy};

/// What the command line says about how a refusal is told.
#[derive(Default)]
pub(crate) struct Style {
    json: bool,
    /// Whether it takes `--verifier-log`.
    takes_log: bool,
    log: Option<PathBuf>,
}

impl Style {
    /// That of a command that takes `--verifier-log`, which has said `log`.
    pub(crate) fn with_log(log: Option<&Path>, form: Form) -> Self {
        Self { json: form.json, takes_log: true, log: log.map(Path::to_owned) }
    }
}

/// Tells of an error that has an explanation; false if it has none.
pub(crate) fn tell(error: &Error, style: &Style) -> bool {
    let (Some(explanation), Some(log)) = (error.explanation(), error.verifier_log()) else {
        return false;
    };
    output::remark(format_args!("error: {}", escape(&error.headline().to_string())));
    let mut told = explanation.clone();
    told.help = remedy::help(error);
    output::remark(&told);
    output::remark(format_args!("  log:  {}", kept(log, explanation.log_lines, style)));
    if style.json {
        // The exit code says already that it went wrong.
        let _ = output::answer_json(&Document::new(error, &told));
    }
    true
}

/// Writes the log where the user wants it, and says where it is.
fn kept(log: &str, lines: usize, style: &Style) -> String {
    let what = format!("full verifier log ({lines} lines)");
    let Some(path) = &style.log else {
        return if style.takes_log { format!("{what}: --verifier-log FILE") } else { what };
    };
    let name = path.to_string_lossy();
    let name = quote(&name);
    match write(path, log) {
        Ok(()) => format!("{what} written to {name}"),
        Err((call, failure)) => format!("{what}, not kept: {}", Error::io(call, name, &failure)),
    }
}

/// Writes the log. Of a file that was not there before, nothing is left if it cannot be written whole.
fn write(path: &Path, log: &str) -> Result<(), (&'static str, io::Error)> {
    let (file, is_new) = match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (File::create(path), false),
        file => (file, true),
    };
    let written = file.map_err(|error| ("open(2)", error))?.write_all(log.as_bytes());
    if written.is_err() && is_new {
        // What cannot be removed is not worth a second error.
        let _ = fs::remove_file(path);
    }
    written.map_err(|error| ("write(2)", error))
}

#[derive(Serialize)]
struct Document {
    error: Refusal,
}

#[derive(Serialize)]
struct Refusal {
    message: String,
    errno: Option<String>,
    kind: &'static str,
    instruction: Option<At>,
    rule: String,
    help: Option<String>,
    words: String,
    log_lines: usize,
}

#[derive(Serialize)]
struct At {
    index: usize,
    text: String,
    function: Option<String>,
    source: Option<Source>,
}

#[derive(Serialize)]
struct Source {
    file: String,
    line: u32,
    column: u16,
    text: String,
}

impl Document {
    fn new(error: &Error, explanation: &Explanation) -> Self {
        Self {
            error: Refusal {
                message: error.headline().to_string(),
                errno: error.errno().map(errno_name),
                kind: explanation.kind.name(),
                instruction: explanation.at.as_ref().map(At::new),
                rule: explanation.rule.clone(),
                help: explanation.help.clone(),
                words: explanation.words.clone(),
                log_lines: explanation.log_lines,
            },
        }
    }
}

impl At {
    fn new(at: &Instruction) -> Self {
        let source = at.source.as_ref().map(|source| Source {
            file: source.file.clone(),
            line: source.line,
            column: source.column,
            text: source.text.clone(),
        });
        Self { index: at.index, text: at.text.clone(), function: at.function.clone(), source }
    }
}

//! How answers and errors reach the user: text made safe for a terminal, or one JSON document.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, BufWriter, Write};
use std::{mem, process, str};

use loader::{Error, ErrorKind, Interface, Result, escape, shell_word};
use serde::Serialize;

use crate::args::Form;
use crate::exit::Exit;
use crate::remedy;

/// The columns of a terminal that nobody has made wider, such as a serial console.
pub(crate) const WIDTH: usize = 80;

/// What a command answers: `Display` is the text, `Serialize` the JSON document.
pub(crate) trait Answer: Display + Serialize {}

impl<T: Display + Serialize> Answer for T {}

/// An interface, as each document tells of one.
#[derive(Serialize)]
pub(crate) struct NamedInterface {
    pub(crate) interface: String,
    /// Its number in its network namespace.
    pub(crate) ifindex: u32,
}

impl NamedInterface {
    pub(crate) fn new(name: &str, ifindex: u32) -> Self {
        Self { interface: name.to_owned(), ifindex }
    }

    pub(crate) fn of(interface: &Interface) -> Self {
        Self::new(interface.name(), interface.index().get())
    }

    /// The name, fit for a terminal.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        escape(&self.interface)
    }

    /// The name in a command that is proposed.
    pub(crate) fn shell_word(&self) -> String {
        shell_word(&self.interface)
    }
}

/// Prints an answer on standard output.
pub(crate) fn answer(form: Form, answer: &impl Answer) -> Result<()> {
    if form.json { answer_json(answer) } else { print(answer) }
}

/// Prints the answer of a command that has changed something: it has done so even where nobody can be told.
pub(crate) fn changed(form: Form, answer: &impl Answer) -> Result<()> {
    self::answer(form, answer)
        .map_err(|error| error.context("the change was made, but the answer could not be written"))
}

/// Prints a JSON document on standard output, while it is made: a list may have a million entries.
pub(crate) fn answer_json(document: &impl Serialize) -> Result<()> {
    let mut out = BufWriter::with_capacity(CHUNK, stream());
    let written = serde_json::to_writer_pretty(Safe(&mut out), document);
    end_json(&mut out, written).map_err(|error| write_error(&error))
}

/// What follows a JSON document is the same for all of them.
fn end_json(out: &mut dyn Write, written: serde_json::Result<()>) -> io::Result<()> {
    written?;
    out.write_all(b"\n")?;
    out.flush()
}

/// How much of an answer is written at once.
const CHUNK: usize = 1 << 13;

/// The same JSON document, made fit for a terminal: it has such characters in strings only, where they may be written
/// as numbers.
fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        let is_harmful = matches!(escape(c.encode_utf8(&mut [0; 4])), Cow::Owned(_));
        if is_harmful && c != '\n' {
            // None of them is beyond U+FFFF. Writing to a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Makes JSON fit for a terminal on its way. It comes in pieces that end where characters do.
struct Safe<W>(W);

impl<W: Write> Write for Safe<W> {
    fn write(&mut self, json: &[u8]) -> io::Result<usize> {
        if json.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\n')) {
            self.0.write_all(json)?;
        } else {
            let json = str::from_utf8(json).map_err(|_| io::ErrorKind::InvalidData)?;
            self.0.write_all(escape_json(json).as_bytes())?;
        }
        Ok(json.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints text on standard output, with a newline at its end if it has any.
pub(crate) fn print(text: &dyn Display) -> Result<()> {
    let mut out =
        Text { out: BufWriter::with_capacity(CHUNK, stream()), any: false, newlines: 0, failure: None };
    let written = write!(out, "{text}");
    match (out.failure.take(), written) {
        (Some(error), _) => return Err(write_error(&error)),
        (None, Err(error)) => return Err(Error::new(ErrorKind::Os, format!("cannot write text: {error}"))),
        (None, Ok(())) => {}
    }
    let end = if out.any { out.out.write_all(b"\n") } else { Ok(()) };
    end.and_then(|()| out.out.flush()).map_err(|error| write_error(&error))
}

/// Text on its way to standard output. Newlines wait until something follows them.
struct Text<W: Write> {
    out: BufWriter<W>,
    /// Whether anything was written.
    any: bool,
    newlines: usize,
    failure: Option<io::Error>,
}

impl<W: Write> fmt::Write for Text<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = text.as_bytes();
        let end = text.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
        let line = &text[..end];
        if !line.is_empty() {
            self.any = true;
            let newlines = (0..mem::take(&mut self.newlines)).try_for_each(|_| self.out.write_all(b"\n"));
            let written = newlines.and_then(|()| self.out.write_all(line));
            if let Err(error) = written {
                self.failure = Some(error);
                return Err(fmt::Error);
            }
        }
        self.newlines += text.len() - line.len();
        Ok(())
    }
}

/// Standard output, for an answer that is too long to be kept.
pub(crate) fn stream() -> io::StdoutLock<'static> {
    io::stdout().lock()
}

/// The error for an answer that could not be written. Ends the program where nobody reads on, as `head` does: then
/// whoever asked has seen enough.
pub(crate) fn write_error(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        process::exit(i32::from(Exit::Done.code()));
    }
    Error::io("write(2)", "standard output", error)
}

/// Prints a remark on standard error.
pub(crate) fn remark(text: impl Display) {
    // A remark that cannot be printed has nowhere else to go.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints what clap has to say in place of running a command: the help or the version that was asked for, or what is
/// wrong with the words of the command line, which it repeats as they are.
pub(crate) fn usage(words: &clap::Error) -> Exit {
    let text = words.to_string();
    if !words.use_stderr() {
        return match print(&text) {
            Ok(()) => Exit::Done,
            Err(failure) => {
                error(&failure);
                Exit::from(&failure)
            }
        };
    }
    text.trim_end().lines().for_each(|line| remark(escape(line)));
    Exit::Usage
}

/// Prints an error and what is known beside it on standard error.
pub(crate) fn error(error: &Error) {
    remark(format_args!("error: {}", escape(&error.to_string())));
    error.notes().iter().for_each(|note| remark(format_args!("  {}", escape(note))));
    reason(error.rule(), remedy::help(error).as_deref());
}

/// Prints the rule that was broken, and what to do, where they are known.
pub(crate) fn reason(rule: Option<&str>, help: Option<&str>) {
    if let Some(rule) = rule {
        remark(format_args!("  rule: {}", escape(rule)));
    }
    if let Some(help) = help {
        remark(format_args!("  help: {}", escape(help)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_in_one_newline_at_most() {
        let written = |pieces: &[&str]| {
            let mut text = Text { out: BufWriter::new(Vec::new()), any: false, newlines: 0, failure: None };
            for piece in pieces {
                text.write_str(piece).unwrap();
            }
            String::from_utf8(text.out.into_inner().unwrap()).unwrap()
        };
        assert_eq!(written(&["a\n", "\n", "\nb", "\n\n", ""]), "a\n\n\nb");
        assert_eq!(written(&["\n", "\n"]), "");
    }

    #[test]
    fn json_stays_the_same_and_steers_no_terminal() {
        fn written(document: &impl Serialize) -> String {
            let mut json = Vec::new();
            let written = serde_json::to_writer_pretty(Safe(&mut json), document);
            end_json(&mut json, written).unwrap();
            String::from_utf8(json).unwrap()
        }
        let names = ["plain", "a\u{7f}\u{9b}31m\u{202e}b\u{1b}\n"];
        let json = written(&names);
        assert_eq!(json, "[\n  \"plain\",\n  \"a\\u007f\\u009b31m\\u202eb\\u001b\\n\"\n]\n");
        assert_eq!(serde_json::from_str::<[String; 2]>(&json).unwrap(), names);
        let nested = serde_json::json!({"a": [1, {"b": []}], "c": {}, "d": null});
        assert_eq!(written(&nested), serde_json::to_string_pretty(&nested).unwrap() + "\n");
    }
}

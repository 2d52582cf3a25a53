//! How answers and errors reach the user: text made safe for a terminal, or one JSON document.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::process;

use loader::{Error, ErrorKind, Result, escape};
use serde::Serialize;

use crate::args::Form;
use crate::exit::Exit;

/// The columns of a terminal that nobody has made wider, such as a serial console.
const WIDTH: usize = 80;

/// What a command answers: `Display` is the text, `Serialize` the JSON document.
pub(crate) trait Answer: Display + Serialize {}

impl<T: Display + Serialize> Answer for T {}

/// Prints an answer on standard output.
pub(crate) fn answer(form: Form, answer: &impl Answer) -> Result<()> {
    if form.json { answer_json(answer) } else { print(&answer.to_string()) }
}

/// Prints a JSON document on standard output.
pub(crate) fn answer_json(document: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(document)
        .map_err(|error| Error::new(ErrorKind::Os, format!("cannot write JSON: {error}")))?;
    print(&escape_json(&json))
}

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

/// Prints text on standard output, with a newline at its end if it has any.
pub(crate) fn print(text: &str) -> Result<()> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    let mut out = stream();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| write_error(&error))
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
    Error::os("write(2)", "standard output", error.raw_os_error().unwrap_or_default())
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
        return print(&wrap(&text)).map_or(Exit::Failed, |()| Exit::Done);
    }
    text.trim_end().lines().for_each(|line| remark(escape(line)));
    Exit::Usage
}

/// `text` with its long lines continued in the next, below what stands behind the first column of a table.
pub(crate) fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        if line.chars().count() <= WIDTH {
            wrapped = wrapped + line + "\n";
            continue;
        }
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let column = words.find("  ").map_or(0, |at| words.len() - words[at..].trim_start().len());
        // What is behind the first column, if there is a table, and else all.
        let (head, words) = line.split_at(indent + column);
        let mut width = head.chars().count();
        wrapped += head;
        let mut separator = "";
        for word in words.split_whitespace() {
            let longer = width + separator.len() + word.chars().count();
            if longer > WIDTH && !separator.is_empty() {
                wrapped.push('\n');
                wrapped.extend(std::iter::repeat_n(' ', head.chars().count()));
                width = head.chars().count() + word.chars().count();
            } else {
                wrapped += separator;
                width = longer;
            }
            wrapped += word;
            separator = " ";
        }
        wrapped.push('\n');
    }
    wrapped
}

/// Prints an error and what is known beside it on standard error.
pub(crate) fn error(error: &Error) {
    remark(format_args!("error: {}", error.report()));
}

/// Prints the rule that was broken, and what to do, where they are known.
pub(crate) fn reason(error: &Error) {
    if let Some(rule) = error.rule() {
        remark(format_args!("  rule: {}", escape(rule)));
    }
    if let Some(help) = error.help() {
        remark(format_args!("  help: {}", escape(help)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_its_second_column() {
        let long = "long ".repeat(20);
        let lines = |indent: usize, first, rest| {
            format!(
                "{}\n{}{}\n",
                "long ".repeat(first).trim_end(),
                " ".repeat(indent),
                "long ".repeat(rest).trim_end()
            )
        };
        assert_eq!(wrap(&format!("  {long}")), format!("  {}", lines(2, 15, 5)));
        assert_eq!(wrap(&format!("  --option  {long}")), format!("  --option  {}", lines(12, 13, 7)));
        let short = "  a  b   c\n\n  d\n";
        assert_eq!(wrap(short), short);
    }

    #[test]
    fn json_stays_the_same_and_steers_no_terminal() {
        let names = ["plain", "a\u{7f}\u{9b}31m\u{202e}b\u{1b}\n"];
        let json = escape_json(&serde_json::to_string_pretty(&names).unwrap());
        assert_eq!(json, "[\n  \"plain\",\n  \"a\\u007f\\u009b31m\\u202eb\\u001b\\n\"\n]");
        assert_eq!(serde_json::from_str::<[String; 2]>(&json).unwrap(), names);
    }
}

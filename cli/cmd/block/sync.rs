//! `xdpload block sync`: changes from a feed, one a line.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::time::Duration;

use blocklist::guard::Protected;
use blocklist::json::Object;
use blocklist::list::Item;
use blocklist::prefix::{self, Shown};
use blocklist::{Added, Blocklist, Writer, check_set_name};
use loader::{Context as _, Error, ErrorKind, Result, escape, quote};

use super::args::{self, Sync};
use super::{blocklist, lockout};
use crate::output;
use crate::remedy;

/// No line that makes sense is longer.
const MAX_LINE: u64 = 1 << 16;

pub(super) fn run(args: &Sync) -> Result<()> {
    check_set_name(&args.set)?;
    let blocklist = blocklist(&args.bpffs);
    // A feed that nobody can follow is told so at once.
    drop(Writer::open(&blocklist)?);
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut turn = None;
    let mut answers = Answers::default();
    let mut help = String::new();
    let (mut number, mut done, mut failed) = (0_u64, 0_u64, 0_u64);
    loop {
        if !input.buffer().contains(&b'\n') {
            // Other commands have theirs while the feed is silent, and while nobody reads the answers.
            turn = None;
            answers.give();
        }
        let line = read_line(&mut input)?;
        number += 1;
        let change = match &line {
            Line::End => break,
            Line::Bad(reason) => Err(Error::new(ErrorKind::InvalidInput, *reason)),
            Line::Text(text) if is_blank(text) => continue,
            Line::Text(text) => parse(text.trim()),
        };
        let change = change.inspect(|change| tell_host_bits(number, change));
        match change.and_then(|change| Turn::of(&mut turn, &blocklist)?.carry_out(args, &change)) {
            Ok((word, prefix)) => {
                done += u64::from(word != UNCHANGED);
                answers.keep(word, prefix);
            }
            Err(error) => {
                turn = None;
                failed += 1;
                output::remark(format_args!("line {number}: {}", escape(&error.to_string())));
                tell_help(&error, &mut help);
            }
        }
    }
    answers.end().context(|| "the changes were made, but the answers could not be written")?;
    if failed != 0 {
        let message = format!("{failed} lines failed; {done} changes were made");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    output::remark(format_args!("{done} changes"));
    Ok(())
}

/// What comes next of a feed.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Text(String),
    /// What is no line, for this reason: half of a change is another change.
    Bad(&'static str),
    End,
}

/// Whether a line says nothing.
fn is_blank(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('#')
}

fn read_line(input: &mut impl io::BufRead) -> Result<Line> {
    let refused = |error: &io::Error| Error::io("read(2)", "standard input", error);
    let mut line = Vec::new();
    let len = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|error| refused(&error))?;
    let is_whole = line.ends_with(b"\n");
    if len as u64 == MAX_LINE && !is_whole {
        input.skip_until(b'\n').map_err(|error| refused(&error))?;
        return Ok(Line::Bad("the line is too long"));
    }
    // Some editors and shells begin a text with a byte order mark.
    let text = std::str::from_utf8(&line).map(|line| line.trim_start_matches('\u{feff}'));
    Ok(match text {
        _ if len == 0 => Line::End,
        Err(_) => Line::Bad("the line is not text"),
        // What begins so shows by itself where it ends.
        Ok(line) if is_whole || line.starts_with('{') => Line::Text(line.to_owned()),
        Ok(_) => Line::Bad("the last line is incomplete: the feed was cut off"),
    })
}

/// Says what helps, but not of one line after the other the same.
fn tell_help(error: &Error, last: &mut String) {
    if let Some(help) = remedy::help(error).filter(|help| help != last) {
        output::remark(format_args!("  help: {}", escape(&help)));
        *last = help;
    }
}

/// What was done, until it can be said.
#[derive(Default)]
struct Answers {
    text: String,
    failure: Option<io::Error>,
}

impl Answers {
    fn keep(&mut self, word: &str, prefix: Shown) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{word} {prefix}");
    }

    /// Says what there is to be said. That it cannot be said is no reason to leave changes undone.
    fn give(&mut self) {
        if self.failure.is_none() {
            let mut out = output::stream();
            self.failure = out.write_all(self.text.as_bytes()).and_then(|()| out.flush()).err();
        }
        self.text.clear();
    }

    /// Fails if something could not be said, but to somebody who does not want to hear it.
    fn end(mut self) -> Result<()> {
        self.give();
        match self.failure {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::io("write(2)", "standard output", &error))
            }
            _ => Ok(()),
        }
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    adds: bool,
    written: prefix::Written,
    ttl: Option<Duration>,
}

fn parse(text: &str) -> Result<Change> {
    let wrong = |reason: String| Error::new(ErrorKind::InvalidInput, format!("{}: {reason}", quote(text)));
    let (action, value, time, more) = if text.starts_with('{') {
        let object = Object::read(text).map_err(|error| wrong(format!("this is no JSON: {error}")))?;
        let word = |key: &str| object.text(key).map(str::to_owned);
        let action = word("action").unwrap_or_default();
        // Of one that is taken back, what is left is of no account.
        let has_time = object.has("duration") && !object.is_null("duration");
        let time = if has_time && action != "del" {
            Some(word("duration").ok_or_else(|| wrong("expected a text as \"duration\"".to_owned()))?)
        } else {
            None
        };
        (action, word("value").unwrap_or_default(), time, None)
    } else {
        let mut words = text.split_whitespace().map(str::to_owned);
        let mut word = || words.next();
        let (action, value) = (word().unwrap_or_default(), word().unwrap_or_default());
        let time = if action == "del" { None } else { word() };
        (action, value, time, word())
    };
    let adds = match &*action {
        "add" => true,
        "del" => false,
        _ => return Err(wrong("expected add or del".to_owned())),
    };
    let written = prefix::parse(&value).map_err(|reason| wrong(reason.0))?;
    if let Some(more) = more {
        return Err(wrong(format!("there is no place for {}", quote(&more))));
    }
    let ttl = time.map(|time| args::ttl(&time).map_err(wrong)).transpose()?;
    Ok(Change { adds, written, ttl })
}

fn tell_host_bits(number: u64, change: &Change) {
    if change.written.had_host_bits {
        let canonical = Shown(change.written.prefix);
        output::remark(format_args!("note: line {number}: host bits were set, it is taken as {canonical}"));
    }
}

/// What is said of a rule that is there already, or gone. A feed takes back what has run out, and often more than once.
const UNCHANGED: &str = Added::Kept.word();

/// The right to change the blocklist, while there are lines to be carried out.
struct Turn {
    writer: Writer,
    protected: Vec<Protected>,
}

impl Turn {
    fn of<'t>(turn: &'t mut Option<Self>, blocklist: &Blocklist) -> Result<&'t mut Self> {
        if turn.is_none() {
            let writer = Writer::open(blocklist)?;
            *turn = Some(Self { writer, protected: lockout::protected(blocklist) });
        }
        Ok(turn.as_mut().expect("it was put there"))
    }

    /// Says what was done.
    fn carry_out(&mut self, args: &Sync, change: &Change) -> Result<(&'static str, Shown)> {
        let prefix = change.written.prefix;
        let shown = Shown(prefix);
        if change.adds {
            lockout::check_among(&self.protected, &[prefix], self.writer.reader(), args.force)?;
            let answers = self.writer.add(&[Item::new(prefix)], Some(&args.set), change.ttl.or(args.ttl))?;
            return Ok((answers[0].word(), shown));
        }
        let was_there = self.writer.remove(&[prefix], Some(&args.set))? == [true];
        Ok((if was_there { "deleted" } else { UNCHANGED }, shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_feeds_are_read() {
        let change = |adds, prefix: &str, seconds: Option<u64>| Change {
            adds,
            written: prefix::parse(prefix).unwrap(),
            ttl: seconds.map(Duration::from_secs),
        };
        for (text, expected) in [
            ("add 192.0.2.1", change(true, "192.0.2.1/32", None)),
            ("add 192.0.2.0/24 10m", change(true, "192.0.2.0/24", Some(600))),
            ("del 2001:db8::1", change(false, "2001:db8::1/128", None)),
            (
                r#"{"id":1,"action":"add","value":"192.0.2.1","duration":"3h59m0s","scope":"Ip","type":"ban"}"#,
                change(true, "192.0.2.1/32", Some(14_340)),
            ),
            (r#"{"action":"del","value":"192.0.2.1","duration":"-1s"}"#, change(false, "192.0.2.1/32", None)),
            (r#"{"action":"add","value":"192.0.2.1","duration":null}"#, change(true, "192.0.2.1/32", None)),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        for (text, reason) in [
            ("block 192.0.2.1", "`block 192.0.2.1`: expected add or del"),
            ("add 192.0.2.1 10m 5m", "`add 192.0.2.1 10m 5m`: there is no place for `5m`"),
            ("del 192.0.2.1 192.0.2.2", "`del 192.0.2.1 192.0.2.2`: there is no place for `192.0.2.2`"),
            (
                r#"{"action":"add","value":"::1","duration":60}"#,
                r#"`{"action":"add","value":"::1","duration":60}`: expected a text as "duration""#,
            ),
            ("add 192.0.2.1 0s", "`add 192.0.2.1 0s`: a rule for no time would end at once"),
            ("add banana", "`add banana`: expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn half_of_a_line_is_none() {
        let read = |bytes: &[u8]| {
            let mut input = BufReader::new(bytes);
            let next = || Some(read_line(&mut input).unwrap()).filter(|line| *line != Line::End);
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        let ok = |text: &str| Line::Text(text.to_owned());
        assert_eq!(read(b"add 192.0.2.1\n{}"), [ok("add 192.0.2.1\n"), ok("{}")]);
        assert_eq!(read("\u{feff}add 192.0.2.1\n\u{feff}{}".as_bytes()), [ok("add 192.0.2.1\n"), ok("{}")]);
        assert_eq!(read(b"del 192.0.2.1"), [Line::Bad("the last line is incomplete: the feed was cut off")]);
        let mut long = vec![b'#'; 1 << 17];
        long.extend(b"add 192.0.2.9\n\xff\nadd 192.0.2.1\n");
        assert_eq!(
            read(&long),
            [Line::Bad("the line is too long"), Line::Bad("the line is not text"), ok("add 192.0.2.1\n")]
        );
    }
}

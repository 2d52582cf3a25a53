//! `xdpload block list`, `test` and `save`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use blocklist::duration;
use blocklist::prefix::{self, IpNet, Shown};
use blocklist::{Reader, Rule, Settings, Test, Unlisted};
use loader::{Error, ErrorKind, Result, escape, quote};
use nix::errno::Errno;
use serde::{Serialize, Serializer};

use super::{args, blocklist, one_prefix, reach};
use crate::output;

/// What the comment with the settings begins with in a saved file. The examples look for it.
const SETTINGS: &str = "# settings:";

pub(super) fn list(args: &args::List) -> Result<()> {
    let within = args.prefix.as_deref().map(one_prefix).transpose()?;
    let blocklist = blocklist(&args.bpffs);
    let mut reader = Reader::open(&blocklist)?;
    let mut rules = reader.rules(args.hits || args.form.json)?;
    reach::tell_if_nowhere(&blocklist);
    if let Some(within) = within {
        rules.retain(|rule| within.contains(&rule.prefix) || rule.prefix.contains(&within));
    }
    if args.form.json {
        return output::answer_json(&List { rules: Rules(&rules, &reader) });
    }
    let mut out = BufWriter::with_capacity(1 << 16, output::stream());
    write_rules(&mut out, &rules, &reader, args.hits).map_err(|error| output::write_error(&error))
}

fn write_rules(out: &mut impl Write, rules: &[Rule], reader: &Reader, hits: bool) -> io::Result<()> {
    let mut names: (u32, String) = (0, String::new());
    let mut line = Vec::new();
    for rule in rules {
        if names.0 != rule.sets {
            names = (rule.sets, escape(&reader.set_names(rule.sets).join(",")).into_owned());
        }
        line.clear();
        prefix::push(&mut line, rule.prefix);
        line.push(b' ');
        line.extend(names.1.as_bytes());
        if let Some(left) = rule.left {
            write!(line, " {} left", duration::Shown(left))?;
        }
        if hits {
            write!(line, " {} packets {} bytes", rule.packets, rule.bytes)?;
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()
}

#[derive(Serialize)]
struct List<'a> {
    rules: Rules<'a>,
}

/// Rules that are put into words one by one.
struct Rules<'a>(&'a [Rule], &'a Reader);

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|rule| Listed::new(rule, self.1)))
    }
}

#[derive(Serialize)]
struct Listed {
    prefix: String,
    sets: Vec<String>,
    packets: u64,
    bytes: u64,
    /// Seconds; none for as long as it is held.
    seconds_left: Option<u64>,
}

impl Listed {
    fn new(rule: &Rule, reader: &Reader) -> Self {
        Self {
            prefix: Shown(rule.prefix).to_string(),
            sets: reader.set_names(rule.sets),
            packets: rule.packets,
            bytes: rule.bytes,
            seconds_left: rule.left.map(|left| left.as_secs()),
        }
    }
}

pub(super) fn test(args: &args::Test) -> Result<()> {
    let no_address = |reason: &str| {
        Error::new(ErrorKind::InvalidInput, format!("{} is not an address: {reason}", quote(&args.address)))
    };
    let parsed = args.address.parse::<IpAddr>();
    // Of what no rule can be about, nothing is to be told either. A zone has words of its own.
    if parsed.is_ok() || args.address.contains('%') {
        prefix::parse(&args.address).map_err(|reason| no_address(&reason.0))?;
    }
    let address = parsed.map_err(|_| no_address("expected one such as 192.0.2.1 or 2001:db8::1"))?;
    let blocklist = blocklist(&args.bpffs);
    let mut reader = Reader::open(&blocklist)?;
    let Test { rule, allowed, drops, .. } = reader.test(address)?;
    let settings = reader.settings()?;
    let verdict = match (drops, allowed.is_some()) {
        (true, _) if reach::is_nowhere(&blocklist) => Verdict::Off,
        (true, _) if settings.count_only => Verdict::WouldDrop,
        (true, _) => Verdict::Dropped,
        (false, true) => Verdict::Allowed,
        (false, false) => Verdict::Passed,
    };
    output::answer(
        args.form,
        &Tested {
            address: address.to_string(),
            verdict,
            rule: rule.as_ref().map(|rule| Listed::new(rule, &reader)),
            allowed: allowed.map(|prefix| Shown(prefix).to_string()),
        },
    )
}

/// What becomes of packets from an address.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Dropped,
    /// They are only counted.
    WouldDrop,
    /// They would be dropped if the blocklist were on anywhere.
    Off,
    /// An exception lets them pass.
    Allowed,
    Passed,
}

#[derive(Serialize)]
struct Tested {
    address: String,
    verdict: Verdict,
    rule: Option<Listed>,
    allowed: Option<String>,
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, but) = match self.verdict {
            Verdict::Dropped => ("is dropped", ""),
            Verdict::WouldDrop => ("would be dropped", ", but is only counted"),
            Verdict::Off => ("would be dropped", ", but the blocklist is on no interface"),
            Verdict::Allowed | Verdict::Passed => ("passes", ""),
        };
        write!(f, "{} {what}", self.address)?;
        match (&self.rule, &self.allowed) {
            (Some(Listed { prefix, sets, .. }), None) => {
                write!(f, " by {prefix} in {}", escape(&sets.join(",")))?;
            }
            (_, Some(exception)) => write!(f, ": {exception} is allowed")?,
            (None, None) if self.verdict == Verdict::Passed => write!(f, ": no rule matches")?,
            (None, None) => write!(f, " by default")?,
        }
        match self.rule.as_ref().filter(|_| self.allowed.is_some()) {
            Some(rule) => writeln!(f, ", though {} is blocked", rule.prefix),
            None => writeln!(f, "{but}"),
        }
    }
}

pub(super) fn save(args: &args::Save) -> Result<()> {
    let mut reader = Reader::open(&blocklist(&args.bpffs))?;
    let rules = reader.rules(false)?;
    let settings = options(reader.settings()?);
    let mut saved = Saved { settings, holds: Vec::new(), exceptions: reader.exceptions()? };
    for rule in &rules {
        let holds = reader.holds(rule)?;
        saved.holds.extend(holds.into_iter().map(|(set, left)| (rule.prefix, set, left)));
    }
    if args.file == Path::new("-") {
        let mut out = BufWriter::new(output::stream());
        return write_saved(&mut out, &saved, &reader).map_err(|error| output::write_error(&error));
    }
    let is_stream = write_file(&args.file, |out| write_saved(out, &saved, &reader))
        .map_err(|(call, error)| Error::io(call, quote(&args.file.to_string_lossy()), &error))?;
    if let Some(options) = &saved.settings {
        output::remark(format_args!("note: `block load` does not restore {options}, which `block on` takes"));
    }
    let words = format!("saved {} rules", rules.len());
    if is_stream {
        // It may be where the rules are: the words are none.
        output::remark(words);
        return Ok(());
    }
    output::print(&words)
}

/// The options of `block on` that set what is not as it is at first. A drop on trial is to end, and is not among them.
fn options(settings: Settings) -> Option<String> {
    let count_only = settings.count_only.then_some("--count-only");
    let drop = (settings.unlisted == Unlisted::Drop(None)).then_some("--default drop");
    let options: Vec<_> = count_only.into_iter().chain(drop).collect();
    (!options.is_empty()).then(|| options.join(" "))
}

type Failure = (&'static str, io::Error);

/// Writes a file anew: it stays as it is until the new one is whole. A device, a pipe or what `/dev/stdout` stands for
/// is written to and never replaced. Tells whether it was such a stream.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<bool, Failure> {
    let before = fs::metadata(path).ok();
    let is_stream = ["/proc", "/dev/fd", "/dev/stdout", "/dev/stderr"].iter().any(|it| path.starts_with(it));
    if is_stream || before.as_ref().is_some_and(|before| !before.is_file()) {
        let file = File::options().append(true).open(path).map_err(|error| ("open(2)", error))?;
        return write(&mut BufWriter::new(file)).map(|()| true).map_err(|error| ("write(2)", error));
    }
    let path = &follow(path).map_err(|error| ("readlink(2)", error))?;
    let (new, file) = create_beside(path).map_err(|error| ("open(2)", error))?;
    let kept = before.map_or(Ok(()), |before| {
        // Who may not give a file away has to own it.
        let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        file.set_permissions(before.permissions())
    });
    let mut out = BufWriter::new(file);
    let written = kept
        .and_then(|()| write(&mut out))
        .and_then(|()| out.get_ref().sync_all())
        .map_err(|error| ("write(2)", error))
        .and_then(|()| fs::rename(&new, path).map_err(|error| ("rename(2)", error)));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map(|()| false)
}

/// Where a link leads, which stays one: to a file, or to where one is to be.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else { return Ok(path) };
        path.pop();
        path.push(next);
    }
    Err(io::Error::from_raw_os_error(Errno::ELOOP as i32))
}

/// Makes a file beside `path` that nobody else writes to: not another save, nor whoever has put a link there.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut number = process::id();
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new{number}"));
        let name = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&name) {
            // Of one that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number = number.wrapping_add(1),
            opened => return Ok((name, opened?)),
        }
    }
}

/// What is to be found again.
struct Saved {
    /// Options of `block on`, for a comment.
    settings: Option<String>,
    /// Each prefix with each set that holds it, and how long it will.
    holds: Vec<(IpNet, u32, Option<Duration>)>,
    exceptions: Vec<IpNet>,
}

/// As `ipset save` writes sets, so that one file has all sets, times and names; and the exceptions.
fn write_saved(out: &mut impl Write, saved: &Saved, reader: &Reader) -> io::Result<()> {
    if let Some(options) = &saved.settings {
        writeln!(out, "{SETTINGS} {options}")?;
    }
    for prefix in &saved.exceptions {
        writeln!(out, "allow {}", Shown(*prefix))?;
    }
    for &(prefix, set, left) in &saved.holds {
        for set in reader.set_names(set) {
            write!(out, "add {set} {}", Shown(prefix))?;
            if let Some(left) = left {
                write!(out, " timeout {}", left.as_secs().max(1))?;
            }
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

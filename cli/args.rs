//! The words of the command line, and what they mean to the library.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use loader::netlink::{LinkRef, ModeChoice};
use loader::object::MapDialect;
use loader::{Error, ErrorKind};

use crate::cmd::Command;
use crate::format::Format;

/// Load an XDP object file that clang has built into the kernel, and look after it there.
#[derive(Debug, Parser)]
#[command(name = "xdpload", version, about, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 not permitted, 4 refused by the verifier.
Answers go to standard output, everything else to standard error.";

/// Which program: one of an object, or one that is loaded already, whoever loaded it.
#[derive(Args, Debug)]
pub(crate) struct Source {
    /// The object file: ELF, built with `clang -target bpf -c`
    #[arg(required_unless_present_any = ["pinned", "prog_id"])]
    pub(crate) object: Option<PathBuf>,
    /// Instead of an object, take the program that is pinned at this path
    #[arg(long, value_name = "PATH", conflicts_with = "object", conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) pinned: Option<String>,
    /// Instead of an object, take the program with this id
    #[arg(long, value_name = "N", conflicts_with_all = ["object", "pinned"], conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) prog_id: Option<u32>,
}

/// What only makes sense for a program that is loaded now.
const OF_AN_OBJECT: [&str; 9] =
    ["sections", "maps_dialect", "prog", "set", "max_entries", "pin_map", "pin_maps_under", "kconfig", "btf"];

/// What the file does not say about itself.
#[derive(Args, Debug)]
pub(crate) struct Reading {
    /// Take this section for one of XDP programs, whatever its name
    #[arg(long = "section", value_name = "NAME")]
    pub(crate) sections: Vec<String>,
    /// The dialect of the section `maps`, where its size leaves it open
    #[arg(long, value_name = "DIALECT")]
    pub(crate) maps_dialect: Option<Dialect>,
}

/// The two dialects that share the section `maps`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Dialect {
    /// `struct bpf_elf_map`
    Iproute2,
    /// `struct bpf_map_def`
    Libbpf,
}

impl From<Dialect> for MapDialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Iproute2 => Self::Iproute2,
            Dialect::Libbpf => Self::Libbpf,
        }
    }
}

/// How to load an object.
#[derive(Args, Debug)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// The program, by its function's name or by its section, whatever that is called; needed when the object has
    /// several
    #[arg(long, value_name = "NAME")]
    pub(crate) prog: Option<String>,
    /// Let a constant (a variable in `.rodata`) begin with this value; NAME may lead to a part, as in `a.b[3]`
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment::<String>)]
    pub(crate) set: Vec<(String, String)>,
    /// Make a map with room for this many entries
    #[arg(long, value_name = "MAP=N", value_parser = assignment::<u32>)]
    pub(crate) max_entries: Vec<(String, u32)>,
    /// Pin a map at this path
    #[arg(long, value_name = "MAP=PATH", value_parser = assignment::<String>)]
    pub(crate) pin_map: Vec<(String, String)>,
    /// Pin maps that ask to be pinned by name in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) pin_maps_under: Option<String>,
    /// Take options of the kernel's configuration from this file, which gzip may have compressed
    #[arg(long, value_name = "FILE")]
    pub(crate) kconfig: Option<PathBuf>,
    /// Adapt the program to the kernel types in this file, raw BTF or ELF, not to the running kernel's
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    /// Where bpffs is mounted
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub(crate) bpffs: String,
}

/// How to attach.
#[derive(Args, Debug)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) place: Place,
    /// native, generic, offload, or auto: native, and generic where the driver refuses it
    #[arg(long, default_value = "native")]
    pub(crate) mode: ModeChoice,
    /// Replace the program that is there; otherwise one that is there stays, and this fails
    #[arg(long)]
    pub(crate) replace: bool,
    /// Attach by a bpf_link instead of netlink; a new one is pinned at --pin, with --replace the one there is updated
    #[arg(long)]
    pub(crate) link: bool,
    #[command(flatten)]
    pub(crate) upgrade: Upgrade,
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// Whether a change is taken back by itself.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Put back what was there before, unless `xdpload confirm` comes within TIME: 90, 60s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) confirm: Option<Duration>,
}

/// What becomes of the maps of the program that is replaced.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Upgrade {
    /// Go on with the maps of the program that is replaced, where name and shape agree
    #[arg(long, requires = "replace", conflicts_with_all = ["pinned", "prog_id"])]
    pub(crate) keep_maps: bool,
    /// The same, and copy the entries of a map of another shape, if keys and values have the same sizes
    #[arg(long, requires = "replace", conflicts_with_all = ["pinned", "prog_id"])]
    pub(crate) migrate_maps: bool,
}

/// Where an interface is.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The network namespace of the interface, by its name in /run/netns or by path
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) netns: Option<String>,
}

/// In which form the answer comes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(override_usage = ATTACH_USAGE)]
pub(crate) struct Attach {
    /// One interface or several, by name or index, and then the object file: ELF, built with `clang -target bpf -c`
    #[arg(value_name = "IF|OBJECT", required = true)]
    pub(crate) words: Vec<OsString>,
    /// Instead of an object, take the program that is pinned at this path
    #[arg(long, value_name = "PATH", conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) pinned: Option<String>,
    /// Instead of an object, take the program with this id
    #[arg(long, value_name = "N", conflicts_with = "pinned", conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) prog_id: Option<u32>,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Pin the bpf_link at this path; with --replace, the pin of the one that is there
    #[arg(long, value_name = "PATH", requires = "link")]
    pub(crate) pin: Option<String>,
    #[command(flatten)]
    pub(crate) report: Report,
    #[command(flatten)]
    pub(crate) form: Form,
}

const ATTACH_USAGE: &str = "\
xdpload attach [OPTIONS] <IF>... <OBJECT>
       xdpload attach [OPTIONS] <IF>... --pinned <PATH>|--prog-id <N>";

impl Attach {
    /// Which of the words are interfaces, and which is the object.
    pub(crate) fn split(&self) -> loader::Result<(Vec<LinkRef>, Source)> {
        let has_object = self.pinned.is_none() && self.prog_id.is_none();
        let (object, interfaces) = match self.words.split_last() {
            Some((object, interfaces)) if has_object => (Some(PathBuf::from(object)), interfaces),
            _ => (None, &self.words[..]),
        };
        if interfaces.is_empty() {
            let message = "an interface or the object is missing: expected <IF>... <OBJECT>";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let interfaces =
            interfaces.iter().map(|word| word.to_string_lossy().parse()).collect::<Result<_, _>>()?;
        Ok((interfaces, Source { object, pinned: self.pinned.clone(), prog_id: self.prog_id }))
    }
}

/// What is told of a load beside the answer.
#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Tell of every kernel call on standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Where to write the verifier's log if it refuses the program
    #[arg(long, value_name = "FILE")]
    pub(crate) verifier_log: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Detach {
    /// The interface, by name or index
    #[arg(value_name = "IF")]
    pub(crate) interface: LinkRef,
    /// Take off only this program, and fail if another one is there
    #[arg(long, value_name = "N")]
    pub(crate) id: Option<u32>,
    /// Take it off through the bpf_link that holds it, and remove the link's pin
    #[arg(long)]
    pub(crate) link: bool,
    #[command(flatten)]
    pub(crate) trial: Trial,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// Where the pins of bpf_links and prog arrays are looked for, and the blocklist.
#[derive(Args, Debug)]
pub(crate) struct Bpffs {
    /// Where bpffs is mounted
    #[arg(long = "bpffs", value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub(crate) root: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Confirm {
    /// The interface, by name or index; all whose changes wait if it is left out
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<LinkRef>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The interface, by name or index; all that have a program if it is left out
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<LinkRef>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What to do with maps.
#[derive(Debug, Subcommand)]
pub(crate) enum Map {
    /// List the maps in the kernel
    List(MapList),
    /// Print all entries of a map
    Dump(MapDump),
    /// Print the value of one key
    Get(MapGet),
    /// Write one entry
    Set(MapSet),
    /// Delete one entry
    Delete(MapDelete),
}

/// Which map.
#[derive(Args, Debug)]
pub(crate) struct MapChoice {
    /// A map: the path of its pin, its id, or IF:NAME for a map of the program on an interface
    #[arg(value_name = "MAP")]
    pub(crate) map: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// How to print keys and values.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Formats {
    /// How to print keys; auto goes by their type, and takes those of an LPM trie for prefixes
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) key_format: Format,
    /// How to print values; auto goes by their type
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) value_format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct MapList {
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct MapDump {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    #[command(flatten)]
    pub(crate) formats: Formats,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[command(after_help = WORDS)]
pub(crate) struct MapGet {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The key; in the map of a section, such as IF:.data, the name of a variable
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) formats: Formats,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[command(after_help = WORDS)]
pub(crate) struct MapSet {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The key; in the map of a section, such as IF:.data, the name of a variable
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    /// The value; on all CPUs for a per-CPU map
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: String,
    /// Fail if the key is there already
    #[arg(long, conflicts_with = "existing")]
    pub(crate) new: bool,
    /// Fail if the key is not there yet
    #[arg(long)]
    pub(crate) existing: bool,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[command(after_help = WORDS)]
pub(crate) struct MapDelete {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) form: Form,
}

const WORDS: &str = "\
Keys and values are written as
  123, -1, 0x7b        a number in the machine's byte order, for 1, 2, 4 or 8 bytes
  192.0.2.1            an IPv4 address as it stands in a packet, for 4 bytes
  2001:db8::1          an IPv6 address, for 16 bytes
  02:00:00:00:00:01    a MAC address, for 6 bytes
  192.0.2.0/24         a prefix, for the keys of LPM tries: 4 bytes of length, then the address
  hex:0a000001         the bytes themselves, for any size
and where the kernel has the map's types also as
  TCP, true, eth0      a name of an enumeration, a truth value, a text for an array of char
  [1, 2], {\"a\": 1}     an array, or the fields of a struct as JSON; those left out are 0";

/// A time that an operator may need to see that the line still works: from a second to a day.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 60 * 60),
        _ => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        Some(_) => Err("expected from 1s to 24h".to_owned()),
        None => Err("expected a number of seconds, or one with s, m or h behind it".to_owned()),
    }
}

/// `NAME=VALUE`.
fn assignment<T: std::str::FromStr>(text: &str) -> Result<(String, T), String>
where
    T::Err: std::fmt::Display,
{
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.parse().map_err(|error| format!("{value:?}: {error}"))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_fit_together() {
        Arguments::command().debug_assert();
    }
}

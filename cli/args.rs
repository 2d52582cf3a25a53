//! The arguments of the command line, and what they mean to the library.
//!
//! clap would make each struct of arguments a group, to which nothing here refers; with `group(skip)` it does not.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use loader::error::Whereabouts;
use loader::netlink::{InterfaceRef, ModeChoice};
use loader::object::MapDialect;
use loader::pin::BPFFS_ROOT;
use loader::{Error, ErrorKind, quote, shell_word};

use crate::format::Format;

/// Which program: one of an object, or one that is loaded already, whoever loaded it.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Source {
    /// The object file: ELF, compiled with `clang -target bpf -c`
    #[arg(required_unless_present_any = ["pinned", "prog_id"])]
    pub(crate) object: Option<PathBuf>,
    /// Use the program pinned at this path instead of an object
    #[arg(long, value_name = "PATH", conflicts_with = "object", conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) pinned: Option<String>,
    /// Use the loaded program with this id instead of an object
    #[arg(long, value_name = "N", conflicts_with_all = ["object", "pinned"], conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) prog_id: Option<u32>,
}

/// What only makes sense for a program that is loaded now.
const OF_AN_OBJECT: [&str; 9] =
    ["sections", "maps_dialect", "prog", "set", "max_entries", "pin_map", "pin_maps_under", "kconfig", "btf"];

/// What the file does not say about itself.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Reading {
    /// Treat this section as containing XDP programs, whatever its name
    #[arg(long = "section", value_name = "NAME")]
    pub(crate) sections: Vec<String>,
    /// The dialect of the section `maps`, where its size does not tell: iproute2 or libbpf
    #[arg(long, value_name = "DIALECT", hide_possible_values = true)]
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
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// The program, by the name of its function, or of its section if that is none of another program type; required if
    /// the object has several
    #[arg(long, value_name = "NAME")]
    pub(crate) prog: Option<String>,
    /// Set the initial value of a constant (a variable in `.rodata`); NAME may name a part of it, as in `a.b[3]`, and
    /// of several constants called `a` the one at an offset, as in `a@0x40`
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment::<String>)]
    pub(crate) set: Vec<(String, String)>,
    /// Create a map with this many entries (max_entries)
    #[arg(long, value_name = "MAP=N", value_parser = assignment::<u32>)]
    pub(crate) max_entries: Vec<(String, u32)>,
    /// Pin a map at this path
    #[arg(long, value_name = "MAP=PATH", value_parser = assignment::<String>)]
    pub(crate) pin_map: Vec<(String, String)>,
    /// Pin maps that are declared with LIBBPF_PIN_BY_NAME in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) pin_maps_under: Option<String>,
    /// Read the kernel configuration (CONFIG_*) from this file, plain or compressed with gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) kconfig: Option<PathBuf>,
    /// Apply CO-RE relocations against the BTF in this file (raw BTF or ELF), not against the running kernel's
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
}

/// How to attach.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) place: Place,
    /// native, generic, offload, or auto: native, or generic if the driver refuses native mode
    #[arg(long, default_value = "native")]
    pub(crate) mode: ModeChoice,
    /// Replace the program that is attached; without this option, the command fails if there is one
    #[arg(long)]
    pub(crate) replace: bool,
    /// Attach with a bpf_link, not over netlink: create one, pinned at --pin, or with --replace update the present one
    #[arg(long)]
    pub(crate) link: bool,
    #[command(flatten)]
    pub(crate) upgrade: Upgrade,
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// Whether a change is taken back by itself.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub(crate) struct Trial {
    /// Undo the change unless `xdpload confirm` is run within TIME: 90, 60s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(crate) confirm: Option<Duration>,
}

/// What becomes of the maps of the program that is replaced.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub(crate) struct Upgrade {
    /// Reuse the maps of the replaced program, found by name; fail if type, sizes, entries or flags of one differ
    #[arg(long, requires = "replace", conflicts_with_all = ["pinned", "prog_id"])]
    pub(crate) keep_maps: bool,
    /// Like --keep-maps, but copy the entries of a map that differs, if its keys and values have the same sizes
    #[arg(long, requires = "replace", conflicts_with_all = ["pinned", "prog_id"])]
    pub(crate) migrate_maps: bool,
}

/// Where an interface is.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Place {
    /// The network namespace of the interface, by name (in /run/netns) or by path
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) netns: Option<String>,
}

impl Place {
    /// The option that names the same namespace in another command, behind a blank; nothing for the process's own.
    pub(crate) fn once_more(&self) -> String {
        self.netns.as_deref().map_or_else(String::new, |netns| format!(" --netns {}", shell_word(netns)))
    }
}

/// In which form the answer comes.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub(crate) struct Form {
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug, Default)]
#[group(skip)]
#[command(override_usage = ATTACH_USAGE, after_help = ATTACH_HELP)]
pub(crate) struct Attach {
    /// One or more interfaces, by name or index, then the object file: ELF, compiled with `clang -target bpf -c`
    #[arg(value_name = "IF|OBJECT", required = true)]
    pub(crate) words: Vec<OsString>,
    /// Use the program pinned at this path instead of an object
    #[arg(long, value_name = "PATH", conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) pinned: Option<String>,
    /// Use the loaded program with this id instead of an object
    #[arg(long, value_name = "N", conflicts_with = "pinned", conflicts_with_all = OF_AN_OBJECT)]
    pub(crate) prog_id: Option<u32>,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Pin the bpf_link at this path; with --replace, the pin of the present one
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

const ATTACH_HELP: &str = "\
Examples:
  xdpload attach eth0 xdp.o
  xdpload attach eth0 eth1 xdp.o --prog drop -v     # one of several programs
  xdpload attach eth0 new.o --replace --keep-maps   # counters and lists survive
  xdpload attach eth0 new.o --replace --confirm 60s # undone unless confirmed
  xdpload attach eth0 limiter.o --set burst=64      # a constant of the program
  xdpload attach eth0 --pinned /sys/fs/bpf/edge/drop";

impl Attach {
    /// Whether an object is loaded, and not something attached that is loaded already.
    pub(crate) fn is_of_object(&self) -> bool {
        self.pinned.is_none() && self.prog_id.is_none()
    }

    /// Which of the words are interfaces, and which is the object.
    pub(crate) fn split(&self) -> loader::Result<(Vec<InterfaceRef>, Source)> {
        let (object, interfaces) = match self.words.split_last() {
            Some((object, interfaces)) if self.is_of_object() => (Some(PathBuf::from(object)), interfaces),
            _ => (None, &self.words[..]),
        };
        if interfaces.is_empty() {
            let message = "an interface or the object is missing: expected <IF>... <OBJECT>";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        // As clap refuses an empty path elsewhere: of a variable in a script that is not set.
        if object.as_ref().is_some_and(|object| object.as_os_str().is_empty()) {
            let message = "the object is an empty word: expected <IF>... <OBJECT>";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        // The other way round, as other tools have it. What may be an interface is not looked for among files.
        let may_be_file = |word: &OsString| {
            let word = word.to_string_lossy();
            word.contains('/') || word.ends_with(".o")
        };
        if let (Some(last), [first, ..]) = (&object, interfaces) {
            if may_be_file(first) && Path::new(first).is_file() && !last.exists() {
                let (first, last) = (first.to_string_lossy(), last.to_string_lossy());
                let message = format!("{} is a file: the object comes last", quote(&first));
                let help = format!("xdpload attach {} {}", shell_word(&last), shell_word(&first));
                return Err(Error::new(ErrorKind::InvalidInput, message).with_help(help));
            }
        }
        if let (None, Some(file)) =
            (&object, interfaces.iter().find(|word| may_be_file(word) && Path::new(word).is_file()))
        {
            let message = format!(
                "{} is a file: with --pinned or --prog-id there is no object, and all words are interfaces",
                quote(&file.to_string_lossy())
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let interfaces =
            interfaces.iter().map(|word| word.to_string_lossy().parse()).collect::<Result<_, _>>()?;
        Ok((interfaces, Source { object, pinned: self.pinned.clone(), prog_id: self.prog_id }))
    }
}

/// What is told of a load beside the answer.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Report {
    /// Print every kernel call to standard error
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Write the verifier's log to this file if it refuses the program
    #[arg(long, value_name = "FILE")]
    pub(crate) verifier_log: Option<PathBuf>,
}

#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Detach {
    /// The interfaces, by name or index
    #[arg(value_name = "IF", required = true)]
    pub(crate) interfaces: Vec<InterfaceRef>,
    /// Detach only the program with this id; fail if another one is attached. Without CAP_SYS_ADMIN the kernel cannot
    /// compare it, and whatever runs at that moment goes
    #[arg(long, value_name = "N")]
    pub(crate) id: Option<u32>,
    /// Detach the bpf_link that holds the program, and remove the pin of that link
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

/// Where pins are made and looked for, and the blocklist.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Bpffs {
    /// The mount point of bpffs
    #[arg(long = "bpffs", value_name = "DIR", default_value = BPFFS_ROOT)]
    pub(crate) root: PathBuf,
}

impl Default for Bpffs {
    fn default() -> Self {
        Self { root: BPFFS_ROOT.into() }
    }
}

impl Bpffs {
    /// As a plan has it.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        self.root.to_string_lossy()
    }

    /// The option that names the same bpffs in another command, behind a blank; nothing for the usual one.
    pub(crate) fn once_more(&self) -> String {
        if self.root == Path::new(BPFFS_ROOT) {
            return String::new();
        }
        format!(" --bpffs {}", shell_word(&self.text()))
    }
}

#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Confirm {
    /// The interface, by name or index [default: all with a change on trial]
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<InterfaceRef>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug, Default)]
#[group(skip)]
pub(crate) struct Status {
    /// The interface, by name or index [default: all that have a program or a change on trial]
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<InterfaceRef>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What to do with maps.
#[derive(Debug, Subcommand)]
#[command(after_help = MAP_HELP)]
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
    #[command(alias = "del")]
    Delete(MapDelete),
    /// Write the entries of a file
    Load(MapLoad),
}

/// Which map.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct MapChoice {
    /// A map: the path of its pin, its id, or IF:NAME for a map of the program on an interface
    #[arg(value_name = "MAP")]
    pub(crate) map: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// How to print keys and values.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
pub(crate) struct Formats {
    /// How to print keys: auto, hex, dec, ipv4, ipv6, mac, or prefix
    #[arg(long, value_name = "FORMAT", default_value = "auto", hide_possible_values = true)]
    pub(crate) key_format: Format,
    /// How to print values: as keys
    #[arg(long, value_name = "FORMAT", default_value = "auto", hide_possible_values = true)]
    pub(crate) value_format: Format,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct MapList {
    /// Only the maps of the programs on this interface, by name or index
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<InterfaceRef>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = DUMP_HELP)]
pub(crate) struct MapDump {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    #[command(flatten)]
    pub(crate) formats: Formats,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = GET_HELP)]
pub(crate) struct MapGet {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The key; for the map of a data section, such as IF:.data, the name of a variable, or NAME@OFFSET if several
    /// have it
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) formats: Formats,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = SET_HELP)]
pub(crate) struct MapSet {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The key; for the map of a data section, such as IF:.data, the name of a variable, or NAME@OFFSET if several
    /// have it
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    /// The value; a per-CPU map gets it on all CPUs
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: String,
    /// Fail if the key exists already
    #[arg(long, conflicts_with = "existing")]
    pub(crate) new: bool,
    /// Fail if the key does not exist yet
    #[arg(long)]
    pub(crate) existing: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = DELETE_HELP)]
pub(crate) struct MapDelete {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = LOAD_HELP)]
pub(crate) struct MapLoad {
    #[command(flatten)]
    pub(crate) choice: MapChoice,
    /// The file, or - for standard input: a line `KEY VALUE` for each entry, or what `map dump` has printed
    pub(crate) file: PathBuf,
    /// Also delete all entries that the file does not have
    #[arg(long)]
    pub(crate) exact: bool,
    /// Also delete all entries if the file has none
    #[arg(long, requires = "exact")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// How keys and values are written, and printed unless another format is asked for.
macro_rules! words {
    () => {
        "\
Keys and values are written as
  123, -1, 0x7b      a number in the machine's byte order: 1, 2, 4 or 8 bytes
  192.0.2.1          an IPv4 address in network byte order: 4 bytes
  2001:db8::1        an IPv6 address: 16 bytes
  02:00:00:00:00:01  a MAC address: 6 bytes
  192.0.2.0/24       a prefix, for keys of LPM tries: 4 bytes of prefix length,
                     then the address
  hex:0a000001       the bytes in hexadecimal: any size
and, if the kernel has the BTF of the map, also as
  TCP, true, eth0    a name of an enumeration, a boolean, a string
  [1, 2], {\"a\": 1}   an array, or the fields of a struct, as JSON; fields left
                     out are 0

"
    };
}

/// What `auto` means.
macro_rules! formats {
    () => {
        "\
The format `auto` goes by the BTF type. Without one it prints numbers for 1, 2,
4 or 8 bytes, prefixes for the keys of an LPM trie, and else hexadecimal bytes.

"
    };
}

const MAP_HELP: &str = "\
Examples:
  xdpload map list eth0                        # the maps of its program
  xdpload map dump eth0:blacklist --key-format ipv4
  xdpload map get eth0:blacklist 192.0.2.77
  xdpload map set eth0:.data limit 100         # a variable, by name
  xdpload map set /sys/fs/bpf/blacklist 192.0.2.77 1
  xdpload map load eth0:blacklist addresses    # a line for each entry";

const DUMP_HELP: &str = concat!(
    formats!(),
    "\
Examples:
  xdpload map dump eth0:packets                # of the program on eth0
  xdpload map dump /sys/fs/bpf/blacklist --key-format ipv4
  xdpload map dump 42 --value-format hex       # by id"
);

const GET_HELP: &str = concat!(
    formats!(),
    words!(),
    "\
Examples:
  xdpload map get eth0:blacklist 192.0.2.77
  xdpload map get eth0:.bss dropped            # a variable, by name
  xdpload map get eth0:by_peer '{\"port\": 53}'  # by the fields of the key"
);

const SET_HELP: &str = concat!(
    words!(),
    "\
Examples:
  xdpload map set eth0:blacklist 192.0.2.77 1
  xdpload map set eth0:routes 192.0.2.0/24 7 --new
  xdpload map set eth0:.data limit 100         # a variable, by name"
);

const DELETE_HELP: &str = concat!(
    words!(),
    "\
Example:
  xdpload map delete eth0:blacklist 192.0.2.77"
);

const LOAD_HELP: &str = concat!(
    "\
The whole file is read first: if a line is wrong, nothing is changed. Blank
lines and those that begin with # are skipped. Of two lines with the same key,
the later one counts. All values of a per-CPU map, and texts with odd bytes,
come back from `map dump --json`, or from `bpftool map dump --json`.
A file without lines may be what a failed command has left: --exact refuses it,
unless it is such a document or --force is given.

",
    words!(),
    "\
Examples:
  xdpload map load eth0:blacklist addresses
  xdpload map dump eth0:blacklist --json > saved
  xdpload map load eth0:blacklist saved --exact"
);

/// A namespace by path has a slash; one by name is where ip-netns(8) keeps it.
pub(crate) fn netns_path(netns: &str) -> String {
    if netns.contains('/') {
        netns.to_owned()
    } else {
        Path::new("/run/netns").join(netns).display().to_string()
    }
}

/// The options that lead to an interface, behind a blank; nothing for one that is found without.
pub(crate) fn options(at: &Whereabouts) -> String {
    let netns = at.netns.as_ref().map(|netns| format!(" --netns {}", shell_word(netns)));
    let bpffs = at.bpffs.as_ref().map(|root| format!(" --bpffs {}", shell_word(&root.to_string_lossy())));
    [netns, bpffs].into_iter().flatten().collect()
}

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

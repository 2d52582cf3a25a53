//! The words of `xdpload block`.

use std::path::PathBuf;
use std::time::Duration;

use blocklist::{MAX_RULES, MOST_RULES, duration};
use clap::{Args, Subcommand, ValueEnum};
use loader::netlink::{LinkRef, ModeChoice};

use crate::args::{Form, Place, Trial};

/// What to do with the blocklist.
#[derive(Debug, Subcommand)]
pub(crate) enum Block {
    /// Drop packets from listed addresses on these interfaces
    On(On),
    /// Stop that; the lists stay, unless they are purged
    Off(Off),
    /// Block addresses and prefixes
    Add(Add),
    /// Unblock addresses and prefixes
    Del(Del),
    /// Make exceptions: what is allowed passes, whatever the lists say
    #[command(subcommand)]
    Allow(Allow),
    /// List what is blocked
    List(List),
    /// Tell whether packets from an address would be dropped, and by which rule
    Test(Test),
    /// Make a set equal to list files
    Load(Load),
    /// Write all rules to a file that `load` takes
    Save(Save),
    /// Show what has become of packets
    Stats(Stats),
    /// Take changes from standard input, one a line, until it ends
    Sync(Sync),
}

/// Where bpffs is, under which the blocklist has its directory.
#[derive(Args, Clone, Debug)]
pub(crate) struct Home {
    /// Where bpffs is mounted; the blocklist is at DIR/xdpload/block
    #[arg(long = "bpffs", value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub(crate) root: PathBuf,
}

/// What becomes of packets that no rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Default {
    /// They pass
    Pass,
    /// They are dropped, unless they are allowed
    Drop,
}

#[derive(Args, Debug)]
pub(crate) struct On {
    /// The interfaces, by name or index
    #[arg(value_name = "IF", required = true)]
    pub(crate) interfaces: Vec<LinkRef>,
    /// native, generic, offload, or auto: native, and generic where the driver refuses it
    #[arg(long, default_value = "native")]
    pub(crate) mode: ModeChoice,
    /// Count what would be dropped, and let it pass; `--count-only=false` ends that
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) count_only: Option<bool>,
    /// What becomes of packets that no rule is about [default: pass]
    #[arg(long, value_name = "VERDICT")]
    pub(crate) default: Option<Default>,
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_RULES)),
        help = format!("How many rules there is to be room for [default: {MAX_RULES}]")
    )]
    pub(crate) max_rules: Option<u32>,
    /// Do it even if it may lock out whoever asks for it, or takes more memory than there is
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) trial: Trial,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct Off {
    /// The interfaces, by name or index
    #[arg(value_name = "IF", required_unless_present = "purge")]
    pub(crate) interfaces: Vec<LinkRef>,
    /// Forget all rules, exceptions and counts; without interfaces, turn it off on all, in every network namespace that
    /// may be entered
    #[arg(long)]
    pub(crate) purge: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// Which prefixes.
#[derive(Args, Debug)]
pub(crate) struct Prefixes {
    /// Addresses and prefixes such as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32; - reads them from standard input
    #[arg(value_name = "PREFIX", required = true)]
    pub(crate) prefixes: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    #[command(flatten)]
    pub(crate) prefixes: Prefixes,
    /// Unblock them after this time: 90, 10m, 1d12h; the packet program sees to it
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    /// The set that holds them
    #[arg(long = "name", value_name = "SET")]
    pub(crate) set: Option<String>,
    /// Block them even if that locks out this session, the gateway, or everyone
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct Del {
    #[command(flatten)]
    pub(crate) prefixes: Prefixes,
    /// Only take them out of this set; others may go on holding them
    #[arg(long = "name", value_name = "SET")]
    pub(crate) set: Option<String>,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What to do with exceptions.
#[derive(Debug, Subcommand)]
pub(crate) enum Allow {
    /// Let packets from these addresses and prefixes pass
    Add(Allowed),
    /// Take exceptions back
    Del(Allowed),
    /// List the exceptions
    List(Exceptions),
}

#[derive(Args, Debug)]
pub(crate) struct Allowed {
    #[command(flatten)]
    pub(crate) prefixes: Prefixes,
    /// Do it even if every address is allowed then, or this session or the gateway is locked out
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct Exceptions {
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only what lies in this prefix or covers it
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Tell how many packets and bytes each rule has dropped
    #[arg(long)]
    pub(crate) hits: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// The address
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[command(after_help = FORMS)]
pub(crate) struct Load {
    /// The list files; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The set; without it, each prefix goes to the set that its file names, or else to `default`
    #[arg(long = "name", value_name = "SET")]
    pub(crate) set: Option<String>,
    /// Unblock what has no time of its own after this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave out lines that are no prefix; otherwise one such line fails the whole load
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Load even what is empty, or locks out this session, the gateway, or everyone
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

const FORMS: &str = "\
Files are plain lists, FireHOL netset and ipset, Spamhaus DROP (text and JSON), what `ipset save` writes, elements of
nft sets, and hosts with comments. Blank lines and comments behind # and ; are skipped.";

#[derive(Args, Debug)]
pub(crate) struct Save {
    /// The file; - is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) home: Home,
}

#[derive(Args, Debug)]
pub(crate) struct Stats {
    /// The interface, by name or index; all if it is left out
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<LinkRef>,
    /// Show what comes in each second, until interrupted
    #[arg(long, conflicts_with_all = ["prometheus", "json"])]
    pub(crate) watch: bool,
    /// Answer in the text format of Prometheus
    #[arg(long, conflicts_with = "json")]
    pub(crate) prometheus: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[command(after_help = LINES)]
pub(crate) struct Sync {
    /// Standard input is what changes come from
    #[arg(value_name = "-", value_parser = ["-"])]
    pub(crate) from: String,
    /// The set that holds what is added
    #[arg(long = "name", value_name = "SET", default_value = blocklist::DEFAULT_SET)]
    pub(crate) set: String,
    /// Unblock what has no time of its own after this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    /// Block even what locks out this session, the gateway, or everyone
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) home: Home,
}

const LINES: &str = "\
A line is `add PREFIX [TIME]` or `del PREFIX`, or a JSON object with \"action\" (add or del), \"value\" (the prefix) and
\"duration\", as CrowdSec's custom bouncer writes them. A line that cannot be carried out is told on standard error.";

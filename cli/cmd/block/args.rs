//! The arguments of `xdpload block`.

use std::path::PathBuf;
use std::time::Duration;

use blocklist::{DEFAULT_MAX_RULES, LARGEST_MAX_RULES, duration};
use clap::{Args, Subcommand, ValueEnum};
use loader::netlink::{InterfaceRef, ModeChoice};

use crate::args::{Bpffs, Form, Place, Trial};

/// How long a rule is to stay. What ends at once would be no rule, though other programs take 0 for ever.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    if time.is_zero() { Err("a rule for no time would end at once".to_owned()) } else { Ok(time) }
}

/// What to do with the blocklist.
#[derive(Debug, Subcommand)]
pub(crate) enum Block {
    /// Turn the blocklist on: drop packets from listed addresses on these interfaces
    On(On),
    /// Turn the blocklist off; rules and exceptions are kept unless --purge is given
    Off(Off),
    /// Block addresses and prefixes
    Add(Add),
    /// Unblock addresses and prefixes
    #[command(alias = "delete")]
    Del(Del),
    /// Manage exceptions: packets from allowed addresses pass, whatever the rules say
    #[command(subcommand)]
    Allow(Allow),
    /// List the rules
    List(List),
    /// Show whether packets from an address would be dropped, and by which rule
    Test(Test),
    /// Replace the contents of sets with list files
    Load(Load),
    /// Write all rules and exceptions to a file that `load` reads
    Save(Save),
    /// Show how many packets were dropped and passed
    Stats(Stats),
    /// Read changes from standard input, one per line, until it ends
    Sync(Sync),
}

/// What happens to packets that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Default {
    Pass,
    Drop,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct On {
    /// The interfaces, by name or index
    #[arg(value_name = "IF", required = true)]
    pub(crate) interfaces: Vec<InterfaceRef>,
    /// native, generic, offload, or auto: native, or generic if the driver refuses native mode [default: native]
    #[arg(long)]
    pub(crate) mode: Option<ModeChoice>,
    /// Only count what would be dropped, and let it pass; `--count-only=false` ends that
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        hide_possible_values = true
    )]
    pub(crate) count_only: Option<bool>,
    /// What happens to packets that no rule matches: pass, or drop unless an exception allows them [default: pass]
    #[arg(long, value_name = "VERDICT", hide_possible_values = true)]
    pub(crate) default: Option<Default>,
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(LARGEST_MAX_RULES)),
        help = format!("Number of rules to reserve room for [default: {DEFAULT_MAX_RULES}]")
    )]
    pub(crate) max_rules: Option<u32>,
    /// Proceed even if this may lock you out, or takes more memory than is free
    #[arg(long)]
    pub(crate) force: bool,
    /// Write the verifier's log to this file if it refuses the program
    #[arg(long, value_name = "FILE")]
    pub(crate) verifier_log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trial: Trial,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Off {
    /// The interfaces, by name or index
    #[arg(value_name = "IF", required_unless_present = "purge")]
    pub(crate) interfaces: Vec<InterfaceRef>,
    /// Delete all rules, exceptions and counters; without interfaces, turn the blocklist off on all, in every network
    /// namespace that may be entered
    #[arg(long)]
    pub(crate) purge: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// Which prefixes.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Prefixes {
    /// Addresses and prefixes such as 192.0.2.1, 192.0.2.0/24, 2001:db8::/32; `-` reads them from standard input
    #[arg(value_name = "PREFIX", required = true)]
    pub(crate) prefixes: Vec<String>,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Add {
    #[command(flatten)]
    pub(crate) prefixes: Prefixes,
    /// Unblock them after this time: 90, 10m, 1d12h; enforced in the kernel
    #[arg(long, value_name = "TIME", value_parser = ttl, allow_hyphen_values = true)]
    pub(crate) ttl: Option<Duration>,
    /// The set to add them to [default: default]
    #[arg(long = "name", value_name = "SET")]
    pub(crate) set: Option<String>,
    /// Proceed even if this locks out your session, the gateway, or everyone
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Del {
    #[command(flatten)]
    pub(crate) prefixes: Prefixes,
    /// Remove them from this set only; other sets may still hold them
    #[arg(long = "name", value_name = "SET")]
    pub(crate) set: Option<String>,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What to do with exceptions.
#[derive(Debug, Subcommand)]
pub(crate) enum Allow {
    /// Let packets from these addresses and prefixes pass
    Add(Allowed),
    /// Remove exceptions
    #[command(alias = "delete")]
    Del(Allowed),
    /// List the exceptions
    List(Exceptions),
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Allowed {
    #[command(flatten)]
    pub(crate) prefixes: Prefixes,
    /// Proceed even if this allows every address, or locks out your session or the gateway
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Exceptions {
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct List {
    /// Only rules that lie in this prefix or cover it
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Show how many packets and bytes each rule has dropped
    #[arg(long)]
    pub(crate) hits: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Test {
    /// The address
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = FORMS)]
pub(crate) struct Load {
    /// The list files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The set to replace; without it, each prefix goes to the set that its file names, or to `default`
    #[arg(long = "name", value_name = "SET")]
    pub(crate) set: Option<String>,
    /// Unblock prefixes without a time of their own after this time
    #[arg(long, value_name = "TIME", value_parser = ttl, allow_hyphen_values = true)]
    pub(crate) ttl: Option<Duration>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Skip invalid lines; without this option, one such line fails the whole load
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Proceed even if a list is empty, or locks out your session, the gateway, or everyone
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) form: Form,
}

const FORMS: &str = "\
Accepted are plain lists, FireHOL netset and ipset files, Spamhaus DROP (text
and JSON), the output of `ipset save`, elements of nft sets, and addresses
followed by host names. Blank lines and comments after # or ; are skipped.

Examples:
  xdpload block load drop.txt --name spamhaus
  xdpload block load drop.txt --name spamhaus --dry-run
  curl -fs https://example.com/list | xdpload block load - --ttl 1d";

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Save {
    /// The file; `-` is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
}

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Stats {
    /// The interface, by name or index [default: all]
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<InterfaceRef>,
    /// Show the counts of each second, until interrupted
    #[arg(long, conflicts_with_all = ["prometheus", "json"])]
    pub(crate) watch: bool,
    /// Print the result in the text format of Prometheus
    #[arg(long, conflicts_with = "json")]
    pub(crate) prometheus: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = LINES)]
pub(crate) struct Sync {
    /// Standard input
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true)]
    pub(crate) from: String,
    /// The set to add prefixes to
    #[arg(long = "name", value_name = "SET", default_value = blocklist::DEFAULT_SET)]
    pub(crate) set: String,
    /// Unblock prefixes without a time of their own after this time
    #[arg(long, value_name = "TIME", value_parser = ttl, allow_hyphen_values = true)]
    pub(crate) ttl: Option<Duration>,
    /// Proceed even if a rule locks out your session, the gateway, or everyone
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) bpffs: Bpffs,
}

const LINES: &str = "\
A line is `add PREFIX [TIME]` or `del PREFIX`, or a JSON object with \"action\"
(add or del), \"value\" (the prefix) and \"duration\" (a text such as \"4h\"), as
CrowdSec's custom bouncer writes them. A line that fails is reported on standard
error.";

//! `xdpload doctor`: what this kernel, this process and the interfaces allow, looked at beforehand.

mod interface;
mod process;

use std::fmt;
use std::path::Path;

use clap::Args;
use loader::attach::{NetNs, RouteSocket};
use loader::btf::Sieve;
use loader::diagnosis::{InterfaceFacts, Verdict};
use loader::features::{Answer, Feature};
use loader::kernel::{KernelVersion, kernel_btf, probe, raise_memlock};
use loader::netlink::InterfaceRef;
use loader::{Error, ErrorKind, Result, escape, pin};
use serde::Serialize;

use self::interface::Interface;
use self::process::Process;
use crate::args::{self, Form, Place};
use crate::output;
use crate::remedy;

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Doctor {
    /// The interface, by name or index [default: all]
    #[arg(value_name = "IF")]
    pub(crate) interface: Option<InterfaceRef>,
    #[command(flatten)]
    pub(crate) bpffs: args::Bpffs,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) form: Form,
}

pub(crate) fn run(args: &Doctor) -> Result<()> {
    let netns = super::netns(&args.place)?;
    let bpffs = &args.bpffs.root;
    let (socket, facts, refusal) = match look(args.interface.as_ref(), netns.as_ref(), bpffs) {
        Ok((socket, facts)) => (Some(socket), facts, None),
        // That is an answer about the words of the command line.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            return Err(error);
        }
        // The rest can be told without them.
        Err(error) => (None, Vec::new(), Some(error)),
    };
    let compares = compares(socket.as_ref(), &facts);
    let process = Process::new(compares, refusal.as_ref());
    if process.memlock.is_some() {
        // What is charged for the looks below may be beyond the limit; they tell nothing then.
        let _ = raise_memlock();
    }
    let document = Document {
        kernel: Kernel::new(compares)?,
        process,
        bpffs: Bpffs::new(bpffs),
        interfaces: facts.iter().map(Interface::new).collect(),
        interfaces_hidden: refusal.as_ref().map(Error::to_string),
    };
    output::answer(args.form, &document)?;
    refusal.map_or(Ok(()), Err)
}

/// Looks at one interface, or at all.
fn look(
    interface: Option<&InterfaceRef>,
    netns: Option<&NetNs>,
    bpffs: &Path,
) -> Result<(RouteSocket, Vec<InterfaceFacts>)> {
    let socket = RouteSocket::open(netns)?;
    let facts = match interface {
        Some(link) => vec![socket.facts(link, bpffs)?],
        None => socket.all_facts(bpffs)?,
    };
    Ok((socket, facts))
}

/// Whether the kernel compares the program that is there with the expected one. One with links for XDP does; any other
/// is asked, by a change that changes nothing.
fn compares(socket: Option<&RouteSocket>, facts: &[InterfaceFacts]) -> Answer {
    match (probe(Feature::XdpLinks), socket, facts) {
        (Answer::Yes, ..) => Answer::Yes,
        (_, Some(socket), [any, ..]) => socket.can_compare(any.link.index).unwrap_or(Answer::Unknown),
        _ => Answer::Unknown,
    }
}

#[derive(Serialize)]
struct Document {
    kernel: Kernel,
    process: Process,
    bpffs: Bpffs,
    interfaces: Vec<Interface>,
    /// Why the interfaces could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    interfaces_hidden: Option<String>,
}

#[derive(Serialize)]
struct Kernel {
    version: String,
    /// Whether it has its own types, for CO-RE; none where /sys does not show.
    btf: Option<bool>,
    features: Vec<KernelFeature>,
}

#[derive(Serialize)]
struct KernelFeature {
    name: String,
    since: &'static str,
    answer: String,
}

impl Kernel {
    fn new(compares: Answer) -> Result<Self> {
        let before = [
            Feature::ObjectNames,
            Feature::FunctionCalls,
            Feature::ExpectedAttachType,
            Feature::GlobalData,
            Feature::MmapableArrays,
        ];
        let after = [
            Feature::DevmapPrograms,
            Feature::XdpLinks,
            Feature::CpumapPrograms,
            Feature::MemcgAccounting,
            Feature::XdpFrags,
        ];
        let look = |feature: Feature| KernelFeature {
            name: feature.to_string(),
            since: feature.since(),
            answer: probe(feature).to_string(),
        };
        let compares = KernelFeature {
            name: "comparison of the program that is replaced or detached".to_owned(),
            since: "5.7",
            answer: compares.to_string(),
        };
        let mut features: Vec<_> = [before, after].into_iter().flatten().map(look).collect();
        features.insert(before.len(), compares);
        Ok(Self { version: KernelVersion::current()?.to_string(), btf: has_btf(), features })
    }
}

/// Whether the kernel shows its types. Without /sys it shows nothing.
fn has_btf() -> Option<bool> {
    match kernel_btf(Sieve::default()) {
        Ok(_) => Some(true),
        Err(_) if Path::new("/sys/kernel").is_dir() => Some(false),
        Err(_) => None,
    }
}

#[derive(Serialize)]
struct Bpffs {
    path: String,
    mounted: bool,
    read_only: bool,
}

impl Bpffs {
    fn new(path: &Path) -> Self {
        let mounted = path.is_dir() && pin::is_bpffs(path).unwrap_or_default();
        let read_only = mounted && pin::is_read_only(path).unwrap_or_default();
        Self { path: path.display().to_string(), mounted, read_only }
    }
}

/// Whether something works: `yes`, `no` with the rule against it, or `could not tell`.
#[derive(Serialize)]
struct Outlook {
    answer: String,
    rule: Option<String>,
    remedy: Option<String>,
}

impl Outlook {
    fn new(answer: Answer) -> Self {
        Self { answer: answer.to_string(), rule: None, remedy: None }
    }

    /// It works, unless a verdict stands against it.
    fn unless(verdict: Option<Verdict>) -> Self {
        match verdict {
            None => Self::new(Answer::Yes),
            Some(Verdict { rule, help }) => {
                Self { rule: Some(rule), remedy: help.as_ref().map(remedy::told), ..Self::new(Answer::No) }
            }
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.answer)?;
        if let Some(rule) = &self.rule {
            write!(f, ": {}", escape(rule))?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n    help: {}", escape(remedy)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {}", self.kernel.version)?;
        for KernelFeature { name, since, answer } in &self.kernel.features {
            writeln!(f, "  {name} (Linux {since}): {answer}")?;
        }
        writeln!(f, "  BTF of the kernel, for CO-RE: {}", self.kernel.btf.map_or(Answer::Unknown, yes))?;
        write!(f, "{}", self.process)?;
        let is = match (self.bpffs.mounted, self.bpffs.read_only) {
            (true, false) => "a bpffs",
            (true, true) => {
                "a bpffs, mounted read-only: nothing can be pinned there, and --confirm is refused where no program is \
                 attached yet"
            }
            (false, _) => "no bpffs",
        };
        writeln!(f, "bpffs\n  {} is {is}", escape(&self.bpffs.path))?;
        if let Some(reason) = &self.interfaces_hidden {
            writeln!(f, "interfaces\n  could not be looked at: {}", escape(reason))?;
        }
        self.interfaces.iter().try_for_each(|interface| interface.fmt(f))
    }
}

fn yes(it_is: bool) -> Answer {
    if it_is { Answer::Yes } else { Answer::No }
}

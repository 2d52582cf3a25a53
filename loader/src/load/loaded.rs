//! What carrying out a plan has come to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::attach::{Interface, LinkState};
use crate::error::{Error, ErrorKind, Result, errno_name, escape, quote, quote_each};
use crate::kernel::LoadedBtf;
use crate::map::Map;
use crate::netlink::{Mode, XdpProgram};
use crate::plan::{Call, KernelCall, Number, Plan, label};
use crate::program::{Program, ProgramInfo};

/// What a plan has made. Dropping it closes the fds; what is pinned or attached stays.
#[derive(Debug)]
pub struct Loaded {
    pub(super) maps: Vec<(String, Map)>,
    pub(super) programs: Vec<(String, Program)>,
    /// The sections that the programs are in, in the same order.
    pub(super) sections: Vec<String>,
    pub(super) infos: Vec<Option<ProgramInfo>>,
    pub(super) kept: Vec<String>,
    pub(super) copied: Vec<(String, usize)>,
    pub(super) btf: Option<LoadedBtf>,
    pub(super) btf_refusal: Option<Error>,
    pub(super) mounted: Option<String>,
    pub(super) attached: Vec<AttachedTo>,
}

/// Where a plan has attached its program.
#[derive(Debug)]
#[non_exhaustive]
pub struct AttachedTo {
    /// The interface: whoever looks at it or detaches there later needs not look it up anew.
    pub interface: Interface,
    /// The mode that it became.
    pub mode: Mode,
    /// The program that was there before.
    pub replaced: Option<XdpProgram>,
    /// Why native mode was refused, where [`ModeChoice::Auto`](crate::netlink::ModeChoice::Auto) fell back.
    pub native_refusal: Option<Error>,
    /// What the kernel or the driver remarked, although it attached the program.
    pub warning: Option<String>,
    /// What the kernel says of the program; kernels before 4.13 say nothing.
    pub info: Option<ProgramInfo>,
    /// The prog arrays that are pinned while it is attached, by name, and where.
    pub prog_arrays: Vec<(String, PathBuf)>,
    /// The `bpf_link` that holds the program, if it was asked for.
    pub link: Option<LinkState>,
}

/// A call that was made, and how the kernel answered: an entry of the transcript. It displays as the system calls in
/// the words of strace(1), each after its number, control characters escaped, then the outcome, and the time if it
/// was taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record<'p> {
    plan: &'p Plan,
    at: usize,
    /// The number of the first of its system calls in the plan, which the others follow; none of a probe, and of what
    /// takes a call back.
    pub number: Option<Number>,
    /// The plan's call.
    pub call: &'p Call,
    /// What came of the last of its system calls: a number such as an fd where it gives one, or the refusal.
    pub outcome: Outcome,
    /// How long they took, where the caller wants to know ([`ExecuteOptions::timed`](super::ExecuteOptions)).
    pub took: Option<Duration>,
}

impl<'p> Record<'p> {
    pub(super) fn new(
        plan: &'p Plan,
        at: usize,
        number: Option<Number>,
        call: &'p Call,
        outcome: Outcome,
        took: Option<Duration>,
    ) -> Self {
        Self { plan, at, number, call, outcome, took }
    }

    /// The system calls, in the plan's words. They are put into words here, and cost nothing where nobody asks.
    pub fn kernel_calls(&self) -> Vec<KernelCall> {
        self.plan.kernel_calls_at(self.at, self.call)
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, call) in self.kernel_calls().iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let number = self.number.map_or("    ".to_owned(), |number| label(number.and(index)));
            write!(f, "{number}{}", escape(&call.to_string()))?;
        }
        write!(f, " -> {}", escape(&self.outcome.to_string()))?;
        match self.took {
            Some(took) => write!(f, " ({} us)", took.as_micros()),
            None => Ok(()),
        }
    }
}

/// How the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was done, and this fd stands for what was made or found.
    Fd(i32),
    /// It was refused with an errno.
    Refused(i32),
    /// It succeeded, but what it told ends the plan or leads to another way; in words.
    Found(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Fd(fd) => write!(f, "fd {fd}"),
            Self::Refused(errno) => f.write_str(&errno_name(*errno)),
            Self::Found(words) => f.write_str(words),
        }
    }
}

impl Loaded {
    /// The map with this name in the object.
    pub fn map(&self, name: &str) -> Result<&Map> {
        let found = self.maps.iter().find(|(own, _)| own == name);
        found.map(|(_, map)| map).ok_or_else(|| not_among("map", name, &self.maps))
    }

    /// All maps with their names, in the object's order.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.maps.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// The loaded program with this symbol name, or the only one from the section of this name, as gobpf finds it.
    pub fn program(&self, name: &str) -> Result<&Program> {
        if let Some((_, program)) = self.programs.iter().find(|(own, _)| own == name) {
            return Ok(program);
        }
        let mut in_section = self.programs.iter().zip(&self.sections).filter(|(_, section)| *section == name);
        match (in_section.next(), in_section.next()) {
            (Some(((_, program), _)), None) => Ok(program),
            _ => Err(not_among("program", name, &self.programs)),
        }
    }

    /// All programs with their names.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.programs.iter().map(|(name, program)| (name.as_str(), program))
    }

    /// What the kernel says of the program with this name, if the plan asked and the kernel told.
    pub fn info(&self, program: &str) -> Option<&ProgramInfo> {
        let index = self.programs.iter().position(|(own, _)| own == program)?;
        self.infos.get(index)?.as_ref()
    }

    /// The names of the maps that the program has from the one that it replaced.
    pub fn kept_maps(&self) -> &[String] {
        &self.kept
    }

    /// The names of the maps whose entries were copied from those of the program that was replaced, and how many.
    pub fn copied_maps(&self) -> &[(String, usize)] {
        &self.copied
    }

    /// The object's types as the kernel has them, for maps that the caller makes
    /// ([`MapParams::types`](crate::map::MapParams::types)).
    pub fn btf(&self) -> Option<&LoadedBtf> {
        self.btf.as_ref()
    }

    /// Why the kernel has not taken the object's types, if it refused them: everything was then loaded without.
    pub fn btf_refusal(&self) -> Option<&Error> {
        self.btf_refusal.as_ref()
    }

    /// Where a bpffs was mounted, since there was none.
    pub fn mounted(&self) -> Option<&str> {
        self.mounted.as_deref()
    }

    /// Where the program was attached, if the plan did so: the first of the interfaces.
    pub fn attached(&self) -> Option<&AttachedTo> {
        self.attached.first()
    }

    /// Where the program was attached, in the plan's order.
    pub fn attachments(&self) -> &[AttachedTo] {
        &self.attached
    }
}

#[cold]
fn not_among<T>(noun: &str, name: &str, items: &[(String, T)]) -> Error {
    let names = quote_each(&mut items.iter().map(|(name, _)| &**name));
    Error::new(ErrorKind::InvalidInput, format!("there is no {noun} {} among {names}", quote(name)))
}

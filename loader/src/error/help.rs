//! What to do about an error: in words that are right whoever calls, and as a value for a program that has words of its
//! own.

use std::fmt::{self, Display};
use std::path::PathBuf;

use super::quote;
use crate::mode::Mode;

/// One line that says what to do.
///
/// `Display` speaks to who calls this library. A program that speaks to others puts the [remedy](Self::remedy) into
/// its own words, by [`told`](Self::told). Most help has none, and is the same for all: a repair of the source, or a
/// command of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Help {
    before: String,
    remedy: Option<Remedy>,
    after: &'static str,
}

impl Help {
    /// What of this library, or on the machine, would help.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.remedy.as_ref()
    }

    /// The line with the remedy in the words that `words` has for it.
    pub fn told(&self, words: impl FnOnce(&Remedy) -> String) -> String {
        let remedy = self.remedy.as_ref().map(words).unwrap_or_default();
        [&self.before, &*remedy, self.after].concat()
    }
}

impl Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Remedy::to_string))
    }
}

impl From<String> for Help {
    fn from(words: String) -> Self {
        Self { before: words, remedy: None, after: "" }
    }
}

impl From<&str> for Help {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl From<Remedy> for Help {
    fn from(remedy: Remedy) -> Self {
        ("", remedy).into()
    }
}

/// Words, and the remedy behind them.
impl<W: Into<String>> From<(W, Remedy)> for Help {
    fn from((before, remedy): (W, Remedy)) -> Self {
        (before, remedy, "").into()
    }
}

/// A remedy between words.
impl<W: Into<String>> From<(W, Remedy, &'static str)> for Help {
    fn from((before, remedy, after): (W, Remedy, &'static str)) -> Self {
        Self { before: before.into(), remedy: Some(remedy), after }
    }
}

/// What would help, as a value. `Display` names it as the callers of this library do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// To choose among the programs of the object.
    ChooseProgram,
    /// To say that code is an XDP program although no name says so: that of this section, where it is known.
    TakeAsXdp {
        /// The section.
        section: Option<String>,
    },
    /// To say in which dialect the section `maps` is written.
    SayMapsDialect,
    /// To give a map its number of entries.
    SetMaxEntries {
        /// The map.
        map: String,
        /// A number that is enough, where one is known.
        enough: Option<u32>,
    },
    /// To give a map its pin.
    PinMap {
        /// The map.
        map: String,
        /// The bpffs that the pin must be in.
        bpffs: String,
    },
    /// To write a variable into its map once that is there.
    SetLater {
        /// The section of the variable, after which the map is named.
        section: String,
        /// The variable.
        variable: String,
    },
    /// To give the kernel's configuration.
    GiveKconfig,
    /// To give the types of the kernel.
    GiveTypes,
    /// To say for which interface it is.
    NameInterface,
    /// To say which function of which program is replaced.
    NameExtended,
    /// To pin the program and attach it to nothing.
    PinProgram,
    /// To say where a new `bpf_link` is pinned.
    PinLink,
    /// To copy the entries of a map into one of another shape.
    CopyMaps {
        /// Whether a pin leads to that map, so that it need not be one of a running program.
        by_pin: bool,
    },
    /// To make new maps, and not to go on with those of the program that is replaced.
    KeepNoMaps,
    /// To use another bpffs.
    UseBpffs,
    /// To have the program held by the interface itself and not by a `bpf_link`.
    WithoutLink,
    /// To make the change for good at once.
    WithoutTrial,
    /// To attach in this mode.
    UseMode {
        /// The mode.
        mode: Mode,
        /// Where.
        at: Option<Whereabouts>,
    },
    /// To load the program from its object, where one was to be used that is loaded.
    LoadAnew(Whereabouts),
    /// To replace the program that is there, or to detach it first.
    Replace {
        /// The mode that it runs in, where that must be said.
        mode: Option<Mode>,
        /// Where it is.
        at: Option<Whereabouts>,
    },
    /// The same through the `bpf_link` that holds the program.
    ReplaceByLink {
        /// Where it is.
        at: Whereabouts,
        /// Who has the link open, where it has no pin.
        holders: Vec<Process>,
    },
    /// To detach what is there.
    Detach(Whereabouts),
    /// To detach a program that is named by its id.
    DetachById,
    /// To look what is there.
    Look {
        /// Where.
        at: Whereabouts,
        /// Whether it is at an interface above that one.
        above: bool,
    },
    /// What a crate above this one has to say.
    Other {
        /// What that crate calls it.
        name: &'static str,
        /// How its callers name it.
        words: &'static str,
        /// The bpffs that it is about.
        bpffs: PathBuf,
    },
}

impl Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChooseProgram => "`Loader::program`",
            Self::TakeAsXdp { section: Some(_) } => "`ParseOptions::sections`",
            Self::TakeAsXdp { section: None } => "`ParseOptions::program`, or `ParseOptions::sections`",
            Self::SayMapsDialect => "`ParseOptions::maps_dialect`",
            Self::SetMaxEntries { enough: None, .. } => "`Loader::max_entries`",
            Self::SetMaxEntries { enough: Some(enough), .. } => {
                return write!(f, "`Loader::max_entries` with {enough}");
            }
            Self::PinMap { .. } => "`Loader::pin_map`",
            Self::SetLater { .. } => "`Loaded::map`",
            Self::GiveKconfig => "`Loader::kconfig`",
            Self::GiveTypes => "`Loader::target_types`",
            Self::NameInterface => "`Loader::attach_to`",
            Self::NameExtended => "`Loader::extend`",
            Self::PinProgram => "`Loader::pin_under`",
            Self::PinLink => "`AttachBy::Link`",
            Self::CopyMaps { .. } => "`KeepMaps::Copy` copies its entries into a new one",
            Self::KeepNoMaps => "`KeepMaps::No`",
            Self::UseBpffs => "that",
            Self::WithoutLink => "do it by netlink",
            Self::WithoutTrial => "do it without a trial",
            Self::UseMode { mode, at: None } => return write!(f, "`Mode::{mode:?}`"),
            Self::UseMode { mode, at: Some(_) } => return write!(f, "attach in {mode} mode"),
            Self::LoadAnew(_) => "load it from its object",
            Self::Replace { mode: None, .. } => "replace it, or detach it first",
            Self::Replace { mode: Some(mode), .. } => {
                return write!(f, "replace it in {mode} mode, or detach it first");
            }
            Self::ReplaceByLink { .. } => "replace or detach it through that link",
            Self::Detach(at) => return write!(f, "detach what is on {}", quote(&at.interface)),
            Self::DetachById => "its id",
            Self::Look { .. } => "`Interface::look`",
            Self::Other { words, .. } => words,
        })
    }
}

/// An interface as somebody finds it who is not where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its name.
    pub interface: String,
    /// Its network namespace, by its name in /run/netns or by a path; none for that of this process.
    pub netns: Option<String>,
    /// Where its pins are; none for the usual bpffs.
    pub bpffs: Option<PathBuf>,
}

/// A process that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// What it is called.
    pub name: String,
}

/// In the words of a message: `process 12 (name)`.
impl Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.id, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_hears_its_own_words() {
        let help = Help::from(("say which: ", Remedy::ChooseProgram, ", once"));
        assert_eq!(help.to_string(), "say which: `Loader::program`, once");
        assert_eq!(help.told(|_| "PROGRAM".to_owned()), "say which: PROGRAM, once");
        assert_eq!(help.remedy(), Some(&Remedy::ChooseProgram));
        let plain = Help::from("compile with `clang -g`");
        assert_eq!((plain.to_string().as_str(), plain.remedy()), ("compile with `clang -g`", None));
    }

    #[test]
    fn what_runs_is_replaced_where_and_as_it_runs() {
        let replace = |mode| Remedy::Replace { mode, at: None }.to_string();
        assert_eq!(replace(None), "replace it, or detach it first");
        assert_eq!(replace(Some(Mode::Generic)), "replace it in generic mode, or detach it first");
        let at = Whereabouts { interface: "a\u{1b}".to_owned(), ..Whereabouts::default() };
        assert_eq!(Remedy::Detach(at).to_string(), "detach what is on `a\\u{1b}`");
    }
}

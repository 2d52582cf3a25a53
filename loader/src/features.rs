//! What a kernel can do, as plain data: what a plan is made for.
//!
//! Nothing here asks a kernel. A feature whose presence nobody has looked at yet is taken to be there: the first
//! try is the full call, and only a refusal makes the loader probe for what is missing.

use std::fmt;

use crate::btf::BtfAddition;

/// Something that an old kernel lacks: most loads can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Maps and programs carry a name (`map_name`, `prog_name`).
    ObjectNames,
    /// `BPF_PROG_LOAD` takes `expected_attach_type`.
    ExpectedAttachType,
    /// Programs refer to global variables: maps that programs may only read, frozen maps, addresses of values.
    GlobalData,
    /// User space may map an array's values into its memory (`BPF_F_MMAPABLE`).
    MmapableArrays,
    /// BTF may contain this. With functions came `func_info` and `line_info` of a program.
    BtfWith(BtfAddition),
    /// A `bpf_link` holds an XDP program.
    XdpLinks,
    /// Maps and programs are charged to the memory control group, not to `RLIMIT_MEMLOCK`.
    MemcgAccounting,
    /// Programs have functions of their own, which they call.
    FunctionCalls,
    /// The entries of a devmap have programs.
    DevmapPrograms,
    /// The entries of a cpumap have programs.
    CpumapPrograms,
    /// XDP programs take multi-buffer packets (`xdp.frags`).
    XdpFrags,
}

impl Feature {
    /// The first kernel release that has it.
    pub fn since(self) -> &'static str {
        match self {
            Self::ObjectNames => "4.15",
            Self::ExpectedAttachType => "4.17",
            Self::GlobalData => "5.2",
            Self::MmapableArrays => "5.5",
            Self::BtfWith(addition) => addition.since(),
            Self::XdpLinks | Self::CpumapPrograms => "5.9",
            Self::MemcgAccounting => "5.11",
            Self::FunctionCalls => "4.16",
            Self::DevmapPrograms => "5.8",
            Self::XdpFrags => "5.18",
        }
    }

    /// What is said of a kernel without it.
    pub fn lacking(self) -> String {
        lacking(self, self.since())
    }
}

/// What is said of a kernel without `what`, which came with the release `since`.
pub(crate) fn lacking(what: impl fmt::Display, since: &str) -> String {
    format!("the kernel lacks {what}, which came with Linux {since}")
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BtfWith(addition) => return addition.fmt(f),
            Self::ObjectNames => "names of maps and programs",
            Self::ExpectedAttachType => "expected_attach_type",
            Self::GlobalData => "global data",
            Self::MmapableArrays => "arrays that can be mapped into memory",
            Self::XdpLinks => "bpf_links for XDP",
            Self::MemcgAccounting => "memory accounting by control group",
            Self::FunctionCalls => "calls between functions of a program",
            Self::DevmapPrograms => "programs in devmaps",
            Self::CpumapPrograms => "programs in cpumaps",
            Self::XdpFrags => "multi-buffer XDP programs (xdp.frags)",
        })
    }
}

/// Whether a kernel has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// Nobody has looked, or the look was refused for another reason.
    Unknown,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "could not tell",
        })
    }
}

/// What is known of a kernel.
///
/// `Kernel::current` (in the module `kernel`) looks at the running one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its version as `LINUX_VERSION_CODE` puts it, for objects that ask for the running kernel's.
    pub version_code: Option<u32>,
    /// How many CPUs the machine may ever have.
    pub possible_cpus: Option<u32>,
    /// Bytes of a page of memory.
    pub page_size: Option<u32>,
    /// In order, and each with whether it has it.
    features: Vec<(Feature, bool)>,
}

impl Kernel {
    /// A kernel of which nothing is known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Whether it has `feature`.
    pub fn has(&self, feature: Feature) -> Answer {
        match self.place(feature) {
            Ok(place) if self.features[place].1 => Answer::Yes,
            Ok(_) => Answer::No,
            Err(_) => Answer::Unknown,
        }
    }

    /// Notes what a look at the kernel has found.
    pub fn learn(&mut self, feature: Feature, answer: Answer) {
        if answer == Answer::Unknown {
            return;
        }
        match self.place(feature) {
            Ok(place) => self.features[place].1 = answer == Answer::Yes,
            Err(place) => self.features.insert(place, (feature, answer == Answer::Yes)),
        }
    }

    fn place(&self, feature: Feature) -> Result<usize, usize> {
        self.features.binary_search_by_key(&feature, |(own, _)| *own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_looked_at_is_unknown() {
        let mut kernel = Kernel::unknown();
        assert_eq!(kernel.has(Feature::ObjectNames), Answer::Unknown);
        kernel.learn(Feature::ObjectNames, Answer::No);
        kernel.learn(Feature::ObjectNames, Answer::Unknown);
        assert_eq!(kernel.has(Feature::ObjectNames), Answer::No);
    }
}

//! What programs take from the kernel: what must be known of it beforehand, and what it comes to.

use super::Plan;
use super::slot::ModuleSlot;
use crate::btf::{Sieve, TypeId};
use crate::error::{Error, ErrorKind, Result, escape, quote};
use crate::order::InOrder as _;

/// What is still to be known of the kernel before a plan can be made: the programs to load take it from there.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// How it is configured: [`Loader::kconfig`](super::Loader::kconfig).
    pub kconfig: bool,
    /// Where these symbols are: [`Loader::kernel_symbols`](super::Loader::kernel_symbols).
    pub symbols: Vec<String>,
    /// Which of these types, variables and functions it has: [`Loader::kernel_types`](super::Loader::kernel_types).
    /// Whether those of its modules too, [`Loader::wants_modules`](super::Loader::wants_modules) knows then.
    pub types: Option<Sieve>,
    /// Its version: [`Kernel::version_code`](crate::Kernel::version_code).
    pub version: bool,
    /// How many CPUs the machine may have: [`Kernel::possible_cpus`](crate::Kernel::possible_cpus).
    pub cpus: bool,
}

/// Where symbols of the kernel are, as `/proc/kallsyms` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSymbols {
    /// The symbols that were looked for, in order, with their addresses.
    found: Vec<(String, Vec<u64>)>,
    /// Whether any symbol has an address.
    shown: bool,
}

impl KernelSymbols {
    /// Nothing known yet of these symbols.
    pub fn of(names: &[String]) -> Self {
        let names = names.iter().cloned().into_set();
        Self { found: names.into_iter().map(|name| (name, Vec::new())).collect(), shown: false }
    }

    /// Takes in a line: an address in hexadecimal digits, the symbol's type, its name, and perhaps a module's.
    pub fn add_line(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let Ok(address) = u64::from_str_radix(address, 16) else {
            return;
        };
        self.shown |= address != 0;
        let Ok(place) = self.place(name) else {
            return;
        };
        let addresses = &mut self.found[place].1;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    fn addresses(&self, name: &str) -> &[u64] {
        self.place(name).map_or(&[], |place| &self.found[place].1)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.found.binary_search_by(|(own, _)| (**own).cmp(name))
    }

    /// Whether the kernel has the symbol.
    pub fn has(&self, name: &str) -> bool {
        !self.addresses(name).is_empty()
    }

    /// Where the symbol is; `None` for one that the kernel does not have.
    pub fn address(&self, name: &str) -> Result<Option<u64>> {
        match self.addresses(name) {
            [] => Ok(None),
            // Not even root sees addresses where kernel.kptr_restrict is 2.
            _ if !self.shown => Err(Error::new(
                ErrorKind::PermissionDenied,
                format!("the kernel does not tell this process where symbol {} is", quote(name)),
            )
            .with_help("addresses in /proc/kallsyms need CAP_SYSLOG, and kernel.kptr_restrict below 2")),
            [address] => Ok(Some(*address)),
            [first, second, ..] => Err(Error::new(
                ErrorKind::Unsupported,
                format!("symbol {} is twice in the kernel, at {first:#x} and at {second:#x}", quote(name)),
            )),
        }
    }
}

/// An extern that the programs refer to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedExtern {
    /// Its index in [`Object::externs`](crate::object::Object::externs).
    pub index: usize,
    /// Its symbol.
    pub name: String,
    /// What it comes to.
    pub value: ExternValue,
}

/// What an extern comes to on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExternValue {
    /// An option is set to this, in the words of the configuration.
    Setting(String),
    /// A symbol is at this address.
    Address(u64),
    /// A variable or function has this id in the BTF of the kernel or of a module.
    Btf {
        /// The id.
        id: TypeId,
        /// The module.
        module: Option<ModuleSlot>,
    },
    /// The kernel does not have it, and the object can do without: a value of 0, an address of 0, a call that must
    /// not be reached.
    Missing,
}

/// libbpf's `POISON_CALL_KFUNC_BASE`.
const NO_HELPERS: i32 = 2_002_000_000;

/// The helper that a call names in place of a function that the kernel lacks, an extern with this index: no kernel has
/// so many. libbpf puts the same number there, so that the kernel gives the program the same tag.
pub(super) fn no_helper(external: usize) -> i32 {
    NO_HELPERS.saturating_add(i32::try_from(external).unwrap_or(i32::MAX))
}

impl Plan {
    /// What an extern of the plan comes to, in a few words.
    pub fn extern_value(&self, external: &ResolvedExtern) -> String {
        match &external.value {
            ExternValue::Setting(setting) => setting.clone(),
            ExternValue::Address(address) => format!("{address:#x}"),
            ExternValue::Btf { id, module: None } => format!("BTF id {id}"),
            ExternValue::Btf { id, module: Some(module) } => {
                format!("BTF id {id} in module {}", escape(&self.modules[module.0]))
            }
            ExternValue::Missing => "missing".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(lines: &[&str]) -> KernelSymbols {
        let names = ["here", "twice", "gone", "zero"].map(str::to_owned);
        let mut symbols = KernelSymbols::of(&names);
        for line in lines {
            symbols.add_line(line);
        }
        symbols
    }

    #[test]
    fn symbols_are_found_by_name_wherever_they_are() {
        let symbols = symbols(&[
            "ffffffff81000000 T _text",
            "ffffffffc0001000 t here\t[veth]",
            "ffffffff81000010 t twice",
            "ffffffff81000020 t twice",
            "0000000000000000 A zero",
            "nonsense",
            "xyz T here",
            "",
        ]);
        assert_eq!(symbols.address("here").unwrap(), Some(0xffff_ffff_c000_1000));
        assert_eq!(symbols.address("zero").unwrap(), Some(0));
        assert_eq!(symbols.address("gone").unwrap(), None);
        assert_eq!(symbols.address("_text").unwrap(), None);
        assert!(symbols.has("twice") && !symbols.has("gone") && !symbols.has("_text"));
        let twice = symbols.address("twice").unwrap_err();
        let expected =
            "symbol `twice` is twice in the kernel, at 0xffffffff81000010 and at 0xffffffff81000020";
        assert_eq!(twice.to_string(), expected);
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        let symbols = symbols(&["0000000000000000 T _text", "0000000000000000 T here"]);
        assert!(symbols.has("here"));
        assert_eq!(symbols.address("gone").unwrap(), None);
        let error = symbols.address("here").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(error.to_string(), "the kernel does not tell this process where symbol `here` is");
    }
}

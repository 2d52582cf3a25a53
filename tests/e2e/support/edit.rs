//! Object files changed on purpose: other names, and each way in which a file can be wrong.

use std::fs;
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use loader::elf::{ElfFile, Section};

use crate::sandbox::Sandbox;

/// Where the fields of an ELF64 file header, section header, symbol and relocation are, in bytes.
pub(crate) mod field {
    pub(crate) const E_CLASS: usize = 4;
    pub(crate) const E_DATA: usize = 5;
    pub(crate) const E_TYPE: usize = 16;
    pub(crate) const SH_NAME: usize = 0;
    pub(crate) const SH_TYPE: usize = 4;
    pub(crate) const SH_OFFSET: usize = 24;
    pub(crate) const SH_SIZE: usize = 32;
    pub(crate) const ST_NAME: usize = 0;
    pub(crate) const ST_INFO: usize = 4;
    pub(crate) const R_OFFSET: usize = 0;
    pub(crate) const R_SYMBOL: usize = 12;
}

/// Bytes of a symbol.
const SYMBOL: usize = 24;

/// The bytes of an object file, to be changed.
#[derive(Clone)]
pub(crate) struct Edit {
    pub(crate) bytes: Vec<u8>,
}

impl Edit {
    /// The committed object `path`.
    pub(crate) fn of(path: &str) -> Self {
        Self { bytes: fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")) }
    }

    /// Overwrites what is at `at`.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Where the content of the section `name` is.
    pub(crate) fn content(&self, name: &str) -> Range<usize> {
        let (start, size) = self.section(name, |section| (section.offset, section.size));
        let start = usize::try_from(start).expect("the file is small");
        start..start + usize::try_from(size).expect("the file is small")
    }

    /// Where the header of the section `name` is.
    pub(crate) fn header(&self, name: &str) -> usize {
        let table = ElfFile::parse(&self.bytes).expect("the committed object is sound");
        let table = usize::try_from(table.header().section_table_offset).expect("the file is small");
        table + self.section(name, |section| usize::try_from(section.header_offset).expect("it is small"))
    }

    fn section<T>(&self, name: &str, take: impl Fn(&Section<'_>) -> T) -> T {
        let elf = ElfFile::parse(&self.bytes).expect("the committed object is sound");
        take(elf.section_named(name).unwrap_or_else(|| panic!("there is no section {name}")))
    }

    /// Where the symbol `name` is.
    pub(crate) fn symbol(&self, name: &str) -> usize {
        let elf = ElfFile::parse(&self.bytes).expect("the committed object is sound");
        let index = elf.symbols().expect("the symbols are sound").iter().position(|it| it.name == name);
        self.content(".symtab").start + SYMBOL * index.unwrap_or_else(|| panic!("there is no symbol {name}"))
    }

    /// Takes from all functions what says that they are some, as old compilers left it out.
    pub(crate) fn remove_function_types(&mut self) {
        let symbols = self.content(".symtab");
        for at in symbols.step_by(SYMBOL).map(|symbol| symbol + field::ST_INFO) {
            // The binding is in the upper half; STT_FUNC is 2, and no type is 0.
            if self.bytes[at] & 0xf == 2 {
                self.bytes[at] &= 0xf0;
            }
        }
    }

    /// Gives the symbol `old` the name `new`.
    pub(crate) fn rename_symbol(&mut self, old: &str, new: &str) {
        let at = self.symbol(old) + field::ST_NAME;
        let name = self.add_string(new);
        self.put(at, &name.to_le_bytes());
    }

    /// Gives the section `old` the name `new`.
    pub(crate) fn rename_section(&mut self, old: &str, new: &str) {
        let at = self.header(old) + field::SH_NAME;
        let name = self.add_string(new);
        self.put(at, &name.to_le_bytes());
    }

    /// Adds `text` to the string table, which moves to the end of the file. Returns its place in the table.
    fn add_string(&mut self, text: &str) -> u32 {
        let mut strings = self.bytes[self.content(".strtab")].to_vec();
        let place = u32::try_from(strings.len()).expect("the table is small");
        strings.extend([text.as_bytes(), &[0]].concat());
        let header = self.header(".strtab");
        let (offset, size) = (self.bytes.len() as u64, strings.len() as u64);
        self.put(header + field::SH_OFFSET, &offset.to_le_bytes());
        self.put(header + field::SH_SIZE, &size.to_le_bytes());
        self.bytes.extend(strings);
        place
    }

    /// Writes the file into `sandbox` and returns its path.
    pub(crate) fn save(&self, sandbox: &Sandbox) -> String {
        static FILES: AtomicU32 = AtomicU32::new(0);
        self.save_as(sandbox, &FILES.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// The same to a file of this name, after which maps of variables are called.
    pub(crate) fn save_as(&self, sandbox: &Sandbox, name: &str) -> String {
        let path = sandbox.scratch().join(format!("{name}.o"));
        fs::write(&path, &self.bytes).expect("the sandbox is writable");
        path.to_str().expect("a sandbox has a printable path").to_owned()
    }
}

/// A name of 15 bytes that no other test has.
pub(crate) fn unique_name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    format!("e{:07}_{:06}", process::id() % 10_000_000, NAMES.fetch_add(1, Ordering::Relaxed))
}

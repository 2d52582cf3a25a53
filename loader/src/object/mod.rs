//! What an object file says: its programs, its maps, its license, as plain data.
//!
//! The same bytes give the same [`Object`] on every machine: nothing here asks the kernel, a file or the
//! environment. Four dialects of map definitions end in one [`MapSpec`]; all that differs by dialect is in
//! `legacy` and `btf_maps`.

mod btf_maps;
mod code;
mod data;
mod externs;
mod legacy;
mod map;
mod map_slots;
mod program;
mod tail_calls;
mod types;
mod variable;

use std::sync::Arc;

pub use code::{Callee, FunctionSpec, SymbolReference, SymbolTarget};
pub use data::{DataKind, DataSpec};
pub use externs::{ExternKind, ExternSpec, OptionKind, OptionSpec};
pub use map::{EntryTypes, InnerMap, MapDialect, MapShape, MapSpec, Pinning, SlotSpec, SlotValue};
pub use program::{ProgramKind, ProgramSpec};
pub use types::CodeInfo;
pub use variable::VariableSpec;

use crate::btf::Btf;
use crate::bytes::ByteOrder;
use crate::elf::{Disjoint, ElfFile, Section, Symbol, SymbolSection};
use crate::error::{Context, Error, ErrorKind, Remedy, Result, quote, quote_each};
use crate::order::{InOrder as _, Lookup, sort_by_key, twice};
use crate::uapi::elf::{FileType, Machine, SectionType};

/// In a `version` section: load for whatever kernel is running (gobpf's `useCurrentKernelVersion`).
pub const CURRENT_KERNEL_VERSION: u32 = 0xffff_fffe;

/// What the caller knows about a file that the file does not say.
#[derive(Clone, Debug, Default)]
pub struct ParseOptions {
    /// Sections that hold XDP programs although their names do not say so.
    pub sections: Vec<String>,
    /// A function, or a section, that is an XDP program although no name says so: the caller wants to load it. Where
    /// the name of the section says another type, it must be among `sections`.
    pub program: Option<String>,
    /// The dialect of the `maps` section, where its size fits more than one.
    pub maps_dialect: Option<MapDialect>,
}

/// An object file's content, as far as loading it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The byte order it was compiled for.
    pub order: ByteOrder,
    /// The text of the section `license`, up to its first NUL; `None` without such a section.
    pub license: Option<String>,
    /// The number in the section `version`; [`CURRENT_KERNEL_VERSION`] stands for the running kernel's.
    pub version: Option<u32>,
    /// The XDP programs, in the order of their sections and of their places there.
    pub programs: Vec<ProgramSpec>,
    /// The other functions that programs reach by calls and addresses, in the same order.
    pub functions: Vec<FunctionSpec>,
    /// The maps, in the order of their sections and of their places there.
    pub maps: Vec<MapSpec>,
    /// The global variables, by section, and last the options of the kernel's configuration.
    pub data: Vec<DataSpec>,
    /// What is to come from the kernel that the object is loaded into.
    pub externs: Vec<ExternSpec>,
    /// The types that the compiler has described, with the places of variables filled in from the symbol table.
    pub btf: Option<Arc<Btf>>,
    /// Why BTF that the file has is left out, or, where there is some here, what `.BTF.ext` says of functions and
    /// lines: it is not sound, and nothing here needs it.
    pub btf_flaw: Option<String>,
    /// Sections with instructions that are no XDP programs by their names: `.text`, programs of other types.
    pub other_code: Vec<String>,
}

impl Object {
    /// Reads an object file from its bytes.
    pub fn parse(data: &[u8]) -> Result<Self> {
        Self::parse_with(data, &ParseOptions::default())
    }

    /// Reads an object file from its bytes, given what only the caller knows.
    pub fn parse_with(data: &[u8], options: &ParseOptions) -> Result<Self> {
        let elf = ElfFile::parse(data)?;
        refuse_what_is_not_bpf(&elf)?;
        let file = File::open(&elf, options)?;
        let mut needed = Disjoint::default();
        file.needed_sections().into_iter().try_for_each(|section| needed.add(section))?;
        let (license, version) = (license(&elf)?, version(&elf)?);
        let mut types = types::read(&file)?;
        let externs = externs::read(&file, types.btf.as_mut())?;
        let (ext, ext_flaw) = types::read_ext(&file, types.btf.as_ref())?;
        let (programs, functions) = program::parse(&file, types.btf.as_ref(), &ext, &mut needed)?;
        let flaw = types.flaw.or(ext_flaw);
        let needs_types = || types::are_needed(types.btf.as_ref(), &programs, &functions);
        if let Some(flaw) = flaw.as_ref().filter(|_| needs_types()) {
            return Err(flaw.clone());
        }
        let maps = map::parse(&file, types.btf.as_ref(), data, &programs)?;
        let mut data_sections = data::parse(&file, types.btf.as_ref(), &mut needed)?;
        data_sections.extend(externs::kconfig_data(&externs, types.btf.as_ref()));
        let object = Self {
            order: elf.order(),
            license,
            version,
            programs,
            functions,
            maps,
            data: data_sections,
            externs,
            btf: types.btf.map(Arc::new),
            btf_flaw: flaw.map(|flaw| flaw.to_string()),
            other_code: file.other_code.iter().map(|section| section.name.clone().into_owned()).collect(),
        };
        object.refuse_duplicates()?;
        Ok(object)
    }

    /// The program with this symbol name, or the only one in the section of this name, as gobpf finds it.
    pub fn program(&self, name: &str) -> Result<&ProgramSpec> {
        if let Some(program) = self.programs.iter().find(|program| program.function.name == name) {
            return Ok(program);
        }
        let in_section: Vec<_> =
            self.programs.iter().filter(|program| program.function.section == name).collect();
        match in_section[..] {
            [program] => Ok(program),
            [] => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("there is no program {}: {}", quote(name), self.program_list()),
            )),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("section {} holds several programs: {}", quote(name), self.program_list()),
            )),
        }
    }

    /// The only program of the object; an error that lists them when there are several. Extensions, and what iproute2
    /// would put into prog arrays, count only where there is nothing else; [optional](ProgramSpec::is_optional) ones
    /// never do.
    pub fn only_program(&self) -> Result<&ProgramSpec> {
        let called = self.tail_called();
        let is_aside = |program: &&ProgramSpec| {
            program.extends().is_some() || called.binary_search(&program.function.place()).is_ok()
        };
        let (others, programs): (Vec<_>, Vec<_>) =
            self.programs.iter().filter(|program| !program.is_optional()).partition(is_aside);
        match (&programs[..], &others[..]) {
            ([program], _) | ([], [program]) => Ok(program),
            ([], []) => Err(self.no_program()),
            _ => Err(self.several_programs().with_help(("say which: ", Remedy::ChooseProgram))),
        }
    }

    /// The places of programs that are for prog arrays by the names of their sections.
    fn tail_called(&self) -> Vec<(&str, u64)> {
        let maps = self.maps.iter().filter(|map| map.dialect == MapDialect::Iproute2);
        let programs = maps.flat_map(|map| &map.slots).filter_map(|slot| match slot.value {
            SlotValue::Program(program) => self.programs.get(program),
            _ => None,
        });
        programs.map(|program| program.function.place()).into_set()
    }

    #[cold]
    fn several_programs(&self) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("choose one program: {}", self.program_list()))
    }

    #[cold]
    fn no_program(&self) -> Error {
        if !self.programs.is_empty() {
            return self.several_programs().with_help((
                "programs of sections that begin with `?` are loaded only where they are chosen: ",
                Remedy::ChooseProgram,
            ));
        }
        let error = Error::new(ErrorKind::NotFound, self.program_list());
        if self.other_code.is_empty() {
            return error;
        }
        error.with_help(("say which it is: ", Remedy::TakeAsXdp { section: None }))
    }

    /// Whether no instruction of the object depends on the kernel that it is loaded into.
    pub(crate) fn takes_nothing(&self) -> bool {
        self.externs.is_empty() && self.code().all(|function| function.info.relocations.is_empty())
    }

    /// All functions: those of the programs, then the others.
    pub(crate) fn code(&self) -> impl Iterator<Item = &FunctionSpec> {
        self.programs.iter().map(|program| &program.function).chain(&self.functions)
    }

    /// The map with this name.
    pub fn map(&self, name: &str) -> Option<&MapSpec> {
        self.maps.iter().find(|map| map.name == name)
    }

    fn program_list(&self) -> String {
        if !self.programs.is_empty() {
            let names: Vec<_> = self.programs.iter().map(ToString::to_string).collect();
            return format!("the object has {}", names.join(", "));
        }
        if self.other_code.is_empty() {
            return "the object has no section with instructions".to_owned();
        }
        format!(
            "no section of the object is named as those of XDP programs are; instructions are in {}",
            quote_each(&mut self.other_code.iter().map(|name| &**name))
        )
    }

    fn refuse_duplicates(&self) -> Result<()> {
        let maps = self.maps.iter().map(|map| (&*map.name, &*map.section, map.offset));
        let functions = self.programs.iter().map(|program| &program.function);
        let programs = functions.map(|function| (&*function.name, &*function.section, function.offset));
        refuse_duplicate_names("map", &maps.collect::<Vec<_>>())?;
        refuse_duplicate_names("program", &programs.collect::<Vec<_>>())
    }
}

/// Refuses two items of one name; each has a section and an offset there.
fn refuse_duplicate_names(noun: &str, items: &[(&str, &str, u64)]) -> Result<()> {
    let names: Vec<_> = items.iter().map(|(name, ..)| *name).collect();
    let Some((second, first)) = twice(&names) else { return Ok(()) };
    let (name, section, offset) = items[second];
    let message = format!(
        "expected one {noun} called {}, found another in section {}",
        quote(name),
        quote(items[first].1)
    );
    Err(Error::malformed(format!("section {}", quote(section)), offset, message))
}

/// The sections of a file sorted by what they mean, with the tables that the readers of programs and maps share.
struct File<'e, 'a> {
    elf: &'e ElfFile<'a>,
    options: &'e ParseOptions,
    symbols: Vec<Symbol<'e>>,
    /// By section, the indices of the symbols in it, in the order of their places there.
    symbols_by_section: Vec<Vec<usize>>,
    /// By section, the index of the one that relocates it.
    relocations: Vec<Option<usize>>,
    programs: Vec<(&'e Section<'a>, ProgramKind)>,
    maps: Vec<&'e Section<'a>>,
    other_code: Vec<&'e Section<'a>>,
    /// The index of the first section of each name that has instructions.
    code: Lookup<&'e str, usize>,
}

impl<'e, 'a> File<'e, 'a> {
    fn open(elf: &'e ElfFile<'a>, options: &'e ParseOptions) -> Result<Self> {
        let symbols = elf.symbols()?;
        let mut file = Self {
            elf,
            options,
            symbols_by_section: by_section(elf, &symbols),
            symbols,
            relocations: elf.relocation_sections()?,
            programs: Vec::new(),
            maps: Vec::new(),
            other_code: Vec::new(),
            code: Lookup::default(),
        };
        let wanted = file.wanted_section();
        let progbits = || elf.sections().iter().filter(|section| section.kind == SectionType::PROGBITS);
        let has_ids = progbits().any(|section| section.name == "maps" && legacy::is_iproute2(&file, section));
        let with_code = progbits().rev().filter(|section| code::has_code(section));
        file.code = with_code.map(|section| (&*section.name, section.index)).into_lookup();
        for section in progbits() {
            let code = code::has_code(section);
            let is_wanted = wanted == Some(section.index);
            let is_told = is_wanted || has_ids && tail_calls::entry(&section.name).is_some();
            let kind = ProgramKind::of_section(&section.name, &options.sections);
            if is_wanted && kind.is_none() {
                file.refuse_what_is_said(section)?;
            }
            match kind.or(is_told.then_some(ProgramKind::INTERFACE)) {
                Some(kind) if code => file.programs.push((section, kind)),
                _ if code => file.other_code.push(section),
                _ if map::is_map_section(&section.name) => file.maps.push(section),
                _ => {}
            }
        }
        file.refuse_missing_sections()?;
        Ok(file)
    }

    /// The section that only the caller takes for one of programs, since the program that is to be loaded is there.
    fn wanted_section(&self) -> Option<usize> {
        let name = self.options.program.as_deref()?;
        let by_symbol = self.symbols.iter().filter(|symbol| symbol.name == name);
        let by_symbol = by_symbol.filter_map(|symbol| match symbol.section {
            SymbolSection::Index(index) => self.elf.sections().get(index),
            _ => None,
        });
        let by_name = self.elf.sections().iter().filter(|section| section.name == name);
        let mut found = by_symbol.chain(by_name).filter(|section| code::has_code(section)).peekable();
        // What a name says goes first.
        let first = found.peek()?.index;
        let is_told = |section: &Section<'_>| ProgramKind::of_section(&section.name, &[]).is_some();
        (!found.any(is_told)).then_some(first)
    }

    /// What a section's name says of a program goes before that somebody wants it: another type has another context,
    /// and what is demanded would not be given.
    #[cold]
    fn refuse_what_is_said(&self, section: &Section<'_>) -> Result<()> {
        let name = self.options.program.as_deref().unwrap_or_default();
        let function = self.symbols_in(section.index).into_iter().find(|symbol| symbol.name == name);
        let (place, offset) = (quote(&section.name), function.map_or(0, |symbol| symbol.value));
        let (message, help) = if let Some(prog_type) = program::other_type(&section.name) {
            let found = format!("found a section for programs of type BPF_PROG_TYPE_{prog_type}");
            let help = match prog_type {
                "EXT" => {
                    "name it `freplace/FUNCTION` after what it replaces; if it is XDP all the same, say so: "
                }
                _ => "if it is one all the same, say so: ",
            };
            (format!("expected an XDP program in {}, {found}", quote(name)), help)
        } else if program::is_unknown_demand(&section.name) {
            let known = "`xdp`, `xdp.frags`, or one of these with `/` after it";
            let help = "name it `xdp.frags/...` if it takes multi-buffer packets; if not, say so: ";
            (format!("expected {known} for program {}, found another name", quote(name)), help)
        } else {
            return Ok(());
        };
        Err(Error::malformed(format!("section {place}"), offset, message)
            .with_kind(ErrorKind::InvalidInput)
            .with_help((help, Remedy::TakeAsXdp { section: Some(section.name.clone().into_owned()) })))
    }

    fn refuse_missing_sections(&self) -> Result<()> {
        for name in &self.options.sections {
            if !self.programs.iter().any(|(section, _)| section.name == *name) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("there is no section {} with instructions; {}", quote(name), self.code_list()),
                ));
            }
        }
        Ok(())
    }

    fn code_list(&self) -> String {
        let programs = self.programs.iter().map(|(section, _)| *section);
        let mut sections = programs.chain(self.other_code.iter().copied()).peekable();
        if sections.peek().is_none() {
            return "no section has any".to_owned();
        }
        format!("instructions are in {}", quote_each(&mut sections.map(|section| &*section.name)))
    }

    /// Whether the section with this index holds programs.
    fn is_program_section(&self, index: usize) -> bool {
        self.programs.binary_search_by_key(&index, |(section, _)| section.index).is_ok()
    }

    /// The sections whose content will be decoded in any case.
    fn needed_sections(&self) -> Vec<&'e Section<'a>> {
        let mut needed: Vec<_> = self.programs.iter().map(|(section, _)| *section).collect();
        needed.extend(needed.clone().iter().filter_map(|section| self.relocations_of(section)));
        needed.extend(&self.maps);
        let filled = self.maps.iter().filter(|section| section.name == ".maps");
        needed.extend(filled.filter_map(|section| self.relocations_of(section)));
        needed.extend(self.elf.sections().iter().filter(|section| {
            matches!(&*section.name, ".BTF" | ".BTF.ext" | "license" | "version")
                || section.kind == SectionType::SYMTAB
        }));
        needed
    }

    /// Where the functions are, in no program section, that are the values of `names`.
    fn places_of(&self, names: &Lookup<&str, &str>) -> Vec<(usize, u64)> {
        let wanted = names.values().copied().into_set();
        let place = |symbol: &Symbol<'_>| match symbol.section {
            SymbolSection::Index(section) if wanted.binary_search(&&*symbol.name).is_ok() => {
                Some((section, symbol.value))
            }
            _ => None,
        };
        let is_code = |section: usize| {
            let section = self.elf.sections().get(section);
            section.is_some_and(|section| self.code.get(&section.name) == Some(&section.index))
        };
        let places = self.symbols.iter().filter_map(place);
        places.filter(|(section, _)| is_code(*section) && !self.is_program_section(*section)).collect()
    }

    /// The section with the relocations of `section`.
    fn relocations_of(&self, section: &Section<'_>) -> Option<&'e Section<'a>> {
        self.relocations.get(section.index).copied().flatten().map(|table| &self.elf.sections()[table])
    }

    /// The symbols in the section with this index, in the order of their places there.
    fn symbols_in(&self, section: usize) -> Vec<&Symbol<'e>> {
        let indices = self.symbols_by_section.get(section).map_or(&[][..], Vec::as_slice);
        indices.iter().map(|&index| &self.symbols[index]).collect()
    }
}

fn by_section(elf: &ElfFile<'_>, symbols: &[Symbol<'_>]) -> Vec<Vec<usize>> {
    let mut by_section = vec![Vec::new(); elf.sections().len()];
    for symbol in symbols {
        if let SymbolSection::Index(section) = symbol.section {
            by_section[section].push(symbol.index);
        }
    }
    for indices in &mut by_section {
        sort_by_key(indices, |&index| (symbols[index].value, index));
    }
    by_section
}

fn refuse_what_is_not_bpf(elf: &ElfFile<'_>) -> Result<()> {
    let header = elf.header();
    // LLVM before 3.9 wrote EM_NONE.
    if header.machine != Machine::BPF && header.machine != Machine::NONE {
        return Err(Error::malformed(
            "file header",
            18,
            format!(
                "expected a BPF object (EM_BPF, 247), found a file for {} ({})",
                header.machine, header.file_type
            ),
        )
        .with_help(
            "compile it with `clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c FILE`",
        ));
    }
    if header.file_type != FileType::REL {
        return Err(Error::malformed(
            "file header",
            16,
            format!("expected a relocatable object (ET_REL, 1), found type {}", header.file_type),
        ));
    }
    Ok(())
}

/// The text of the section `license`, which gobpf hands over whole and the kernel reads up to the first NUL.
fn license(elf: &ElfFile<'_>) -> Result<Option<String>> {
    let Some(section) = elf.section_named("license") else {
        return Ok(None);
    };
    let data = elf.data(section)?.data();
    let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
    // The kernel compares with its list of GPL-compatible licenses and reads at most 127 bytes.
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

/// The number in the section `version`.
fn version(elf: &ElfFile<'_>) -> Result<Option<u32>> {
    let Some(section) = elf.section_named("version") else {
        return Ok(None);
    };
    let bytes = elf.data(section)?;
    if bytes.len() != 4 {
        return Err(bytes.error(
            0,
            format!("expected the kernel version as a __u32 of 4 bytes, found {} bytes", bytes.len()),
        ));
    }
    bytes.u32(0, "the kernel version").context(|| "reading the kernel version").map(Some)
}

#[cfg(test)]
mod tests;

//! `xdpload inspect`: what an object file holds.

mod btf;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use loader::btf::{Btf, LineInfo};
use loader::core_reloc;
use loader::elf::ElfFile;
use loader::insn::disasm::disassemble;
use loader::linker::Linker;
use loader::object::{
    CURRENT_KERNEL_VERSION, DataSpec, ExternKind, ExternSpec, FunctionSpec, InnerMap, MapSpec, Object,
    Pinning, ProgramSpec, SymbolTarget, VariableSpec,
};
use loader::uapi::bpf::{AttachType, MAP_FLAGS, flag_names};
use loader::{Context as _, Result, escape, file, quote};
use serde::Serialize;

use self::btf::Types;
use crate::args::{Form, Reading};
use crate::{output, value};

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Inspect {
    /// The object file: ELF, compiled with `clang -target bpf -c`
    pub(crate) object: PathBuf,
    /// Show the types in the object's BTF instead, as C declarations
    #[arg(long)]
    pub(crate) btf: bool,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) form: Form,
}

pub(crate) fn run(args: &Inspect) -> Result<()> {
    let bytes = file::read(&args.object)?;
    let reading = || format!("reading {}", quote(&args.object.to_string_lossy()));
    let elf = ElfFile::parse(&bytes).context(reading)?;
    if args.btf {
        return output::answer(args.form, &Types::of(&elf).context(reading)?);
    }
    let object = Object::parse_with(&bytes, &super::parse_options(&args.reading)).context(reading)?;
    output::answer(args.form, &Inspection::new(&elf, &object))
}

#[derive(Serialize)]
struct Inspection<'o> {
    byte_order: String,
    license: Option<&'o str>,
    version: Option<u32>,
    sections: Vec<Section>,
    maps: Vec<Map>,
    data: Vec<Data>,
    externs: Vec<Extern>,
    functions: Vec<Function<'o>>,
    programs: Vec<Program<'o>>,
    other_code: &'o [String],
}

#[derive(Serialize)]
struct Section {
    index: usize,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    offset: u64,
    size: u64,
}

#[derive(Serialize)]
struct Map {
    name: String,
    dialect: String,
    section: String,
    offset: u64,
    #[serde(rename = "type")]
    kind: String,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: String,
    pinning: String,
    #[serde(rename = "inner_map")]
    inner: Option<String>,
}

/// A section of global variables, which becomes a map if a program that refers to it is loaded.
#[derive(Serialize)]
struct Data {
    section: String,
    size: u32,
    flags: String,
    variables: Vec<Variable>,
}

/// A global variable: what `--set` and `map get` call by its name.
#[derive(Serialize)]
struct Variable {
    name: String,
    offset: u32,
    size: u32,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// What it begins with, as `--set` takes it.
    value: Option<String>,
    /// Whether the source has an address in it, which the program will not find.
    has_address: bool,
}

/// What is to come from the kernel that the object is loaded into.
#[derive(Serialize)]
struct Extern {
    name: String,
    kind: String,
    weak: bool,
    /// Where an option lies in the map `.kconfig`, in bytes.
    offset: Option<u32>,
    /// How many bytes it has there.
    size: Option<u32>,
}

/// A function that programs reach.
#[derive(Serialize)]
struct Function<'o> {
    name: &'o str,
    section: &'o str,
    offset: u64,
    references: Vec<Reference<'o>>,
    instructions: Vec<Instruction<'o>>,
}

#[derive(Serialize)]
struct Program<'o> {
    name: &'o str,
    section: &'o str,
    offset: u64,
    attach_type: String,
    /// The function of another program that it replaces.
    extends: Option<&'o str>,
    frags: bool,
    /// The functions that are joined to it, in their order; none where it cannot be linked.
    functions: Vec<String>,
    references: Vec<Reference<'o>>,
    instructions: Vec<Instruction<'o>>,
}

/// Names are borrowed here and below: many instructions can go by the same long ones.
#[derive(Serialize)]
struct Reference<'o> {
    instruction: usize,
    symbol: &'o str,
    section: Option<&'o str>,
    relocation: String,
}

#[derive(Serialize)]
struct Instruction<'o> {
    index: usize,
    text: String,
    /// What the instruction refers to, by the file's relocations.
    symbol: Option<&'o str>,
    /// How: the relocation's type, which JSON has among the references.
    #[serde(skip)]
    relocation: Option<String>,
    /// Which number of the kernel's types the instruction is adapted to, by CO-RE.
    adapted_to: Option<String>,
    /// The line of source that begins here.
    source: Option<Source<'o>>,
}

/// A line of source, as the compiler has noted it.
#[derive(PartialEq, Serialize)]
struct Source<'o> {
    file: &'o str,
    line: u32,
    text: &'o str,
}

impl<'o> Inspection<'o> {
    fn new(elf: &ElfFile<'_>, object: &'o Object) -> Self {
        let sections = elf.sections().iter().skip(1).map(|section| Section {
            index: section.index,
            name: section.name.clone().into_owned(),
            kind: section.kind.to_string(),
            offset: section.offset,
            size: section.size,
        });
        let (linker, btf) = (Linker::new(object), object.btf.as_deref());
        Self {
            byte_order: format!("{:?}", object.order).to_ascii_lowercase(),
            license: object.license.as_deref(),
            version: object.version,
            sections: sections.collect(),
            maps: object.maps.iter().map(|map| Map::new(map, object)).collect(),
            data: object.data.iter().map(|data| Data::new(data, object)).collect(),
            externs: object.externs.iter().map(Extern::new).collect(),
            functions: object.functions.iter().map(|function| Function::new(function, btf)).collect(),
            programs: object.programs.iter().map(|program| Program::new(program, &linker, btf)).collect(),
            other_code: &object.other_code,
        }
    }
}

impl Map {
    fn new(map: &MapSpec, object: &Object) -> Self {
        Self {
            name: map.name.clone(),
            dialect: map.dialect.to_string(),
            section: map.section.clone(),
            offset: map.offset,
            kind: map.shape.map_type.to_string(),
            key_size: map.shape.key_size,
            value_size: map.shape.value_size,
            max_entries: map.shape.max_entries,
            flags: flag_names(map.shape.flags, MAP_FLAGS),
            pinning: pinning(&map.pinning),
            inner: map.inner.as_ref().map(|inner| match inner {
                InnerMap::Map(inner) => object.maps[*inner].name.clone(),
                InnerMap::Template(inner) => inner.name.clone(),
            }),
        }
    }
}

fn pinning(pinning: &Pinning) -> String {
    match pinning {
        Pinning::None => "none".to_owned(),
        Pinning::Path(path) => path.clone(),
        Pinning::ByName => "by name".to_owned(),
        Pinning::CallerPath { pinning } => format!("by the loader ({pinning})"),
        other => format!("{other:?}"),
    }
}

impl<'o> Program<'o> {
    fn new(program: &'o ProgramSpec, linker: &Linker<'o>, btf: Option<&'o Btf>) -> Self {
        let linked = linker.link(program).map(|linked| linked.functions).unwrap_or_default();
        Self {
            name: &program.function.name,
            section: &program.function.section,
            offset: program.function.offset,
            attach_type: match (program.extends(), program.kind.attach_type) {
                (Some(_), _) => "function".to_owned(),
                (None, AttachType::XDP) => "interface".to_owned(),
                (None, other) => other.to_string(),
            },
            extends: program.extends(),
            frags: program.kind.frags,
            references: program.function.references.iter().map(Reference::new).collect(),
            functions: linked.into_iter().skip(1).map(|function| function.name).collect(),
            instructions: Instruction::all(&program.function, btf),
        }
    }
}

impl Program<'_> {
    /// Where it may run, in words.
    fn place(&self) -> String {
        match &self.extends {
            Some(function) => format!("function {} of another program", escape(function)),
            None => self.attach_type.clone(),
        }
    }
}

impl Data {
    fn new(data: &DataSpec, object: &Object) -> Self {
        Self {
            section: data.section.clone(),
            size: data.size,
            flags: flag_names(data.shape().flags, MAP_FLAGS),
            variables: data.variables.iter().map(|it| Variable::new(it, data, object)).collect(),
        }
    }
}

/// A variable of more bytes is shown without its value.
const MOST_BYTES: usize = 64;

impl Variable {
    fn new(variable: &VariableSpec, data: &DataSpec, object: &Object) -> Self {
        let ty = object.btf.as_ref().zip(variable.ty);
        let (start, size) = (variable.offset as usize, variable.size as usize);
        let bytes = data.content.get(start..).and_then(|bytes| bytes.get(..size));
        let value = bytes
            .filter(|bytes| bytes.len() <= MOST_BYTES)
            .zip(ty)
            .and_then(|(bytes, (btf, ty))| btf.decode(ty, bytes, object.order).ok());
        Self {
            name: variable.name.clone(),
            offset: variable.offset,
            size: variable.size,
            kind: ty.and_then(|(btf, ty)| btf.type_name(ty).ok()),
            value: value.map(|value| value::word(&value)),
            has_address: data.has_address_in(variable),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind =
            self.kind.as_deref().map_or_else(|| format!("{} B", self.size), |kind| escape(kind).into_owned());
        write!(f, "      {}  {kind} at {:#x}", escape(&self.name), self.offset)?;
        match &self.value {
            _ if self.has_address => f.write_str(", holds addresses that cannot be filled in")?,
            Some(value) => write!(f, ", begins with {}", escape(value))?,
            None => {}
        }
        writeln!(f)
    }
}

impl<'o> Function<'o> {
    fn new(function: &'o FunctionSpec, btf: Option<&'o Btf>) -> Self {
        Self {
            name: &function.name,
            section: &function.section,
            offset: function.offset,
            references: function.references.iter().map(Reference::new).collect(),
            instructions: Instruction::all(function, btf),
        }
    }
}

impl<'o> Instruction<'o> {
    fn all(function: &'o FunctionSpec, btf: Option<&'o Btf>) -> Vec<Self> {
        let adapted_to = |index| {
            let relocation = function.info.relocation_at(index)?;
            // A record that leads nowhere is told of when the program is to be loaded.
            let subject = core_reloc::subject(btf?, relocation).ok()?;
            Some(format!("{} of {subject}", core_reloc::noun(relocation.kind)))
        };
        let symbol = |index| function.reference(index).map(|reference| &*reference.symbol);
        let relocation = |index| function.reference(index).map(|reference| format!("{:?}", reference.kind));
        let source = |index| Source::at(function.info.line_at(index)?, btf?);
        disassemble(&function.insns)
            .map(|line| Self {
                index: line.index,
                symbol: symbol(line.index),
                relocation: relocation(line.index),
                adapted_to: adapted_to(line.index),
                source: source(line.index),
                text: line.text,
            })
            .collect()
    }
}

impl<'o> Source<'o> {
    fn at(line: &LineInfo, btf: &'o Btf) -> Option<Self> {
        let text = |name| btf.text(name).ok();
        Some(Self { file: text(line.file)?, line: line.line, text: text(line.text)?.trim() })
    }
}

impl<'o> Reference<'o> {
    fn new(reference: &'o loader::object::SymbolReference) -> Self {
        Self {
            instruction: reference.insn,
            symbol: &reference.symbol,
            section: match &reference.target {
                SymbolTarget::Section { name, .. } | SymbolTarget::Code { section: name, .. } => Some(name),
                _ => None,
            },
            relocation: format!("{:?}", reference.kind),
        }
    }
}

impl fmt::Display for Inspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "byte order  {}", self.byte_order)?;
        writeln!(f, "license     {}", self.license.map_or("none".into(), escape))?;
        match self.version {
            Some(CURRENT_KERNEL_VERSION) => writeln!(f, "version     the running kernel's")?,
            Some(version) => writeln!(f, "version     {version:#x}")?,
            None => {}
        }
        writeln!(
            f,
            "\nsections\n  {:>5}  {:<24} {:<12} {:>10} {:>8}",
            "index", "name", "type", "offset", "size"
        )?;
        for section in &self.sections {
            let (name, offset) = (escape(&section.name), format!("{:#x}", section.offset));
            writeln!(
                f,
                "  {:>5}  {name:<24} {:<12} {offset:>10} {:>8}",
                section.index, section.kind, section.size
            )?;
        }
        if !self.maps.is_empty() {
            writeln!(f, "\nmaps")?;
        }
        self.maps.iter().try_for_each(|map| map.fmt(f))?;
        if !self.data.is_empty() {
            writeln!(f, "\nglobal variables")?;
        }
        self.data.iter().try_for_each(|data| data.fmt(f))?;
        if !self.externs.is_empty() {
            writeln!(f, "\nfrom the kernel")?;
        }
        self.externs.iter().try_for_each(|external| external.fmt(f))?;
        if !self.other_code.is_empty() {
            let names: Vec<_> = self.other_code.iter().map(|name| escape(name)).collect();
            writeln!(f, "\nother sections with instructions: {}", names.join(", "))?;
        }
        self.programs.iter().try_for_each(|program| program.fmt(f))?;
        self.functions.iter().try_for_each(|function| function.fmt(f))
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {}  {}, key {} B, value {} B, {} entries, flags {}, pinned {}",
            escape(&self.name),
            self.kind,
            self.key_size,
            self.value_size,
            self.max_entries,
            self.flags,
            escape(&self.pinning)
        )?;
        if let Some(inner) = &self.inner {
            write!(f, ", holds maps like {}", escape(inner))?;
        }
        writeln!(
            f,
            "\n      {} dialect, section {} at {:#x}",
            self.dialect,
            escape(&self.section),
            self.offset
        )
    }
}

impl fmt::Display for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frags = if self.frags { ", multi-buffer (xdp.frags)" } else { "" };
        writeln!(
            f,
            "\nprogram {}  section {} at {:#x}, for {}{frags}",
            escape(self.name),
            escape(self.section),
            self.offset,
            self.place()
        )?;
        if !self.functions.is_empty() {
            let names: Vec<_> = self.functions.iter().map(|name| escape(name)).collect();
            writeln!(f, "  with functions {}", names.join(", "))?;
        }
        instructions(f, &self.instructions)
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}  {} B, flags {}", escape(&self.section), self.size, self.flags)?;
        self.variables.iter().try_for_each(|variable| variable.fmt(f))
    }
}

impl Extern {
    fn new(external: &ExternSpec) -> Self {
        let option = match external.kind {
            ExternKind::Option(option) => Some(option),
            _ => None,
        };
        Self {
            name: external.name.clone(),
            kind: external.kind.to_string(),
            weak: external.weak,
            offset: option.map(|option| option.offset),
            size: option.map(|option| option.size),
        }
    }
}

impl fmt::Display for Extern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}  {}", escape(&self.name), self.kind)?;
        if let (Some(offset), Some(size)) = (self.offset, self.size) {
            write!(f, ", {size} B at {offset:#x}")?;
        }
        writeln!(f, "{}", if self.weak { ", weak" } else { "" })
    }
}

impl fmt::Display for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, section) = (escape(self.name), escape(self.section));
        writeln!(f, "\nfunction {name}  section {section} at {:#x}", self.offset)?;
        instructions(f, &self.instructions)
    }
}

/// The instructions, each line of source above those that are from it.
fn instructions(f: &mut fmt::Formatter<'_>, instructions: &[Instruction<'_>]) -> fmt::Result {
    let mut last = None;
    for insn in instructions {
        // One line has several records where its parts are apart.
        if let Some(source) = insn.source.as_ref().filter(|&source| last != Some(source)) {
            writeln!(f, "         {}:{}  {}", escape(source.file), source.line, escape(source.text))?;
            last = Some(source);
        }
        write!(f, "{insn}")?;
    }
    Ok(())
}

impl fmt::Display for Instruction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:>5}: {}", self.index, self.text)?;
        match (&self.symbol, &self.adapted_to) {
            (Some(symbol), _) => {
                // As llvm-objdump -dr has it.
                let relocation = self.relocation.as_deref().unwrap_or_default();
                writeln!(f, "    ; {relocation} {}", escape(symbol))
            }
            (None, Some(number)) => writeln!(f, "    ; CO-RE: {}", escape(number)),
            (None, None) => writeln!(f),
        }
    }
}

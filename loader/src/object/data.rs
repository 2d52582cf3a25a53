//! Sections of global variables: each becomes an array map with one entry, which is the section's content.

use super::variable::{self, VariableSpec};
use super::{File, MapShape};
use crate::btf::{Btf, TypeId};
use crate::elf::{Disjoint, Section};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::order::{sort_by_key, twice};
use crate::uapi::bpf::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, BPF_OBJ_NAME_LEN, MapType, ObjName};
use crate::uapi::elf::SectionType;

/// What a program may do with the variables of a section, and what they begin with.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// `.rodata`: constants. Neither programs nor user space change them once they are loaded.
    ReadOnly,
    /// `.data`: variables that begin with values of the file.
    Initialised,
    /// `.bss`: variables that begin as zeros, which take no room in the file.
    Zero,
    /// `.kconfig`: options of the kernel's configuration, constants that the file does not have.
    Kconfig,
    /// `.addr_space.1`: variables that lie in the object's arena, at its beginning. No other map is made for them.
    Arena,
}

impl DataKind {
    /// Whether nobody changes the variables once they are loaded.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Kconfig)
    }

    /// By a section's name and type, as libbpf tells them: `.rodata`, `.data`, `.bss`, and each with `.<name>` after.
    /// Variables of LLVM's address space 1 are in a section of their own.
    fn of_section(section: &Section<'_>) -> Option<Self> {
        if section.name == ".addr_space.1" {
            return (section.kind == SectionType::PROGBITS && section.size > 0).then_some(Self::Arena);
        }
        let (kind, wanted) = match section.name.strip_prefix('.')?.split('.').next()? {
            "rodata" => (Self::ReadOnly, SectionType::PROGBITS),
            "data" => (Self::Initialised, SectionType::PROGBITS),
            "bss" => (Self::Zero, SectionType::NOBITS),
            _ => return None,
        };
        (section.kind == wanted && section.size > 0).then_some(kind)
    }
}

/// A section of global variables. Compilers and libraries leave some that no program refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSpec {
    /// The section's name, which is the map's name too.
    pub section: String,
    /// Of which sort it is.
    pub kind: DataKind,
    /// Its size in bytes.
    pub size: u32,
    /// Its bytes; none for [`DataKind::Zero`] and [`DataKind::Kconfig`].
    pub content: Vec<u8>,
    /// Its variables, a `BTF_KIND_DATASEC` of [`Object::btf`](super::Object::btf).
    pub ty: Option<TypeId>,
    /// Its variables one by one, in the order of their places.
    pub variables: Vec<VariableSpec>,
    /// Where the source has addresses in it (`char *p = buffer`), in bytes, in order. Nobody can fill them in: the
    /// kernel tells no addresses of its own, and the program finds what [`DataSpec::content`] has, which is mostly 0.
    pub addresses: Vec<u32>,
}

impl DataSpec {
    /// Whether the source has an address in `variable`, which is one of this section.
    pub fn has_address_in(&self, variable: &VariableSpec) -> bool {
        let next = self.addresses.partition_point(|address| *address < variable.offset);
        self.addresses.get(next).is_some_and(|address| address - variable.offset < variable.size)
    }

    /// The map that it becomes, as libbpf makes it (`bpf_object__init_internal_map()`), but for one flag: user space
    /// may always map it into its memory, and so write one variable while programs write others. libbpf (since 1.1)
    /// lets it only where a variable is neither `static` nor hidden, by the types. Variables of [`DataKind::Arena`]
    /// have another's.
    pub fn shape(&self) -> MapShape {
        let read_only = if self.kind.is_read_only() { BPF_F_RDONLY_PROG } else { 0 };
        MapShape {
            map_type: MapType::ARRAY,
            key_size: 4,
            value_size: self.size,
            max_entries: 1,
            flags: read_only | BPF_F_MMAPABLE,
            map_extra: 0,
        }
    }

    /// What the kernel is to call the map of an object that the caller calls `object`: libbpf's name for it
    /// (`internal_map_name()`), which bpftool shows.
    ///
    /// That is the section's name after so much of the object's as leaves room for seven more characters, or for all
    /// of a longer section's name. A section with a second dot in its name stands alone.
    pub fn map_name(&self, object: Option<&str>) -> ObjName {
        let object = object.filter(|_| !self.section[1..].contains('.')).unwrap_or_default();
        let room = (BPF_OBJ_NAME_LEN - 1).saturating_sub(self.section.len().max(".rodata".len()));
        let prefix: String = object.chars().take(room).collect();
        ObjName::from_symbol(&format!("{prefix}{}", self.section))
    }
}

/// Reads the sections of variables, whether a program refers to them or not.
pub(super) fn parse<'e, 'a>(
    file: &File<'e, 'a>,
    btf: Option<&Btf>,
    needed: &mut Disjoint<'e, 'a>,
) -> Result<Vec<DataSpec>> {
    let (mut data, mut sections) = (Vec::new(), Vec::new());
    let described = btf.map(Btf::data_sections).unwrap_or_default();
    for section in file.elf.sections() {
        let Some(kind) = DataKind::of_section(section) else { continue };
        needed.add(section)?;
        let ty = described.get(&section.name).copied();
        let variables = variable::parse(file, btf, section, ty)?;
        let addresses = addresses(file, section, needed)?;
        data.push(DataSpec { ty, variables, addresses, ..read(file, section, kind)? });
        sections.push(section);
    }
    let names: Vec<_> = sections.iter().map(|section| &*section.name).collect();
    let Some((second, _)) = twice(&names) else { return Ok(data) };
    Err(Error::malformed(
        "section header table",
        sections[second].header_offset,
        format!("expected one section {} with variables, found another", quote(names[second])),
    ))
}

/// The places in the section that a linker would fill in.
fn addresses<'e, 'a>(
    file: &File<'e, 'a>,
    section: &Section<'_>,
    needed: &mut Disjoint<'e, 'a>,
) -> Result<Vec<u32>> {
    let Some(table) = file.relocations_of(section) else { return Ok(Vec::new()) };
    needed.add(table)?;
    let relocations = file.elf.relocations(table)?;
    let within = relocations.iter().filter(|relocation| relocation.offset < section.size);
    let mut addresses: Vec<_> =
        within.filter_map(|relocation| u32::try_from(relocation.offset).ok()).collect();
    sort_by_key(&mut addresses, |address| *address);
    Ok(addresses)
}

fn read(file: &File<'_, '_>, section: &Section<'_>, kind: DataKind) -> Result<DataSpec> {
    let size = u32::try_from(section.size).map_err(|_| {
        Error::malformed(
            "section header table",
            section.header_offset,
            format!(
                "expected section {} to fit in a map, found {} bytes",
                quote(&section.name),
                section.size
            ),
        )
        .with_kind(ErrorKind::Unsupported)
    })?;
    Ok(DataSpec {
        section: section.name.clone().into_owned(),
        kind,
        size,
        content: file.elf.data(section)?.data().to_vec(),
        ty: None,
        variables: Vec::new(),
        addresses: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_called_as_libbpf_calls_them() {
        let name = |object, section: &str| {
            let kind = DataKind::Initialised;
            let data = DataSpec {
                section: section.to_owned(),
                kind,
                size: 4,
                content: vec![0; 4],
                ty: None,
                variables: Vec::new(),
                addresses: Vec::new(),
            };
            data.map_name(object).to_string()
        };
        for (section, expected) in [
            (".rodata", "my_objec.rodata"),
            (".bss", "my_objec.bss"),
            (".data", "my_objec.data"),
            (".data.abracadabra", ".data.abracadab"),
            (".rodata.str1.1", ".rodata.str1.1"),
        ] {
            assert_eq!(name(Some("my_object_name"), section), expected);
        }
        assert_eq!(name(Some("a-b"), ".bss"), "a_b.bss");
        assert_eq!(name(None, ".bss"), ".bss");
    }
}

//! `xdpload inspect --btf`: the types that an object file describes.

use std::fmt;

use loader::btf::Btf;
use loader::elf::ElfFile;
use loader::{Error, ErrorKind, Result, escape};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Types {
    types: Vec<Type>,
}

#[derive(Serialize)]
struct Type {
    id: u32,
    kind: String,
    name: Option<String>,
    size: Option<u32>,
    declaration: String,
}

impl Types {
    /// The types of the section `.BTF`.
    pub(super) fn of(elf: &ElfFile<'_>) -> Result<Self> {
        let section = elf.section_named(".BTF").ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the object has no section `.BTF`")
                .with_help("compile with `clang -g -target bpf -c`")
        })?;
        let btf = Btf::parse(elf.data(section)?.data(), elf.order(), "section `.BTF`")?;
        let mut types = Vec::new();
        for (id, declaration) in btf.declarations() {
            types.push(Type {
                id: id.0,
                kind: btf.get(id)?.shape.kind().to_string(),
                name: Some(btf.name(id)?).filter(|name| !name.is_empty()).map(str::to_owned),
                size: btf.size_of(id).ok(),
                declaration: declaration?,
            });
        }
        Ok(Self { types })
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.types.iter().try_for_each(|ty| {
            // Names are escaped already; what is left are lines and tabs of the declaration itself.
            let lines: Vec<_> = ty.declaration.lines().map(|line| line.replace('\t', "    ")).collect();
            writeln!(f, "[{}] {}", ty.id, escape(&lines[0]))?;
            lines[1..].iter().try_for_each(|line| writeln!(f, "{}", escape(line)))
        })
    }
}

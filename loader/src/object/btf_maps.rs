//! The BTF dialect: each variable of the section `.maps` is a map, and its type is the definition.

use std::collections::BTreeMap;

use super::{EntryTypes, File, MapDialect, MapShape, MapSpec, Pinning};
use crate::btf::{Btf, Member, TypeId, Variable};
use crate::elf::Section;
use crate::error::{Context, Error, ErrorKind, Result, quote};
use crate::uapi::bpf::MapType;

/// libbpf's `enum libbpf_pin_type`.
const LIBBPF_PIN_NONE: u32 = 0;
const LIBBPF_PIN_BY_NAME: u32 = 1;

/// Reads the definitions in `.maps`, in the order of their places there.
pub(super) fn parse(file: &File<'_, '_>, btf: Option<&Btf>, section: &Section<'_>) -> Result<Vec<MapSpec>> {
    let Some(btf) = btf else {
        return Err(Error::malformed(
            format!("section {}", quote(&section.name)),
            0,
            "expected a section `.BTF` that describes the maps, found none",
        )
        .with_help("compile with `clang -g`, and strip with `llvm-strip -g`, which keeps BTF"));
    };
    let variables = btf.variables(&section.name).map_err(|error| placed(error, section, 0))?;
    let mut variables: BTreeMap<&str, Variable<'_>> =
        variables.into_iter().map(|variable| (variable.name, variable)).collect();
    let mut maps = Vec::with_capacity(variables.len());
    // Symbols say where a variable is: the offsets in BTF are a static linker's to fill in.
    for symbol in file.symbols_in(section.index) {
        // What BTF does not know is the section's own symbol or a label of the compiler's.
        let Some(variable) = variables.remove(&*symbol.name) else { continue };
        let map = definition(btf, &variable)
            .map_err(|error| placed(error, section, symbol.value))
            .context(|| format!("map {}", quote(variable.name)))?;
        maps.push(MapSpec { section: section.name.clone().into_owned(), offset: symbol.value, ..map });
    }
    match variables.keys().next() {
        None => Ok(maps),
        Some(name) => Err(Error::malformed(
            format!("section {}", quote(&section.name)),
            0,
            format!("expected a symbol for map {}, found none", quote(name)),
        )),
    }
}

/// Says the place of the definition, unless the error already lies at a place in BTF.
#[cold]
fn placed(error: Error, section: &Section<'_>, offset: u64) -> Error {
    let error = match error.kind() {
        ErrorKind::NotFound => error.with_kind(ErrorKind::Malformed),
        _ => error,
    };
    match error.place() {
        Some(_) => error,
        None => error.at(format!("section {}", quote(&section.name)), offset),
    }
}

/// Reads the definition that the variable's type is.
fn definition(btf: &Btf, variable: &Variable<'_>) -> Result<MapSpec> {
    let mut map = MapSpec {
        name: variable.name.to_owned(),
        dialect: MapDialect::Btf,
        section: String::new(),
        offset: 0,
        shape: MapShape::default(),
        types: None,
        pinning: Pinning::None,
        inner: None,
    };
    let mut types = (None, None);
    for member in btf.members(variable.ty)? {
        let name = btf.text(member.name)?;
        read_member(btf, member, name, &mut map, &mut types).context(|| format!("field {}", quote(name)))?;
    }
    map.types = types.0.zip(types.1).map(|(key, value)| EntryTypes { key, value });
    if map.shape.map_type == MapType::UNSPEC {
        return Err(Error::new(ErrorKind::Malformed, "expected a field `type`, found none"));
    }
    Ok(map)
}

/// Reads one field; the types of key and value are kept in `types`.
fn read_member(
    btf: &Btf,
    member: &Member,
    name: &str,
    map: &mut MapSpec,
    types: &mut (Option<TypeId>, Option<TypeId>),
) -> Result<()> {
    let shape = &mut map.shape;
    match name {
        "type" => shape.map_type = MapType(btf.uint_member(member)?),
        "max_entries" => shape.max_entries = btf.uint_member(member)?,
        "map_flags" => shape.flags = btf.uint_member(member)?,
        "key_size" => set_size(&mut shape.key_size, btf.uint_member(member)?)?,
        "value_size" => set_size(&mut shape.value_size, btf.uint_member(member)?)?,
        "key" => {
            let ty = *types.0.insert(btf.type_member(member)?);
            set_size(&mut shape.key_size, btf.size_of(ty)?)?;
        }
        "value" => {
            let ty = *types.1.insert(btf.type_member(member)?);
            set_size(&mut shape.value_size, btf.size_of(ty)?)?;
        }
        "pinning" => map.pinning = pinning(btf.uint_member(member)?)?,
        "numa_node" | "map_extra" | "values" => {
            return Err(Error::new(ErrorKind::Unsupported, "is not supported yet"));
        }
        _ => {
            return Err(Error::new(
                ErrorKind::Malformed,
                "expected a field that libbpf defines for maps, found another name",
            ));
        }
    }
    Ok(())
}

/// A size may be given twice, as a number and by a type, if both agree.
fn set_size(size: &mut u32, found: u32) -> Result<()> {
    if *size != 0 && *size != found {
        return Err(Error::new(
            ErrorKind::Malformed,
            format!("expected {size} bytes, as another field says, found {found}"),
        ));
    }
    *size = found;
    Ok(())
}

fn pinning(number: u32) -> Result<Pinning> {
    match number {
        LIBBPF_PIN_NONE => Ok(Pinning::None),
        LIBBPF_PIN_BY_NAME => Ok(Pinning::ByName),
        other => Err(Error::new(
            ErrorKind::Malformed,
            format!("expected LIBBPF_PIN_NONE (0) or LIBBPF_PIN_BY_NAME (1), found {other}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::builder::{Builder, ORDERS};
    use crate::bytes::ByteOrder;
    use crate::object::MapShape;
    use crate::uapi::btf::{BtfKind, VarLinkage};

    /// What a member of a definition declares: `__uint` a number, `__type` a type of so many bytes.
    #[derive(Clone, Copy)]
    enum Declares {
        Uint(u32),
        Type(u32),
    }

    fn read(order: ByteOrder, fields: &[(&str, Declares)]) -> Result<MapSpec> {
        let mut b = Builder::new(order);
        let int = b.int("int", 4, 0);
        let members: Vec<(&str, TypeId)> = fields
            .iter()
            .map(|&(name, declares)| {
                let target = match declares {
                    Declares::Uint(number) => b.array(int, number),
                    Declares::Type(size) => b.add::<0>(BtfKind::STRUCT, "", size, &[]),
                };
                (name, b.refer(BtfKind::PTR, "", target))
            })
            .collect();
        let ty = b.map_def("", &members);
        let var = b.var("m", ty, VarLinkage::GLOBAL_ALLOCATED.0);
        b.add(BtfKind::DATASEC, ".maps", 0, &[[var.0, 0, 32]]);
        let btf = b.parse()?;
        definition(&btf, &btf.variables(".maps")?[0])
    }

    fn refusal(fields: &[(&str, Declares)]) -> String {
        read(ByteOrder::Little, fields).unwrap_err().to_string()
    }

    #[test]
    fn sizes_come_as_numbers_or_as_types() {
        use Declares::{Type, Uint};
        let shape =
            MapShape { map_type: MapType::HASH, key_size: 6, value_size: 16, max_entries: 64, flags: 1 };
        for order in ORDERS {
            let both = [
                ("type", Uint(1)),
                ("key_size", Uint(6)),
                ("key", Type(6)),
                ("value", Type(16)),
                ("max_entries", Uint(64)),
                ("map_flags", Uint(1)),
                ("pinning", Uint(1)),
            ];
            let map = read(order, &both).unwrap();
            assert_eq!((&*map.name, map.shape, map.pinning), ("m", shape, Pinning::ByName));
        }
        assert_eq!(
            refusal(&[("type", Uint(1)), ("key_size", Uint(4)), ("key", Type(8))]),
            "field `key`: expected 4 bytes, as another field says, found 8"
        );
    }

    #[test]
    fn what_a_definition_must_not_say_is_refused_by_field() {
        use Declares::{Type, Uint};
        assert_eq!(refusal(&[("max_entries", Uint(1))]), "expected a field `type`, found none");
        assert_eq!(
            refusal(&[("type", Uint(1)), ("numa_node", Uint(1))]),
            "field `numa_node`: is not supported yet"
        );
        assert_eq!(
            refusal(&[("pinning", Uint(2))]),
            "field `pinning`: expected LIBBPF_PIN_NONE (0) or LIBBPF_PIN_BY_NAME (1), found 2"
        );
        let text = refusal(&[("type", Type(4))]);
        assert!(
            text.ends_with("expected a pointer to an array (`__uint`), found a pointer to struct"),
            "{text}"
        );
    }
}

//! The BTF dialect: each variable of the section `.maps` is a map, and its type is the definition.

use super::map_slots::{Extent, fill};
use super::{EntryTypes, File, InnerMap, MapDialect, MapShape, MapSpec, Pinning, ProgramSpec};
use crate::btf::{Btf, Member, Shape, Type, TypeId, Variable};
use crate::elf::Section;
use crate::error::{Context, Error, ErrorKind, Result, quote};
use crate::order::InOrder as _;
use crate::uapi::bpf::MapType;

/// libbpf's `enum libbpf_pin_type`.
const LIBBPF_PIN_NONE: u32 = 0;
const LIBBPF_PIN_BY_NAME: u32 = 1;

/// What the kernel takes for the value of a map of maps and of a prog array: an fd.
const FD_SIZE: u32 = 4;

/// Reads the definitions in `.maps`, in the order of their places there. They may name `programs`, and each other: the
/// first of them is to become the map number `first` of the object.
pub(super) fn parse(
    file: &File<'_, '_>,
    btf: Option<&Btf>,
    section: &Section<'_>,
    programs: &[ProgramSpec],
    first: usize,
) -> Result<Vec<MapSpec>> {
    let Some(btf) = btf else {
        return Err(Error::malformed(
            format!("section {}", quote(&section.name)),
            0,
            "expected a section `.BTF` that describes the maps, found none",
        )
        .with_help("compile with `clang -g`, and strip with `llvm-strip -g`, which keeps BTF"));
    };
    let variables = btf.variables(&section.name).map_err(|error| placed(error, section, 0))?;
    let by_name = variables.iter().zip(0..).map(|(variable, index)| (variable.name, index)).into_lookup();
    let clash = variables.iter().find_map(|first| {
        let last: &Variable<'_> = &variables[*by_name.get(first.name)?];
        (last.id != first.id).then_some((first, last))
    });
    if let Some((first, second)) = clash {
        return Err(two_of_one_name(section, first, second));
    }
    let mut is_placed = vec![false; variables.len()];
    let mut maps = Vec::with_capacity(variables.len());
    let mut extents = Vec::with_capacity(variables.len());
    // Symbols say where a variable is: the offsets in BTF are a static linker's to fill in.
    for symbol in file.symbols_in(section.index) {
        // What BTF does not know is the section's own symbol or a label of the compiler's.
        let Some(&index) = by_name.get(&symbol.name).filter(|index| !is_placed[**index]) else { continue };
        is_placed[index] = true;
        let variable = &variables[index];
        let place = Place { section: &section.name, offset: symbol.value };
        let (map, values_at) = definition(btf, variable.name, variable.ty, place)
            .map_err(|error| placed(error, section, symbol.value))
            .context(|| format!("map {}", quote(variable.name)))?;
        maps.push(map);
        let size = if symbol.size == 0 { u64::from(variable.size) } else { symbol.size };
        extents.push(Extent::new(symbol.value, values_at, size));
    }
    if let Some((name, _)) = by_name.iter().find(|(_, index)| !is_placed[*index]) {
        return Err(Error::malformed(
            format!("section {}", quote(&section.name)),
            0,
            format!("expected a symbol for map {}, found none", quote(name)),
        ));
    }
    fill(file, section, programs, first, &mut maps, &extents)?;
    Ok(maps)
}

/// Only static variables can be alike, of files that a static linker has joined. A load tells maps by their names.
#[cold]
fn two_of_one_name(section: &Section<'_>, first: &Variable<'_>, second: &Variable<'_>) -> Error {
    Error::malformed(
        format!("section {}", quote(&section.name)),
        second.offset.into(),
        format!("expected one map called {}, found another at {:#x}", quote(first.name), first.offset),
    )
    .with_help("rename one of them: files that were joined have each a `static` map of this name")
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

/// Where a definition is.
#[derive(Clone, Copy)]
struct Place<'s> {
    section: &'s str,
    offset: u64,
}

/// Reads the definition that the type `ty` of a map called `name` is, and tells where in it `values` begins, in bytes.
fn definition(btf: &Btf, name: &str, ty: TypeId, place: Place<'_>) -> Result<(MapSpec, Option<u64>)> {
    let (mut map, values) = read_members(btf, name, ty, place)?;
    let Some(values) = values else {
        return Ok((map, None));
    };
    read_values(btf, values, &mut map, place).context(|| "field `values`")?;
    Ok((map, Some(u64::from(values.bit_offset / 8))))
}

/// Reads all fields but `values`, which depends on the type and is given back.
fn read_members<'b>(
    btf: &'b Btf,
    name: &str,
    ty: TypeId,
    place: Place<'_>,
) -> Result<(MapSpec, Option<&'b Member>)> {
    let mut map = MapSpec {
        name: name.to_owned(),
        dialect: MapDialect::Btf,
        section: place.section.to_owned(),
        offset: place.offset,
        shape: MapShape::default(),
        types: None,
        numa_node: 0,
        pinning: Pinning::None,
        inner: None,
        slots: Vec::new(),
    };
    let (mut types, mut values) = ((None, None), None);
    // Of names that are known, and others end it: a handful.
    let mut seen = Vec::new();
    for member in btf.members(ty)? {
        let name = btf.text(member.name)?;
        if seen.contains(&name) {
            let message = format!("expected each field once, found {} again", quote(name));
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        seen.push(name);
        match name {
            "values" => values = Some(member),
            name => read_member(btf, member, name, &mut map, &mut types)
                .context(|| format!("field {}", quote(name)))?,
        }
    }
    // A filter has no keys, and its values have a type all the same.
    let key = types.0.or((map.shape.key_size == 0).then_some(TypeId::VOID));
    map.types = key.zip(types.1).map(|(key, value)| EntryTypes { key, value });
    if map.shape.map_type == MapType::UNSPEC {
        return Err(Error::new(ErrorKind::Malformed, "expected a field `type`, found none"));
    }
    Ok((map, values))
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
        "map_extra" => shape.map_extra = btf.ulong_member(member)?,
        "key_size" => set_size(&mut shape.key_size, btf.uint_member(member)?)?,
        "value_size" => set_size(&mut shape.value_size, btf.uint_member(member)?)?,
        "numa_node" => map.numa_node = btf.uint_member(member)?,
        "key" => {
            let ty = *types.0.insert(btf.type_member(member)?);
            set_size(&mut shape.key_size, size_of_entry(btf, ty, name)?)?;
        }
        "value" => {
            let ty = *types.1.insert(btf.type_member(member)?);
            set_size(&mut shape.value_size, size_of_entry(btf, ty, name)?)?;
        }
        "pinning" => map.pinning = pinning(btf.uint_member(member)?)?,
        _ => {
            return Err(Error::new(
                ErrorKind::Malformed,
                "expected a field that libbpf defines for maps, found another name",
            ));
        }
    }
    Ok(())
}

/// The size of a key or value. clang 14 may only say that there is a struct, where no more than inner maps use it.
fn size_of_entry(btf: &Btf, ty: TypeId, field: &str) -> Result<u32> {
    btf.size_of(ty).map_err(|error| match btf.resolve(ty).and_then(|ty| btf.get(ty)) {
        Ok(Type { name, shape: Shape::Fwd(_) }) => {
            let name = btf.text(*name).unwrap_or_default();
            error.with_help(format!(
                "if the source defines it, clang did not describe it: use a newer clang, or give its size, as in \
                 `__uint({field}_size, sizeof(struct {name}))`"
            ))
        }
        _ => error,
    })
}

/// Reads what the values are like: inner maps of a map of maps, programs of a prog array.
fn read_values(btf: &Btf, values: &Member, map: &mut MapSpec, place: Place<'_>) -> Result<()> {
    let map_type = map.shape.map_type;
    let element = btf.array_member(values)?;
    set_size(&mut map.shape.value_size, FD_SIZE)?;
    if map_type.is_map_in_map() {
        let inner = inner_definition(btf, &format!("{}.inner", map.name), element, place)?;
        map.inner = Some(InnerMap::Template(Box::new(inner)));
        Ok(())
    } else if map_type != MapType::PROG_ARRAY {
        let message =
            format!("expected a type whose values are maps or programs beside this field, found {map_type}");
        Err(Error::new(ErrorKind::Malformed, message))
    } else if matches!(btf.get(btf.resolve(element)?)?.shape, Shape::FuncProto(_)) {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Malformed, "expected the signature of a program, found another type"))
    }
}

/// Reads the definition of the maps inside another. The kernel has maps of maps, but no maps of maps of maps.
fn inner_definition(btf: &Btf, name: &str, ty: TypeId, place: Place<'_>) -> Result<MapSpec> {
    let names = btf.members(ty)?.iter().map(|member| btf.text(member.name)).collect::<Result<Vec<_>>>()?;
    if names.contains(&"pinning") {
        return Err(Error::new(
            ErrorKind::Malformed,
            "expected no field `pinning` in an inner map, found one",
        ));
    }
    let (map, values) = read_members(btf, name, ty, place)?;
    if values.is_some() || map.shape.map_type.is_map_in_map() {
        let message = format!("expected an inner map with plain values, found {}", map.shape.map_type);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(map)
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
        let map = btf.variables(".maps")?[0];
        definition(&btf, map.name, map.ty, Place { section: ".maps", offset: 0 }).map(|(map, _)| map)
    }

    fn refusal(fields: &[(&str, Declares)]) -> String {
        read(ByteOrder::Little, fields).unwrap_err().to_string()
    }

    #[test]
    fn sizes_come_as_numbers_or_as_types() {
        use Declares::{Type, Uint};
        let shape = MapShape {
            map_type: MapType::HASH,
            key_size: 6,
            value_size: 16,
            max_entries: 64,
            flags: 1,
            map_extra: 0,
        };
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
            refusal(&[("type", Uint(1)), ("numa_nodes", Uint(1))]),
            "field `numa_nodes`: expected a field that libbpf defines for maps, found another name"
        );
        assert_eq!(
            refusal(&[("type", Uint(1)), ("type", Uint(1))]),
            "expected each field once, found `type` again"
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

    /// clang 14 describes a struct that only inner maps use so.
    #[test]
    fn a_key_that_is_but_declared_can_be_given_as_a_size() {
        let error = with_values(MapType::ARRAY_OF_MAPS, |b, int| {
            let array = b.array(int, MapType::HASH.0);
            let kind = b.refer(BtfKind::PTR, "", array);
            let declared = b.add::<0>(BtfKind::FWD, "flow", 0, &[]);
            let key = b.refer(BtfKind::PTR, "", declared);
            b.map_def("", &[("type", kind), ("key", key)])
        })
        .unwrap_err();
        let help = error.help().unwrap().to_string();
        assert!(help.ends_with("`__uint(key_size, sizeof(struct flow))`"), "{help}");
    }

    /// A map of the type `map_type` whose field `values` is an array of pointers to what `element` adds.
    fn with_values(
        map_type: MapType,
        element: impl FnOnce(&mut Builder, TypeId) -> TypeId,
    ) -> Result<MapSpec> {
        let mut b = Builder::new(ByteOrder::Little);
        let int = b.int("int", 4, 0);
        let number = |b: &mut Builder, number| {
            let array = b.array(int, number);
            b.refer(BtfKind::PTR, "", array)
        };
        let (kind, size) = (number(&mut b, map_type.0), number(&mut b, 4));
        let element = element(&mut b, int);
        let pointer = b.refer(BtfKind::PTR, "", element);
        let values = b.array(pointer, 0);
        let ty = b.map_def("", &[("type", kind), ("key_size", size), ("values", values)]);
        let btf = b.parse()?;
        definition(&btf, "m", ty, Place { section: ".maps", offset: 0 }).map(|(map, _)| map)
    }

    /// A definition with these fields, each the number beside it.
    fn inner(fields: &'static [(&'static str, u32)]) -> impl FnOnce(&mut Builder, TypeId) -> TypeId {
        |b, int| {
            let members: Vec<_> = fields
                .iter()
                .map(|&(name, number)| {
                    let array = b.array(int, number);
                    (name, b.refer(BtfKind::PTR, "", array))
                })
                .collect();
            b.map_def("inner", &members)
        }
    }

    #[test]
    fn a_map_of_maps_has_a_template() {
        let fields = &[("type", 2), ("key_size", 4), ("value_size", 8), ("max_entries", 3)];
        let map = with_values(MapType::ARRAY_OF_MAPS, inner(fields)).unwrap();
        assert_eq!((map.shape.key_size, map.shape.value_size), (4, 4), "the value is an fd");
        let Some(InnerMap::Template(template)) = map.inner else { panic!("{map:?}") };
        let MapShape { map_type, key_size, value_size, max_entries, .. } = template.shape;
        assert_eq!((&*template.name, map_type), ("m.inner", MapType::ARRAY));
        assert_eq!((key_size, value_size, max_entries), (4, 8, 3));
        let map = with_values(MapType::PROG_ARRAY, |b, int| b.add::<0>(BtfKind::FUNC_PROTO, "", int.0, &[]))
            .unwrap();
        assert_eq!((map.shape.value_size, map.inner), (4, None));
    }

    #[test]
    fn values_of_another_sort_are_refused() {
        let refusal = |map_type, fields| with_values(map_type, inner(fields)).unwrap_err().to_string();
        assert_eq!(
            refusal(MapType::HASH, &[("type", 2)]),
            "field `values`: expected a type whose values are maps or programs beside this field, found hash"
        );
        assert_eq!(
            refusal(MapType::PROG_ARRAY, &[("type", 2)]),
            "field `values`: expected the signature of a program, found another type"
        );
        assert_eq!(
            refusal(MapType::HASH_OF_MAPS, &[("type", 2), ("pinning", 0)]),
            "field `values`: expected no field `pinning` in an inner map, found one"
        );
        assert_eq!(
            refusal(MapType::HASH_OF_MAPS, &[("type", 12), ("key_size", 4)]),
            "field `values`: expected an inner map with plain values, found array_of_maps"
        );
        assert_eq!(
            refusal(MapType::HASH_OF_MAPS, &[("max_entries", 4)]),
            "field `values`: expected a field `type`, found none"
        );
        let not_a_struct = with_values(MapType::HASH_OF_MAPS, |_, int| int).unwrap_err().to_string();
        assert!(not_a_struct.ends_with("expected a struct or union, found int `int`"), "{not_a_struct}");
    }

    #[test]
    fn a_map_that_holds_its_like_is_refused() {
        // The struct is the sixth type, and is its own inner map.
        let mut b = Builder::new(ByteOrder::Little);
        let int = b.int("int", 4, 0);
        let number = b.array(int, MapType::ARRAY_OF_MAPS.0);
        let kind = b.refer(BtfKind::PTR, "", number);
        let pointer = b.refer(BtfKind::PTR, "", TypeId(6));
        let values = b.array(pointer, 0);
        let ty = b.map_def("", &[("type", kind), ("values", values)]);
        assert_eq!(ty, TypeId(6));
        let btf = b.parse().unwrap();
        let error = definition(&btf, "m", ty, Place { section: ".maps", offset: 0 }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `values`: expected an inner map with plain values, found array_of_maps"
        );
    }
}

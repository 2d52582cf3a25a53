//! How the keys and values of one map are written: by their types where the kernel has them, else by their sizes.

use std::ops::Range;

use loader::btf::{Btf, Field, Shape, TypeId, Value};
use loader::bytes::ByteOrder;
use loader::kernel::LoadedBtf;
use loader::map::Map;
use loader::uapi::bpf::MapType;
use loader::{Context as _, Error, ErrorKind, Result, quote};
use serde::Serialize;

use crate::args::Formats;
use crate::format::{self, Format};
use crate::value::{self, Json};

/// Bytes of a key of a prefix trie: the length, and the address.
const PREFIX_OF_IPV4: usize = 4 + 4;
const PREFIX_OF_IPV6: usize = 4 + 16;

/// A map's types, and the formats that were asked for.
pub(super) struct View {
    types: Option<Types>,
    formats: Formats,
    key_size: usize,
    value_size: usize,
}

struct Types {
    btf: Btf,
    /// None for the map of a section of variables, which has one entry.
    key: Option<TypeId>,
    value: TypeId,
}

/// Bytes in the format that was asked for, in hexadecimal, and by their type.
#[derive(Serialize)]
pub(super) struct Words {
    pub(super) text: String,
    hex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    typed: Option<Json<Value>>,
}

impl View {
    /// Asks the kernel for the types of `map`.
    pub(super) fn of(map: &Map, formats: Formats) -> Result<Self> {
        // Of other lengths a prefix is none of an address, and only its type says what it is.
        let is_prefix = formats.key_format == Format::Auto
            && map.map_type() == MapType::LPM_TRIE
            && matches!(map.key_size(), PREFIX_OF_IPV4 | PREFIX_OF_IPV6);
        let key_format = if is_prefix { Format::Prefix } else { formats.key_format };
        Ok(Self {
            types: Types::of(map)?,
            formats: Formats { key_format, ..formats },
            key_size: map.key_size(),
            value_size: map.value_size(),
        })
    }

    pub(super) fn key(&self, bytes: &[u8]) -> Words {
        let field = self.types.as_ref().and_then(|types| types.key).map(Field::whole);
        self.words(bytes, bytes, field, self.formats.key_format)
    }

    pub(super) fn value(&self, bytes: &[u8]) -> Words {
        let field = self.types.as_ref().map(|types| Field::whole(types.value));
        self.words(bytes, bytes, field, self.formats.value_format)
    }

    /// The number that a value is: by its type, if it has one, else by its size.
    pub(super) fn number(&self, bytes: &[u8]) -> Option<i128> {
        let Some(types) = &self.types else { return format::number(bytes).map(Into::into) };
        match types.btf.decode(types.value, bytes, ByteOrder::NATIVE) {
            Ok(Value::Int(number)) => Some(number),
            _ => None,
        }
    }

    /// The variable that `field` is in `bytes`, the value of a section's map.
    pub(super) fn variable(&self, field: Field, bytes: &[u8]) -> Result<Words> {
        let part = bytes.get(self.bytes_of(field)?).unwrap_or_default();
        Ok(self.words(part, bytes, Some(field), self.formats.value_format))
    }

    /// The bytes of a value that a part of it is in.
    pub(super) fn bytes_of(&self, field: Field) -> Result<Range<usize>> {
        let bits = match (&self.types, field.bitfield_bits) {
            (Some(types), 0) => u64::from(types.btf.size_of(field.ty)?) * 8,
            (_, bits) => bits.into(),
        };
        let [start, end] = [field.bit_offset / 8, (field.bit_offset + bits).div_ceil(8)];
        // What is beyond a usize is beyond any value.
        let [start, end] = [start, end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        Ok(start..end)
    }

    fn words(&self, bytes: &[u8], all: &[u8], field: Option<Field>, format: Format) -> Words {
        let decode = |types: &Types| types.btf.decode_field(field?, all, ByteOrder::NATIVE).ok();
        let typed = self.types.as_ref().and_then(decode);
        let text = match &typed {
            Some(value) if format == Format::Auto => value::word(value),
            _ => format::print(bytes, format),
        };
        Words { text, hex: format::hex(bytes), typed: typed.map(Json) }
    }

    pub(super) fn parse_key(&self, word: &str) -> Result<Vec<u8>> {
        if self.key_size == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "the map has no keys"));
        }
        let types = self.types.as_ref();
        parse(types.and_then(|types| Some((&types.btf, types.key?))), word, self.key_size, "key")
    }

    pub(super) fn parse_value(&self, word: &str) -> Result<Vec<u8>> {
        let types = self.types.as_ref();
        parse(types.map(|types| (&types.btf, types.value)), word, self.value_size, "value")
    }

    /// The variable that a word names, if the map is one of a section of variables and the word is no key.
    pub(super) fn find_variable(&self, word: &str) -> Result<Option<Field>> {
        let is_name =
            word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !word.starts_with("hex:");
        match &self.types {
            Some(types) if is_name && types.is_section()? => {
                types.btf.field(types.value, &format!(".{word}")).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The variables of a section's map by their names, if `value` is its value and is to be printed by its type.
    pub(super) fn variables(&self, value: &[u8]) -> Result<Option<Vec<(String, String)>>> {
        let Some(types) = self.types.as_ref().filter(|_| self.formats.value_format == Format::Auto) else {
            return Ok(None);
        };
        if !types.is_section()? {
            return Ok(None);
        }
        Ok(match types.btf.decode(types.value, value, ByteOrder::NATIVE)? {
            Value::Fields(fields) => {
                Some(fields.into_iter().map(|(name, value)| (name, value::word(&value))).collect())
            }
            _ => None,
        })
    }

    /// Writes what a word says into the part `field` of `bytes`.
    pub(super) fn write(&self, field: Field, word: &str, bytes: &mut [u8]) -> Result<()> {
        let Some(types) = &self.types else { return Ok(()) };
        types.btf.encode_field(field, &value::parse(word)?, bytes, ByteOrder::NATIVE)
    }
}

impl Types {
    /// The types of `map`, none where it has none, or where nobody may ask for them but the system's administrator.
    fn of(map: &Map) -> Result<Option<Self>> {
        let info = map.info()?;
        if info.btf_id == 0 || info.btf_value_type_id == 0 {
            return Ok(None);
        }
        match LoadedBtf::from_id(info.btf_id).and_then(|btf| btf.read()) {
            Ok(btf) => Ok(Some(Self {
                btf,
                key: Some(TypeId(info.btf_key_type_id)).filter(|&id| id != TypeId::VOID),
                value: TypeId(info.btf_value_type_id),
            })),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_section(&self) -> Result<bool> {
        Ok(matches!(self.btf.get(self.value)?.shape, Shape::DataSec(_)))
    }
}

/// The bytes that a word means for a key or value of `size` bytes: by its type, or as numbers and addresses are
/// written.
fn parse(ty: Option<(&Btf, TypeId)>, word: &str, size: usize, what: &str) -> Result<Vec<u8>> {
    let Some((btf, ty)) = ty else { return format::parse(word, size, what) };
    let value = value::parse(word)?;
    // Prefixes and the like, for which there is no type in C.
    let is_plain = matches!(value, Value::Text(_)) && btf.members(ty).is_ok();
    if is_plain {
        return format::parse(word, size, what);
    }
    let mut bytes = vec![0; size];
    btf.encode(ty, &value, &mut bytes, ByteOrder::NATIVE)
        .context(|| format!("{} cannot be the {what}", quote(word)))?;
    Ok(bytes)
}

//! The two objects that the demo loads: those that are built in, or fresh ones from a directory.

use std::path::Path;

use loader::object::Object;
use loader::{Context as _, Result, escape};

const XDP_DROP: (&str, &[u8]) = ("xdp_drop.o", include_bytes!("../../../bpf-src/prebuilt/xdp_drop.o"));
const BLACKLIST: (&str, &[u8]) = ("blacklist.o", include_bytes!("../../../bpf-src/prebuilt/blacklist.o"));

/// An object and what a user would call its file.
#[derive(Debug)]
pub(crate) struct Named {
    /// The file's path, fit for a terminal.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) object: Object,
}

/// What the demo loads.
#[derive(Debug)]
pub(crate) struct Objects {
    /// Drops every packet.
    pub(crate) xdp_drop: Named,
    /// Drops packets whose source is in its map.
    pub(crate) blacklist: Named,
}

impl Objects {
    /// Reads the objects in `directory`, or those that are built in.
    pub(crate) fn open(directory: Option<&Path>) -> Result<Self> {
        let open = |(name, bytes): (&str, &[u8])| match directory {
            Some(directory) => from_file(&directory.join(name)),
            None => built_in(name, bytes),
        };
        Ok(Self { xdp_drop: open(XDP_DROP)?, blacklist: open(BLACKLIST)? })
    }
}

fn from_file(path: &Path) -> Result<Named> {
    let object = Object::open(path)?;
    Ok(Named { path: escape(&path.to_string_lossy()).into_owned(), object })
}

fn built_in(name: &str, bytes: &[u8]) -> Result<Named> {
    let object = Object::parse(bytes).context(|| format!("reading the built-in {name}"))?;
    Ok(Named { path: name.to_owned(), object })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_objects_are_those_that_the_demo_tells_of() {
        let objects = Objects::open(None).unwrap();
        assert_eq!(objects.xdp_drop.object.only_program().unwrap().function.name, "xdp_drop");
        assert_eq!(objects.blacklist.object.maps[0].name, "blacklist");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Objects::open(Some(Path::new("/nowhere"))).unwrap_err();
        assert!(error.to_string().contains("`/nowhere/xdp_drop.o`"), "{error}");
    }
}

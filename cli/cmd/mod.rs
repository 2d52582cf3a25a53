//! One file for each command, and what several of them do alike.

pub(crate) mod attach;
pub(crate) mod demo;
pub(crate) mod detach;
pub(crate) mod inspect;
mod inspect_btf;
pub(crate) mod map;
pub(crate) mod plan;
pub(crate) mod status;

use std::path::Path;

use loader::attach::NetNs;
use loader::netlink::LinkRef;
use loader::object::{Object, ParseOptions};
use loader::plan::{Loader, Target};
use loader::{Result, file};

use crate::{args, value};

/// Reads the object file from which a program is to be loaded.
pub(crate) fn open_to_load(load: &args::Load) -> Result<Object> {
    let options = ParseOptions { program: load.prog.clone(), ..parse_options(&load.file) };
    Object::open_with(&load.file.object, &options)
}

/// What the command line says about the file.
pub(crate) fn parse_options(file: &args::ObjectFile) -> ParseOptions {
    ParseOptions {
        sections: file.sections.clone(),
        program: None,
        maps_dialect: file.maps_dialect.map(Into::into),
    }
}

/// What the command line says about loading.
pub(crate) fn loader<'o>(object: &'o Object, load: &args::Load) -> Result<Loader<'o>> {
    let mut loader = Loader::new(object).bpffs(&load.bpffs).object_name(file::object_name(&load.file.object));
    if let Some(name) = &load.prog {
        loader = loader.program(name);
    }
    if let Some(dir) = &load.pin_maps_under {
        loader = loader.pin_maps_under(dir);
    }
    for (map, entries) in &load.max_entries {
        loader = loader.max_entries(map, *entries);
    }
    for (map, path) in &load.pin_map {
        loader = loader.pin_map(map, path);
    }
    for (variable, word) in &load.set {
        loader = loader.set(variable, value::parse(word)?);
    }
    Ok(loader)
}

/// What the command line says about attaching to `link`.
pub(crate) fn target(link: &LinkRef, target: &args::Target) -> Target {
    Target {
        link: link.clone(),
        netns: target.place.netns.as_deref().map(netns_path),
        mode: target.mode,
        replace: target.replace,
    }
}

/// The network namespace that the command line names.
pub(crate) fn netns(place: &args::Place) -> Result<Option<NetNs>> {
    place.netns.as_deref().map(|netns| NetNs::at(netns_path(netns))).transpose()
}

/// A namespace by path has a slash; one by name is where ip-netns(8) keeps it.
fn netns_path(netns: &str) -> String {
    if netns.contains('/') {
        netns.to_owned()
    } else {
        Path::new("/run/netns").join(netns).display().to_string()
    }
}

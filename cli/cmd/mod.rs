//! One file for each command, and what several of them do alike.

pub(crate) mod attach;
pub(crate) mod demo;
pub(crate) mod detach;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod map;
pub(crate) mod plan;
pub(crate) mod status;
mod transcript;

use std::path::Path;

use loader::attach::NetNs;
use loader::netlink::LinkRef;
use loader::object::{Object, ParseOptions};
use loader::plan::{AttachBy, Existing, KeepMaps, Loader, Plan, Target};
use loader::{Error, ErrorKind, Kernel, Result, file};

use crate::args;

/// Reads the object file.
pub(crate) fn open_object(path: &Path, reading: &args::Reading) -> Result<Object> {
    Object::open_with(path, &parse_options(reading))
}

/// What the command line says about the file.
pub(crate) fn parse_options(reading: &args::Reading) -> ParseOptions {
    ParseOptions { sections: reading.sections.clone(), maps_dialect: reading.maps_dialect.map(Into::into) }
}

/// What the command line says about loading the object that was read from `path`.
pub(crate) fn loader<'o>(object: &'o Object, path: &Path, load: &args::Load) -> Loader<'o> {
    let mut loader = Loader::new(object).bpffs(&load.bpffs).object_name(file::object_name(path));
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
    loader
}

/// The plan of attaching to `target`, or of loading without one.
/// `more` says what else the command asks of a load.
pub(crate) fn plan(
    source: &args::Source,
    load: &args::Load,
    target: Option<Target>,
    keep: KeepMaps,
    more: impl FnOnce(Loader<'_>) -> Loader<'_>,
) -> Result<Plan> {
    let existing = match (&source.pinned, source.prog_id) {
        (Some(path), _) => Some(Existing::Pinned(path.clone())),
        (None, id) => id.map(Existing::Id),
    };
    if let (Some(existing), Some(target)) = (&existing, &target) {
        return Plan::of_attaching(existing, target);
    }
    let Some(path) = &source.object else {
        let message = "a program that is loaded already can only be attached";
        return Err(Error::new(ErrorKind::InvalidInput, message).with_help("say where: --dev IF"));
    };
    let object = open_object(path, &load.reading)?;
    let mut loader = more(loader(&object, path, load)).keep_maps(keep);
    if let Some(target) = target {
        loader = loader.attach_to(target);
    }
    loader.plan(&Kernel::current()?)
}

/// What the command line says about the maps of the program that is replaced.
pub(crate) fn keep(upgrade: args::Upgrade) -> KeepMaps {
    match (upgrade.migrate_maps, upgrade.keep_maps) {
        (true, _) => KeepMaps::Copy,
        (false, true) => KeepMaps::Same,
        (false, false) => KeepMaps::No,
    }
}

/// What the command line says about attaching to `link`, by a `bpf_link` pinned at `pin` if by one.
pub(crate) fn target(link: &LinkRef, target: &args::Target, pin: Option<&str>) -> Target {
    let by = if target.link { AttachBy::Link { pin: pin.map(str::to_owned) } } else { AttachBy::Netlink };
    Target {
        link: link.clone(),
        netns: target.place.netns.as_deref().map(netns_path),
        mode: target.mode,
        replace: target.replace,
        by,
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

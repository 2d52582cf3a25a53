//! One file for each command, and what several of them do alike.

pub(crate) mod attach;
pub(crate) mod block;
pub(crate) mod confirm;
pub(crate) mod demo;
pub(crate) mod detach;
pub(crate) mod doctor;
pub(crate) mod inspect;
mod inspect_btf;
pub(crate) mod load;
pub(crate) mod map;
pub(crate) mod pins;
pub(crate) mod plan;
pub(crate) mod status;
mod transcript;
mod trial;

use std::path::Path;

use loader::attach::NetNs;
use loader::kernel::kconfig_file;
use loader::netlink::LinkRef;
use loader::object::{Object, ParseOptions};
use loader::plan::{AttachBy, Existing, KeepMaps, Loader, Plan, Target};
use loader::{Error, ErrorKind, Result, file};

use crate::{args, value};

/// Reads the object file from which a program is to be loaded.
fn open_to_load(path: &Path, load: &args::Load) -> Result<Object> {
    let options = ParseOptions { program: load.prog.clone(), ..parse_options(&load.reading) };
    Object::open_with(path, &options)
}

/// What the command line says about the file.
pub(crate) fn parse_options(reading: &args::Reading) -> ParseOptions {
    ParseOptions {
        sections: reading.sections.clone(),
        program: None,
        maps_dialect: reading.maps_dialect.map(Into::into),
    }
}

/// What the command line says about loading the object that was read from `path`.
fn loader<'o>(object: &'o Object, path: &Path, load: &args::Load) -> Result<Loader<'o>> {
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
    if let Some(path) = &load.kconfig {
        loader = loader.kconfig(kconfig_file(path)?);
    }
    if let Some(path) = &load.btf {
        loader = loader.target_types(file::kernel_types(path)?);
    }
    for (variable, word) in &load.set {
        loader = loader.set(variable, value::parse(word)?);
    }
    Ok(loader)
}

/// A plan, and what is to be said of the object beside it.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// Why the object's types are not handed over.
    btf_flaw: Option<String>,
}

/// The plan of attaching what `source` names to `targets`, or of loading it without any. `more` says what else the
/// command asks of a load.
pub(crate) fn plan(
    source: &args::Source,
    load: &args::Load,
    targets: Vec<Target>,
    more: impl FnOnce(Loader<'_>) -> Loader<'_>,
) -> Result<Planned> {
    let existing = match (&source.pinned, source.prog_id) {
        (Some(path), _) => Some(Existing::Pinned(path.clone())),
        (None, id) => id.map(Existing::Id),
    };
    match (existing, &source.object) {
        (Some(existing), _) if !targets.is_empty() => {
            Ok(Planned { plan: Plan::of_attaching(&existing, &targets)?, btf_flaw: None })
        }
        (None, Some(path)) => {
            plan_of_object(path, load, |loader| targets.into_iter().fold(more(loader), Loader::attach_to))
        }
        _ => {
            let message = "a program that is loaded already can only be attached";
            Err(Error::new(ErrorKind::InvalidInput, message).with_help("say where: --dev IF"))
        }
    }
}

/// The plan of loading the object at `path`.
pub(crate) fn plan_of_object(
    path: &Path,
    load: &args::Load,
    more: impl FnOnce(Loader<'_>) -> Loader<'_>,
) -> Result<Planned> {
    let object = open_to_load(path, load)?;
    // What programs take from the running kernel depends on which of them are loaded.
    let loader = more(loader(&object, path, load)?).ask_kernel()?;
    let plan = loader.plan(&loader.running_kernel()?)?;
    Ok(Planned { plan, btf_flaw: object.btf_flaw })
}

/// What the command line says about the program to extend.
pub(crate) fn extend<'o>(loader: Loader<'o>, extended: &args::Extended) -> Loader<'o> {
    match &extended.target_prog {
        // A pin is below bpffs, and so has a slash.
        Some(word) => {
            loader.extend(word.parse().map_or_else(|_| Existing::Pinned(word.clone()), Existing::Id))
        }
        None => loader,
    }
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
pub(crate) fn netns_path(netns: &str) -> String {
    if netns.contains('/') {
        netns.to_owned()
    } else {
        Path::new("/run/netns").join(netns).display().to_string()
    }
}

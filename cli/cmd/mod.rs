//! One module for each command, and what several of them do alike.
//!
//! A command with a feature of its name can be left out: only its module, its variant and its arm here know of that.

pub(crate) mod attach;
pub(crate) mod block;
mod calls;
pub(crate) mod confirm;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod detach;
#[cfg(feature = "doctor")]
pub(crate) mod doctor;
#[cfg(any(feature = "load", feature = "plan"))]
mod extend;
#[cfg(feature = "inspect")]
pub(crate) mod inspect;
#[cfg(feature = "load")]
pub(crate) mod load;
pub(crate) mod map;
mod mount;
#[cfg(feature = "pins")]
pub(crate) mod pins;
mod plain;
#[cfg(feature = "plan")]
pub(crate) mod plan;
pub(crate) mod status;
mod transcript;
mod trial;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use clap::{Args, Parser, Subcommand};
use loader::attach::{Interface, NetNs};
use loader::kernel::kconfig_file;
use loader::load::AttachedTo;
use loader::netlink::InterfaceRef;
use loader::object::{DataSpec, Object, ParseOptions};
use loader::plan::{AttachBy, Existing, KeepMaps, Loader, Plan, Target};
use loader::{Error, ErrorKind, Result, escape, file, quote, quote_each};

use crate::output::WIDTH;
use crate::refusal::Style;
use crate::{args, output, remedy, value};

/// Load XDP object files compiled by clang into the Linux kernel, attach them to network interfaces, and manage them
/// there.
#[derive(Debug, Parser)]
#[group(skip)]
#[command(name = "xdpload", version, after_help = EXIT_CODES, max_term_width = WIDTH)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0 done, 1 failed, 2 usage, 3 not permitted, 4 refused by the verifier
Answers go to standard output, everything else to standard error.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the contents of an object file: sections, maps, programs with their references and instructions
    #[cfg(feature = "inspect")]
    Inspect(inspect::Inspect),
    /// Show every kernel call that loading and attaching an object would make, without making any
    #[cfg(feature = "plan")]
    Plan(plan::Plan),
    /// Load an object and attach its program to interfaces, or attach a program that is loaded already
    Attach(Box<args::Attach>),
    /// Load an object and pin its programs and maps, without attaching anything
    #[cfg(feature = "load")]
    Load(load::LoadAndPin),
    /// Detach the XDP program from an interface
    Detach(args::Detach),
    /// Keep the changes made with `--confirm`
    Confirm(args::Confirm),
    /// Show which XDP programs run on which interfaces
    Status(args::Status),
    /// Check what the kernel, this process and the interfaces support, and say what to do where they do not
    #[cfg(feature = "doctor")]
    Doctor(doctor::Doctor),
    /// Show the pins in bpffs, and who uses them
    #[cfg(feature = "pins")]
    Pins(pins::Pins),
    /// Read and change the entries of maps
    #[command(subcommand)]
    Map(args::Map),
    /// Manage the IP blocklist: drop packets from listed addresses before the network stack
    #[command(subcommand)]
    Block(block::args::Block),
    /// Watch packets pass, be dropped and pass again in private network namespaces; touches no real interface
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

impl Command {
    /// What the words of the command line ask for.
    ///
    /// To describe all commands to the parser takes longer than a load of a small object. So the one that is named is
    /// tried alone first, and before that without any parser; what does not fit it is left to the parser of all, which
    /// knows what to say.
    pub(crate) fn parse(words: &[OsString]) -> std::result::Result<Self, clap::Error> {
        match plain::parse(words).or_else(|| Self::parse_alone(words)) {
            Some(command) => Ok(command),
            None => Ok(Arguments::try_parse_from(words)?.command),
        }
    }

    /// The command that is named, if the words are what it takes.
    fn parse_alone(words: &[OsString]) -> Option<Self> {
        match words.get(1)?.to_str()? {
            #[cfg(feature = "inspect")]
            "inspect" => alone(words).map(Self::Inspect),
            #[cfg(feature = "plan")]
            "plan" => alone(words).map(Self::Plan),
            "attach" => alone(words).map(Box::new).map(Self::Attach),
            #[cfg(feature = "load")]
            "load" => alone(words).map(Self::Load),
            "detach" => alone(words).map(Self::Detach),
            "confirm" => alone(words).map(Self::Confirm),
            "status" => alone(words).map(Self::Status),
            "map" => map::alone(&words[1..]).map(Self::Map),
            "block" => block::alone(&words[1..]).map(Self::Block),
            _ => None,
        }
    }

    /// Does it.
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            #[cfg(feature = "inspect")]
            Self::Inspect(args) => inspect::run(args),
            #[cfg(feature = "plan")]
            Self::Plan(args) => plan::run(args),
            Self::Attach(args) => attach::run(args),
            #[cfg(feature = "load")]
            Self::Load(args) => load::run(args),
            Self::Detach(args) => detach::run(args),
            Self::Confirm(args) => confirm::run(args),
            Self::Status(args) => status::run(args),
            #[cfg(feature = "doctor")]
            Self::Doctor(args) => doctor::run(args),
            #[cfg(feature = "pins")]
            Self::Pins(args) => pins::run(args),
            Self::Map(args) => map::run(args),
            Self::Block(args) => block::run(args),
            #[cfg(feature = "demo")]
            Self::Demo(args) => demo::run(args),
        }
    }

    /// How it wants a refusal by the verifier to be told.
    pub(crate) fn refusal_style(&self) -> Style {
        match self {
            Self::Attach(args) => Style::with_log(args.report.verifier_log.as_deref(), args.form),
            #[cfg(feature = "load")]
            Self::Load(args) => Style::with_log(args.report.verifier_log.as_deref(), args.form),
            Self::Block(block::args::Block::On(args)) => {
                Style::with_log(args.verifier_log.as_deref(), args.form)
            }
            _ => Style::default(),
        }
    }
}

/// The options of one command, if the words after its name, which is the second of `words`, are what it takes.
fn alone<A: Args>(words: &[OsString]) -> Option<A> {
    A::from_arg_matches_mut(&mut matches(A::augment_args, words)?).ok()
}

fn matches(describe: fn(clap::Command) -> clap::Command, words: &[OsString]) -> Option<clap::ArgMatches> {
    let command = describe(clap::Command::new("xdpload")).disable_help_flag(true);
    command.try_get_matches_from(&words[1..]).ok()
}

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
    let mut loader = Loader::new(object).bpffs(&load.bpffs.root).object_name(file::object_name(path));
    if let Some(name) = &load.prog {
        loader = loader.program(name);
    }
    if let Some(dir) = &load.pin_maps_under {
        loader = loader.pin_maps_under(dir);
    }
    check_agreement("--max-entries", &load.max_entries)?;
    check_agreement("--pin-map", &load.pin_map)?;
    check_agreement("--set", &load.set)?;
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

/// Refuses an option that is given two values for one name: nobody knows which of them is meant.
fn check_agreement<T: PartialEq + Display>(option: &str, given: &[(String, T)]) -> Result<()> {
    for (at, (name, value)) in given.iter().enumerate() {
        if let Some((_, first)) = given[..at].iter().find(|(other, first)| other == name && first != value) {
            let values = [first, value].map(ToString::to_string);
            let message = format!(
                "{option} gives {} two values: {} and {}",
                quote(name),
                quote(&values[0]),
                quote(&values[1])
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}

/// A plan, and what is to be said of the object beside it.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// Which part of the object's BTF is not handed over, and why.
    btf_flaw: Option<String>,
}

/// The plan of attaching what `source` names to `targets`, or of loading it without any. `more` says what else the
/// command asks of a load.
pub(crate) fn plan(
    source: &args::Source,
    load: &args::Load,
    targets: Vec<Target>,
    more: &dyn Fn(Loader<'_>) -> Loader<'_>,
) -> Result<Planned> {
    let existing = match (&source.pinned, source.prog_id) {
        (Some(path), _) => Some(Existing::Pinned(path.clone())),
        (None, id) => id.map(Existing::Id),
    };
    match (existing, &source.object) {
        (Some(existing), _) if !targets.is_empty() => {
            Ok(Planned { plan: Plan::of_attaching(&existing, &targets, &load.bpffs.root)?, btf_flaw: None })
        }
        (None, Some(path)) => {
            let mut targets = targets.into_iter();
            plan_of_object(path, load, &mut |loader| targets.by_ref().fold(more(loader), Loader::attach_to))
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
    more: &mut dyn FnMut(Loader<'_>) -> Loader<'_>,
) -> Result<Planned> {
    let object = open_to_load(path, load)?;
    object.data.iter().for_each(warn_of_addresses);
    // What programs take from the running kernel depends on which of them are loaded.
    let plan = more(loader(&object, path, load)?).plan_for_running_kernel()?;
    let left_out =
        if object.btf.is_some() { "what `.BTF.ext` says of functions and lines" } else { "the object's BTF" };
    Ok(Planned { plan, btf_flaw: object.btf_flaw.map(|flaw| format!("{left_out}: {flaw}")) })
}

/// Says which variables are to hold addresses, and will not.
fn warn_of_addresses(data: &DataSpec) {
    if data.addresses.is_empty() {
        return;
    }
    let names = data.variables.iter().filter(|variable| data.has_address_in(variable));
    let mut names = names.map(|variable| &*variable.name).peekable();
    let names = match names.peek() {
        None => "addresses".to_owned(),
        Some(_) => format!("the addresses in {}", quote_each(&mut names)),
    };
    output::remark(format_args!(
        "warning: {names} (section {}) cannot be filled in: the program finds 0 there, or an offset",
        quote(&data.section)
    ));
}

/// Says aloud what the user may not have asked for; `explain` adds why native mode was refused.
fn warn(attached: &AttachedTo, explain: impl FnOnce(Error) -> Error) {
    if let Some(refusal) = &attached.native_refusal {
        output::remark(format_args!(
            "warning: {} runs in generic mode, which is much slower: native mode was refused: {}",
            attached.interface,
            escape(&refusal.to_string())
        ));
        let refusal = explain(refusal.clone());
        output::reason(refusal.rule(), remedy::besides_generic(&refusal).as_deref());
    }
    if attached.info.is_none() {
        output::remark("warning: it is attached, but the kernel tells neither its id nor its tag");
    }
    if let Some(warning) = &attached.warning {
        output::remark(format_args!("warning: the kernel says: {}", escape(warning)));
    }
}

/// What the command line says about the maps of the program that is replaced.
pub(crate) fn keep_maps(upgrade: args::Upgrade) -> KeepMaps {
    match (upgrade.migrate_maps, upgrade.keep_maps) {
        (true, _) => KeepMaps::Copy,
        (false, true) => KeepMaps::Same,
        (false, false) => KeepMaps::No,
    }
}

/// What the command line says about attaching to `link`, by a `bpf_link` pinned at `pin` if by one.
pub(crate) fn target(link: &InterfaceRef, target: &args::Target, pin: Option<&str>) -> Target {
    let by = if target.link { AttachBy::Link { pin: pin.map(str::to_owned) } } else { AttachBy::Netlink };
    Target::new(link.clone())
        .netns(target.place.netns.as_deref().map(args::netns_path))
        .mode(target.mode)
        .replace(target.replace)
        .by(by)
}

/// The network namespace that the command line names.
pub(crate) fn netns(place: &args::Place) -> Result<Option<NetNs>> {
    place.netns.as_deref().map(|netns| NetNs::at(args::netns_path(netns))).transpose()
}

/// The interfaces of the command line, in that order.
pub(crate) fn open_all(links: &[InterfaceRef], netns: Option<&NetNs>) -> Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    for link in links {
        let interface = Interface::open(link, netns)?;
        // Who names one twice wants it once.
        if all.iter().all(|other| other.index() != interface.index()) {
            all.push(interface);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_commands_are_those_of_the_features() {
        let optional = [
            ("demo", cfg!(feature = "demo")),
            ("doctor", cfg!(feature = "doctor")),
            ("inspect", cfg!(feature = "inspect")),
            ("load", cfg!(feature = "load")),
            ("pins", cfg!(feature = "pins")),
            ("plan", cfg!(feature = "plan")),
        ];
        let mut expected = vec!["attach", "block", "confirm", "detach", "map", "status"];
        expected.extend(optional.into_iter().filter_map(|(name, is_in)| is_in.then_some(name)));
        expected.sort_unstable();
        let command = Arguments::command();
        let mut names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(names, expected);
    }

    /// What waits for a person, and what nobody runs often, is left to the parser of all.
    const NOT_ALONE: [&str; 8] = [
        "demo",
        "doctor",
        "pins",
        "pins gc",
        "map list",
        "block allow add",
        "block allow del",
        "block allow list",
    ];

    /// Each command of the lowest level, with words that it takes.
    const SAMPLES: [&str; 30] = [
        "inspect o",
        "plan o",
        "attach i o",
        "load o --pin=p",
        "detach i",
        "confirm",
        "status",
        "doctor",
        "pins",
        "pins gc",
        "map list",
        "map dump 1",
        "map get 1 0",
        "map set 1 0 0",
        "map delete 1 0",
        "map load 1 f",
        "block on i",
        "block off i",
        "block add p",
        "block del p",
        "block allow add p",
        "block allow del p",
        "block allow list",
        "block list",
        "block test a",
        "block load f",
        "block save f",
        "block stats",
        "block sync -",
        "demo",
    ];

    /// The names of the commands at and below `command` that can be run, behind the name of `command`.
    fn runnable(command: &clap::Command, name: &str, found: &mut Vec<String>) {
        if !command.is_subcommand_required_set() && !name.is_empty() {
            found.push(name.to_owned());
        }
        for below in command.get_subcommands() {
            runnable(below, format!("{name} {}", below.get_name()).trim_start(), found);
        }
    }

    /// Each group costs bytes, and time whenever its command is parsed.
    #[test]
    fn no_struct_of_arguments_is_a_group() {
        fn check(command: &clap::Command) {
            let groups: Vec<_> = command.get_groups().map(clap::ArgGroup::get_id).collect();
            assert!(groups.is_empty(), "{}: {groups:?}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn each_command_is_parsed_alone_or_meant_not_to_be() {
        let mut commands = Vec::new();
        runnable(&Arguments::command(), "", &mut commands);
        for command in commands {
            let is_of = |sample: &&&str| {
                let rest = sample.strip_prefix(&*command);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            let sample = SAMPLES.iter().find(is_of).unwrap_or_else(|| panic!("{command} has no sample"));
            let words: Vec<_> =
                ["xdpload"].into_iter().chain(sample.split(' ')).map(OsString::from).collect();
            let is_alone = Command::parse_alone(&words).is_some();
            assert_eq!(is_alone, !NOT_ALONE.contains(&&*command), "{command}");
        }
    }
}

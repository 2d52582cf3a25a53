//! The measure of a load: what the kernel holds after libbpf has loaded an object, held against what we make of it.
//!
//! libbpf is Debian's, by way of `bpftool prog loadall`. A view is a list of lines, one for each program with its tag
//! and its maps, and one for each map with its shape, so that a difference can be read.

use std::fs;
use std::path::{Path, PathBuf};

use loader::map::MapInfo;
use loader::object::ParseOptions;
use loader::program::ProgramInfo;
use loader::uapi::bpf::{MapType, ProgType};
use loader::{Kernel, Loaded, Loader, Map, Object, Program, file};

use crate::command::{Ran, command, run};
use crate::sandbox::Sandbox;

const BPFFS: &str = "/sys/fs/bpf";
/// Where libbpf pins programs. It pins maps in [`BPFFS`] itself, as those want that ask for it by name.
const PROGRAMS: &str = "/sys/fs/bpf/programs";

/// What the kernel holds after a load, as lines in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View(Vec<String>);

impl View {
    fn new(programs: &[ProgramInfo], maps: &[MapInfo]) -> Self {
        let programs = programs.iter().map(|program| program_line(program, maps));
        let mut lines: Vec<_> = programs.chain(maps.iter().map(map_line)).collect();
        lines.sort();
        Self(lines)
    }

    /// The same without the tags of programs.
    pub(crate) fn without_tags(self) -> Self {
        let untagged = |line: String| match line.split_once(", tag ") {
            Some((before, after)) => format!("{before}{}", after.trim_start_matches(|it| it != ',')),
            None => line,
        };
        Self(self.0.into_iter().map(untagged).collect())
    }

    /// The lines that only one of the two has, as in a diff: `-` for libbpf's, `+` for ours.
    pub(crate) fn differences(theirs: &Self, ours: &Self) -> Vec<String> {
        let only_theirs = theirs.0.iter().filter(|their| !ours.0.iter().any(|our| is_same(their, our)));
        let only_ours = ours.0.iter().filter(|our| !theirs.0.iter().any(|their| is_same(their, our)));
        let show = |sign: char| move |line: &String| format!("{sign} {line}");
        only_theirs.map(show('-')).chain(only_ours.map(show('+'))).collect()
    }
}

/// Whether two lines agree. libbpf 1.1 goes on without types where the kernel does not take them as the compiler wrote
/// them; we mend more of what is wrong with them.
fn is_same(theirs: &str, ours: &str) -> bool {
    match theirs.split_once(UNTYPED) {
        Some((shape, "")) => ours.starts_with(shape),
        _ => theirs == ours,
    }
}

/// How the line of a map ends whose key and value have no types.
const UNTYPED: &str = ", types [false, false]";

fn program_line(program: &ProgramInfo, maps: &[MapInfo]) -> String {
    let tag = u64::from_be_bytes(program.tag);
    let used = maps.iter().filter(|map| program.map_ids.contains(&map.id));
    let mut used: Vec<_> = used.map(|map| &*map.name).collect();
    used.sort_unstable();
    let other = program.map_ids.len() - used.len();
    let (name, kind) = (&program.name, program.prog_type);
    format!("program {name}: {kind}, tag {tag:016x}, maps {used:?} and {other} not its own")
}

fn map_line(map: &MapInfo) -> String {
    let MapInfo { name, map_type, key_size, value_size, max_entries, flags, map_extra, .. } = map;
    let types = [map.btf_key_type_id, map.btf_value_type_id].map(|id| id != 0);
    format!(
        "map {name}: {map_type}, {key_size} and {value_size} bytes, {max_entries} entries, flags {flags:#x}, \
         extra {map_extra}, types {types:?}"
    )
}

/// Loads `object` by `bpftool prog loadall`, with more `words` for it: the view, or the command that was refused.
pub(crate) fn load_by_libbpf(sandbox: &Sandbox, object: &str, words: &[&str]) -> Result<View, Ran> {
    let load = ["prog", "loadall", object, PROGRAMS];
    let ran = run(&mut command("bpftool", &[&load[..], words, &["pinmaps", BPFFS]].concat()));
    let loaded = (ran.code() == Some(0)).then(|| {
        let pinned = |directory: &str| pins(sandbox, Path::new(directory));
        let programs = pinned(PROGRAMS).into_iter().map(|pin| program_info(&Program::open_pinned(&pin)));
        let maps = pinned(BPFFS).into_iter().map(|pin| map_info(&Map::open_pinned(&pin)));
        // Of programs of other types we load none, and what the kernel is to call through a map is one.
        let ours = |program: &ProgramInfo| [ProgType::XDP, ProgType::EXT].contains(&program.prog_type);
        let maps = maps.filter(|map| map.map_type != MapType::STRUCT_OPS);
        View::new(&programs.filter(ours).collect::<Vec<_>>(), &maps.collect::<Vec<_>>())
    });
    remove_pins(sandbox);
    loaded.ok_or(ran)
}

/// Loads all programs of `object`, and those of the `sections` whose names do not say that they hold any.
pub(crate) fn load_by_us(sandbox: &Sandbox, object: &str, sections: &[&str]) -> loader::Result<View> {
    let sections = sections.iter().map(ToString::to_string).collect();
    let options = ParseOptions { sections, ..ParseOptions::default() };
    let parsed = Object::open_with(object, &options)?;
    let name = file::object_name(Path::new(object));
    let plan =
        Loader::new(&parsed).object_name(name).all_programs().ask_kernel()?.plan(&Kernel::current()?)?;
    let loaded = plan.execute(|_| {});
    let view = loaded.map(|loaded| view_of(&loaded));
    remove_pins(sandbox);
    view
}

fn view_of(loaded: &Loaded) -> View {
    let programs: Vec<_> = loaded
        .programs()
        .map(|(_, program)| program.info().expect("the kernel knows its programs"))
        .collect();
    let maps: Vec<_> = loaded.maps().map(|(_, map)| map.info().expect("the kernel knows its maps")).collect();
    View::new(&programs, &maps)
}

#[track_caller]
fn program_info(program: &loader::Result<Program>) -> ProgramInfo {
    program.as_ref().expect("a program is pinned here").info().expect("the kernel knows its programs")
}

#[track_caller]
fn map_info(map: &loader::Result<Map>) -> MapInfo {
    map.as_ref().expect("a map is pinned here").info().expect("the kernel knows its maps")
}

/// What is pinned right in `directory`.
fn pins(sandbox: &Sandbox, directory: &Path) -> Vec<PathBuf> {
    let all = sandbox.pins().into_iter().map(|name| Path::new(BPFFS).join(name));
    all.filter(|path| path.parent() == Some(directory) && path.is_file()).collect()
}

fn remove_pins(sandbox: &Sandbox) {
    // Directories come before what is in them.
    for name in sandbox.pins().into_iter().rev() {
        let path = Path::new(BPFFS).join(name);
        let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// In what the two loads of `object` differ; nothing if libbpf takes it and we make the same of it.
pub(crate) fn compare(sandbox: &Sandbox, object: &str) -> Option<String> {
    let theirs = match load_by_libbpf(sandbox, object, &[]) {
        Ok(view) => view,
        Err(ran) => return Some(format!("{object}: libbpf refuses it\n{}", ran.report())),
    };
    let differences = match load_by_us(sandbox, object, &[]) {
        Ok(ours) => View::differences(&theirs, &ours),
        Err(error) => vec![format!("we refuse it: {error:?}")],
    };
    let complaint = format!("{object}, - libbpf's, + ours:\n  {}", differences.join("\n  "));
    (!differences.is_empty()).then_some(complaint)
}

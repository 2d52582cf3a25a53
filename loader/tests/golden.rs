//! Golden files: what the library makes of each fixture, held against what it made when somebody last looked.
//!
//! `golden/<fixture>.object` is the whole [`Object`]; `golden/<fixture>.plan` is the plan of attaching each of its
//! programs, or the words that refuse it; `golden/<fixture>.relocations` is what becomes of its instructions on two
//! different kernels. `UPDATE_GOLDEN=1` writes the files anew: read the difference before you
//! commit it.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use loader::Error;
use loader::btf::{KernelTypes, LazyBtf};
use loader::insn::disasm::disassemble;
use loader::object::Object;
use loader::plan::{Call, Plan};

mod plans;
mod support;

use support::{files_below, fixtures, tests_dir};

#[test]
fn every_fixture_is_what_it_was() {
    let made = views();
    let root = tests_dir().join("golden");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        return write_all(&root, &made);
    }
    let mut complaints = Vec::new();
    for (name, text) in &made {
        match fs::read_to_string(root.join(name)) {
            Ok(golden) => complaints.extend(first_difference(name, &golden, text)),
            Err(error) => complaints.push(format!("golden/{name}: {error}")),
        }
    }
    for path in files_below(&root) {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        if !made.contains_key(name) {
            complaints.push(format!("golden/{name}: there is no such fixture"));
        }
    }
    let help = "after a change that was meant: UPDATE_GOLDEN=1 cargo test -p loader --test golden";
    assert!(complaints.is_empty(), "{}\n{help}", complaints.join("\n"));
}

/// Each golden file's name and what should be in it.
fn views() -> BTreeMap<String, String> {
    let mut views = BTreeMap::new();
    for fixture in fixtures() {
        let object = Object::parse(&fixture.data).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        views.insert(format!("{}.object", fixture.name), format!("{object:#?}\n"));
        views.insert(format!("{}.plan", fixture.name), plans_text(&object));
        if fixture.name.contains("core_") {
            views.insert(format!("{}.relocations", fixture.name), relocations_text(&object));
        }
    }
    views
}

/// As many as are counted, so that plan and transcript have the same numbers.
fn check_numbers(plan: &Plan) {
    let undo = plan.calls().filter_map(|call| plan.undo(call));
    for call in plan.calls().cloned().chain(undo) {
        assert_eq!(call.system_calls(), plan.kernel_calls(&call).len(), "{call:?}");
    }
}

/// The plan of each program, with a heading; the first one with all that only old kernels make necessary.
fn plans_text(object: &Object) -> String {
    let mut text = String::new();
    for (index, program) in object.programs.iter().enumerate() {
        writeln!(text, "{program}").unwrap();
        let plan = plans::attach(object, program);
        plan.iter().for_each(check_numbers);
        match plan {
            // The ways round old kernels are much alike for all programs of an object.
            Ok(plan) if index == 0 => write!(text, "{plan:#}").unwrap(),
            Ok(plan) => write!(text, "{plan}").unwrap(),
            Err(error) => writeln!(text, "{}", refusal(&error)).unwrap(),
        }
    }
    text
}

/// Each number that is adapted to a kernel's types, above the instruction that it has come to be in.
fn relocations_text(object: &Object) -> String {
    let mut text = String::new();
    for kernel in ["linux-6.1", "linux-6.18"] {
        let data = fs::read(tests_dir().join(format!("fixtures/btf/{kernel}.btf"))).unwrap();
        let types = LazyBtf::from_bytes(data, kernel).unwrap();
        for program in &object.programs {
            let types = KernelTypes { vmlinux: Some(types.clone()), modules: None };
            let plan = plans::attach_to_kernel(object, program, Some(types)).unwrap();
            writeln!(text, "{program} on {kernel}").unwrap();
            let insns = plan.steps.iter().find_map(|step| match &step.call {
                Call::ProgLoad(load) => Some(&load.insns),
                _ => None,
            });
            let lines: BTreeMap<_, _> =
                disassemble(insns.unwrap()).map(|line| (line.index, line.text)).collect();
            for relocation in &plan.relocations[0] {
                writeln!(text, "  {relocation}\n{:6}: {}", relocation.insn, lines[&relocation.insn]).unwrap();
            }
        }
    }
    text
}

fn refusal(error: &Error) -> String {
    match error.help() {
        Some(help) => format!("{error:?}\nhelp: {help}"),
        None => format!("{error:?}"),
    }
}

/// The first lines in which the two texts differ, if they do.
fn first_difference(name: &str, golden: &str, made: &str) -> Option<String> {
    if golden == made {
        return None;
    }
    let (old, new): (Vec<_>, Vec<_>) = (golden.lines().collect(), made.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let show = |sign, lines: &[&str]| {
        lines.iter().skip(same).take(5).map(|line| format!("\n  {sign} {line}")).collect::<Vec<_>>().concat()
    };
    Some(format!("golden/{name}:{}:{}{}", same + 1, show('-', &old), show('+', &new)))
}

fn write_all(root: &Path, made: &BTreeMap<String, String>) {
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    for (name, text) in made {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

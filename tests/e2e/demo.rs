//! The demo as a newcomer meets it: its table, and the commands that it tells do what it did.

use std::path::Path;
use std::{env, fs};

use crate::command::{command, run};
use crate::objects::object_by;
use crate::requirement::{Missing, kernel, tool};
use crate::sandbox::Sandbox;
use crate::xdpload::{xdpload, xdpload_command};

/// The table, with one space where the demo has several.
const TABLE: [&str; 7] = [
    "packets that arrived",
    "before from 192.0.2.77 5 of 5",
    "xdp_drop attached to veth0 from 192.0.2.77 0 of 5",
    "blacklist attached, nothing listed from 192.0.2.77 5 of 5",
    "blacklist attached, source 192.0.2.77 listed from 192.0.2.77 0 of 5",
    "from 192.0.2.78 5 of 5",
    "detached from 192.0.2.77 5 of 5",
];

fn sandbox() -> Result<Sandbox, Missing> {
    kernel((4, 19), "native XDP on veth")?;
    Sandbox::new()
}

/// Runs the demo, asserts that its table is right and that it leaves the machine as it was, and gives what it told.
#[track_caller]
fn demo(sandbox: &Sandbox, options: &[&str]) -> String {
    let interfaces = || fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted");
    let names =
        || interfaces().lines().map(|line| line.split(':').next().map(str::to_owned)).collect::<Vec<_>>();
    let before = names();
    let ran = xdpload(&[&["demo"], options].concat()).ok();
    let lines: Vec<_> =
        ran.stdout().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines.ends_with(&TABLE.map(str::to_owned)), "{}", ran.report());
    assert_eq!(ran.stderr(), "");
    assert_eq!((names(), sandbox.pins()), (before, Vec::new()));
    ran.stdout().to_owned()
}

#[test]
fn the_table_tells_what_arrives() {
    let sandbox = need!(sandbox());
    demo(&sandbox, &[]);
}

#[test]
fn the_objects_may_be_others() {
    let sandbox = need!(sandbox());
    for clang in ["clang-14", "clang-19"] {
        let file = object_by(clang, "blacklist");
        let directory = Path::new(&file).parent().and_then(Path::to_str).unwrap();
        demo(&sandbox, &["--objects", directory]);
    }
    xdpload(&["demo", "--objects", "/nowhere"]).fails(1).stderr_has("/nowhere/");
}

#[test]
fn the_commands_that_it_tells_work() {
    need!(tool("ip"));
    let sandbox = need!(sandbox());
    let told = demo(&sandbox, &[]);
    let commands = told.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
    // ping(8) is not on every machine, and slow where nothing answers.
    let commands: Vec<_> = commands.filter(|command| !command.contains(" ping ")).collect();
    assert!(commands.iter().any(|command| command.starts_with("xdpload attach")), "{told}");
    let program = xdpload_command(&[""; 0]);
    let directory = Path::new(program.get_program()).parent().unwrap().to_owned();
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([directory].into_iter().chain(env::split_paths(&others))).unwrap();
    for line in commands {
        let mut shell = command("sh", &["-c", line]);
        shell.env("PATH", &path).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf-src/prebuilt"));
        run(&mut shell).ok();
    }
    assert_eq!(run(&mut command("ip", &["netns", "list"])).ok().stdout(), "");
}

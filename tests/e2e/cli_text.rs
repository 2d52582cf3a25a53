//! What the program says to people: its help, one line for what it did, every step on request, and no colour.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::bench::refused;
use crate::command::{command, run};
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::veth::{NEAR, pair};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// Options that several commands have.
const FILE: [&str; 2] = ["--section", "--maps-dialect"];
const LOAD: [&str; 8] =
    ["--prog", "--set", "--kconfig", "--btf", "--max-entries", "--pin-map", "--pin-maps-under", "--bpffs"];
const TARGET: [&str; 8] =
    ["--netns", "--mode", "--replace", "--verbose", "--link", "--keep-maps", "--migrate-maps", "--confirm"];
const SOURCE: [&str; 3] = ["--pinned", "--prog-id", "--pin"];
const HOME: [&str; 1] = ["--bpffs"];
const FORMATS: [&str; 2] = ["--key-format", "--value-format"];

/// Each command, the groups of its options, and its own.
const COMMANDS: [(&str, &[&[&str]]); 33] = [
    ("inspect", &[&FILE, &["--btf", "--json"]]),
    ("plan", &[&FILE, &LOAD, &TARGET, &SOURCE, &["--dev", "--all", "--target-prog", "--json"]]),
    ("attach", &[&FILE, &LOAD, &TARGET, &SOURCE, &["--verifier-log", "--json"]]),
    ("load", &[&FILE, &LOAD, &["--all", "--pin", "--target-prog", "--verbose", "--verifier-log", "--json"]]),
    ("detach", &[&["--id", "--link", "--bpffs", "--netns", "--confirm", "--json"]]),
    ("confirm", &[&["--bpffs", "--netns", "--json"]]),
    ("status", &[&["--bpffs", "--netns", "--json"]]),
    ("doctor", &[&["--bpffs", "--netns", "--json"]]),
    ("pins", &[&["--bpffs", "--json"]]),
    ("pins gc", &[&["--dry-run", "--bpffs", "--json"]]),
    ("map", &[]),
    ("map list", &[&["--netns", "--json"]]),
    ("map dump", &[&FORMATS, &["--netns", "--json"]]),
    ("map get", &[&FORMATS, &["--netns", "--json"]]),
    ("map set", &[&["--new", "--existing", "--bpffs", "--netns", "--json"]]),
    ("map delete", &[&["--bpffs", "--netns", "--json"]]),
    ("map load", &[&["--exact", "--force", "--bpffs", "--netns", "--json"]]),
    ("block", &[]),
    (
        "block on",
        &[
            &HOME,
            &[
                "--mode",
                "--count-only",
                "--default",
                "--max-rules",
                "--force",
                "--verifier-log",
                "--confirm",
                "--netns",
                "--json",
            ],
        ],
    ),
    ("block off", &[&HOME, &["--purge", "--netns", "--json"]]),
    ("block add", &[&HOME, &["--ttl", "--name", "--force", "--json"]]),
    ("block del", &[&HOME, &["--name", "--json"]]),
    ("block allow", &[]),
    ("block allow add", &[&HOME, &["--force", "--json"]]),
    ("block allow del", &[&HOME, &["--force", "--json"]]),
    ("block allow list", &[&HOME, &["--json"]]),
    ("block list", &[&HOME, &["--hits", "--json"]]),
    ("block test", &[&HOME, &["--json"]]),
    ("block load", &[&HOME, &["--name", "--ttl", "--dry-run", "--skip-bad", "--force", "--json"]]),
    ("block save", &[&HOME]),
    ("block stats", &[&HOME, &["--watch", "--prometheus", "--netns", "--json"]]),
    ("block sync", &[&HOME, &["--name", "--ttl", "--force"]]),
    ("demo", &[&["--objects"]]),
];

/// The long options in a help text, each at the beginning of its line but for a short form.
fn options(help: &str) -> BTreeSet<&str> {
    help.lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let line =
                line.split_once(", ").filter(|(short, _)| short.len() == 2).map_or(line, |(_, long)| long);
            line.starts_with("--").then(|| line.split(['[', ' ']).next()).flatten()
        })
        .collect()
}

#[test]
fn the_help_of_each_command_tells_of_its_options_and_no_others() {
    for (command, groups) in COMMANDS {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let ran = xdpload(&words).ok();
        let expected: BTreeSet<_> = groups.iter().copied().flatten().copied().chain(["--help"]).collect();
        assert_eq!(options(ran.stdout()), expected, "{}", ran.report());
        assert_eq!(ran.stderr(), "", "{}", ran.report());
        assert!(ran.stdout().contains(&format!("Usage: xdpload {command} ")), "{}", ran.report());
    }
}

#[test]
fn no_line_of_help_is_longer_than_a_serial_console_is_wide() {
    for command in COMMANDS.iter().map(|(command, _)| *command).chain([""]) {
        for option in ["-h", "--help"] {
            let words: Vec<_> = command.split_whitespace().chain([option]).collect();
            let ran = xdpload(&words).ok();
            let long: Vec<_> = ran.stdout().lines().filter(|line| line.chars().count() > 80).collect();
            assert!(long.is_empty(), "{command} {option}: {long:#?}");
        }
    }
}

/// One form for all commands, and no example that a shell would read as two lines.
#[test]
fn the_help_looks_the_same_everywhere() {
    for (command, _) in COMMANDS {
        let help = |option| xdpload(&command.split(' ').chain([option]).collect::<Vec<_>>()).ok();
        let ran = help("--help");
        assert_eq!(ran.stdout(), help("-h").stdout(), "{command}");
        let lines: Vec<_> = ran.stdout().lines().collect();
        let examples = lines.iter().skip_while(|line| !line.starts_with("Example")).skip(1);
        let odd: Vec<_> = examples.filter(|line| !line.contains("xdpload ")).collect();
        assert!(odd.is_empty(), "{command}: {odd:#?}");
        let bpffs = lines.iter().find(|line| line.contains("--bpffs")).copied().unwrap_or_default();
        assert!(
            bpffs.is_empty() || bpffs.contains("The mount point of bpffs [default: "),
            "{command}: {bpffs}"
        );
    }
}

#[test]
fn the_commands_that_take_most_options_have_examples() {
    for command in [
        "attach",
        "plan",
        "load",
        "map",
        "map dump",
        "map get",
        "map set",
        "map delete",
        "map load",
        "block load",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let ran = xdpload(&words).ok();
        let example = format!("\n  xdpload {command} ");
        assert!(ran.stdout().contains("\nExample"), "{}", ran.report());
        assert!(ran.stdout().contains(&example), "{}", ran.report());
    }
}

#[test]
fn the_help_names_the_commands_and_the_exit_codes() {
    let ran = xdpload(&["--help"]).ok();
    assert_eq!(xdpload(&["help"]).ok().stdout(), ran.stdout());
    assert_eq!(
        xdpload(&["help", "block", "on"]).ok().stdout(),
        xdpload(&["block", "on", "--help"]).ok().stdout()
    );
    for (command, _) in COMMANDS.iter().filter(|(command, _)| !command.contains(' ')) {
        assert!(ran.stdout().lines().any(|line| line.trim_start().starts_with(command)), "{}", ran.report());
    }
    ran.stdout_has("Exit codes:\n  0 done, 1 failed, 2 usage, 3 not permitted, 4 refused by the verifier\n");
    xdpload(&["--version"]).ok().stdout_has(concat!("xdpload ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_words_get_a_hint_and_exit_code_2() {
    let object = object("xdp_drop");
    let cases: [(&[&str], &str); 8] = [
        (&["atach", NEAR, &object], "similar subcommands exist: 'detach', 'attach'"),
        (&["attach", NEAR, &object, "--replcae"], "a similar argument exists: '--replace'"),
        (&["attach", NEAR], "expected <IF>... <OBJECT>"),
        (&["attach", NEAR, &object, "--mode", "fast"], "invalid value 'fast' for '--mode <MODE>'"),
        (&["attach", NEAR, &object, "--max-entries", "blacklist=many"], "invalid value 'blacklist=many'"),
        (&["detach"], "<IF>"),
        (&["detach", NEAR, "--id", "0x10"], "invalid value '0x10' for '--id <N>'"),
        (
            &["map", "dump", "1", "--key-format", "roman"],
            "[possible values: auto, hex, dec, ipv4, ipv6, mac, prefix]",
        ),
    ];
    for (arguments, hint) in cases {
        refused(arguments, 2, &[hint]);
    }
    for arguments in [&[][..], &["map"]] {
        xdpload(arguments).fails(2).stderr_has("Usage: xdpload");
    }
}

/// The calls of a step in a transcript, the first of them with the step's number.
fn numbered_calls(step: &Value) -> Vec<(Option<&str>, &Value)> {
    let calls = step["calls"].as_array().expect("calls are a list");
    let number = step["number"].as_str();
    calls.iter().enumerate().map(|(index, call)| (number.filter(|_| index == 0), call)).collect()
}

/// The calls of all steps of a plan, by number.
fn collect_steps<'v>(steps: &'v Value, found: &mut BTreeMap<&'v str, &'v Value>) {
    for step in steps.as_array().into_iter().flatten() {
        let number = step["number"].as_str().expect("a step has a number");
        assert!(found.insert(number, &step["calls"]).is_none(), "two steps are {number}");
        collect_steps(&step["then"], found);
        for other in step["otherwise"].as_array().into_iter().flatten() {
            collect_steps(&other["steps"], found);
        }
    }
}

#[test]
fn what_was_done_is_one_line_and_each_step_comes_on_request() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let path = object("blacklist_gobpf");
    let silent = xdpload(&["attach", NEAR, &path]).ok();
    let program = attached_by_ip(NEAR).expect("it is attached");
    let done =
        format!("attached xdp_ip_filter (id {}, tag {}) to near0 in native mode", program.id, program.tag);
    assert_eq!((silent.stdout(), silent.stderr()), (&*format!("{done}\n"), ""));

    let told = xdpload(&["attach", NEAR, &path, "--replace", "-v"]).ok();
    let replaced = format!(" in native mode, replacing program {}\n", program.id);
    assert!(told.stdout().ends_with(&replaced), "{}", told.report());
    assert_eq!(told.stdout().lines().count(), 1, "{}", told.report());
    let transcript = answer(&["attach", NEAR, &path, "--replace"])["transcript"].clone();
    let steps = transcript.as_array().expect("the transcript is a list");
    let calls: Vec<_> = steps.iter().flat_map(numbered_calls).collect();
    assert_eq!(told.stderr().lines().count(), calls.len(), "{}", told.report());
    for (line, (number, call)) in told.stderr().lines().zip(calls) {
        let name = call["name"].as_str().expect("a call has a name");
        let (own, rest) = line.trim_start().split_once(' ').expect("a number and a call");
        assert!(rest.starts_with(&format!("{name}(")), "expected {name}:\n{}", told.report());
        assert!(number.is_none_or(|number| number == own), "expected {number:?}:\n{}", told.report());
    }
    let plan = answer(&["plan", &path, "--dev", NEAR, "--replace"]);
    let mut planned = BTreeMap::new();
    collect_steps(&plan["steps"], &mut planned);
    for step in steps {
        let number = step["number"].as_str().expect("nothing was probed");
        assert_eq!(planned.get(number), Some(&&step["calls"]), "call {number} of the plan");
    }

    let id = attached_by_ip(NEAR).expect("it is attached").id;
    let detached = xdpload(&["detach", NEAR]).ok();
    let done = format!("detached XDP program {id} in native mode from near0\n");
    assert_eq!((detached.stdout(), detached.stderr()), (&*done, ""));
    assert_eq!(xdpload(&["status"]).ok().stdout(), "no interface has an XDP program\n");
    assert_eq!(xdpload(&["map", "list"]).ok().stderr(), "");
}

#[test]
fn the_maps_of_a_program_are_in_lines_of_their_own() {
    let (_sandbox, _veth) = need!(pair(&[]));
    xdpload(&["block", "on", NEAR]).ok();
    let ran = xdpload(&["status"]).ok();
    let lines: Vec<_> = ran.stdout().lines().collect();
    assert!(lines[0].starts_with("near0 ("), "{}", ran.report());
    assert!(lines[1].starts_with("    maps "), "{}", ran.report());
    assert!(
        lines.len() > 3 && lines[2..].iter().all(|line| line.starts_with("         ")),
        "{}",
        ran.report()
    );
    assert!(lines.iter().all(|line| line.len() <= 80), "{}", ran.report());
    xdpload(&["block", "off", "--purge"]).ok();
}

#[test]
fn a_plan_is_folded_at_the_edge_of_a_terminal_and_for_nobody_else() {
    let path = object("blacklist");
    let arguments = ["plan", &path, "--dev", "eth9", "--verbose"];
    let whole = xdpload(&arguments).ok();
    let longest = whole.stdout().lines().map(str::len).max();
    assert!(longest.is_some_and(|length| length > 200), "{}", whole.report());
    for (size, width) in [("true", 80), ("stty rows 24 columns 72", 72), ("stty rows 24 columns 400", 400)] {
        let program = format!("{size}; exec {} {}", env!("CARGO_BIN_EXE_xdpload"), arguments.join(" "));
        let shown =
            run(&mut command("script", &["--quiet", "--return", "--command", &program, "/dev/null"])).ok();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(shown.stdout()), words(whole.stdout()), "{}", shown.report());
        assert!(shown.stdout().lines().all(|line| line.len() <= width), "{}", shown.report());
    }
}

#[test]
fn what_is_done_but_cannot_be_told_is_said() {
    let (sandbox, _veth) = need!(pair(&[]));
    let object = object("xdp_pass");
    let file = sandbox.scratch().join("answer");
    let file = file.to_str().expect("the path is text");
    // No file may grow: that is an error, and not the signal that it is to whoever does not expect it.
    let limited = format!("ulimit -f 0; exec \"$0\" \"$@\" >{file}");
    for (shell, words) in [("exec \"$0\" \"$@\" >/dev/full", "ENOSPC"), (&limited, "EFBIG")] {
        for words_of_command in [&["attach", NEAR, &object][..], &["detach", NEAR]] {
            let program = [&["-c", shell, env!("CARGO_BIN_EXE_xdpload")], words_of_command].concat();
            run(&mut command("sh", &program))
                .fails(1)
                .stderr_has("error: the change was made, but the answer could not be written: write(2) for ")
                .stderr_has(words);
            assert_eq!(attached_by_ip(NEAR).is_some(), words_of_command[0] == "attach");
        }
        let list = sandbox.scratch().join("list");
        fs::write(&list, "192.0.2.78\n").expect("the sandbox is writable");
        let list = list.to_str().expect("the path is text");
        for words_of_command in [
            &["block", "on", NEAR][..],
            &["block", "add", "198.51.100.7"],
            &["block", "del", "198.51.100.7"],
            &["block", "allow", "add", "198.51.100.7"],
            &["block", "allow", "del", "198.51.100.7"],
            &["block", "load", list],
            &["block", "off", "--purge"],
        ] {
            let program = [&["-c", shell, env!("CARGO_BIN_EXE_xdpload")], words_of_command].concat();
            run(&mut command("sh", &program))
                .fails(1)
                .stderr_has("error: the change was made, but the answer could not be written: write(2) for ")
                .stderr_has(words);
            if words_of_command.contains(&"load") {
                let fed = format!("echo add 198.51.100.8 | ( {shell} )");
                let program = ["-c", &fed, env!("CARGO_BIN_EXE_xdpload"), "block", "sync", "-"];
                run(&mut command("sh", &program))
                    .fails(1)
                    .stderr_has(
                        "error: the changes were made, but the answers could not be written: write(2) for ",
                    )
                    .stderr_has(words);
            }
        }
        for asked in [&["--help"][..], &["attach", "--help"], &["--version"]] {
            let program = [&["-c", shell, env!("CARGO_BIN_EXE_xdpload")], asked].concat();
            run(&mut command("sh", &program))
                .fails(1)
                .stderr_has("error: write(2) for standard output failed: ")
                .stderr_has(words);
        }
    }
}

#[test]
fn no_colour_is_used_whatever_the_environment_says() {
    let path = object("many");
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"), ("COLORTERM", "truecolor")] {
        for arguments in [&["--help"][..], &["inspect", &path], &["attach", "--nonsense"], &["plan", &path]] {
            let plain = xdpload(arguments);
            let ran = run(xdpload_command(arguments).env(name, value));
            assert_eq!((ran.stdout(), ran.stderr()), (plain.stdout(), plain.stderr()));
            assert!(!ran.report().contains('\u{1b}'), "{}", ran.report().escape_debug());
        }
    }
}

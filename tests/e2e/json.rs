//! `--json`: what each command prints is what docs/json.md documents, field by field, in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nix::libc::{AF_NETLINK, EPERM};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bench::refused;
use crate::command::{command, run};
use crate::objects::object;
use crate::peers::number;
use crate::privileges::without_sockets;
use crate::requirement::tool;
use crate::veth::{NEAR, Veth, pair, wait_for};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// The page as it is read: the paths of the fields and the examples, by command.
#[derive(Default)]
struct Documented {
    fields: BTreeSet<String>,
    examples: Vec<Value>,
}

/// docs/json.md by its headings.
fn documentation() -> BTreeMap<String, Documented> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let mut commands = BTreeMap::<String, Documented>::new();
    let mut current = String::new();
    let mut example: Option<String> = None;
    for line in page.lines() {
        let is_fence = line.starts_with("```");
        match (&mut example, is_fence) {
            (Some(text), true) => {
                let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{current}: {error}"));
                commands.entry(current.clone()).or_default().examples.push(value);
                example = None;
            }
            (Some(text), false) => *text += line,
            (None, true) => example = Some(String::new()),
            (None, false) => {
                if let Some(heading) = line.strip_prefix("## `") {
                    heading.trim_end_matches('`').clone_into(&mut current);
                }
                let field = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
                commands.entry(current.clone()).or_default().fields.extend(field.map(str::to_owned));
            }
        }
    }
    commands.remove("");
    commands
}

/// The paths of all fields in `value`. Only what has fields, or none at all, is told by those alone.
fn fields(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found.into_iter().map(|path| shorten(&path)).collect()
}

fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if !path.ends_with(".arguments") => {
            let separator = if path.is_empty() { "" } else { "." };
            object.iter().for_each(|(key, value)| walk(value, &format!("{path}{separator}{key}"), found));
        }
        Value::Array(list) => {
            let path = format!("{path}[]");
            found.insert(path.clone());
            list.iter().filter(|value| !value.is_string()).for_each(|value| walk(value, &path, found));
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

/// The path of a field of a step or a call, which are documented once, wherever they stand.
fn shorten(path: &str) -> String {
    let behind = |marks: &[&str]| {
        let ends = marks.iter().filter_map(|mark| path.rfind(mark).map(|at| at + mark.len()));
        ends.max().map(|end| &path[end..])
    };
    match (behind(&["calls[].", "probe[].", "undo[]."]), behind(&["steps[].", "then[]."])) {
        (Some(rest), _) => format!("call.{rest}"),
        (None, Some(rest)) => format!("step.{rest}"),
        (None, None) => path.to_owned(),
    }
}

#[test]
fn each_document_is_what_the_page_says() {
    need!(tool("setpriv"));
    let (sandbox, veth) = need!(pair(&["bpftool"]));
    let mut printed = BTreeMap::<&str, BTreeSet<String>>::new();
    let mut say = |command: &'static str, document: &Value| {
        printed.entry(command).or_default().extend(fields(document));
    };
    for name in ["many", "iproute2_ids", "blacklist_gobpf", "global_data", "subprogs", "kconfig"] {
        say("inspect", &answer(&["inspect", &object(name)]));
    }
    say("inspect --btf", &answer(&["inspect", &object("many"), "--btf"]));
    let gobpf = object("blacklist_gobpf");
    say("plan", &answer(&["plan", &gobpf, "--dev", NEAR, "--replace"]));
    say("plan", &answer(&["plan", &object("kconfig")]));
    say("plan", &answer(&["plan", &object("map_types"), "--all"]));
    say("plan", &answer(&["plan", &object("core_fields")]));
    say("attach", &answer(&["attach", NEAR, &gobpf]));
    say("status", &answer(&["status"]));
    let xdpload_here = sandbox.scratch().join("xdpload");
    fs::copy(xdpload_command::<&str>(&[]).get_program(), &xdpload_here).expect("the sandbox is writable");
    for name in ["status", "pins"] {
        let mut stripped = command("setpriv", &["--bounding-set=-all", "--inh-caps=-all"]);
        say(name, &run(stripped.arg(&xdpload_here).args([name, "--json"])).ok().json());
        say(name, &answer(&[name]));
    }
    say("map list", &answer(&["map", "list"]));
    let blacklist = format!("{NEAR}:blacklist");
    let addresses = sandbox.scratch().join("addresses");
    fs::write(&addresses, "192.0.2.78 1\n").expect("the sandbox is writable");
    let addresses = addresses.to_str().expect("the path is printable");
    say("map set", &answer(&["map", "set", &blacklist, "192.0.2.77", "1"]));
    say("map get", &answer(&["map", "get", &blacklist, "192.0.2.77"]));
    say("map dump", &answer(&["map", "dump", &blacklist]));
    say("map delete", &answer(&["map", "delete", &blacklist, "192.0.2.77"]));
    say("map load", &answer(&["map", "load", &blacklist, addresses]));
    say("attach", &answer(&["attach", NEAR, &object("global_data"), "--replace"]));
    say("map get", &answer(&["map", "get", &format!("{NEAR}:.bss"), "seen"]));
    // With types, which the maps of gobpf's dialect have not.
    say("attach", &answer(&["attach", NEAR, &object("blacklist"), "--replace"]));
    say("map set", &answer(&["map", "set", &blacklist, "192.0.2.77", "1"]));
    say("map get", &answer(&["map", "get", &blacklist, "192.0.2.77"]));
    say("map dump", &answer(&["map", "dump", &blacklist]));
    say("attach", &answer(&["attach", NEAR, &object("count_percpu"), "--replace"]));
    say("map get", &answer(&["map", "get", &format!("{NEAR}:packets"), "0"]));
    say("map dump", &answer(&["map", "dump", &format!("{NEAR}:packets")]));
    let counter = object("count_percpu");
    let larger = ["--replace", "--migrate-maps", "--max-entries=packets=2"];
    say("plan", &answer(&[&["plan", &counter, "--dev", NEAR], &larger[..]].concat()));
    say("attach", &answer(&[&["attach", NEAR, &counter], &larger[..]].concat()));
    let rejected = object("reject/control");
    let load = ["load", &rejected, "--prog=calls_too_deep", "--pin=/sys/fs/bpf/deep", "--json"];
    say("a refusal by the verifier", &xdpload(&load).fails(4).json());
    say("detach", &answer(&["detach", NEAR]));
    run(&mut command("ip", &["link", "add", "left0", "type", "veth", "peer", "name", "right0"])).ok();
    let both = ["attach", NEAR, "left0", &object("tail_calls"), "--prog=enter", "--confirm=10m"];
    say("attach", &answer(&both));
    say("confirm", &answer(&["confirm"]));
    say("detach", &answer(&["detach", NEAR, "left0", "--confirm=10m"]));
    answer(&["confirm"]);
    say("attach", &answer(&["attach", NEAR, &counter, "--link", "--pin=/sys/fs/bpf/link"]));
    say("status", &answer(&["status"]));
    say("detach", &answer(&["detach", NEAR, "--link"]));
    say("attach", &answer(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]));
    say("detach", &answer(&["detach", NEAR]));
    answer(&["attach", NEAR, &counter, "--link", "--pin=/sys/fs/bpf/link"]);
    run(&mut command("bpftool", &["link", "detach", "pinned", "/sys/fs/bpf/link"])).ok();
    say("pins gc", &answer(&["pins", "gc"]));
    say_trials(&mut say, &counter, &veth);
    say("load", &answer(&["load", &gobpf, "--pin=/sys/fs/bpf/edge"]));
    say("attach", &answer(&["attach", NEAR, &counter, "--link", "--pin=/sys/fs/bpf/link"]));
    say("doctor", &answer(&["doctor"]));
    say("doctor", &without_sockets(AF_NETLINK, EPERM, &["doctor", "--json"]).fails(3).json());
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    say("block on", &answer(&["block", "on", "two0", "--confirm=10m"]));
    answer(&["block", "on", "two0", "--default=drop", "--confirm=10m", "--force"]);
    say("status", &answer(&["status"]));
    xdpload(&["confirm", "two0"]).ok();
    answer(&["block", "on", "two0", "--default=pass"]);
    run(&mut command("ip", &["link", "set", "two0", "up"])).ok();
    run(&mut command("ip", &["link", "set", "two1", "up"])).ok();
    // An interface that comes up says so to its neighbours.
    while answer(&["block", "stats"])["interfaces"] == Value::Array(Vec::new()) {}
    let list = sandbox.scratch().join("list");
    fs::write(&list, "198.51.100.0/24\n").expect("the sandbox is writable");
    for (name, words) in [
        ("block add", &["192.0.2.77"][..]),
        ("block list", &[]),
        ("block test", &["192.0.2.77"]),
        ("block test", &["192.0.2.78"]),
        ("block del", &["192.0.2.77"]),
        ("block allow add", &["192.0.2.2"]),
        ("block allow list", &[]),
        ("block allow del", &["192.0.2.2"]),
        ("block load", &[list.to_str().expect("the path is printable")]),
        ("block stats", &[]),
        ("block off", &["--purge"]),
    ] {
        let command: Vec<_> = name.split(' ').chain(words.iter().copied()).collect();
        say(name, &answer(&command));
    }
    assert_documented(printed);
}

/// What is said of trials: of one, of one whose guard does not answer, and of one that cannot be rolled back.
fn say_trials(say: &mut dyn FnMut(&'static str, &Value), object: &str, veth: &Veth) {
    let trial = answer(&["attach", NEAR, object, "--confirm=10m"]);
    say("attach", &trial);
    say("status", &answer(&["status"]));
    say("status", &status_of_a_stopped_guard(&trial));
    say("confirm", &answer(&["confirm"]));
    say("detach", &answer(&["detach", NEAR, "--confirm=1s"]));
    say("status", &status_of_a_failure(veth));
    say("confirm", &answer(&["confirm"]));
    veth.set_mtu(1500);
    say_trials_of_what_was_moved(say, object);
}

/// What is said of changes on trial whose interface was moved: it is found, found but its roll-back fails, or lost.
fn say_trials_of_what_was_moved(say: &mut dyn FnMut(&'static str, &Value), object: &str) {
    let ip = |words: &str| drop(run(&mut command("ip", &words.split(' ').collect::<Vec<_>>())).ok());
    ip("link add moved0 type veth peer name moved1");
    ip("netns add elsewhere");
    answer(&["attach", "moved0", object]);
    answer(&["attach", "moved0", object, "--replace", "--confirm=1s"]);
    ip("link set moved0 netns elsewhere");
    say("status", &answer(&["status"]));
    // Under a bridge with a program nothing can be put back.
    ip("-n elsewhere link add bridge0 type bridge");
    ip("-n elsewhere link set moved0 master bridge0");
    answer(&["attach", "bridge0", object, "--mode=generic", "--netns=elsewhere"]);
    wait_for("a roll-back that fails", || answer(&["status"])["absent"][0]["trial"]["failure"].is_string());
    say("status", &answer(&["status"]));
    say("confirm", &answer(&["confirm"]));
    answer(&["attach", "moved1", object]);
    answer(&["detach", "moved1", "--confirm=1s"]);
    ip("link set moved1 netns elsewhere");
    say("status", &answer(&["status"]));
    ip("netns del elsewhere");
}

fn status_of_a_stopped_guard(trial: &Value) -> Value {
    let guard = Pid::from_raw(
        i32::try_from(number(&trial["attached"][0]["trial"]["guard"])).expect("an id is small"),
    );
    kill(guard, Signal::SIGSTOP).expect("the guard is there");
    let status = answer(&["status"]);
    kill(guard, Signal::SIGCONT).expect("the guard is there");
    status
}

/// The status when what was detached on trial cannot be attached again.
fn status_of_a_failure(veth: &Veth) -> Value {
    veth.set_mtu(9000);
    let fails = || answer(&["status"])["interfaces"][0]["trial"]["failure"].is_string();
    wait_for("a roll-back that fails", fails);
    answer(&["status"])
}

/// The fields that each command printed are those that the page tells of.
#[track_caller]
fn assert_documented(printed: BTreeMap<&str, BTreeSet<String>>) {
    let documented = documentation();
    assert_eq!(
        documented.keys().map(String::as_str).collect::<Vec<_>>(),
        printed.keys().copied().collect::<Vec<_>>()
    );
    for (command, fields) in &printed {
        assert_one_name_each(command, fields);
    }
    let calls = &documented["plan"].fields;
    for (command, printed) in printed {
        let page = &documented[command];
        let is_shared = |field: &&String| field.starts_with("call.") || field.starts_with("step.");
        let allowed: BTreeSet<_> =
            page.fields.iter().chain(calls.iter().filter(is_shared)).cloned().collect();
        let undocumented: Vec<_> = printed.difference(&allowed).collect();
        assert!(
            undocumented.is_empty(),
            "`{command}` prints what docs/json.md does not tell of: {undocumented:?}"
        );
        let unprinted: Vec<_> = page.fields.difference(&printed).collect();
        assert!(unprinted.is_empty(), "docs/json.md tells of what `{command}` does not print: {unprinted:?}");
        assert!(!page.examples.is_empty(), "docs/json.md has no example of `{command}`");
        for example in &page.examples {
            let wrong: Vec<_> = fields(example).difference(&printed).cloned().collect();
            assert!(wrong.is_empty(), "the example of `{command}` has {wrong:?}");
            // What is always answered.
            let answers = page.fields.iter().filter(|field| field.ends_with(".answer"));
            let unasked: Vec<_> = answers.filter(|field| !fields(example).contains(*field)).collect();
            assert!(unasked.is_empty(), "the example of `{command}` lacks {unasked:?}");
        }
    }
}

/// An interface is `interface` and `ifindex`, and what is left of a time `seconds_left`, in each document.
#[track_caller]
fn assert_one_name_each(command: &str, fields: &BTreeSet<String>) {
    for field in fields {
        let (parent, name) = field.split_at(field.rfind('.').map_or(0, |at| at + 1));
        let has = |name: &str| fields.contains(&format!("{parent}{name}"));
        let is_of_interface = ["mtu", "ifindex"].contains(&name);
        assert!(
            !is_of_interface || (has("interface") && !has("name") && !has("index")),
            "{command}: {field}"
        );
        assert!(!name.ends_with("left") || name.ends_with("seconds_left"), "{command}: {field}");
        assert!(!["seconds", "milliseconds"].contains(&name), "{command}: {field}");
    }
}

#[test]
fn the_numbers_are_those_of_the_witnesses() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    let inspected = answer(&["inspect", &object("blacklist")]);
    assert_eq!(inspected["programs"][0]["references"][0]["relocation"], "R_BPF_64_64");
    let attached = answer(&["attach", NEAR, &object("blacklist"), "--mode", "generic"]);
    let witness = crate::peers::attached_by_ip(NEAR).expect("it is attached");
    let program = &attached["program"];
    assert_eq!((&program["id"], &program["tag"]), (&witness.id.into(), &(*witness.tag).into()));
    assert_eq!(
        (&attached["attached"][0]["ifindex"], &attached["attached"][0]["mode"]),
        (&veth.near_index().into(), &(*witness.mode).into())
    );
    let status = answer(&["status", NEAR]);
    assert_eq!(status["interfaces"][0]["programs"][0]["maps"][0]["id"], program["map_ids"][0]);
    let replaced = answer(&["attach", NEAR, &object("xdp_drop"), "--mode", "generic", "--replace"]);
    assert_eq!(replaced["attached"][0]["replaced"], witness.id);
    assert_eq!(answer(&["detach", NEAR])["detached"][0]["programs"][0]["id"], replaced["program"]["id"]);
    assert_eq!(answer(&["status", NEAR])["interfaces"][0]["programs"], Value::Array(vec![]));
}

#[test]
fn an_error_prints_no_document() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    let cases: [(&[&str], i32); 8] = [
        (&["inspect", "/nowhere"], 1),
        (&["plan", &object("many"), "--dev", NEAR], 2),
        (&["detach", NEAR], 1),
        (&["status", "nosuch0"], 1),
        (&["map", "dump", "4294967294"], 1),
        (&["map", "get", "4294967294", "0"], 1),
        (&["map", "set", "none", "0", "0"], 2),
        (&["map", "delete", "none", "0"], 2),
    ];
    for (arguments, code) in cases {
        refused(&[arguments, &["--json"]].concat(), code, &[]);
    }
    assert_eq!(xdpload(&["status", "--json"]).ok().stdout(), "{\n  \"interfaces\": []\n}\n");
}

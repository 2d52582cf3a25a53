//! `examples/prometheus`: the file for node_exporter's textfile collector, read as strictly as Prometheus does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::container::Disk;
use super::{BIN, example, install};
use crate::block_commands::{block, blocked_pair};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::requirement::tool;
use crate::veth::{BLOCKED, OTHER, wait_for};

/// One line: the name, the labels and the value.
type Sample = (String, BTreeMap<String, String>, f64);

/// What the text format 0.0.4 lets through: each family with one HELP, one TYPE and then its samples, in one piece.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut families = BTreeSet::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    let mut samples: Vec<Sample> = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.split_once(' ').expect("a help has words").0.clone_into(&mut helped);
            assert!(families.insert(helped.clone()), "{helped} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type has a word");
            assert_eq!(name, helped);
            assert_eq!(kind, if name.ends_with("_total") { "counter" } else { "gauge" });
            assert!(name.chars().all(|c| c == '_' || c.is_ascii_lowercase()));
            name.clone_into(&mut typed);
        } else {
            let sample = parse_sample(line);
            assert_eq!(sample.0, typed, "{line}");
            assert!(!samples.iter().any(|old| (&old.0, &old.1) == (&sample.0, &sample.1)), "twice: {line}");
            samples.push(sample);
        }
    }
    samples
}

fn parse_sample(line: &str) -> Sample {
    let Some((name, rest)) = line.split_once('{') else {
        let (name, value) = line.split_once(' ').expect("a sample has a value");
        return (name.to_owned(), BTreeMap::new(), value.parse().expect("a value is a number"));
    };
    let (mut rest, mut labels) = (rest, BTreeMap::new());
    while !rest.starts_with('}') {
        let (label, after) = rest.split_once("=\"").expect("a label has a value in quotes");
        assert!(label.chars().all(|c| c.is_ascii_lowercase()), "{line}");
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().expect("the quotes are closed") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().map(|(_, c)| c) {
                    Some(c @ ('\\' | '"')) => c,
                    Some('n') => '\n',
                    other => panic!("an escape that Prometheus does not know: {other:?}"),
                }),
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
        rest = after[end + 1..].trim_start_matches(',');
    }
    let value = rest.strip_prefix("} ").expect("a blank stands before the value");
    (name.to_owned(), labels, value.parse().expect("a value is a number"))
}

#[test]
fn counters_are_written_for_the_collector() {
    let (sandbox, veth) = need!(blocked_pair(&[]));
    need!(tool("systemd-analyze"));
    install(&sandbox, &["prometheus/xdpload-metrics"]);
    block(&["add", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
    let directory = sandbox.scratch().join("collector");
    fs::create_dir(&directory).expect("it is new");
    let write = || -> Ran {
        let mut script = command(&format!("{BIN}/xdpload-metrics"), &[directory.to_str().unwrap()]);
        run(script.env("XDPLOAD", format!("{BIN}/xdpload")))
    };
    write().ok();
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&directory).expect("it is there").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(), ["xdpload.prom"]);
    let path = directory.join("xdpload.prom");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let text = fs::read_to_string(&path).unwrap();
    let samples = parse(&text);
    let value = |name: &str, verdict: &str| {
        let is_it = |(of, labels, _): &&Sample| {
            of == name && labels["interface"] == "near0" && labels["verdict"] == verdict
        };
        samples.iter().find(is_it).expect("it is there").2
    };
    assert!((value("xdpload_block_packets_total", "dropped4") - 5.0).abs() < 0.5);
    assert!((value("xdpload_block_bytes_total", "dropped4") - 250.0).abs() < 0.5);
    assert!((value("xdpload_block_packets_total", "passed4") - 5.0).abs() < 0.5);

    // A failure leaves the file of before, and nothing beside it.
    block(&["off", "--purge"]).ok();
    write().fails(1).stderr_has("there is no blocklist");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(names(), ["xdpload.prom"]);
}

#[test]
fn names_that_need_it_are_escaped() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "100"]));
    // The kernel takes any name without a slash or a blank.
    let name = "q\"b\\e";
    run(&mut command("ip", &["link", "add", name, "type", "veth", "peer", "name", "peer0"])).ok();
    for end in [name, "peer0"] {
        run(&mut command("ip", &["link", "set", end, "up"])).ok();
    }
    block(&["on", name]).ok();
    let mut ping = command("ip", &["neigh", "add", "198.51.100.2", "lladdr", "2:0:0:0:0:1", "dev", "peer0"]);
    run(&mut ping).ok();
    run(&mut command("ip", &["addr", "add", "198.51.100.1/24", "dev", "peer0"])).ok();
    let socket = std::net::UdpSocket::bind("198.51.100.1:0").expect("the address is here");
    socket.send_to(b"x", "198.51.100.2:9").expect("the interface is up");
    let stats = block(&["stats", "--prometheus"]).ok();
    let samples = parse(stats.stdout());
    assert!(
        samples.iter().any(|sample| sample.1.get("interface").is_some_and(|own| own == name)),
        "{}",
        stats.stdout()
    );
}

#[test]
fn the_timer_writes_the_file() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "100"]));
    need!(tool("systemd-analyze"));
    install(&sandbox, &["prometheus/xdpload-metrics"]);
    let disk = need!(Disk::new(&sandbox));
    let units = ["xdpload-metrics.service", "xdpload-metrics.timer"];
    let files = units.map(|name| example(&format!("prometheus/{name}")));
    let verify = ["verify", files[0].to_str().unwrap(), files[1].to_str().unwrap()];
    let verified = run(&mut command("systemd-analyze", &verify)).ok();
    assert_eq!(verified.stderr(), "");
    for (file, name) in files.iter().zip(units) {
        fs::copy(file, Path::new("/etc/systemd/system").join(name)).unwrap();
    }
    // Debian's prometheus-node-exporter has it.
    fs::create_dir_all("/var/lib/prometheus/node-exporter").unwrap();
    let file = Path::new("/var/lib/prometheus/node-exporter/xdpload.prom");
    let gateway = disk.boot();
    gateway.systemctl(&["enable", "--now", units[1]]).ok();
    wait_for("the timer", || file.exists());
    parse(&fs::read_to_string(file).unwrap());
    gateway.power_off();
    fs::remove_file(file).unwrap();
    let _gateway = disk.boot();
    wait_for("the timer", || file.exists());
    assert_eq!(disk.take_journal(), "");
}

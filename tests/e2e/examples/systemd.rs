//! `examples/systemd`: the unit is sound, a running systemd brings rules back with it after a reboot, and it keeps no
//! capability in vain.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::container::Disk;
use super::{example, install};
use crate::block_commands::{block, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::attached_by_ip;
use crate::requirement::tool;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};
use crate::xdpload::answer;

/// A unit file's settings, each with its values in order.
struct Unit {
    settings: BTreeMap<String, Vec<String>>,
}

impl Unit {
    fn read(path: &Path) -> Self {
        let mut settings: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in fs::read_to_string(path).expect("the example is there").lines() {
            let is_setting = !line.starts_with(['#', '[']);
            if let Some((key, value)) = line.split_once('=').filter(|_| is_setting) {
                settings.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
        Self { settings }
    }

    /// All values of a setting.
    fn all(&self, key: &str) -> &[String] {
        self.settings.get(key).unwrap_or_else(|| panic!("the unit has no {key}"))
    }

    /// Runs a command line of the unit with its capabilities. What these lines have of systemd's quoting means the
    /// same to a shell.
    fn run(&self, line: &str, environment: &[(&str, &str)]) -> Ran {
        let sets: Vec<_> = self.all("CapabilityBoundingSet")[0]
            .split(' ')
            .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let bounding = format!("--bounding-set=-all{}", sets.concat());
        let line = format!("exec {line}");
        let words = ["--inh-caps=-all", &bounding, "--no-new-privs", "--", "sh", "-c", &line];
        run(command("setpriv", &words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied()))
    }
}

/// Puts the unit and its settings where the table says, with the interface of the sandbox.
fn install_unit() {
    let unit = example("systemd/xdpload-block.service");
    let verified =
        run(&mut command("systemd-analyze", &["verify", unit.to_str().expect("it is printable")])).ok();
    assert_eq!(verified.stderr(), "");
    fs::copy(unit, "/etc/systemd/system/xdpload-block.service").expect("the directory is there");
    let settings =
        fs::read_to_string(example("systemd/xdpload-block.default")).expect("the example is there");
    assert!(settings.contains("INTERFACES=\"eth0\"\n"), "{settings}");
    fs::write("/etc/default/xdpload-block", settings.replace("eth0", NEAR)).expect("the directory is there");
}

#[test]
fn rules_come_back_after_a_reboot() {
    let (sandbox, veth) = need!(pair(&["systemd-analyze"]));
    install(&sandbox, &[]);
    let disk = need!(Disk::new(&sandbox));
    install_unit();

    // The first boot has nothing to restore.
    let gateway = disk.boot();
    gateway.systemctl(&["enable", "--now", "xdpload-block"]).ok();
    assert_eq!(attached_by_ip(NEAR).expect("it is on").mode, "native");
    assert!(listed().is_empty());
    block(&["add", "192.0.2.77", "--name", "mine"]).ok();
    block(&["add", "192.0.2.1", "--force"]).ok();
    block(&["allow", "add", "192.0.2.78"]).ok();
    gateway.systemctl(&["reload", "xdpload-block"]).ok();
    block(&["add", "192.0.2.64/26"]).ok();
    gateway.power_off();
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec![]));
    assert_udp(&veth, BLOCKED, 5);

    let gateway = disk.boot();
    assert!(gateway.is_active("xdpload-block"), "{}", disk.take_journal());
    let rules = ["192.0.2.1 default", "192.0.2.64/26 default", "192.0.2.77 mine"];
    assert_eq!(listed(), rules);
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.78\n");
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
    // An administrator who starts it again loses nothing.
    gateway.systemctl(&["restart", "xdpload-block"]).ok();
    assert_eq!(listed(), rules);
    block(&["del", "192.0.2.1", "192.0.2.64/26", "192.0.2.77"]).ok();
    gateway.power_off();

    // What was empty is empty again, and the exceptions are still there.
    let gateway = disk.boot();
    assert!(listed().is_empty());
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.78\n");
    block(&["add", "192.0.2.77"]).ok();
    gateway.systemctl(&["reload", "xdpload-block"]).ok();
    block(&["add", "192.0.2.79"]).ok();
    disk.take_journal();

    // After a power cut there is what was saved last.
    drop(gateway);
    block(&["off", "--purge"]).ok();
    fs::write("/etc/default/xdpload-block", format!("INTERFACES=\"late0 {NEAR}\"\n")).unwrap();
    let gateway = disk.boot();
    assert_eq!(listed(), ["192.0.2.77 default"]);
    let journal = disk.take_journal();
    assert!(journal.contains("there is no interface named `late0`"), "{journal}");
    gateway.systemctl(&["disable", "--now", "xdpload-block"]).ok();
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec![]));
}

/// A device that comes late leaves the others protected, and what was set comes back with the rules.
#[test]
fn a_missing_interface_and_the_settings() {
    let (sandbox, veth) = need!(pair(&["setpriv"]));
    install(&sandbox, &[]);
    let unit = Unit::read(&example("systemd/xdpload-block.service"));
    let state = sandbox.scratch().to_str().unwrap();
    let interfaces = format!("late0 {NEAR}");
    let run_all = |key: &str, interfaces: &str, options: &str| -> Vec<Ran> {
        let environment = [("INTERFACES", interfaces), ("OPTIONS", options), ("STATE_DIRECTORY", state)];
        unit.all(key).iter().map(|line| unit.run(line, &environment)).collect()
    };
    let all = |key: &str, options: &str| -> Vec<Ran> {
        run_all(key, &interfaces, options).into_iter().map(Ran::ok).collect()
    };
    run_all("ExecStart", "late0", "").remove(0).fails(1).stderr_has("there is no interface named `late0`");

    all("ExecStart", "").remove(0).stderr_has("there is no interface named `late0`");
    block(&["add", "192.0.2.77"]).ok();
    block(&["allow", "add", "192.0.2.0/24"]).ok();
    block(&["on", NEAR, "--default", "drop", "--count-only", "--force"]).ok();
    all("ExecStop", "").remove(0).stderr_has("does not restore --count-only --default drop");
    all("ExecStart", "");
    let settings = answer(&["block", "on", NEAR]);
    assert_eq!((&settings["default_drop"], &settings["count_only"]), (&true.into(), &true.into()));
    all("ExecStop", "");
    // What the options say counts.
    all("ExecStart", "--count-only=false");
    let settings = answer(&["block", "on", NEAR]);
    assert_eq!((&settings["default_drop"], &settings["count_only"]), (&false.into(), &false.into()));
    assert_udp(&veth, OTHER, 5);
    all("ExecStop", "");
}

/// Without any one of the capabilities that the unit keeps, one of its commands fails.
#[test]
fn the_unit_keeps_no_capability_in_vain() {
    let (sandbox, _veth) = need!(pair(&["setpriv"]));
    need!(tool("systemd-analyze"));
    install(&sandbox, &[]);
    let unit = Unit::read(&example("systemd/xdpload-block.service"));
    let names: Vec<_> = unit.all("CapabilityBoundingSet")[0].split(' ').map(str::to_owned).collect();
    let state = sandbox.scratch().to_str().unwrap();
    let environment = [("INTERFACES", NEAR), ("OPTIONS", "--max-rules 100"), ("STATE_DIRECTORY", state)];
    for left_out in &names {
        let kept: Vec<_> = names.iter().filter(|name| *name != left_out).cloned().collect();
        let poorer =
            Unit { settings: BTreeMap::from([("CapabilityBoundingSet".to_owned(), vec![kept.join(" ")])]) };
        let lines = unit.all("ExecStart").iter().chain(unit.all("ExecStop"));
        let failed = lines.map(|line| poorer.run(line, &environment)).find(|ran| ran.code() != Some(0));
        let failed = failed.unwrap_or_else(|| panic!("{left_out} is not needed"));
        assert!(
            failed.stderr().contains("lacks CAP_") || failed.stderr().contains("EPERM"),
            "{}",
            failed.report()
        );
        let _ = block(&["off", "--purge"]);
    }
}

//! `examples/systemd`: the unit is sound, and its commands, run in order and with its capabilities alone, bring rules
//! back after a reboot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{example, install};
use crate::block_commands::{block, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::attached_by_ip;
use crate::requirement::tool;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};

/// A unit file's settings, each with its values in order.
pub(super) struct Unit {
    settings: BTreeMap<String, Vec<String>>,
}

impl Unit {
    pub(super) fn read(path: &Path) -> Self {
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
    pub(super) fn all(&self, key: &str) -> &[String] {
        self.settings.get(key).unwrap_or_else(|| panic!("the unit has no {key}"))
    }

    /// Runs a command line of the unit with its capabilities. What these lines have of systemd's quoting means the
    /// same to a shell.
    pub(super) fn run(&self, line: &str, environment: &[(&str, &str)]) -> Ran {
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

#[test]
fn rules_come_back_after_a_reboot() {
    let (sandbox, veth) = need!(pair(&["setpriv", "systemd-analyze"]));
    install(&sandbox, &[]);
    let path = example("systemd/xdpload-block.service");
    let verified = run(&mut command("systemd-analyze", &["verify", path.to_str().unwrap()])).ok();
    assert_eq!(verified.stderr(), "");
    let unit = Unit::read(&path);
    let settings = fs::read_to_string(example("systemd/xdpload-block.default")).unwrap();
    let options = settings.lines().find_map(|line| line.strip_prefix("OPTIONS=")).expect("it has options");
    let state = sandbox.scratch().to_str().unwrap();
    let environment =
        [("INTERFACES", NEAR), ("OPTIONS", options.trim_matches('"')), ("STATE_DIRECTORY", state)];
    let all = |key: &str| {
        for line in unit.all(key) {
            unit.run(line, &environment).ok();
        }
    };

    // The first boot has nothing to restore.
    all("ExecStart");
    assert_eq!(attached_by_ip(NEAR).expect("it is on").mode, "native");
    assert!(listed().is_empty());
    block(&["add", "192.0.2.77", "--name", "mine"]).ok();
    block(&["add", "192.0.2.1", "--force"]).ok();
    block(&["allow", "add", "192.0.2.78"]).ok();
    all("ExecReload");
    block(&["add", "192.0.2.64/26"]).ok();
    all("ExecStop");
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec!["xdpload".to_owned()]));
    assert_udp(&veth, BLOCKED, 5);

    all("ExecStart");
    let rules = ["192.0.2.1 default", "192.0.2.64/26 default", "192.0.2.77 mine"];
    assert_eq!(listed(), rules);
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.78\n");
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
    // An administrator who starts it twice loses nothing.
    all("ExecStart");
    assert_eq!(listed(), rules);
    block(&["del", "192.0.2.1", "192.0.2.64/26", "192.0.2.77"]).ok();
    all("ExecStop");
    // What was empty is empty again, and the exceptions are still there.
    all("ExecStart");
    assert!(listed().is_empty());
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.78\n");
    all("ExecStop");
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
        // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON as well.
        let stands_for =
            |name: &str| ["CAP_BPF", "CAP_PERFMON"].contains(&left_out.as_str()) && name == "CAP_SYS_ADMIN";
        let kept: Vec<_> =
            names.iter().filter(|name| *name != left_out && !stands_for(name)).cloned().collect();
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

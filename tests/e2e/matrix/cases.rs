//! The commands, each with what is there before it.

use std::fs;

use nix::mount::umount;

use super::state::SAVED;
use super::{Case, survives};
use crate::command::{command, run};
use crate::objects::object;
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, wait_for};
use crate::xdpload::xdpload;

/// A file that [`blocked`] makes.
pub(crate) const LIST: &str = "/run/scratch/list";
pub(crate) const CHANGES: &str = "/run/scratch/changes";
/// A file that [`running_with_a_list`] makes.
pub(crate) const ENTRIES: &str = "/run/scratch/entries";

pub(crate) fn nothing(_: &Sandbox) {}

fn no_bpffs(sandbox: &Sandbox) {
    // A process that another test is just starting has, until it runs, what this one had open there.
    wait_for("the bpffs to go", || {
        let _ = umount("/sys/fs/bpf");
        !sandbox.has_bpffs()
    });
}

pub(crate) fn running(_: &Sandbox) {
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
}

fn running_with_prog_arrays(_: &Sandbox) {
    xdpload(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]).ok();
}

pub(crate) fn running_with_a_list(_: &Sandbox) {
    fs::write(ENTRIES, "192.0.2.78 1\n192.0.2.79 1\n").expect("the sandbox is writable");
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries=blacklist=100"]).ok();
    xdpload(&["map", "set", "near0:blacklist", "192.0.2.77", "1"]).ok();
}

pub(crate) fn pinned_with_a_list(_: &Sandbox) {
    let pin = "--pin-map=blacklist=/sys/fs/bpf/blacklist";
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries=blacklist=100", pin]).ok();
    xdpload(&["map", "set", "near0:blacklist", "192.0.2.77", "1"]).ok();
}

pub(crate) fn held_by_a_link(_: &Sandbox) {
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin", "/sys/fs/bpf/link"]).ok();
}

pub(crate) fn loaded(_: &Sandbox) {
    xdpload(&["load", &object("xdp_pass"), "--pin", "/sys/fs/bpf/one"]).ok();
}

pub(crate) fn on_trial(sandbox: &Sandbox) {
    running(sandbox);
    xdpload(&["attach", NEAR, &object("xdp_drop"), "--replace", "--confirm=10m"]).ok();
}

pub(crate) fn on_trial_by_a_link(_: &Sandbox) {
    xdpload(&["attach", NEAR, &object("xdp_drop"), "--confirm=10m"]).ok();
}

/// A prog array that is kept for a program which is gone, and a link that holds nothing any more.
pub(crate) fn orphaned(sandbox: &Sandbox) {
    held_by_a_link(sandbox);
    run(&mut command("bpftool", &["link", "detach", "pinned", "/sys/fs/bpf/link"])).ok();
    running_with_prog_arrays(sandbox);
    run(&mut command("ip", &["link", "set", "dev", NEAR, "xdp", "off"])).ok();
}

pub(crate) fn blocked(_: &Sandbox) {
    fs::write(LIST, "192.0.2.77\n198.51.100.0/24\n2001:db8:2::/48\n").expect("the sandbox is writable");
    fs::write(CHANGES, "add 203.0.113.1\ndel 192.0.2.77\n").expect("the sandbox is writable");
    xdpload(&["block", "on", NEAR, "--max-rules=64"]).ok();
    xdpload(&["block", "add", "192.0.2.77", "10.0.0.0/8"]).ok();
    xdpload(&["block", "allow", "add", "192.0.2.2"]).ok();
}

macro_rules! cases {
    ($($name:ident: $($case:expr),+;)+) => {
        $(#[test]
        fn $name() {
            $(need!(survives($case));)+
        })+
    };
}

// All that change the interface.
cases! {
    attaching: Case::new(&["attach", NEAR, &object("blacklist")], nothing);
    attaching_to_several: Case::new(
        &["attach", NEAR, "lo", &object("xdp_drop"), "--mode=generic", "--replace"], nothing
    );
    replacing: Case::new(&["attach", NEAR, &object("blacklist"), "--replace"], running);
    attaching_again: Case::new(&["attach", NEAR, &object("xdp_pass")], running);
    pinning_maps: Case::new(&["attach", NEAR, &object("blacklist_gobpf")], nothing);
    with_prog_arrays: Case::new(&["attach", NEAR, &object("tail_calls"), "--prog=enter", "--replace"], running);
    without_prog_arrays: Case::new(&["attach", NEAR, &object("xdp_pass"), "--replace"], running_with_prog_arrays);
    attaching_what_is_pinned: Case::new(&["attach", NEAR, "--pinned", "/sys/fs/bpf/one/xdp_pass"], loaded).once();
    attaching_by_a_link: Case::new(
        &["attach", NEAR, &object("blacklist"), "--link", "--pin", "/sys/fs/bpf/a/link"], nothing
    );
    updating_a_link: Case::new(&["attach", NEAR, &object("blacklist"), "--link", "--replace"], held_by_a_link);
    keeping_maps: Case::new(
        &["attach", NEAR, &object("blacklist"), "--replace", "--keep-maps", "--max-entries=blacklist=100"],
        running_with_a_list
    );
    migrating_maps: Case::new(
        &["attach", NEAR, &object("blacklist"), "--replace", "--migrate-maps"], running_with_a_list
    );
    migrating_pinned_maps: Case::new(
        &["attach", NEAR, &object("blacklist"), "--replace", "--migrate-maps",
            "--pin-map=blacklist=/sys/fs/bpf/blacklist"],
        pinned_with_a_list
    ).pinning("blacklist_xdpload_new");
    loading: Case::new(&["load", &object("many"), "--all", "--pin", "/sys/fs/bpf/edge"], nothing);
    detaching: Case::new(&["detach", NEAR], running).once();
    detaching_with_prog_arrays: Case::new(&["detach", NEAR], running_with_prog_arrays).once();
    confirming: Case::new(&["confirm"], on_trial).once(), Case::new(&["confirm", NEAR], on_trial_by_a_link).once();
    detaching_a_link: Case::new(&["detach", NEAR, "--link"], held_by_a_link).once();
}

// All that change maps and pins.
cases! {
    setting_an_entry: Case::new(&["map", "set", "near0:blacklist", "192.0.2.78", "1"], running_with_a_list);
    setting_by_pin: Case::new(&["map", "set", "/sys/fs/bpf/blacklist", "192.0.2.78", "1"], pinned_with_a_list);
    loading_entries: Case::new(&["map", "load", "near0:blacklist", ENTRIES, "--exact"], running_with_a_list);
    deleting_an_entry: Case::new(&["map", "delete", "near0:blacklist", "192.0.2.77"], running_with_a_list).once();
    collecting_orphans: Case::new(&["pins", "gc"], orphaned);
    blocking_on: Case::new(&["block", "on", NEAR, "--max-rules=64"], nothing);
    blocking_on_without_bpffs: Case::new(&["block", "on", NEAR, "--max-rules=64", "--force"], no_bpffs);
    blocking_off: Case::new(&["block", "off", NEAR], blocked).once();
    purging: Case::new(&["block", "off", "--purge"], blocked).once();
    block_add: Case::new(&["block", "add", "203.0.113.1", "2001:db8:9::/48"], blocked);
    block_del: Case::new(&["block", "del", "192.0.2.77", "10.0.0.0/8"], blocked).once();
    block_allow_add: Case::new(&["block", "allow", "add", "192.0.2.3"], blocked);
    block_allow_del: Case::new(&["block", "allow", "del", "192.0.2.2"], blocked).once();
    block_load: Case::new(&["block", "load", LIST], blocked);
    block_sync: Case::new(&["block", "sync", "-"], blocked).reading(CHANGES).once();
    block_save: Case::new(&["block", "save", &format!("/run/scratch/{SAVED}")], blocked);
}

// All that change nothing.
cases! {
    inspecting: Case::new(&["inspect", &object("blacklist")], nothing);
    planning: Case::new(&["plan", &object("blacklist"), "--dev", NEAR], running);
    showing_the_status: Case::new(&["status"], running_with_a_list), Case::new(&["status", NEAR], held_by_a_link);
    asking_the_doctor: Case::new(&["doctor", NEAR], running);
    showing_the_demo: Case::new(&["demo"], nothing);
    listing_pins: Case::new(&["pins"], orphaned), Case::new(&["pins", "gc", "--dry-run"], orphaned);
    reading_maps:
        Case::new(&["map", "list"], running_with_a_list),
        Case::new(&["map", "dump", "near0:blacklist"], running_with_a_list),
        Case::new(&["map", "get", "near0:blacklist", "192.0.2.77"], running_with_a_list);
    reading_the_blocklist:
        Case::new(&["block", "list"], blocked),
        Case::new(&["block", "list", "--hits"], blocked),
        Case::new(&["block", "allow", "list"], blocked),
        Case::new(&["block", "test", "192.0.2.77"], blocked),
        Case::new(&["block", "stats"], blocked),
        Case::new(&["block", "save", "-"], blocked),
        Case::new(&["block", "load", LIST, "--dry-run"], blocked);
}

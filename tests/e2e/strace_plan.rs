//! A plan is what is done: strace sees exactly the calls that the plan lists, in order, whatever the kernel answers.

use std::fs;
use std::path::Path;

use crate::acceptor::{Ending, TRACED, accept};
use crate::bench::refused;
use crate::command::{Ran, command, run};
use crate::objects::object;
use crate::peers::{attached_by_ip, bpftool};
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::strace::{Fault, trace, trace_with_fault};
use crate::veth::{FAR, NEAR, pair};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// An attach that is planned, carried out under strace, and compared.
struct Attach<'a> {
    interface: &'a str,
    object: String,
    options: &'a [&'a str],
}

impl<'a> Attach<'a> {
    fn new(name: &str, options: &'a [&'a str]) -> Self {
        Self { interface: NEAR, object: object(name), options }
    }

    /// Carries the plan out, and asserts that it was carried out as it stands.
    #[track_caller]
    fn run(&self, sandbox: &Sandbox) -> Ran {
        self.run_to(sandbox, Ending::AsTheKernelSays)
    }

    #[track_caller]
    fn run_to(&self, sandbox: &Sandbox, ending: Ending) -> Ran {
        let plan = self.plan();
        let (ran, calls) = trace(sandbox, TRACED, &self.command());
        let refused_by_verifier = ran.code() == Some(4);
        accept(&plan, &calls, if refused_by_verifier { Ending::ByTheVerifier } else { ending });
        ran
    }

    /// The same with a fault. An injected answer is never a verdict on what the interface or a pin has.
    #[track_caller]
    fn run_with(&self, sandbox: &Sandbox, fault: Fault) -> Ran {
        let plan = self.plan();
        let (ran, calls) = trace_with_fault(sandbox, TRACED, fault, &self.command());
        accept(&plan, &calls, Ending::AsTheKernelSays);
        ran
    }

    fn plan(&self) -> serde_json::Value {
        answer(&[&["plan", &self.object, "--dev", self.interface], self.options].concat())
    }

    fn command(&self) -> std::process::Command {
        xdpload_command(&[&["attach", self.interface, &self.object], self.options].concat())
    }
}

/// Carries out `command` under strace, and asserts that it was done as `plan` says.
#[track_caller]
pub(crate) fn run_as_planned(sandbox: &Sandbox, plan: &[&str], command: &[&str], ending: Ending) -> Ran {
    let plan = answer(&[&["plan"], plan].concat());
    let (ran, calls) = trace(sandbox, TRACED, &xdpload_command(command));
    accept(&plan, &calls, ending);
    ran
}

/// Attaches twice: once without the pin, once with it.
fn attach_twice(name: &str, options: &[&str]) -> Result<(), Missing> {
    let (sandbox, _veth) = pair(&["strace"])?;
    let attach = Attach::new(name, options);
    attach.run(&sandbox).ok();
    xdpload(&["detach", NEAR]).ok();
    attach.run(&sandbox).ok();
    Ok(())
}

#[test]
fn gobpf() {
    need!(attach_twice("blacklist_gobpf", &[]));
}

#[test]
fn gobpf_with_ten_maps() {
    need!(attach_twice("gobpf_dummy", &["--prog=prog1", "--pin-map=dummy_array=/sys/fs/bpf/array"]));
}

#[test]
fn iproute2() {
    need!(attach_twice("blacklist_iproute2", &[]));
}

#[test]
fn iproute2_with_a_map_of_maps() {
    need!(attach_twice("iproute2_ids", &[]));
}

#[test]
fn libbpf() {
    need!(attach_twice("blacklist_libbpf", &["--pin-map=blacklist=/sys/fs/bpf/edge/blacklist"]));
}

#[test]
fn btf() {
    need!(attach_twice("blacklist", &["--pin-map=blacklist=/sys/fs/bpf/edge/blacklist"]));
}

#[test]
fn btf_without_a_pin() {
    need!(attach_twice("blacklist", &["--max-entries=blacklist=7"]));
}

#[test]
fn btf_with_a_pin_by_name() {
    need!(attach_twice("many", &["--prog=pass_all", "--pin-maps-under=/sys/fs/bpf/edge"]));
}

#[test]
fn maps_of_maps() {
    need!(attach_twice("inner_maps", &["--pin-map=by_parity=/sys/fs/bpf/edge/by_parity"]));
}

#[test]
fn maps_of_every_kind() {
    need!(attach_twice("map_types", &["--pin-map=ring_buffer=/sys/fs/bpf/ring", "--max-entries=events=2"]));
}

#[test]
fn an_arena() {
    need!(attach_twice("arena", &[]));
    need!(attach_twice("arena_variables", &[]));
    need!(attach_twice("arena_address", &[]));
}

#[test]
fn tail_calls() {
    need!(attach_twice("tail_calls", &["--prog=enter"]));
    need!(attach_twice("tail_calls", &["--prog=count", "--pin-map=last_jump=/sys/fs/bpf/last"]));
}

#[test]
fn tail_calls_are_replaced() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    for program in ["enter", "count", "alone", "enter"] {
        Attach::new("tail_calls", &["--replace", "--prog", program]).run(&sandbox).ok();
    }
    // What is pinned before a refusal is unpinned.
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--mode=generic"]).ok();
    let pins = sandbox.pins();
    Attach::new("tail_calls", &["--prog=enter", "--mode=offload"])
        .run_to(&sandbox, Ending::After("RTM_GETLINK"));
    assert_eq!(sandbox.pins(), pins);
}

#[test]
fn global_variables() {
    need!(attach_twice("global_data", &[]));
}

#[test]
fn variables_that_no_program_needs() {
    for program in ["--prog=count", "--prog=pass"] {
        need!(attach_twice("data_sections", &[program]));
    }
}

#[test]
fn options_of_the_kernels_configuration() {
    need!(attach_twice("kconfig", &[]));
}

#[test]
fn functions_of_the_kernel() {
    need!(attach_twice("kfunc", &["--mode=generic"]));
}

#[test]
fn a_program_that_is_bound_to_its_interface() {
    need!(attach_twice("rx_metadata", &[]));
}

#[test]
fn several_buffers() {
    need!(attach_twice("many", &["--prog=pass_frags"]));
}

#[test]
fn no_maps_and_no_license() {
    need!(attach_twice("no_license", &["--mode=generic"]));
}

#[test]
fn bpffs_is_mounted() {
    need!(tool("strace"));
    let sandbox = need!(Sandbox::without_bpffs());
    let attach = Attach { interface: "lo", ..Attach::new("blacklist_gobpf", &["--mode=generic"]) };
    // The sandbox is a mount namespace of its own.
    let words = "warning: a bpffs was mounted on /sys/fs/bpf for this mount namespace alone, and its pins end with it";
    attach.run(&sandbox).ok().stderr_has(words);
    assert!(sandbox.pins().contains(&"globals/globals/blacklist".to_owned()));
}

#[test]
fn bpffs_is_mounted_and_unmounted_again() {
    need!(tool("strace"));
    let sandbox = need!(Sandbox::without_bpffs());
    // Native mode is refused at the end, when all is made.
    let attach = Attach { interface: "lo", ..Attach::new("blacklist_gobpf", &[]) };
    attach.run(&sandbox).fails(1).stderr_has("EOPNOTSUPP");
    assert!(!sandbox.has_bpffs());
}

#[test]
fn a_program_is_replaced() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    for mode in ["--mode=native", "--mode=generic", "--mode=auto"] {
        // With none there, then with one.
        Attach::new("xdp_pass", &["--replace", mode]).run(&sandbox).ok();
        Attach::new("blacklist", &["--replace", mode]).run(&sandbox).ok().stdout_has("replacing program");
        Attach::new("xdp_drop", &["--replace"]).run_displaced(&sandbox, mode);
        xdpload(&["detach", NEAR]).ok();
    }
}

impl Attach<'_> {
    /// Replaces in native mode what runs in `mode`, which is refused unless that is native.
    #[track_caller]
    fn run_displaced(&self, sandbox: &Sandbox, mode: &str) {
        if mode == "--mode=generic" {
            self.run_to(sandbox, Ending::After("RTM_GETLINK")).fails(1);
        } else {
            self.run(sandbox).ok();
        }
    }
}

#[test]
fn a_program_that_is_there_ends_the_plan_at_once() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let attach = Attach::new("blacklist_gobpf", &[]);
    attach.run_to(&sandbox, Ending::After("RTM_GETLINK")).fails(1).stderr_has("is there already");
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn auto_falls_back_to_generic_mode() {
    let (sandbox, veth) = need!(pair(&["strace"]));
    veth.set_mtu(9000);
    Attach::new("xdp_drop", &[]).run(&sandbox).fails(1).stderr_has("ERANGE");
    Attach::new("xdp_drop", &["--mode=auto"]).run(&sandbox).ok().stdout_has("generic");
}

#[test]
fn offload_is_refused() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    Attach::new("xdp_drop", &["--mode=offload"]).run(&sandbox).fails(1);
    Attach::new("blacklist", &["--mode=offload"]).run(&sandbox).fails(1);
}

#[test]
fn no_such_interface() {
    need!(tool("strace"));
    let sandbox = need!(Sandbox::new());
    for interface in ["nope0", "4711", "index:4711", "an-alternative-name"] {
        Attach { interface, ..Attach::new("blacklist_gobpf", &[]) }.run(&sandbox).fails(1);
    }
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn an_interface_by_its_digits_or_another_name() {
    let (sandbox, veth) = need!(pair(&["strace"]));
    let index = veth.near_index().to_string();
    run(&mut command("ip", &["link", "property", "add", "dev", NEAR, "altname", "an-alternative-name"])).ok();
    run(&mut command("ip", &["link", "add", "4711", "type", "veth", "peer", "name", "4712"])).ok();
    for interface in [&*index, &format!("index:{index}"), "an-alternative-name", "4711", "name:4711"] {
        let ran = Attach { interface, ..Attach::new("xdp_drop", &[]) }.run(&sandbox).ok();
        let name = if interface.contains("4711") { "4711" } else { NEAR };
        ran.stdout_has(&format!(" to {name} in "));
        xdpload(&["status", interface]).ok().stdout_has(&format!("{name} ("));
        xdpload(&["detach", interface]).ok();
    }

    // Two interfaces are meant.
    run(&mut command("ip", &["link", "set", "4712", "name", &index])).ok();
    let words = format!("{index} may be the interface with that name, or `near0`, which has that index");
    let help = format!("help: name:{index} is `{index}`, index:{index} is `near0`");
    for command in [&["attach", &index, &object("xdp_drop")][..], &["detach", &index], &["status", &index]] {
        refused(command, 2, &[&words, &help]);
    }
    for (interface, name) in [(format!("name:{index}"), &*index), (format!("index:{index}"), NEAR)] {
        xdpload(&["status", &interface]).ok().stdout_has(&format!("{name} ("));
    }
    xdpload(&["attach", NEAR, &object("blacklist")]).ok();
    xdpload(&["map", "dump", &format!("index:{index}:blacklist")]).ok();
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn the_verifier_refuses() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    for name in ["packet_unchecked", "unbounded_loop", "gpl_only"] {
        let object = format!("reject/{name}");
        Attach::new(&object, &[]).run(&sandbox).fails(4);
    }
    // What was pinned before the refusal is unpinned.
    let pin = ["--pin-map=numbers=/sys/fs/bpf/one/two/numbers"];
    Attach::new("reject/map_value_bounds", &pin).run(&sandbox).fails(4);
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn a_directory_that_was_there_stays() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    fs::create_dir("/sys/fs/bpf/one").unwrap();
    let pin = ["--pin-map=numbers=/sys/fs/bpf/one/two/numbers"];
    Attach::new("reject/map_value_bounds", &pin).run(&sandbox).fails(4);
    assert_eq!(sandbox.pins(), ["one"]);
}

#[test]
fn a_pin_of_another_shape_ends_the_plan() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    Attach::new("blacklist_gobpf", &["--max-entries=blacklist=7"]).run(&sandbox).ok();
    xdpload(&["detach", NEAR]).ok();
    let pins = sandbox.pins();
    let other = Attach::new("blacklist_gobpf", &[]);
    let ran = other.run_to(&sandbox, Ending::After("BPF_OBJ_GET_INFO_BY_FD"));
    ran.fails(1).stderr_has("max_entries").stderr_has("7").stderr_has("65536");
    assert_eq!(sandbox.pins(), pins);
}

#[test]
fn another_namespace() {
    let (sandbox, veth) = need!(pair(&["strace"]));
    let attach = Attach { interface: FAR, ..Attach::new("blacklist_gobpf", &["--netns=far"]) };
    attach.run(&sandbox).ok();
    assert_eq!(veth.far.run(|| attached_by_ip(FAR)).unwrap().name, "xdp_ip_filter");
    let index = {
        let status = answer(&["status", "--netns=far"]);
        status["interfaces"][0]["ifindex"].to_string()
    };
    let options = ["--replace", "--netns", veth.far.path().to_str().unwrap()];
    Attach { interface: &index, ..Attach::new("xdp_drop", &options) }.run(&sandbox).ok();
    Attach { interface: FAR, ..Attach::new("xdp_drop", &["--netns=nowhere"]) }.run(&sandbox).fails(1);
}

/// Fails each call of the kind `name` that an attach makes, one after the other, with each of `errnos`. Whatever comes
/// of it must be in the plan. If the attach fails, `running`, the program that is there already, is still there, and
/// nothing new is left behind.
fn fail_each(
    name: &'static str,
    errnos: &[&'static str],
    options: &[&str],
    running: Option<&str>,
) -> Result<(), Missing> {
    fail_each_of(("blacklist_gobpf", "xdp_ip_filter"), name, errnos, options, running)
}

/// The same for an object and its program.
fn fail_each_of(
    (object_name, program): (&str, &str),
    name: &'static str,
    errnos: &[&'static str],
    options: &[&str],
    running: Option<&str>,
) -> Result<(), Missing> {
    let (sandbox, _veth) = pair(&["strace"])?;
    let attach = Attach::new(object_name, options);
    let set_up = || running.map(|program| xdpload(&["attach", NEAR, &object(program)]).ok());
    set_up();
    let (ran, calls) = trace(&sandbox, name, &attach.command());
    ran.ok();
    take_down(&sandbox);
    for nth in (1..).take(calls.len()) {
        for errno in errnos {
            set_up();
            let fault = Fault { call: name, errno, nth: (nth, nth) };
            let ran = attach.run_with(&sandbox, fault);
            let there = attached_by_ip(NEAR).map(|program| program.name);
            if ran.code() == Some(0) {
                assert_eq!(there.as_deref(), Some(program), "{fault:?}: {}", ran.report());
            } else {
                assert_eq!(there.as_deref(), running, "{fault:?}: {}", ran.report());
                assert_eq!(sandbox.pins(), [""; 0], "{fault:?}: {}", ran.report());
                ran.stderr_has("error: ");
            }
            take_down(&sandbox);
        }
    }
    Ok(())
}

/// Takes off what is on `near0`, and removes all pins.
fn take_down(sandbox: &Sandbox) {
    if attached_by_ip(NEAR).is_some() {
        xdpload(&["detach", NEAR]).ok();
    }
    for name in sandbox.pins().iter().filter(|name| !name.contains('/')) {
        fs::remove_dir_all(Path::new("/sys/fs/bpf").join(name)).expect("root may remove pins");
    }
}

#[test]
fn bpf_fails() {
    let errnos = ["EPERM", "EACCES", "EINVAL", "E2BIG", "EEXIST", "ENOENT", "EAGAIN", "ENOSPC", "ENOMEM"];
    need!(fail_each("bpf", &errnos, &[], None));
}

#[test]
fn bpf_fails_with_global_variables() {
    for program in ["count", "pass"] {
        let option = format!("--prog={program}");
        let errnos = ["EPERM", "EINVAL", "E2BIG", "ENOMEM"];
        need!(fail_each_of(("data_sections", program), "bpf", &errnos, &[&option], None));
    }
}

#[test]
fn bpf_fails_in_a_replacement() {
    let errnos = ["EPERM", "EINVAL", "EEXIST", "ENOENT"];
    need!(fail_each("bpf", &errnos, &["--replace", "--mode=auto"], Some("xdp_pass")));
}

#[test]
fn the_way_to_bpffs_fails() {
    for call in ["statfs", "mkdir"] {
        need!(fail_each(call, &["EPERM", "ENOENT", "EEXIST", "ENOSPC"], &[], None));
    }
}

#[test]
fn the_way_to_the_interface_fails() {
    for call in ["socket", "setsockopt", "setns"] {
        need!(fail_each(call, &["EPERM", "EINVAL", "ENOMEM"], &["--netns=/proc/self/ns/net"], None));
    }
}

#[test]
fn the_conversation_breaks_off() {
    for call in ["sendto", "recvfrom"] {
        need!(fail_each(call, &["EPERM", "ENOBUFS", "EINVAL"], &["--mode=auto"], None));
    }
}

#[test]
fn the_conversation_breaks_off_in_a_replacement() {
    for call in ["sendto", "recvfrom"] {
        need!(fail_each(call, &["ENOBUFS", "EINVAL"], &["--replace"], Some("xdp_pass")));
    }
}

/// Attaches with the calls of bpf(2) from the first to the last of `nth` failing with `errno`, as an old kernel would
/// have them fail.
#[track_caller]
fn attach_as_before(sandbox: &Sandbox, name: &str, errno: &'static str, nth: (u32, u32)) -> Ran {
    let attach = Attach::new(name, &[]);
    attach.run_with(sandbox, Fault { call: "bpf", errno, nth }).ok()
}

#[test]
fn a_kernel_without_names() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    // The types, three probes that cannot tell, the types with a log; the map with its name, and the probe.
    attach_as_before(&sandbox, "blacklist", "E2BIG", (1, 7));
    let status = answer(&["status", NEAR]);
    assert_eq!(status["interfaces"][0]["programs"][0]["maps"][0]["name"], "", "{status}");
}

#[test]
fn a_kernel_without_the_attach_type() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    // The types: with EINVAL one probe tells, and what is left is tried without and with a log; with E2BIG as above.
    // Then the load without a log, the one with it, and the probe.
    for (errno, last) in [("EINVAL", 7), ("E2BIG", 8)] {
        let ran = attach_as_before(&sandbox, "xdp_drop", errno, (1, last));
        // Nobody has written anything into the log.
        assert_eq!(ran.stderr().contains("; the kernel gives no reason\n"), errno == "EINVAL");
        xdpload(&["detach", NEAR]).ok();
    }
}

#[test]
fn a_kernel_that_refuses_the_types() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    // All of them, with a log as well.
    let ran = attach_as_before(&sandbox, "blacklist", "ENOMEM", (1, 2));
    ran.stderr_has("warning: loaded without BTF: bpf(BPF_BTF_LOAD) for the object's BTF failed: ");
    assert_eq!(maps_with_types(), 0);
    xdpload(&["detach", NEAR]).ok();
    // Those of a map's entries.
    attach_as_before(&sandbox, "blacklist", "EINVAL", (2, 2));
    assert_eq!(maps_with_types(), 0);
    xdpload(&["detach", NEAR]).ok();
    Attach::new("blacklist", &[]).run(&sandbox).ok();
    assert_eq!(maps_with_types(), 1);
}

/// How many maps of the program on `near0` have types, as bpftool tells.
fn maps_with_types() -> usize {
    let ids = answer(&["status", NEAR])["interfaces"][0]["programs"][0]["maps"].clone();
    let ids = ids.as_array().expect("a list of maps").iter().map(|map| map["id"].to_string());
    ids.filter(|id| bpftool(&["map", "show", "id", id]).get("btf_id").is_some()).count()
}

#[test]
fn signals_interrupt_a_load() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    // More often than the load is repeated without a log.
    for times in [1, 5, 6, 9] {
        // The first call is that with the types.
        attach_as_before(&sandbox, "xdp_drop", "EAGAIN", (2, 1 + times));
        xdpload(&["detach", NEAR]).ok();
    }
    let attach = Attach::new("xdp_drop", &[]);
    attach
        .run_with(&sandbox, Fault { call: "bpf", errno: "EAGAIN", nth: (2, 99) })
        .fails(1)
        .stderr_has("EAGAIN");
}

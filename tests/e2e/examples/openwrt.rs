//! `examples/openwrt`: the init script under busybox's shell, with stand-ins for what OpenWrt's rc.common, uci and
//! netifd give it.

use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::{BIN, example, install, write};
use crate::block_commands::{block, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::attached_by_ip;
use crate::sandbox::Sandbox;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};

/// The functions of /lib/functions.sh and procd.sh that the script calls, as OpenWrt documents them: `config_load`
/// reads /etc/config/NAME, here from a directory of the test; a network stands for its device.
const RC_COMMON: &str = r#"
config_load() {
    CONFIG_SECTIONS='' section=''
    while read -r word type name; do
        name=${name#\'} name=${name%\'}
        case $word in
            config) section=$name CONFIG_SECTIONS="$CONFIG_SECTIONS $type:$name" ;;
            option) eval "CONFIG_${section}_$type=\$name" ;;
            list) eval "CONFIG_${section}_$type=\"\${CONFIG_${section}_$type:-} \$name\"" ;;
        esac
    done <"$CONFIG_DIR/$1"
}
config_get() {
    eval "$1=\${CONFIG_${2}_$3:-\${4:-}}"
}
config_get_bool() {
    config_get "$@"
    eval "case \$$1 in 1|on|true|yes|enabled) $1=1 ;; *) $1=0 ;; esac"
}
config_foreach() {
    local entry
    for entry in $CONFIG_SECTIONS; do
        [ "${entry%%:*}" != "$2" ] || "$1" "${entry#*:}"
    done
}
config_list_foreach() {
    local item items function=$3
    config_get items "$1" "$2"
    for item in $items; do "$function" "$item"; done
}
network_get_physdev() {
    [ "$2" = wan ] && eval "$1=near0"
}
procd_add_reload_trigger() {
    echo "reload with the configuration of $*"
}
logger() {
    shift 4
    echo "$*" >&2
}
script=$1 action=$2
. "$script"
[ "$USE_PROCD" = 1 ] && [ "$START" -gt 20 ] && [ "$STOP" -gt 0 ]
case $action in
    start) start_service && service_triggers ;;
    stop) stop_service ;;
    reload) reload_service ;;
    restart) stop_service; start_service ;;
esac
"#;

/// Runs `/etc/init.d/xdpload-block ACTION`.
fn service(sandbox: &Sandbox, action: &str) -> Ran {
    let runner = write(sandbox, "rc.common", RC_COMMON);
    let script = example("openwrt/xdpload-block.init");
    let mut ash = command("busybox", &["ash", &runner, script.to_str().expect("it is printable"), action]);
    ash.env("CONFIG_DIR", sandbox.scratch()).env("XDPLOAD", format!("{BIN}/xdpload"));
    run(&mut ash)
}

/// The example's configuration with its files in the scratch directory.
fn configure(sandbox: &Sandbox, edit: impl Fn(String) -> String) {
    let text = std::fs::read_to_string(example("openwrt/xdpload-block.config")).expect("it is there");
    let scratch = sandbox.scratch().to_str().expect("it is printable");
    write(sandbox, "xdpload-block", &edit(text.replace("/etc/xdpload", scratch)));
}

/// The script sources OpenWrt's library for networks, whose one function stands above: a /lib with an empty one.
fn with_network_library(sandbox: &Sandbox) {
    write(sandbox, "lib/functions/network.sh", "");
    write(sandbox, "work/empty", "");
    let place = Path::new("/lib").canonicalize().expect("every system has it");
    let scratch = sandbox.scratch().display();
    let options = format!("lowerdir={},upperdir={scratch}/lib,workdir={scratch}/work", place.display());
    let options = Some(&*options);
    mount(Some("overlay"), &place, Some("overlay"), MsFlags::empty(), options)
        .expect("the kernel has overlayfs");
}

#[test]
fn the_service_turns_the_blocklist_on_and_off() {
    let (sandbox, veth) = need!(pair(&["busybox"]));
    install(&sandbox, &[]);
    with_network_library(&sandbox);
    configure(&sandbox, |text| text);
    write(&sandbox, "drop.txt", "192.0.2.77\nbanana\n");
    let started = service(&sandbox, "start").ok();
    let started = started.stdout_has("reload with the configuration of xdpload-block\n");
    started.stderr_has("line 2: `banana`: expected an address");
    assert_eq!(attached_by_ip(NEAR).expect("it is on").mode, "native");
    assert_eq!(listed(), ["192.0.2.77 drop"]);
    assert_udp(&veth, BLOCKED, 0);

    block(&["add", "198.51.100.0/24", "--name", "mine"]).ok();
    write(&sandbox, "drop.txt", "192.0.2.78\n");
    service(&sandbox, "reload").ok();
    assert_eq!(listed(), ["192.0.2.78 drop", "198.51.100.0/24 mine"]);
    assert_udp(&veth, BLOCKED, 5);
    assert_udp(&veth, OTHER, 0);

    service(&sandbox, "stop").ok();
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec![]));
    assert_udp(&veth, OTHER, 5);
    service(&sandbox, "start").ok();
    assert_eq!(listed(), ["192.0.2.78 drop", "198.51.100.0/24 mine"]);
    service(&sandbox, "restart").ok();
    assert_eq!(listed(), ["192.0.2.78 drop", "198.51.100.0/24 mine"]);
    assert_udp(&veth, OTHER, 0);
}

#[test]
fn the_service_says_what_it_cannot_do() {
    let (sandbox, veth) = need!(pair(&["busybox"]));
    install(&sandbox, &[]);
    with_network_library(&sandbox);
    configure(&sandbox, |text| text.replace("enabled '1'", "enabled '0'"));
    service(&sandbox, "start").ok().stderr_has("not enabled in /etc/config/xdpload-block");
    configure(&sandbox, |text| text.replace("'wan'", "'nowhere0'"));
    service(&sandbox, "start").fails(1).stderr_has("there is no interface named `nowhere0`");
    configure(&sandbox, |text| text.replace("list interface 'wan'", ""));
    service(&sandbox, "start").fails(1).stderr_has("it is on no interface of /etc/config/xdpload-block");
    // One that comes late leaves the others protected, and what was dropped by default still is.
    let two = "list interface 'late0'\n\tlist interface 'wan'";
    configure(&sandbox, |text| text.replace("list interface 'wan'", two));
    service(&sandbox, "start").ok().stderr_has("the blocklist is not on late0\n");
    block(&["on", NEAR, "--default", "drop", "--force"]).ok();
    service(&sandbox, "restart").ok().stdout_has("packets that no rule matches are dropped");
    assert_udp(&veth, OTHER, 0);
    service(&sandbox, "stop").ok();
    std::fs::remove_file(sandbox.scratch().join("block.rules")).expect("it was saved");
    // A list that is not there leaves the rest as it is.
    configure(&sandbox, |text| text.replace("count_only '0'", "count_only '1'"));
    let started = service(&sandbox, "start").ok().stderr_has("the list drop is not loaded");
    started.stdout_has("in native mode, and only counts");
    assert!(attached_by_ip(NEAR).is_some());
    // Rules that cannot be saved are not given up.
    block(&["add", "198.51.100.0/24"]).ok();
    let state = sandbox.scratch().join("block.rules");
    let _ = std::fs::remove_file(&state);
    std::fs::create_dir(&state).expect("the sandbox is writable");
    service(&sandbox, "stop").fails(1).stderr_has("the rules are not saved in ");
    assert!(attached_by_ip(NEAR).is_some());
    assert_eq!(listed(), ["198.51.100.0/24 default"]);
    block(&["off", "--purge"]).ok();
}

//! Maps and variables by their types: what we print is what bpftool sees in the bytes, and what we write it reads.

use serde_json::{Value, json};

use crate::bench::refused;
use crate::objects::{object, object_by};
use crate::peers::{attached_by_ip, bpftool, number, program, text};
use crate::requirement::Missing;
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, Veth, pair};
use crate::xdpload::{answer, xdpload};

/// A key and a value of the map `limits` as people write them.
const KEY: &str = r#"{"source": "192.0.2.1", "port": 80, "mac": "02:00:00:00:00:01", "protocol": "TCP"}"#;
const VALUE: &str = concat!(
    r#"{"name": "web", "packets": 18446744073709551615, "offsets": [-5,"#,
    r#" 5], "strict": 1, "level": -4, "on": true, "word": 7}"#
);

fn attached(object: &str) -> Result<(Sandbox, Veth), Missing> {
    let both = pair(&["bpftool"])?;
    xdpload(&["attach", NEAR, object]).ok();
    Ok(both)
}

fn of(map: &str) -> String {
    format!("{NEAR}:{map}")
}

/// `xdpload map` with these words, and what it prints.
#[track_caller]
fn printed(words: &[&str]) -> String {
    xdpload(&[&["map"], words].concat()).ok().stdout().trim_end().to_owned()
}

/// The entries of the map whose name the kernel ends so, as bpftool formats them by type.
#[track_caller]
fn by_bpftool(name: &str) -> Value {
    let ids = program(attached_by_ip(NEAR).expect("it is attached").id)["map_ids"].clone();
    let ids = ids.as_array().expect("ids are a list").iter().map(|id| number(id).to_string());
    let id = ids.into_iter().find(|id| text(&bpftool(&["map", "show", "id", id])["name"]).ends_with(name));
    bpftool(&["map", "dump", "id", &id.expect("the program has the map")])
}

#[test]
fn maps_without_types_have_those_of_their_annotations() {
    for clang in ["clang-14", "clang-19"] {
        let (_sandbox, _veth) = need!(attached(&object_by(clang, "annotated")));
        let peers = of("peers");
        let key = r#"{"address":16908480,"port":80,"protocol":17}"#;
        let value = r#"{"packets":1,"bytes":60}"#;
        printed(&["set", &peers, key, value]);
        assert_eq!(printed(&["dump", &peers]), format!("{key}: {value}"));
        let formatted = &by_bpftool("peers")[0]["formatted"];
        assert_eq!(formatted["value"], json!({"packets": 1, "bytes": 60}));
    }
}

#[test]
fn entries_are_written_and_read_by_type() {
    for clang in ["clang-14", "clang-19"] {
        let (_sandbox, _veth) = need!(attached(&object_by(clang, "typed_values")));
        let limits = of("limits");
        assert_eq!(printed(&["set", &limits, KEY, VALUE]), format!("set {KEY}"));

        let key = r#"{"source":16908480,"port":80,"mac":[2,0,0,0,0,1],"protocol":"TCP"}"#;
        let value = concat!(
            r#"{"name":"web","packets":18446744073709551615,"offsets":[-5,5],"#,
            r#""strict":1,"level":-4,"on":true,"word":7,"octets":[7,0,0,0]}"#
        );
        assert_eq!(printed(&["dump", &limits]), format!("{key}: {value}"));
        assert_eq!(printed(&["get", &limits, KEY]), value);

        // What bpftool makes of the same bytes, where it writes them alike.
        let witness = &by_bpftool("limits")[0]["formatted"];
        let ours = answer(&["map", "dump", &limits])["entries"][0].clone();
        for field in ["source", "port"] {
            assert_eq!(ours["key"]["typed"][field], witness["key"][field], "{clang} {field}");
        }
        for field in ["packets", "offsets", "on"] {
            assert_eq!(ours["value"]["typed"][field], witness["value"][field], "{clang} {field}");
        }

        // What was printed can be written again.
        let hex = ours["value"]["hex"].clone();
        printed(&["set", &limits, key, value, "--existing"]);
        assert_eq!(answer(&["map", "get", &limits, key])["value"]["hex"], hex);
        assert_eq!(printed(&["delete", &limits, key]), format!("deleted {key}"));
        assert_eq!(printed(&["dump", &limits]), "");
    }
}

#[test]
fn formats_that_are_asked_for_win_over_types() {
    let (_sandbox, _veth) = need!(attached(&object("typed_values")));
    let limits = of("limits");
    printed(&["set", &limits, KEY, "{}"]);
    let line = printed(&["dump", &limits, "--key-format", "hex", "--value-format", "hex"]);
    let key = "hex:c0000201500002000000000106000000";
    assert_eq!(line, format!("{key}: hex:{}", "00".repeat(32)));
    let hex = format!("hex:{}", "00".repeat(32));
    printed(&["set", &limits, key, &hex, "--existing"]);
}

#[test]
fn values_of_all_cpus_have_types_too() {
    let (_sandbox, _veth) = need!(attached(&object("typed_values")));
    let by_cpu = of("by_cpu");
    printed(&["set", &by_cpu, "1", r#"{"packets": 3}"#]);
    let got = answer(&["map", "get", &by_cpu, "1"]);
    for value in got["values"].as_array().expect("each CPU has a value") {
        assert_eq!(value["typed"]["packets"], 3);
    }
}

#[test]
fn only_what_is_a_number_by_its_type_is_summed_and_with_its_sign() {
    let (_sandbox, _veth) = need!(attached(&object("typed_values")));
    let (ranges, changes) = (of("ranges"), of("changes"));
    printed(&["set", &ranges, "0", r#"{"first": 1, "last": 2}"#]);
    let range = answer(&["map", "get", &ranges, "0"]);
    assert_eq!(range.get("sum"), None, "{range}");
    assert!(printed(&["dump", &ranges]).starts_with(r#"0: (by CPU: {"first":1,"last":2}"#));
    printed(&["set", &changes, "0", "-3"]);
    let change = answer(&["map", "get", &changes, "0"]);
    let cpus = i64::try_from(change["values"].as_array().expect("each CPU has a value").len()).unwrap();
    assert_eq!(change["sum"], -3 * cpus);
    assert!(printed(&["dump", &changes]).starts_with(&format!("0: {} (by CPU: -3", -3 * cpus)));
}

#[test]
fn variables_are_read_and_written_by_name() {
    let (_sandbox, _veth) = need!(attached(&object("typed_values")));
    let (data, bss, rodata) = (of(".data"), of(".bss"), of(".rodata"));
    let limit = concat!(
        r#"{"name":"first","packets":5,"offsets":[-1,1],"strict":0,"#,
        r#""level":-2,"on":false,"word":0,"octets":[0,0,0,0]}"#
    );
    assert_eq!(printed(&["get", &data, "limit"]), limit);
    assert_eq!(printed(&["dump", &data]), format!("limit: {limit}"));
    assert_eq!(printed(&["get", &data, "limit.offsets[0]"]), "-1");
    for (part, value, read) in [
        ("limit.level", "3", "3"),
        ("limit.on", "true", "true"),
        ("limit.name", "second", "second"),
        (
            "limit",
            r#"{"packets": 9}"#,
            concat!(
                r#"{"name":"second","packets":9,"offsets":[-1,1],"strict":0,"#,
                r#""level":3,"on":true,"word":0,"octets":[0,0,0,0]}"#
            ),
        ),
    ] {
        assert_eq!(printed(&["set", &data, part, value]), format!("set {part}"));
        assert_eq!(printed(&["get", &data, part]), read);
    }
    printed(&["set", &bss, "totals[2]", "0x10"]);
    assert_eq!(printed(&["get", &bss, "totals"]).split(',').nth(2), Some("16"));
    assert_eq!(printed(&["get", &rodata, "protocol"]), "TCP");
    assert_eq!(
        answer(&["map", "get", &data, "limit.packets"]),
        json!({
            "variable": "limit.packets",
            "value": { "text": "9", "hex": "0900000000000000", "typed": 9 },
        })
    );
    // bpftool reads the same.
    let witness = &by_bpftool(".data")[0]["formatted"]["value"];
    assert_eq!(witness[".data"][0]["limit"]["packets"], 9, "{witness}");
}

#[test]
fn constants_are_set_by_field() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    let settings =
        ["--set", "only.source=192.0.2.9", "--set", "only={\"port\": 53}", "--set", "protocol=ICMP"];
    xdpload(&[&["attach", NEAR, &object("typed_values")], &settings[..]].concat()).ok();
    let rodata = of(".rodata");
    assert_eq!(
        printed(&["get", &rodata, "only"]),
        r#"{"source":151126208,"port":53,"mac":[0,0,0,0,0,0],"protocol":"UDP"}"#
    );
    assert_eq!(printed(&["get", &rodata, "protocol"]), "ICMP");
}

#[test]
fn what_does_not_fit_a_type_is_refused_by_field() {
    let (_sandbox, _veth) = need!(attached(&object("typed_values")));
    let (limits, data, rodata) = (of("limits"), of(".data"), of(".rodata"));
    for (map, key, value, words) in [
        (
            &limits,
            KEY,
            r#"{"offsets": [0, 40000]}"#,
            "`{\"offsets\": [0, 40000]}` cannot be the value: 40000 is out of range for field `offsets[1]`, \
             a __s16 of 2 bytes: -32768 to 32767",
        ),
        (
            &limits,
            r#"{"protocol": "SCTP"}"#,
            "{}",
            "cannot be the key: expected `ICMP`, `TCP`, `UDP` or a number for field `protocol`, \
             an enum protocol of 4 bytes, found `SCTP`",
        ),
        (
            &limits,
            r#"{"source": 1, "ttl": 2}"#,
            "{}",
            "there is no field `ttl` in a struct flow of 16 bytes: it has `source`, `port`, `mac`, `protocol`",
        ),
        (&limits, "{", "{}", "`{` is no JSON: EOF while parsing an object"),
        (&data, "limits", "1", "there is no variable `limits` in datasec `.data`: it has `limit`"),
        (
            &data,
            "limit.level",
            "4",
            "variable `limit.level`: 4 is out of range for a __s32 of 4 bytes: -4 to 3",
        ),
        (
            &rodata,
            "protocol",
            "UDP",
            "variable `protocol` is constant\n  \
             help: set it before the load: xdpload attach IF OBJ --set protocol=VALUE",
        ),
    ] {
        refused(&["map", "set", map, key, value], 2, &[words]);
    }
}

#[test]
fn what_the_kernel_leaves_out_is_told() {
    for clang in ["clang-14", "clang-19"] {
        let object = object_by(clang, "pointers");
        let _both = need!(pair(&["bpftool"]));
        let attached = xdpload(&["attach", NEAR, &object]).ok();
        for words in [
            "warning: the addresses in `names` (section `.rodata`) cannot be filled in: the program finds 0 there",
            "warning: the addresses in `chosen` (section `.data`) cannot be filled in",
            "warning: map `by_state`: the kernel refused the types of its entries (EINVAL); they are shown as bytes",
        ] {
            assert_eq!(attached.stderr().matches(words).count(), 1, "{}", attached.report());
        }
        xdpload(&["plan", &object]).ok().stderr_has("warning: the addresses in `names`");
        // A prefix of something else than an address is what its type says.
        let vendors = of("vendors");
        printed(&["set", &vendors, r#"{"length": 24, "mac": "02:00:5e:00:00:00"}"#, "1"]);
        assert_eq!(printed(&["dump", &vendors]), r#"{"length":24,"mac":[2,0,94,0,0,0]}: 1"#);
    }
}

#[test]
fn variables_of_a_function_have_names_with_dots() {
    let (_sandbox, _veth) = need!(attached(&object("pointers")));
    let bss = of(".bss");
    // A packet may come at any time.
    let number = |map: &str, variable| printed(&["get", map, variable]).parse::<u32>().expect("a number");
    printed(&["set", &bss, "pointers.calls", "7000"]);
    printed(&["set", &bss, "pointers.seen[1]", "8"]);
    assert!((7000..8000).contains(&number(&bss, "pointers.calls")));
    assert_eq!(number(&bss, "pointers.seen[1]"), 8);
    let dump = printed(&["dump", &bss]);
    assert!(dump.starts_with("pointers.calls: 7") && dump.contains("\npointers.seen: ["), "{dump}");
    // One map has two names, and each will do.
    let words = "`.data` (pointers.data), `.bss` (pointers.bss)";
    refused(&["map", "get", &of(".nothing"), "calls"], 1, &[words]);
    assert!(number(&of("pointers.bss"), "pointers.calls") >= 7000);
}

#[test]
fn inspecting_names_the_variables() {
    let typed = xdpload(&["inspect", &object("typed_values")]).ok();
    typed
        .stdout_has("\n      protocol  const volatile enum protocol at 0x10, begins with TCP\n")
        .stdout_has("\n      seen  __u64 at 0x0\n")
        .stdout_has("    ; R_BPF_64_64 limits\n");
    let pointers = xdpload(&["inspect", &object("pointers")]).ok();
    pointers
        .stdout_has("\n      pointers.calls  __u32 at 0x")
        .stdout_has("\n      first  __u32 at 0x0, begins with 7\n")
        .stdout_has(", holds addresses that cannot be filled in\n");
    let variables = answer(&["inspect", &object("pointers")])["data"].clone();
    let names = variables.as_array().expect("a list").iter().filter_map(|data| data["variables"].as_array());
    let chosen = names.flatten().find(|variable| variable["name"] == "chosen").expect("it is there");
    assert_eq!((&chosen["type"], &chosen["has_address"]), (&json!("__u32 *"), &json!(true)));
}

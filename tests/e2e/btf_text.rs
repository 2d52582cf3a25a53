//! `xdpload inspect --btf`: the types of real objects, with bpftool's two views of them as witnesses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::bench::refused;
use crate::command::{command, run};
use crate::edit::Edit;
use crate::objects::{object, object_by};
use crate::peers::{number, text};
use crate::requirement::tool;
use crate::sandbox::Sandbox;
use crate::xdpload::{answer, xdpload};

/// Objects with types of many kinds.
const OBJECTS: [&str; 5] = ["many", "data_sections", "callback", "global_data", "iproute2_ids"];

fn types(object: &str) -> Vec<Value> {
    answer(&["inspect", object, "--btf"])["types"].as_array().expect("types are a list").clone()
}

/// What `bpftool btf dump file` prints of an object.
fn bpftool_dump(object: &str, format: &str) -> String {
    run(&mut command("bpftool", &["btf", "dump", "file", object, "format", format])).ok().stdout().to_owned()
}

/// The words of C that are names or numbers.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_type_has_the_kind_the_name_and_the_members_that_bpftool_sees() {
    need!(tool("bpftool"));
    for (clang, name) in ["clang-14", "clang-19"].iter().flat_map(|clang| OBJECTS.map(|name| (clang, name))) {
        let object = object_by(clang, name);
        let types = types(&object);
        let mut seen = 0;
        let mut declaration = String::new();
        for line in bpftool_dump(&object, "raw").lines() {
            let quoted: Vec<_> = line.split('\'').collect();
            if let Some(rest) = line.strip_prefix('[') {
                let (id, rest) = rest.split_once("] ").expect("a type has an id");
                let ty = &types[seen];
                seen += 1;
                assert_eq!((number(&ty["id"]).to_string(), seen.to_string()), (id.to_owned(), id.to_owned()));
                let kind = text(&ty["kind"]).to_uppercase();
                assert!(rest.starts_with(&kind), "{clang} {name} {line}: {ty}");
                let own = ty["name"].as_str().unwrap_or("(anon)");
                assert!(quoted.len() < 2 || quoted[1] == own, "{clang} {name} {line}: {ty}");
                declaration = text(&ty["declaration"]);
            } else if quoted.len() > 1 {
                // A member, a value, a parameter or a variable.
                let is_there = quoted[1] == "(anon)" || words(&declaration).contains(quoted[1]);
                assert!(is_there, "{clang} {name} {line}: {declaration}");
            }
        }
        assert_eq!(seen, types.len(), "{clang} {name}");
    }
}

#[test]
fn structs_and_enumerations_are_declared_as_bpftool_declares_them() {
    need!(tool("bpftool"));
    let mut compared = 0;
    for name in OBJECTS {
        let object = object(name);
        let types = types(&object);
        let ours: BTreeMap<_, _> = types.iter().map(|ty| (text(&ty["declaration"]), ty)).collect();
        let dump = bpftool_dump(&object, "c");
        for block in dump.split("\n\n").filter(|block| block.contains("{\n") && !block.contains("#pragma")) {
            let head = block.trim_start().lines().next().unwrap_or_default();
            let same_head = ours.keys().filter(|text| text.lines().next() == Some(head));
            let is_there = same_head.clone().any(|text| words(text) == words(block));
            assert!(is_there, "{name}: {block}\nours: {:?}", same_head.collect::<Vec<_>>());
            compared += 1;
        }
    }
    assert!(compared > 5, "{compared}");
}

#[test]
fn text_has_the_ids_and_json_the_sizes() {
    let object = object("data_sections");
    let printed = xdpload(&["inspect", &object, "--btf"]).ok();
    for ty in types(&object) {
        let declaration = text(&ty["declaration"]);
        let first = declaration.lines().next().expect("a declaration is not empty");
        assert!(printed.stdout().contains(&format!("[{}] {first}\n", ty["id"])), "{ty}");
        if ty["name"] == "xdp_md" {
            assert_eq!((&ty["kind"], &ty["size"]), (&"struct".into(), &24.into()));
        }
    }
    printed.stdout_has("] static const volatile __u32 offset;\n").stdout_has("    __u32 data_end;\n");
}

#[test]
fn an_object_without_btf_has_no_types() {
    let sandbox = need!(Sandbox::new());
    let mut edit = Edit::of(&object("xdp_drop"));
    edit.rename_section(".BTF", ".gone");
    let words = [": the object has no section `.BTF`\n", "help: compile with `clang -g -target bpf -c`"];
    refused(&["inspect", &edit.save(&sandbox), "--btf"], 1, &words);
}

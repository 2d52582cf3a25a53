//! Constants that get another value before the load, and the words that refuse it where it makes no sense.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use loader::ErrorKind;
use loader::btf::Value;
use loader::features::Kernel;
use loader::object::Object;
use loader::plan::{Call, Loader, Plan};

mod support;

use support::fixtures;

fn fixture(name: &str) -> Object {
    let found = fixtures().into_iter().find(|fixture| fixture.name == name);
    Object::parse(&found.unwrap_or_else(|| panic!("there is no fixture {name}")).data).unwrap()
}

fn plan(object: &Object, settings: &[(&str, Value)]) -> loader::Result<Plan> {
    let loader = Loader::new(object).program(&object.programs[0].function.name);
    let loader = settings.iter().fold(loader, |loader, (name, value)| loader.set(*name, value.clone()));
    loader.plan(&Kernel::unknown())
}

/// What the plan fills the map of a section with.
fn filled(plan: &Plan, section: &str) -> Vec<u8> {
    let found = plan.steps.iter().find_map(|step| match &step.call {
        Call::MapFill { map, content } if plan.maps[map.0] == section => Some(content.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{section} is not filled"))
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

#[test]
fn a_constant_begins_with_what_is_asked_for() {
    for clang in ["clang-14", "clang-19"] {
        let object = fixture(&format!("{clang}/global_data"));
        let filled = |value| filled(&plan(&object, &[("drop_every", value)]).unwrap(), ".rodata");
        assert_eq!(filled(7_u32.into()), words(&[7]));
        assert_eq!(filled("0x10".into()), words(&[16]));
        assert_eq!(filled("192.0.2.1".into()), [192, 0, 2, 1]);
        assert_eq!(filled("hex:01020304".into()), [1, 2, 3, 4]);
        let object = fixture(&format!("{clang}/data_sections"));
        let plan = plan(&object, &[("fixed", 1.into()), ("fixed", 2.into())]).unwrap();
        assert_eq!(self::filled(&plan, ".rodata.fixed"), words(&[2]));
    }
}

#[test]
fn an_array_is_set_whole_or_by_index() {
    let object = fixture("clang-19/data_sections");
    let (data, lengths, _) = object.variable("lengths").unwrap();
    let at = |content: &[u8]| content[lengths.offset as usize..][..16].to_vec();
    let filled = |settings: &[(&str, Value)]| filled(&plan(&object, settings).unwrap(), &data.section);
    assert_eq!(at(&filled(&[("lengths", [1_u32, 2, 3, 4].into())])), words(&[1, 2, 3, 4]));
    assert_eq!(at(&filled(&[("lengths[1]", 7.into())])), words(&[60, 7, 1200, 1500]));
    // An IPv6 address has as many bytes.
    let address = at(&filled(&[("lengths", "2001:db8::1".into())]));
    assert_eq!((&address[..4], address[15]), (&[0x20, 0x01, 0x0d, 0xb8][..], 1));
}

#[test]
fn a_variable_without_btf_takes_what_has_its_size() {
    let mut object = fixture("clang-19/global_data");
    for data in &mut object.data {
        data.variables.iter_mut().for_each(|variable| variable.ty = None);
    }
    let filled = |value| filled(&plan(&object, &[("drop_every", value)]).unwrap(), ".rodata");
    for value in [Value::from(-1), "0xffffffff".into(), "hex:ffffffff".into(), "255.255.255.255".into()] {
        assert_eq!(filled(value), [0xff; 4]);
    }
    let refusal = |name, value| plan(&object, &[(name, value)]).unwrap_err().to_string();
    assert_eq!(
        refusal("drop_every", Value::from(1_u64 << 32)),
        "setting `drop_every`: 4294967296 is out of range for 4 bytes: -2147483648 to 4294967295"
    );
    assert_eq!(
        refusal("drop_every", "hex:00".into()),
        "setting `drop_every`: `hex:00` has 1 byte, which do not fit in 4 bytes"
    );
    assert_eq!(
        refusal("drop_every", "often".into()),
        "setting `drop_every`: expected a number or hex:BYTES for 4 bytes, found `often`"
    );
    assert_eq!(
        refusal("drop_every[0]", 1.into()),
        "setting `drop_every[0]`: it has no type, and so no parts: the object's BTF leaves it out"
    );
}

#[test]
fn what_cannot_be_set_is_refused() {
    let object = fixture("clang-19/data_sections");
    for (name, value, words) in [
        (
            "offset",
            Value::from(1_u64 << 32),
            "setting `offset`: 4294967296 is out of range for a __u32 of 4 bytes: 0 to 4294967295",
        ),
        (
            "lengths[4]",
            1.into(),
            "setting `lengths[4]`: there is no index [4] in a const __u32 [4] of 16 bytes: it has 4 elements",
        ),
        (
            "lengths",
            [1].into(),
            "setting `lengths`: expected 4 elements for a const __u32 [4] of 16 bytes, found 1",
        ),
        (
            "limit",
            1.into(),
            "setting `limit`: there is no variable `limit`: the object has `next_slot`, `threshold`, `named`, \
             `fixed`, `unused`, `packets`, `by_length`, `lengths`, `offset`",
        ),
        (
            "next_slot",
            1.into(),
            "setting `next_slot`: it is not constant, but in section `.data`\n\
             help: set it after loading: `Loaded::map`",
        ),
        (
            "by_length[2]",
            1.into(),
            "setting `by_length[2]`: it is not constant, but in section `.bss`\n\
             help: set it after loading: `Loaded::map`",
        ),
        ("_license", "GPL".into(), "setting `_license`: there is no variable `_license`: the object has"),
    ] {
        let error = plan(&object, &[(name, value)]).unwrap_err();
        let text = match error.help() {
            Some(help) => format!("{error}\nhelp: {help}"),
            None => error.to_string(),
        };
        assert!(text.starts_with(words), "{text}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let none = fixture("clang-19/xdp_drop");
    assert_eq!(
        plan(&none, &[("x", 1.into())]).unwrap_err().to_string(),
        "setting `x`: there is no variable `x`: the object has none"
    );
}

#[test]
fn every_variable_of_every_fixture_has_a_place() {
    for fixture in fixtures() {
        let object = Object::parse(&fixture.data).unwrap();
        for data in &object.data {
            for variable in &data.variables {
                let end = u64::from(variable.offset) + u64::from(variable.size);
                assert!(end <= u64::from(data.size), "{}: {variable:?}", fixture.name);
                if let (Some(btf), Some(ty)) = (&object.btf, variable.ty) {
                    assert_eq!(btf.size_of(ty).unwrap(), variable.size, "{}: {variable:?}", fixture.name);
                }
            }
        }
    }
}

//! Tests of plans for hand-made objects; plans for objects of compilers are golden files in loader/tests.

use super::*;
use crate::bytes::ByteOrder;
use crate::error::{Error, Result};
use crate::features::{Answer, Kernel};
use crate::insn::Insn;
use crate::netlink::Mode;
use crate::object::{
    CodeInfo, DataKind, DataSpec, FunctionSpec, InnerMap, MapDialect, MapShape, MapSpec, Object, Pinning,
    ProgramKind, ProgramSpec, SlotSpec, SlotValue,
};
use crate::uapi::bpf::{
    AttachType, BPF_CALL, BPF_EXIT, BPF_F_XDP_HAS_FRAGS, BPF_PSEUDO_CALL, MapType, ProgType,
};

fn map(name: &str, pinning: Pinning) -> MapSpec {
    MapSpec {
        name: name.to_owned(),
        dialect: MapDialect::Libbpf,
        section: "maps".to_owned(),
        offset: 0,
        shape: MapShape {
            map_type: MapType::HASH,
            key_size: 4,
            value_size: 8,
            max_entries: 16,
            flags: 0,
            map_extra: 0,
        },
        types: None,
        numa_node: 0,
        pinning,
        inner: None,
        slots: Vec::new(),
    }
}

/// An object with these maps and the program `p`.
fn object(maps: Vec<MapSpec>) -> Object {
    let function = FunctionSpec {
        name: "p".to_owned(),
        section: "xdp".to_owned(),
        offset: 0,
        insns: vec![Insn { code: BPF_EXIT, dst: 0, src: 0, off: 0, imm: 0 }],
        references: Vec::new(),
        info: CodeInfo::default(),
    };
    let kind = ProgramKind { prog_type: ProgType::XDP, attach_type: AttachType::XDP, frags: false };
    let program = ProgramSpec { function, kind };
    Object {
        order: ByteOrder::NATIVE,
        license: Some("GPL".to_owned()),
        version: None,
        btf: None,
        btf_flaw: None,
        programs: vec![program],
        functions: Vec::new(),
        maps,
        data: Vec::new(),
        externs: Vec::new(),
        other_code: Vec::new(),
    }
}

fn target(mode: ModeChoice, replace: bool) -> Target {
    Target::new(InterfaceRef::named("eth0").unwrap()).mode(mode).replace(replace)
}

/// A kernel that has, or lacks, all that a load can do without.
fn kernel(answer: Answer) -> Kernel {
    let mut kernel = Kernel::unknown();
    for feature in [Feature::ObjectNames, Feature::ExpectedAttachType, Feature::MemcgAccounting] {
        kernel.learn(feature, answer);
    }
    kernel
}

fn plan(object: &Object) -> Plan {
    Loader::new(object).plan(&kernel(Answer::Yes)).unwrap()
}

/// Where the only map is to be pinned.
fn pin_of(loader: &Loader<'_>) -> Result<Option<String>> {
    let plan = loader.plan(&Kernel::unknown())?;
    Ok(plan.pins().next().map(|(_, path)| path.to_owned()))
}

/// The one program load among the steps of the plan.
fn load_step(plan: &Plan) -> (&Step, &ProgLoad) {
    let mut loads = plan.steps.iter().filter_map(|step| match &step.call {
        Call::ProgLoad(load) => Some((step, &**load)),
        _ => None,
    });
    loads.next().unwrap()
}

#[test]
fn a_small_plan_prints_one_line_for_each_call() {
    let object = object(vec![map("m", Pinning::ByName)]);
    let loader = Loader::new(&object).pin_maps_under("/sys/fs/bpf/edge");
    let plan = loader.attach_to(target(ModeChoice::default(), false)).plan(&kernel(Answer::Yes)).unwrap();
    let text = plan.to_string();
    let calls: Vec<_> = text.lines().map(|line| line.split(" {").next().unwrap()).collect();
    assert_eq!(calls, SMALL_PLAN.lines().collect::<Vec<_>>());
}

/// The arguments in braces are left out; golden files have them.
const SMALL_PLAN: &str = r#"  1 socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = <route socket>
  2 setsockopt(<route socket>, SOL_NETLINK, NETLINK_EXT_ACK, [1], 4)
  3 sendto(RTM_GETLINK
  4 recvfrom(<route socket>)
  5 statfs("/sys/fs/bpf")
        if it is not bpffs:
  5a        openat(AT_FDCWD, "/sys/fs/bpf", O_RDONLY|O_DIRECTORY|O_CLOEXEC) = <mount point>
  5b        flock(<mount point>, LOCK_EX)
                if refused with EACCES: go on
  5c        statfs("/sys/fs/bpf")
                if it is not bpffs:
  5d                mount("bpf", "/sys/fs/bpf", "bpf", MS_NOSUID|MS_NODEV|MS_NOEXEC|MS_RELATIME, "mode=0700")
  6 openat(AT_FDCWD, "/sys/fs/bpf", O_RDONLY|O_DIRECTORY|O_CLOEXEC) = <root of bpffs>
  7 flock(<root of bpffs>, LOCK_EX)
        if refused with EACCES: go on
  8 bpf(BPF_OBJ_GET,
        if it succeeds:
  9         bpf(BPF_OBJ_GET_INFO_BY_FD,
        if refused with ENOENT:
  8a        mkdir("/sys/fs/bpf/edge", 0700)
                if refused with EEXIST: go on
  8b        bpf(BPF_MAP_CREATE,
  8c        bpf(BPF_OBJ_PIN,
                if refused with EEXIST:
  8d                bpf(BPF_OBJ_GET,
                        if it succeeds:
  8e                        bpf(BPF_OBJ_GET_INFO_BY_FD,
 10 bpf(BPF_PROG_LOAD,
        if refused:
 10a        bpf(BPF_PROG_LOAD,
 11 sendto(RTM_SETLINK
 12 recvfrom(<route socket>)
        if no answer comes:
 12a        sendto(RTM_SETLINK
 12b        recvfrom(<route socket>)
 13 bpf(BPF_OBJ_GET_INFO_BY_FD,
        if refused: go on
    if a later call fails, what was done of these is undone:
        unlink("/sys/fs/bpf/edge/m")
        rmdir("/sys/fs/bpf/edge")
        flock(<root of bpffs>, LOCK_UN)
        umount2("/sys/fs/bpf", 0)
    13 calls if none is refused
"#;

/// What a step makes is counted, not described, where only numbers are wanted.
#[test]
fn as_many_system_calls_are_counted_as_are_described() {
    let object = object(vec![map("m", Pinning::ByName)]);
    let at = |netns: Option<&str>, replace, by| {
        target(ModeChoice::Auto, replace).netns(netns.map(str::to_owned)).by(by)
    };
    let link = |pin: Option<&str>| AttachBy::Link { pin: pin.map(str::to_owned) };
    let targets = [
        at(None, false, AttachBy::Netlink),
        at(Some("/run/netns/edge"), true, AttachBy::Netlink),
        at(Some("/run/netns/edge"), false, AttachBy::Netlink),
        at(None, true, link(Some("/sys/fs/bpf/link"))),
        at(Some("/run/netns/edge"), false, link(Some("/sys/fs/bpf/link"))),
        at(None, true, link(None)),
    ];
    let mut plans = vec![plan(&object)];
    for target in targets {
        let by_id =
            Plan::of_attaching(&Existing::Id(7), std::slice::from_ref(&target), "/sys/fs/bpf").unwrap();
        let loader = Loader::new(&object).attach_to(target.clone());
        let loader = if target.replace { loader.keep_maps(KeepMaps::Copy) } else { loader };
        let loaded = loader.plan(&Kernel::unknown()).unwrap();
        let on_trial = [&by_id, &loaded].map(|plan| plan.clone().on_trial("/sys/fs/bpf").unwrap());
        plans.extend([by_id, loaded].into_iter().chain(on_trial));
    }
    for plan in &plans {
        let undo = plan.calls().filter_map(|call| plan.undo(call));
        for call in plan.calls().cloned().chain(undo) {
            assert_eq!(call.system_calls(), plan.kernel_calls(&call).len(), "{call:?}");
        }
    }
}

#[test]
fn a_pin_path_follows_the_dialect_and_the_caller() {
    let path = |pinning| {
        let object = object(vec![map("a.b", pinning)]);
        move |wish: fn(Loader<'_>) -> Loader<'_>| pin_of(&wish(Loader::new(&object)))
    };
    let none = path(Pinning::None);
    assert_eq!(none(|loader| loader).unwrap(), None);
    assert_eq!(none(|loader| loader.pin_map("a.b", "/sys/fs/bpf/x")).unwrap().unwrap(), "/sys/fs/bpf/x");
    let fixed = path(Pinning::Path("ns/globals/m".to_owned()));
    assert_eq!(fixed(|loader| loader).unwrap().unwrap(), "/sys/fs/bpf/ns/globals/m");
    assert_eq!(fixed(|loader| loader.bpffs("/mnt")).unwrap().unwrap(), "/mnt/ns/globals/m");
    let under = fixed(|loader| loader.pin_maps_under("/sys/fs/bpf/edge")).unwrap().unwrap();
    assert_eq!(under, "/sys/fs/bpf/ns/globals/m");
    let by_name = path(Pinning::ByName);
    assert_eq!(by_name(|loader| loader).unwrap().unwrap(), "/sys/fs/bpf/a_b");
    let under = by_name(|loader| loader.pin_maps_under("/sys/fs/bpf/edge/")).unwrap().unwrap();
    assert_eq!(under, "/sys/fs/bpf/edge/a_b");
    let by_caller = path(Pinning::CallerPath { pinning: 3 });
    assert!(by_caller(|loader| loader).is_err());
    assert_eq!(by_caller(|loader| loader.pin_map("a.b", "/sys/fs/bpf/x")).unwrap().unwrap(), "/sys/fs/bpf/x");
}

#[test]
fn a_pinned_map_is_looked_for_before_it_is_made() {
    let object = object(vec![map("m", Pinning::Path("a/b/m".to_owned()))]);
    let plan = plan(&object);
    let [statfs, _, get, _] = &plan.steps[..] else { panic!("{plan}") };
    assert_eq!(statfs.call, Call::Statfs { path: "/sys/fs/bpf".to_owned() });
    assert!(matches!(get.then[0].call, Call::MapInfo { .. }), "what is there is compared");
    let absent: Vec<_> = get.otherwise[0].steps.iter().map(|step| &step.call).collect();
    let mkdir = |path: &str| Call::Mkdir { path: path.to_owned() };
    assert_eq!(absent[..2], [&mkdir("/sys/fs/bpf/a"), &mkdir("/sys/fs/bpf/a/b")]);
    let [_, _, Call::MapCreate(_), Call::ObjPin { path, .. }] = absent[..] else { panic!("{plan}") };
    assert_eq!(path, "/sys/fs/bpf/a/b/m");
}

#[test]
fn templates_are_made_before_the_maps_that_hold_their_like() {
    let outer = |name, index| {
        let inner = Some(InnerMap::Map(2));
        let slot = |key| SlotSpec { key, value: SlotValue::Map(2) };
        let slots = Option::map(index, slot).into_iter().collect();
        let plain = map("", Pinning::None).shape;
        let shape = MapShape { map_type: MapType::ARRAY_OF_MAPS, value_size: 4, ..plain };
        MapSpec { shape, inner, slots, ..map(name, Pinning::None) }
    };
    let plain = |name| map(name, Pinning::None);
    let object = object(vec![outer("o1", Some(5)), plain("a"), plain("t"), outer("o2", None)]);
    let plan = plan(&object);
    let mut made = Vec::new();
    let mut put = Vec::new();
    for step in &plan.steps {
        match &step.call {
            Call::MapCreate(create) => made.push((create.map.0, create.inner)),
            Call::MapUpdate { map, key, value: FdValue::Map(inner), .. } => put.push((map.0, *key, inner.0)),
            _ => {}
        }
    }
    let template = Some(MapSlot(2));
    assert_eq!(made, [(1, None), (2, None), (0, template), (3, template)]);
    // Only where the object gives the place does the template go into the outer map.
    assert_eq!(put, [(0, 5, 2)]);
}

#[test]
fn a_kernel_that_is_known_to_lack_features_is_not_asked_for_them() {
    let object = object(vec![map("m", Pinning::None)]);
    let plan = Loader::new(&object).plan(&kernel(Answer::No)).unwrap();
    let Call::MapCreate(create) = &plan.steps[0].call else { panic!("{plan}") };
    assert_eq!(create.name, None);
    let (step, load) = load_step(&plan);
    assert_eq!((load.name, load.expected_attach_type), (None, None));
    // RLIMIT_MEMLOCK is raised after a refusal without a probe; the other way round the log.
    let ways: Vec<_> = step.otherwise.iter().map(|way| (way.on, way.lacking)).collect();
    assert_eq!(ways, [(On::Errno(&[EPERM]), None), (On::AnyErrno, None)]);
    assert_eq!(step.otherwise[0].steps[0].call, Call::RaiseMemlock);
    assert!(step.otherwise[1].steps[0].otherwise.is_empty());
}

#[test]
fn a_kernel_that_is_known_to_have_all_needs_no_way_round() {
    let object = object(vec![map("m", Pinning::None)]);
    let plan = plan(&object);
    assert!(plan.steps[0].otherwise.is_empty());
    let (step, load) = load_step(&plan);
    assert_eq!(load.expected_attach_type, Some(AttachType::XDP));
    let [way] = &step.otherwise[..] else { panic!("{plan}") };
    let Call::ProgLoad(again) = &way.steps[0].call else { panic!("{plan}") };
    assert_eq!((way.on, again.log, way.steps[0].otherwise.len()), (On::AnyErrno, true, 0));
}

#[test]
fn a_kernel_of_which_nothing_is_known_is_probed_after_a_refusal_only() {
    let object = object(vec![map("m", Pinning::None)]);
    let plan = Loader::new(&object).plan(&Kernel::unknown()).unwrap();
    let lacking = |step: &Step| step.otherwise.iter().map(|way| way.lacking).collect::<Vec<_>>();
    assert_eq!(lacking(&plan.steps[0]), [Some(Feature::MemcgAccounting), Some(Feature::ObjectNames)]);
    let (step, _) = load_step(&plan);
    assert_eq!(lacking(step), [Some(Feature::MemcgAccounting), None]);
    let explain = &step.otherwise[1].steps[0];
    assert_eq!(lacking(explain), [Some(Feature::ExpectedAttachType)]);
    assert_eq!(lacking(&explain.otherwise[0].steps[0]), [Some(Feature::ObjectNames)]);
}

#[test]
fn variables_that_no_program_needs_are_no_reason_to_give_up() {
    let mut object = object(Vec::new());
    let data = |kind, section: &str| DataSpec {
        section: section.to_owned(),
        kind,
        size: 1,
        content: vec![7],
        ty: None,
        variables: Vec::new(),
        addresses: Vec::new(),
    };
    object.data = vec![data(DataKind::ReadOnly, ".rodata.str1.1"), data(DataKind::Initialised, ".data")];
    let plan = Loader::new(&object).plan(&Kernel::unknown()).unwrap();
    assert_eq!(plan.maps, [".rodata.str1.1", ".data"]);
    let steps: Vec<_> = plan.steps.iter().map(|step| step.when).collect();
    let (first, second) = (When::Made(MapSlot(0)), When::Made(MapSlot(1)));
    assert_eq!(steps, [When::Always, first, first, When::Always, second, When::Always, first], "{plan}");
    let go_on = plan.steps[0].otherwise.last().unwrap();
    assert_eq!((go_on.on, go_on.lacking, &go_on.steps[..]), (build::NEWER, None, &[][..]));
    let mut old = Kernel::unknown();
    old.learn(Feature::GlobalData, Answer::No);
    let plan = Loader::new(&object).plan(&old).unwrap();
    assert!(matches!(plan.steps[..], [Step { call: Call::ProgLoad(_), .. }]), "{plan}");
}

#[test]
fn a_prog_array_that_no_program_refers_to_gets_what_is_loaded() {
    let slot = |key, program| SlotSpec { key, value: SlotValue::Program(program) };
    let shape = MapShape { map_type: MapType::PROG_ARRAY, value_size: 4, ..map("", Pinning::None).shape };
    let calls = MapSpec { shape, slots: vec![slot(3, 0), slot(5, 1)], ..map("calls", Pinning::None) };
    let mut object = object(vec![calls]);
    let mut other = object.programs[0].clone();
    other.function.name = "q".to_owned();
    object.programs.push(other);
    let filled = |loader: Loader<'_>| {
        let plan = loader.plan(&kernel(Answer::Yes))?;
        let put = plan.steps.iter().filter_map(|step| match step.call {
            Call::MapUpdate { key, value, .. } => Some((key, value)),
            _ => None,
        });
        Ok::<_, Error>(put.collect::<Vec<_>>())
    };
    let [first, second] = [0, 1].map(|slot| FdValue::Program(ProgramSlot(slot)));
    assert_eq!(filled(Loader::new(&object).all_programs()).unwrap(), [(3, first), (5, second)]);
    assert_eq!(filled(Loader::new(&object).program("q")).unwrap(), [(5, first)]);

    object.programs[1].kind.frags = true;
    let refusal = filled(Loader::new(&object).all_programs()).unwrap_err().to_string();
    assert!(refusal.contains("share the prog array `calls`, which takes programs of one kind"), "{refusal}");
    assert_eq!(filled(Loader::new(&object).program("q")).unwrap(), [(5, first)]);
}

#[test]
fn variables_in_an_arena_are_written_when_it_is_mapped() {
    let arena = |name: &str, max_entries, flags, map_extra| {
        let shape =
            MapShape { map_type: MapType::ARENA, max_entries, flags, map_extra, ..MapShape::default() };
        MapSpec { shape, ..map(name, Pinning::None) }
    };
    let with = |maps: Vec<MapSpec>, size: u32| {
        let mut object = object(maps);
        let data = |kind, section: &str| DataSpec {
            section: section.to_owned(),
            kind,
            size,
            content: vec![7; size as usize],
            ty: None,
            variables: Vec::new(),
            addresses: Vec::new(),
        };
        object.data = vec![data(DataKind::Arena, ".addr_space.1"), data(DataKind::Initialised, ".data")];
        let mut kernel = Kernel::unknown();
        kernel.page_size = Some(4096);
        Loader::new(&object).plan(&kernel)
    };
    let plan = with(vec![map("m", Pinning::None), arena("a", 1, 0, 0)], 3).unwrap();
    let made = plan.steps.iter().filter_map(|step| match &step.call {
        Call::MapCreate(create) => Some(create.map),
        _ => None,
    });
    assert_eq!(made.collect::<Vec<_>>(), [0, 1, 2].map(MapSlot), "{plan}");
    assert_eq!(plan.maps, ["m", "a", ".data"]);
    let mapped = |plan: &Plan, map, address| {
        let call = Call::MapMmap { map: MapSlot(map), address, len: 4096, content: vec![7; 3] };
        plan.steps.iter().any(|step| step.call == call)
    };
    assert!(mapped(&plan, 1, 0), "{plan}");
    let there = with(vec![arena("a", 1, 0, 1 << 44)], 3).unwrap();
    assert!(mapped(&there, 0, 1 << 44), "{there}");
    assert!(plan.to_string().contains("and 3 bytes of variables are written to its beginning"), "{plan}");

    let refused = |maps: &[MapSpec], size, message: &str, help: Option<&str>| {
        let error = with(maps.to_vec(), size).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.help().map(|help| help.to_string()).as_deref(), help);
    };
    let unfit = |maps: &[MapSpec], found: &str, help| {
        let section = "section `.addr_space.1` at offset 0x0: expected";
        refused(maps, 3, &format!("{section} {found}"), Some(help));
    };
    unfit(
        &[],
        "an arena for its variables, found none",
        "declare a map of type BPF_MAP_TYPE_ARENA in `.maps`",
    );
    unfit(
        &[arena("a", 1, 0, 0), arena("b", 1, 0, 0)],
        "one arena for its variables, found `a` and `b`",
        "declare one, since nothing says in which of them the variables are",
    );
    unfit(
        &[arena("a", 1, 1 << 17, 0)],
        "an arena without BPF_F_SEGV_ON_FAULT for its variables, found `a` with it",
        "leave out that flag, or declare the variables without `__arena`",
    );
    refused(
        &[arena("a", 1, 0, 0)],
        4097,
        "section `maps` at offset 0x0: arena `a` has 4096 bytes, too few for the 4097 bytes of its variables",
        None,
    );
}

#[test]
fn the_attach_type_of_another_hook_is_never_left_out() {
    let mut object = object(Vec::new());
    object.programs[0].kind =
        ProgramKind { attach_type: AttachType::XDP_DEVMAP, frags: true, ..object.programs[0].kind };
    let plan = Loader::new(&object).plan(&Kernel::unknown()).unwrap();
    let (step, load) = load_step(&plan);
    assert_eq!((load.expected_attach_type, load.flags), (Some(AttachType::XDP_DEVMAP), BPF_F_XDP_HAS_FRAGS));
    let explain = &step.otherwise[1].steps[0];
    assert_eq!(
        explain.otherwise.iter().map(|way| way.lacking).collect::<Vec<_>>(),
        [Some(Feature::ObjectNames)]
    );
}

#[test]
fn what_the_object_leaves_open_the_caller_fills_in() {
    let mut object = object(vec![map("m", Pinning::None)]);
    object.version = Some(crate::object::CURRENT_KERNEL_VERSION);
    object.license = None;
    let mut kernel = kernel(Answer::Yes);
    kernel.version_code = Some(0x0006_0100);
    let plan = Loader::new(&object).max_entries("m", 99).plan(&kernel).unwrap();
    let Call::MapCreate(create) = &plan.steps[0].call else { panic!("{plan}") };
    assert_eq!(create.shape.max_entries, 99);
    let (_, load) = load_step(&plan);
    assert_eq!((load.kern_version, load.license.as_str()), (0x0006_0100, ""));
}

/// The steps that set the program of the interface: when, in which mode, and whether they replace.
fn set_links(plan: &Plan) -> Vec<(When, Option<Mode>, bool)> {
    let set = |step: &Step| match &step.call {
        Call::SetXdp(set) => Some((step.when, set.mode, set.replace)),
        _ => None,
    };
    plan.steps.iter().filter_map(set).collect()
}

/// What is done when the driver refuses.
fn fallback(plan: &Plan) -> Option<&Alternative> {
    plan.steps.iter().flat_map(|step| &step.otherwise).find(|way| way.on == On::Driver)
}

#[test]
fn an_attach_displaces_nothing_unless_it_is_told_to() {
    let object = object(Vec::new());
    let attach = |mode, replace| {
        Loader::new(&object).attach_to(target(mode, replace)).plan(&kernel(Answer::Yes)).unwrap()
    };
    let generic = ModeChoice::Only(Mode::Generic);
    let plan = attach(generic, false);
    assert_eq!(set_links(&plan), [(When::Always, Some(Mode::Generic), false)]);
    assert!(fallback(&plan).is_none());
    let occupied = (When::Occupied, Some(Mode::Generic), true);
    assert_eq!(set_links(&attach(generic, true)), [occupied, (When::Vacant, Some(Mode::Generic), false)]);
    // What is there is replaced in the mode it is in.
    let plan = attach(ModeChoice::Auto, true);
    let vacant = (When::Vacant, Some(Mode::Native), false);
    assert_eq!(set_links(&plan), [(When::Occupied, None, true), vacant]);
    let fallback = fallback(&plan).unwrap();
    assert!(matches!(
        &fallback.steps[0].call,
        Call::SetXdp(SetXdp { mode: Some(Mode::Generic), replace: false, .. })
    ));
}

#[test]
fn an_offload_makes_everything_on_the_card() {
    let object = object(vec![map("m", Pinning::None)]);
    let offload = target(ModeChoice::Only(Mode::Offload), false);
    let plan = Loader::new(&object).attach_to(offload).plan(&kernel(Answer::Yes)).unwrap();
    let text = plan.to_string();
    assert!(text.contains("map_ifindex=<ifindex>") && text.contains("prog_ifindex=<ifindex>"), "{text}");
}

#[test]
fn all_programs_are_loaded_where_all_are_asked_for() {
    let mut object = object(Vec::new());
    let mut q = object.programs[0].clone();
    q.function.name = "q".to_owned();
    object.programs.push(q);
    let all = Loader::new(&object).all_programs();
    assert_eq!(all.plan(&Kernel::unknown()).unwrap().programs, ["p", "q"]);
    let attached = all.clone().program("q").attach_to(target(ModeChoice::default(), false));
    let plan = attached.plan(&Kernel::unknown()).unwrap();
    let set = plan.steps.iter().find_map(|step| match &step.call {
        Call::SetXdp(set) => Some(set.program),
        _ => None,
    });
    assert_eq!((plan.programs.len(), set), (2, Some(ProgramSlot(1))));
    let nothing_chosen = all.attach_to(target(ModeChoice::default(), false)).plan(&Kernel::unknown());
    assert!(nothing_chosen.unwrap_err().to_string().starts_with("choose one program"));

    for program in &mut object.programs {
        program.kind.prog_type = ProgType::EXT;
        program.function.section = "freplace/f".to_owned();
    }
    let of_nothing = Loader::new(&object).all_programs().plan(&Kernel::unknown()).unwrap_err();
    let words = "program `p` replaces function `f` of another program, and that program is not named";
    assert_eq!(of_nothing.to_string(), words);
}

#[test]
fn optional_programs_are_loaded_where_they_are_chosen() {
    let mut object = object(Vec::new());
    let mut q = object.programs[0].clone();
    (q.function.name, q.function.section) = ("q".to_owned(), "?xdp".to_owned());
    object.programs.push(q);
    let programs = |loader: Loader<'_>| loader.plan(&Kernel::unknown()).unwrap().programs;
    assert_eq!(programs(Loader::new(&object)), ["p"]);
    assert_eq!(programs(Loader::new(&object).all_programs()), ["p"]);
    assert_eq!(programs(Loader::new(&object).program("q")), ["q"]);
    assert_eq!(programs(Loader::new(&object).all_programs().program("q")), ["p", "q"]);
}

#[test]
fn a_refusal_matches_its_own_errnos() {
    let matches = |on: On, errno| on.matches(&Error::os("bpf(BPF_MAP_CREATE)", "m", errno));
    assert!(matches(On::Errno(&[1, 2]), 2) && !matches(On::Errno(&[1, 2]), 3));
    assert!(matches(On::AnyErrno, 7) && !matches(On::NotBpffs, 7));
    assert!(matches(On::Driver, EOPNOTSUPP) && !matches(On::Driver, EBUSY));
}

#[test]
fn a_name_with_a_dot_has_a_way_round_of_its_own() {
    let object = object(vec![map("rings.inner", Pinning::None)]);
    let plan = Loader::new(&object).plan(&Kernel::unknown()).unwrap();
    let ways = &plan.steps[0].otherwise;
    let lacking: Vec<_> = ways.iter().map(|way| way.lacking).collect();
    let features = [Feature::MemcgAccounting, Feature::ObjectNames, Feature::GlobalData];
    assert_eq!(lacking, features.map(Some));
    let Call::MapCreate(create) = &ways[2].steps[0].call else { panic!("{plan}") };
    assert_eq!(create.name, None);
    assert!(
        plan.to_string().contains("and a probe finds no global data (before 5.2): again without the name")
    );
}

#[test]
fn what_a_call_cannot_do_without_is_known() {
    let object = object(vec![map("m", Pinning::None)]);
    let plan = plan(&object);
    let (_, load) = load_step(&plan);
    assert_eq!(Call::from(load.clone()).needs(), []);
    let mut newer = load.clone();
    let call = Insn { code: BPF_CALL, dst: 0, src: BPF_PSEUDO_CALL, off: 0, imm: 0 };
    newer.insns = [&[call], &*newer.insns].concat().into();
    newer.expected_attach_type = Some(AttachType::XDP_CPUMAP);
    newer.flags |= BPF_F_XDP_HAS_FRAGS;
    let needs = [Feature::FunctionCalls, Feature::CpumapPrograms, Feature::XdpFrags];
    assert_eq!(Call::from(newer).needs(), needs);

    let Call::MapCreate(create) = &plan.steps[0].call else { panic!("{plan}") };
    let of = |map_type, value_size| {
        let shape = MapShape { map_type, value_size, ..create.shape };
        Call::MapCreate(MapCreate { shape, ..create.clone() }).needs()
    };
    assert_eq!(of(MapType::HASH, 8), []);
    assert_eq!(of(MapType::DEVMAP, 4), []);
    assert_eq!(of(MapType::DEVMAP_HASH, 8), [Feature::DevmapPrograms]);
    assert_eq!(of(MapType::CPUMAP, 8), [Feature::CpumapPrograms]);
}

#[test]
fn a_load_goes_on_without_functions_only_where_they_were_refused() {
    let goes_on = |log: &str| {
        let refusal = Error::os("bpf(BPF_PROG_LOAD)", "program `p`", EINVAL).with_verifier_log(log);
        On::ProgInfo.matches(&refusal)
    };
    assert!(goes_on("Invalid insn code at line_info[0].insn_off\n"));
    assert!(goes_on("Arg#0 type PTR in limit() is not supported yet.\n"));
    assert!(!goes_on("missing btf func_info\n"));
    assert!(!goes_on("R1 type=inv expected=ctx\n"));
}

#[test]
fn the_calls_of_a_plan_are_those_of_every_way_in_the_order_of_the_text() {
    let step = |path: &str| Step::new(Call::Rmdir { path: path.to_owned() });
    let nested = step("b").then(vec![step("c"), step("d")]).or(On::AnyErrno, vec![step("e")]);
    let first = step("a").then(vec![nested]).or(On::Held, vec![step("f"), step("g")]);
    let steps = vec![first.or(On::Driver, vec![step("h")]), step("i")];
    let plan = Plan { steps, ..plan(&object(Vec::new())) };
    let paths = plan.calls().map(|call| match call {
        Call::Rmdir { path } => path.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(paths.collect::<String>(), "abcdefghi");
}

#[test]
fn the_page_lists_each_condition_of_a_step() {
    let map = MapSlot(0);
    let after = |when: &When| match when {
        When::Always => Some(When::Occupied),
        When::Occupied => Some(When::Vacant),
        When::Vacant => Some(When::FirstVacant),
        When::FirstVacant => Some(When::New(map)),
        When::New(_) => Some(When::Copied(map)),
        When::Copied(_) => Some(When::Outgrown(map)),
        When::Outgrown(_) => Some(When::Made(map)),
        When::Made(_) => None,
    };
    let all = std::iter::successors(Some(When::Always), after);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let (_, behind) = page.split_once("The values of `only_if`").expect("the page has the list");
    let (list, _) = behind.split_once("\n#").expect("a heading comes next");
    let listed: Vec<_> =
        list.lines().filter_map(|line| line.strip_prefix("* `")?.split('`').next()).collect();
    assert_eq!(all.filter_map(When::name).collect::<Vec<_>>(), listed);
}

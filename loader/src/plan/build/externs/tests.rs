//! Tests of externs against hand-made kernels: the addresses, the types and the modules are what the tests say.

use std::sync::Arc;

use super::*;
use crate::btf::Sieve;
use crate::btf::builder::{Builder, info};
use crate::bytes::ByteOrder;
use crate::insn::Insn;
use crate::netlink::{InterfaceRef, ModeChoice};
use crate::object::{
    CodeInfo, DataKind, DataSpec, FunctionSpec, OptionKind, ProgramKind, ProgramSpec, SymbolReference,
    SymbolTarget,
};
use crate::plan::call::{Device, ProgLoad};
use crate::plan::{Plan, Target};
use crate::uapi::bpf::{
    AttachType, BPF_EXIT, BPF_LD_IMM64, BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL, ProgType,
};
use crate::uapi::elf::RelocationType;

const OTHER_SIGNATURE: &str = "the kernel has function `kfunc`, but with another signature: ";
const EXIT: Insn = Insn { code: BPF_EXIT, dst: 0, src: 0, off: 0, imm: 0 };
const LOAD: Insn = Insn { code: BPF_LD_IMM64, dst: 1, ..EXIT };
const HALF: Insn = Insn { code: 0, ..EXIT };
const CALL: Insn = Insn { code: BPF_CALL, src: BPF_PSEUDO_CALL, imm: -1, ..EXIT };
const KFUNC: Insn = Insn { code: BPF_CALL, src: BPF_PSEUDO_KFUNC_CALL, ..EXIT };

/// What stands in for the call of a function that the kernel lacks, the extern with this index, as libbpf has it.
fn no_call(external: i32) -> Insn {
    Insn { code: BPF_CALL, imm: 2_002_000_000 + external, ..EXIT }
}

/// The kernel's types, or the object's: `int`, and functions without parameters, with one, and variables of `int`.
struct Types {
    builder: Builder,
    int: TypeId,
}

impl Types {
    fn new() -> Self {
        let mut builder = Builder::new(ByteOrder::NATIVE);
        let int = builder.int("int", 4, 1);
        Self { builder, int }
    }

    /// Adds a function with so many parameters, and gives its signature.
    fn function(&mut self, name: &str, params: usize) -> TypeId {
        let params = vec![[0, self.int.0]; params];
        let proto = self.builder.add(BtfKind::FUNC_PROTO, "", self.int.0, &params);
        let name = self.builder.string(name);
        self.builder.raw(name, info(BtfKind::FUNC, 1), proto.0, &[]);
        proto
    }

    fn variable(&mut self, name: &str, ty: TypeId) {
        self.builder.var(name, ty, 1);
    }
}

/// An object whose program calls each function, and loads the address of everything else.
fn object(externs: &[(&str, bool, ExternKind)], types: &Types) -> Object {
    let (mut insns, mut references) = (Vec::new(), Vec::new());
    for (name, _, kind) in externs {
        let is_call = matches!(kind, ExternKind::Function(_));
        references.push(SymbolReference {
            insn: insns.len(),
            kind: if is_call { RelocationType::R_BPF_64_32 } else { RelocationType::R_BPF_64_64 },
            symbol: (*name).to_owned(),
            target: SymbolTarget::Nowhere,
            addend: None,
        });
        insns.extend(if is_call { vec![CALL] } else { vec![LOAD, HALF] });
    }
    insns.push(EXIT);
    let spec = |(name, weak, kind): &(&str, bool, ExternKind)| ExternSpec {
        name: (*name).to_owned(),
        weak: *weak,
        kind: *kind,
    };
    let data = DataSpec {
        section: ".kconfig".to_owned(),
        kind: DataKind::Kconfig,
        size: 8,
        content: Vec::new(),
        ty: None,
        variables: Vec::new(),
        addresses: Vec::new(),
    };
    Object {
        order: ByteOrder::NATIVE,
        license: Some("GPL".to_owned()),
        version: None,
        programs: vec![ProgramSpec {
            function: FunctionSpec {
                name: "p".to_owned(),
                section: "xdp".to_owned(),
                offset: 0,
                insns,
                references,
                info: CodeInfo::default(),
            },
            kind: ProgramKind { prog_type: ProgType::XDP, attach_type: AttachType::XDP, frags: false },
        }],
        functions: Vec::new(),
        maps: Vec::new(),
        data: vec![data],
        externs: externs.iter().map(spec).collect(),
        btf: Some(Arc::new(types.builder.parse().unwrap())),
        btf_flaw: None,
        other_code: Vec::new(),
    }
}

fn kernel(types: &Types) -> KernelTypes {
    KernelTypes { vmlinux: Some(types.builder.lazy()), modules: None }
}

/// The plan's only load of a program, and all of the plan.
fn load(loader: &Loader<'_>) -> (ProgLoad, Plan) {
    let plan = loader.plan(&Kernel::unknown()).unwrap();
    let mut loads = plan.steps.iter().filter_map(|step| match &step.call {
        Call::ProgLoad(load) => Some((**load).clone()),
        _ => None,
    });
    (loads.next().unwrap(), plan.clone())
}

fn refusal(loader: &Loader<'_>) -> String {
    loader.plan(&Kernel::unknown()).unwrap_err().to_string()
}

fn values(plan: &Plan) -> Vec<(&str, &ExternValue)> {
    plan.externs.iter().map(|external| (&*external.name, &external.value)).collect()
}

const PLACE: &str = "instruction 0 of `p`: section `xdp` at offset 0x0: ";

#[test]
fn functions_of_the_kernel_are_called_by_id() {
    let (mut local, mut remote) = (Types::new(), Types::new());
    remote.function("other", 3);
    remote.function("here", 1);
    let here = local.function("here___flavour", 1);
    let object = object(&[("here___flavour", false, ExternKind::Function(here))], &local);
    let (load, plan) = load(&Loader::new(&object).kernel_types(kernel(&remote)));
    assert_eq!(*load.insns, [Insn { imm: 5, ..KFUNC }, EXIT]);
    assert_eq!(values(&plan), [("here___flavour", &ExternValue::Btf { id: TypeId(5), module: None })]);
    assert!(load.modules.is_empty() && plan.modules.is_empty());
}

#[test]
fn functions_of_modules_come_with_the_fds_of_their_types() {
    let (mut local, remote) = (Types::new(), Types::new());
    let module = |name: &str, functions: &[&str]| {
        let mut types = Types { builder: Builder::split(&remote.builder), int: remote.int };
        for function in functions {
            types.function(function, 1);
        }
        types.variable("in_module", remote.int);
        let data = types.builder.build();
        let range = 0..data.len();
        let btf = LazyBtf::parse_split(Arc::new(data), range, name, &remote.builder.lazy()).unwrap();
        (name.to_owned(), btf)
    };
    let modules =
        vec![module("bare", &[]), module("nf", &["ct_first", "ct_second"]), module("xt", &["xt_one"])];
    let signature = local.function("ct_first", 1);
    let function = ExternKind::Function(signature);
    let externs = [
        ("ct_second", false, function),
        ("in_module", false, ExternKind::Variable(local.int)),
        ("xt_one", false, function),
        ("ct_first", false, function),
    ];
    let object = object(&externs, &local);
    let types = kernel(&remote);
    let loader = Loader::new(&object).kernel_types(types.clone());
    assert!(loader.wants_modules().unwrap());
    assert_eq!(refusal(&loader), format!("{PLACE}the kernel has no function `ct_second`"));

    let loader = loader.kernel_types(KernelTypes { modules: Some(modules), ..types });
    assert!(!loader.wants_modules().unwrap());
    let (load, plan) = load(&loader);
    assert_eq!(plan.modules, ["nf", "bare", "xt"]);
    let call = |off, imm| Insn { off, imm, ..KFUNC };
    let variable = Insn { src: BPF_PSEUDO_BTF_ID, imm: 2, ..LOAD };
    assert_eq!(*load.insns, [call(1, 5), variable, HALF, call(3, 3), call(1, 3), EXIT]);
    assert_eq!(load.modules, [0, 1, 2].map(ModuleSlot));
    assert_eq!(load.module_references, [ModuleFd { insn: 2, module: ModuleSlot(1) }]);
    let found = plan.steps.iter().filter(|step| matches!(step.call, Call::ModuleBtf { .. }));
    let found: Vec<_> =
        found.flat_map(|step| plan.kernel_calls(&step.call)).map(|call| call.to_string()).collect();
    assert_eq!(
        found[..3],
        [
            "bpf(BPF_BTF_GET_NEXT_ID, {start_id=<each id>})",
            "bpf(BPF_BTF_GET_FD_BY_ID, {btf_id=<next id>}) = <BTF of nf>",
            "bpf(BPF_OBJ_GET_INFO_BY_FD, {bpf_fd=<BTF of nf>})",
        ]
    );
    let text = plan.to_string();
    assert!(text.contains("ct_second = BTF id 5 in module nf"), "{text}");
    assert!(text.contains("fd_array=[0, <BTF of nf>, <BTF of bare>, <BTF of xt>]"), "{text}");
}

#[test]
fn what_is_missing_is_refused_unless_it_is_weak() {
    let mut local = Types::new();
    let signature = local.function("gone", 0);
    for (kind, noun) in [
        (ExternKind::Function(signature), "function"),
        (ExternKind::Variable(local.int), "variable"),
        (ExternKind::Symbol, "symbol"),
    ] {
        let symbols = KernelSymbols::default();
        let strong = object(&[("gone", false, kind)], &local);
        let loader = Loader::new(&strong).kernel_types(kernel(&Types::new())).kernel_symbols(symbols.clone());
        assert_eq!(refusal(&loader), format!("{PLACE}the kernel has no {noun} `gone`"));
        let weak = object(&[("gone", true, kind)], &local);
        let (load, plan) =
            load(&Loader::new(&weak).kernel_types(kernel(&Types::new())).kernel_symbols(symbols));
        assert_eq!(values(&plan), [("gone", &ExternValue::Missing)]);
        let expected = if noun == "function" { vec![no_call(0), EXIT] } else { vec![LOAD, HALF, EXIT] };
        assert_eq!(*load.insns, expected);
    }
}

#[test]
fn a_kernel_without_types_has_no_functions() {
    let mut local = Types::new();
    let function = ExternKind::Function(local.function("kfunc", 0));
    let strong = object(&[("kfunc", false, function)], &local);
    assert_eq!(
        refusal(&Loader::new(&strong).kernel_types(KernelTypes::default())),
        format!("{PLACE}function `kfunc` cannot be found: this kernel has no BTF that says what it has")
    );
    let weak = object(&[("other", true, ExternKind::Variable(local.int)), ("kfunc", true, function)], &local);
    let loader = Loader::new(&weak).kernel_types(KernelTypes::default());
    assert!(!loader.wants_modules().unwrap());
    // Such a kernel refuses every call of a function, reached or not; a helper that does not exist may stand there.
    assert_eq!(*load(&loader).0.insns, [LOAD, HALF, no_call(1), EXIT]);
}

#[test]
fn signatures_and_types_must_agree() {
    let (mut local, mut remote) = (Types::new(), Types::new());
    remote.function("kfunc", 2);
    let pointer = remote.builder.refer(BtfKind::PTR, "", remote.int);
    remote.variable("variable", pointer);
    let function = ExternKind::Function(local.function("kfunc", 1));
    let variable = ExternKind::Variable(local.int);
    let refused =
        |external| refusal(&Loader::new(&object(&[external], &local)).kernel_types(kernel(&remote)));
    assert_eq!(
        refused(("kfunc", false, function)),
        format!("{PLACE}{OTHER_SIGNATURE}it takes 2 parameters there, and 1 parameter here")
    );
    for weak in [false, true] {
        assert_eq!(
            refused(("variable", weak, variable)),
            format!(
                "{PLACE}expected variable `variable` to be int `int` as the object declares it, found ptr in the kernel"
            )
        );
    }
    let weak = object(&[("kfunc", true, function)], &local);
    let (load, plan) = load(&Loader::new(&weak).kernel_types(kernel(&remote)));
    assert_eq!(values(&plan), [("kfunc", &ExternValue::Missing)]);
    assert_eq!(*load.insns, [no_call(0), EXIT]);
}

#[test]
fn what_differs_in_a_signature_is_named() {
    let add = |types: &mut Types, result: TypeId, param: TypeId| {
        let proto = types.builder.add(BtfKind::FUNC_PROTO, "", result.0, &[[0, param.0]]);
        let name = types.builder.string("kfunc");
        types.builder.raw(name, info(BtfKind::FUNC, 1), proto.0, &[]);
        proto
    };
    let refused = |local: &Types, proto, remote: &Types| {
        let object = object(&[("kfunc", false, ExternKind::Function(proto))], local);
        let error = Loader::new(&object).kernel_types(kernel(remote)).plan(&Kernel::unknown()).unwrap_err();
        (error.to_string(), error.help().map(|help| help.to_string()))
    };
    let (mut local, mut remote) = (Types::new(), Types::new());
    let pointer = remote.builder.refer(BtfKind::PTR, "", remote.int);
    let int = remote.int;
    add(&mut remote, int, pointer);
    let int = local.int;
    let proto = add(&mut local, int, int);
    let words = format!("{PLACE}{OTHER_SIGNATURE}parameter 1 is `int *` there, and `int` here");
    assert_eq!(refused(&local, proto, &remote), (words, None));

    // A struct that is only declared is none (`bpf_core_types_are_compat()` in libbpf's `relo_core.c`).
    let (mut local, mut remote) = (Types::new(), Types::new());
    let task = remote.builder.refer(BtfKind::STRUCT, "task", TypeId(0));
    let pointer = remote.builder.refer(BtfKind::PTR, "", task);
    let int = remote.int;
    add(&mut remote, pointer, int);
    let task = local.builder.refer(BtfKind::FWD, "task", TypeId(0));
    let pointer = local.builder.refer(BtfKind::PTR, "", task);
    let int = local.int;
    let proto = add(&mut local, pointer, int);
    let words = "the return value is `struct task *` there, and `struct task *` here, where `struct task` is not \
                 defined";
    let help = "define `struct task` in the object";
    assert_eq!(
        refused(&local, proto, &remote),
        (format!("{PLACE}{OTHER_SIGNATURE}{words}"), Some(help.to_owned()))
    );
}

#[test]
fn addresses_go_into_both_halves() {
    let object = object(&[("symbol", false, ExternKind::Symbol)], &Types::new());
    let mut symbols = KernelSymbols::of(&Loader::new(&object).wants().unwrap().symbols);
    symbols.add_line("ffffffff9234abcd T symbol");
    let (load, plan) = load(&Loader::new(&object).kernel_symbols(symbols));
    let half = |imm: u32| i32::from_ne_bytes(imm.to_ne_bytes());
    assert_eq!(load.insns[..2], [Insn { imm: half(0x9234_abcd), ..LOAD }, Insn { imm: -1, ..HALF }]);
    assert!(plan.to_string().contains("symbol = 0xffffffff9234abcd\n"));
}

#[test]
fn nothing_is_wanted_that_no_program_refers_to() {
    let mut local = Types::new();
    let function = ExternKind::Function(local.function("kfunc", 0));
    let option =
        |size| ExternKind::Option(OptionSpec { kind: OptionKind::Int { signed: false }, size, offset: 0 });
    let all = [
        ("CONFIG_A", false, option(4)),
        ("LINUX_KERNEL_VERSION", false, option(4)),
        ("symbol", false, ExternKind::Symbol),
        ("kfunc", false, function),
    ];
    let mut object = object(&all, &local);
    let wants = Loader::new(&object).wants().unwrap();
    let symbols = ["symbol".to_owned()].into();
    let mut sieve = Sieve::default();
    sieve.want(BtfKind::FUNC, "kfunc");
    assert_eq!(
        wants,
        Wants { kconfig: true, symbols, types: Some(sieve), version: true, ..Wants::default() }
    );
    let loader = Loader::new(&object);
    let told = loader.kconfig(Kconfig::new("config", b"CONFIG_A=1\n".to_vec()));
    let told = told.kernel_types(KernelTypes::default()).kernel_symbols(KernelSymbols::default());
    assert_eq!(told.wants().unwrap(), Wants { version: true, ..Wants::default() });
    object.programs[0].function.references.clear();
    object.programs[0].function.insns = vec![EXIT];
    assert_eq!(Loader::new(&object).wants().unwrap(), Wants::default());
    assert!(Loader::new(&object).plan(&Kernel::unknown()).is_ok());
}

#[test]
fn what_nobody_has_said_is_asked_for() {
    let mut local = Types::new();
    let function = ExternKind::Function(local.function("kfunc", 0));
    let option = ExternKind::Option(OptionSpec { kind: OptionKind::Bool, size: 1, offset: 0 });
    for (name, kind, unknown) in [
        ("CONFIG_A", option, "the kernel's configuration"),
        ("LINUX_KERNEL_VERSION", option, "the kernel's version"),
        ("LINUX_HAS_BPF_COOKIE", option, "the kernel's BTF"),
        ("LINUX_HAS_SYSCALL_WRAPPER", option, "the kernel's symbols"),
        ("symbol", ExternKind::Symbol, "the kernel's symbols"),
        ("kfunc", function, "the kernel's BTF"),
    ] {
        let object = object(&[(name, false, kind)], &local);
        let expected = format!("{PLACE}`{name}` needs {unknown}, of which nothing is known here");
        assert_eq!(refusal(&Loader::new(&object)), expected);
    }
    let odd = object(&[("LINUX_ODD", false, option)], &local);
    assert_eq!(
        refusal(&Loader::new(&odd)),
        format!(
            "{PLACE}there is no option `LINUX_ODD`: expected one of the kernel's configuration (CONFIG_...)"
        )
    );
}

#[test]
fn libbpfs_own_options_are_told_by_types_and_symbols() {
    let option = |offset| ExternKind::Option(OptionSpec { kind: OptionKind::Bool, size: 1, offset });
    let externs =
        [("LINUX_HAS_BPF_COOKIE", false, option(0)), ("LINUX_HAS_SYSCALL_WRAPPER", false, option(1))];
    let object = object(&externs, &Types::new());
    for has in [false, true] {
        let mut types = Types::new();
        let helper = if has { "BPF_FUNC_get_attach_cookie" } else { "BPF_FUNC_unspec" };
        types.builder.enumeration("bpf_func_id", false, &[(helper, 174)]);
        let loader = Loader::new(&object).kernel_types(kernel(&types));
        let wanted = loader.wants().unwrap().symbols;
        let mut symbols = KernelSymbols::of(&wanted);
        for symbol in wanted.iter().filter(|_| has) {
            symbols.add_line(&format!("0000000000000000 T {symbol}"));
        }
        let plan = loader.kernel_symbols(symbols).plan(&Kernel::unknown()).unwrap();
        let cookie = ExternValue::Setting(u8::from(has).to_string());
        let wrapper = ExternValue::Setting(u8::from(has && !wanted.is_empty()).to_string());
        assert_eq!(
            values(&plan),
            [("LINUX_HAS_BPF_COOKIE", &cookie), ("LINUX_HAS_SYSCALL_WRAPPER", &wrapper)]
        );
    }
}

#[test]
fn the_map_of_options_is_filled_and_frozen() {
    let option = |kind, size, offset| ExternKind::Option(OptionSpec { kind, size, offset });
    let externs = [
        ("CONFIG_N", false, option(OptionKind::Int { signed: false }, 4, 0)),
        ("CONFIG_B", false, option(OptionKind::Bool, 1, 4)),
        ("CONFIG_WEAK", true, option(OptionKind::Bool, 1, 5)),
    ];
    let object = object(&externs, &Types::new());
    let config = Kconfig::new("config", b"CONFIG_N=258\nCONFIG_B=y\n".to_vec());
    let (_, plan) = load(&Loader::new(&object).kconfig(config));
    let calls: Vec<_> = plan.steps.iter().map(|step| &step.call).collect();
    let mut content = 258_u32.to_ne_bytes().to_vec();
    content.extend([1, 0, 0, 0]);
    assert!(
        calls.iter().any(|call| matches!(call, Call::MapFill { content: found, .. } if *found == content))
    );
    assert!(calls.iter().any(|call| matches!(call, Call::MapFreeze { .. })));
    let setting = |text: &str| ExternValue::Setting(text.to_owned());
    assert_eq!(
        values(&plan),
        [("CONFIG_N", &setting("258")), ("CONFIG_B", &setting("y")), ("CONFIG_WEAK", &ExternValue::Missing)]
    );
}

#[test]
fn a_program_that_asks_the_card_is_bound_to_it() {
    let (mut local, mut remote) = (Types::new(), Types::new());
    let function = ExternKind::Function(local.function("bpf_xdp_metadata_rx_hash", 1));
    remote.function("bpf_xdp_metadata_rx_hash", 1);
    let object = object(&[("bpf_xdp_metadata_rx_hash", true, function)], &local);
    let target = |mode: ModeChoice| Target::new(InterfaceRef::named("eth0").unwrap()).mode(mode);
    let here = Loader::new(&object).kernel_types(kernel(&remote));
    let auto = here.clone().attach_to(target(ModeChoice::Auto));
    let (load_, plan) = load(&auto);
    assert_eq!(load_.device, Device::Interface);
    let text = plan.to_string();
    assert!(text.contains("prog_flags=BPF_F_XDP_DEV_BOUND_ONLY") && text.contains("prog_ifindex=<ifindex>"));
    assert!(!text.contains("XDP_FLAGS_SKB_MODE"), "no way back to generic mode: {text}");
    assert_eq!(
        refusal(&here),
        "program `p` calls `bpf_xdp_metadata_rx_hash`, and so must be bound to an interface when it is loaded"
    );
    // A kernel that lacks the function has no such wish.
    let without = Loader::new(&object).kernel_types(kernel(&Types::new()));
    assert_eq!(load(&without).0.device, Device::None);
}

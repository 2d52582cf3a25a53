//! The plan that tests ask for: attach one program of an object to `eth0`.

use loader::Result;
use loader::btf::{BtfWriter, KernelTypes, LazyBtf};
use loader::features::Kernel;
use loader::kconfig::Kconfig;
use loader::netlink::InterfaceRef;
use loader::object::{Object, Pinning, ProgramSpec};
use loader::plan::{Existing, KernelSymbols, Loader, Plan, Target};

/// How the kernel is configured.
const CONFIG: &[u8] = b"CONFIG_BPF_SYSCALL=y
CONFIG_VETH=m
CONFIG_BPF_JIT=y
CONFIG_LOG_BUF_SHIFT=17
CONFIG_DEFAULT_HOSTNAME=\"(none)\"
";

/// The kernel's types: those that the object knows.
fn types(object: &Object) -> KernelTypes {
    let Some(btf) = &object.btf else {
        return KernelTypes::default();
    };
    let mut writer = BtfWriter::from_btf(btf);
    let hidden = writer.name("hidden").unwrap();
    for (_, ty) in writer.types_mut() {
        if btf.text(ty.name).is_ok_and(|name| name.contains("nowhere")) {
            ty.name = hidden;
        }
    }
    let vmlinux = LazyBtf::from_bytes(writer.to_bytes(object.order).unwrap(), "`vmlinux`").unwrap();
    KernelTypes { vmlinux: Some(vmlinux), modules: None }
}

/// The plan of attaching `program` of `object` to `eth0` in native mode, on Linux 6.1, four CPUs and pages of 4 KiB.
///
/// Of what that kernel can do nothing else is known, so that every way round a missing feature is in the plan. It has
/// what the object takes from it, all but what is called `nowhere`. Maps that want a pin path from their loader get
/// one.
pub(crate) fn attach(object: &Object, program: &ProgramSpec) -> Result<Plan> {
    attach_to_kernel(object, program, None)
}

/// The same for a kernel with these types, if any are given.
pub(crate) fn attach_to_kernel(
    object: &Object,
    program: &ProgramSpec,
    target_types: Option<KernelTypes>,
) -> Result<Plan> {
    let target = Target::new(InterfaceRef::named("eth0").unwrap());
    let loader = Loader::new(object).program(&program.function.name);
    let mut loader = match program.extends() {
        Some(_) => loader.extend(Existing::Id(7)).pin_under("/sys/fs/bpf/extension"),
        None => loader.attach_to(target),
    };
    for map in &object.maps {
        if matches!(map.pinning, Pinning::CallerPath { .. }) {
            loader = loader.pin_map(&map.name, format!("/sys/fs/bpf/chosen/{}", map.name));
        }
    }
    loader = loader.kconfig(Kconfig::new("/boot/config", CONFIG.to_vec())).kernel_types(types(object));
    if let Some(types) = target_types {
        loader = loader.target_types(types);
    }
    let wanted = loader.wants()?.symbols;
    let mut symbols = KernelSymbols::of(&wanted);
    for name in wanted.iter().filter(|name| !name.contains("nowhere")) {
        symbols.add_line(&format!("ffffffff81{:06x} T {name}", name.len()));
    }
    loader = loader.kernel_symbols(symbols);
    let mut kernel = Kernel::unknown();
    kernel.version_code = Some(6 << 16 | 1 << 8);
    (kernel.possible_cpus, kernel.page_size) = (Some(4), Some(4096));
    loader.plan(&kernel)
}

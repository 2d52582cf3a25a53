//! The plan that tests ask for: attach one program of an object to `eth0`.

use loader::Result;
use loader::features::Kernel;
use loader::netlink::{LinkRef, ModeChoice};
use loader::object::{Object, Pinning, ProgramSpec};
use loader::plan::{AttachBy, Loader, Plan, Target};

/// The plan of attaching `program` of `object` to `eth0` in native mode, on Linux 6.1.
///
/// Of that kernel nothing else is known, so that every way round a missing feature is in the plan. Maps that want a
/// pin path from their loader get one.
pub(crate) fn attach(object: &Object, program: &ProgramSpec) -> Result<Plan> {
    let target = Target {
        link: LinkRef::named("eth0").unwrap(),
        netns: None,
        mode: ModeChoice::default(),
        replace: false,
        by: AttachBy::Netlink,
    };
    let mut loader = Loader::new(object).program(&program.name).attach_to(target);
    for map in &object.maps {
        if matches!(map.pinning, Pinning::CallerPath { .. }) {
            loader = loader.pin_map(&map.name, format!("/sys/fs/bpf/chosen/{}", map.name));
        }
    }
    let mut kernel = Kernel::unknown();
    kernel.version_code = Some(6 << 16 | 1 << 8);
    loader.plan(&kernel)
}

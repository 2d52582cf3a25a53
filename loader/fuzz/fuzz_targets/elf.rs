//! Fuzzes the door of object files: what is read can be planned and printed, what is refused says why in one line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loader::Error;
use loader::features::Kernel;
use loader::netlink::{InterfaceRef, ModeChoice};
use loader::object::Object;
use loader::plan::{Loader, Target};

fuzz_target!(|data: &[u8]| {
    let object = match Object::parse(data) {
        Ok(object) => object,
        Err(error) => return check(&error),
    };
    for program in &object.programs {
        match plan(&object, &program.function.name) {
            Ok(text) => assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}"),
            Err(error) => check(&error),
        }
    }
});

fn plan(object: &Object, program: &str) -> loader::Result<String> {
    let eth0 = InterfaceRef::named("eth0").expect("a name");
    let target = Target::new(eth0).mode(ModeChoice::Auto).replace(true);
    let plan = Loader::new(object).program(program).attach_to(target).plan(&Kernel::unknown())?;
    Ok(format!("{plan:#}"))
}

fn check(error: &Error) {
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
}

//! The BTF of the running kernel and of its modules, where `CONFIG_DEBUG_INFO_BTF` has put it.

use std::fs;
use std::io;
use std::sync::Arc;

use crate::btf::{LazyBtf, Memory, Sieve};
use crate::error::{Error, ErrorKind, Remedy, Result, quote};
use crate::order::sort;
use crate::sys::Errno;
use crate::sys::mapping::{KERNEL_BTF, Mapping};

/// Where the kernel shows its BTF and that of each module (5.4, 5.11).
const DIRECTORY: &str = "/sys/kernel/btf";

/// The kernel's own among them.
const VMLINUX: &str = "vmlinux";

/// The running kernel's types. From Linux 6.16 on they are mapped and not copied. What `sieve` keeps back need not be
/// walked for again.
pub fn kernel_btf(sieve: Sieve) -> Result<LazyBtf> {
    let memory: Memory = match Mapping::kernel_btf() {
        Ok(mapping) => Arc::new(mapping),
        Err(Errno::ENOENT) => {
            let help =
                "this kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted; give its BTF: ";
            return Err(
                Error::os("open(2)", quote(KERNEL_BTF), Errno::ENOENT.0).with_help((help, Remedy::GiveTypes))
            );
        }
        Err(_) => Arc::new(fs::read(KERNEL_BTF).map_err(|error| refused("read(2)", KERNEL_BTF, &error))?),
    };
    let range = 0..(*memory).as_ref().len();
    LazyBtf::parse(memory, range, quote(KERNEL_BTF), sieve)
}

/// The types of the module `name`, which go on where those of the kernel, `base`, end.
pub fn module_btf(name: &str, base: &LazyBtf) -> Result<LazyBtf> {
    if name.contains('/') {
        let message = format!("expected the name of a module, found {}", quote(name));
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let path = format!("{DIRECTORY}/{name}");
    let data = fs::read(&path).map_err(|error| refused("read(2)", &path, &error))?;
    let range = 0..data.len();
    LazyBtf::parse_split(Arc::new(data), range, quote(&path), base)
}

/// The names of the loaded modules that have BTF, sorted.
pub fn modules_with_btf() -> Result<Vec<String>> {
    let refused = |error| refused("readdir(3)", DIRECTORY, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(DIRECTORY).map_err(refused)? {
        let name = entry.map_err(refused)?.file_name().to_string_lossy().into_owned();
        if name != VMLINUX {
            names.push(name);
        }
    }
    sort(&mut names);
    Ok(names)
}

fn refused(call: &str, path: &str, error: &io::Error) -> Error {
    Error::io(call, quote(path), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Types as _;
    use crate::uapi::btf::BtfKind;

    #[test]
    fn the_running_kernel_describes_itself() {
        let btf = kernel_btf(Sieve::default()).unwrap();
        let [id] = btf.find(BtfKind::STRUCT, "xdp_md").collect::<Vec<_>>()[..] else { panic!("one xdp_md") };
        assert_eq!((btf.name(id).unwrap(), btf.size_of(id).unwrap()), ("xdp_md", 24));
        for module in modules_with_btf().unwrap() {
            let module = module_btf(&module, &btf).unwrap();
            assert_eq!(module.ids().start, btf.ids().end);
        }
        assert!(module_btf("../vmlinux", &btf).is_err());
        assert_eq!(
            module_btf("no_such_module", &btf).unwrap_err().to_string(),
            "read(2) for `/sys/kernel/btf/no_such_module` failed: No such file or directory (ENOENT)"
        );
    }
}

//! What a plan wants to know of the running kernel: its configuration, its symbols, its types. Each is looked at only
//! if the programs to load take something from there.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use nix::libc::ENOENT;

use super::{kernel_btf, module_btf, modules_with_btf};
use crate::btf::{KernelTypes, Sieve};
use crate::error::{Error, ErrorKind, Remedy, Result, quote};
use crate::features::Kernel;
use crate::kconfig::Kconfig;
use crate::plan::{KernelSymbols, Loader, Plan};
use crate::sys::os;

/// Where the kernel shows its configuration (`CONFIG_IKCONFIG_PROC`).
const CONFIG: &str = "/proc/config.gz";

/// Where the kernel lists its symbols.
const SYMBOLS: &str = "/proc/kallsyms";

/// The most bytes of a configuration; a kernel's has some 300 KB.
const MAX_CONFIG: u64 = 16 << 20;

impl Loader<'_> {
    /// Looks at the running kernel for what the programs take from it, as far as the caller has not said it.
    pub fn ask_kernel(mut self) -> Result<Self> {
        let wants = self.wants()?;
        if wants.kconfig {
            self = self.kconfig(running_kconfig()?);
        }
        if !wants.symbols.is_empty() {
            self = self.kernel_symbols(kernel_symbols(&wants.symbols)?);
        }
        if let Some(sieve) = wants.types {
            let types = own_types(sieve)?;
            let modules = if types.vmlinux.is_some() { modules_with_btf()? } else { Vec::new() };
            self = self.kernel_types(types.clone());
            if !modules.is_empty() && self.wants_modules()? {
                self = self.kernel_types(with_modules(types, modules)?);
            }
        }
        Ok(self)
    }

    /// The plan for the running kernel, after a look at it for all that the programs take from it.
    ///
    /// Where the same plan is to be made on another machine, or for another kernel, [`plan`](Self::plan) asks nobody.
    pub fn plan_for_running_kernel(self) -> Result<Plan> {
        let loader = self.ask_kernel()?;
        loader.plan(&loader.running_kernel()?)
    }

    /// What the plan wants to know of the running kernel itself. Nothing that no program or map depends on is asked
    /// for, as most depend on nothing.
    pub fn running_kernel(&self) -> Result<Kernel> {
        Kernel::as_far_as(&self.wants()?)
    }
}

/// How the running kernel is configured, by itself or by the file that distributions install beside it.
pub fn running_kconfig() -> Result<Kconfig> {
    let (release, _) =
        os::release_and_version().map_err(|errno| Error::os("uname(2)", "the kernel", errno.0))?;
    let installed = format!("/boot/config-{release}");
    for path in [CONFIG, &installed] {
        match read_kconfig(Path::new(path)) {
            Err(error) if error.errno() == Some(ENOENT) => {}
            answer => return answer,
        }
    }
    let message = format!("the kernel's configuration is neither in {CONFIG} nor in {}", quote(&installed));
    Err(Error::new(ErrorKind::NotFound, message).with_help(("give it: ", Remedy::GiveKconfig)))
}

/// The configuration in the file at `path`, which may be compressed by gzip(1).
pub fn kconfig_file(path: impl AsRef<Path>) -> Result<Kconfig> {
    read_kconfig(path.as_ref())
}

fn read_kconfig(path: &Path) -> Result<Kconfig> {
    let name = path.to_string_lossy().into_owned();
    let refused = |call: &str, error: &io::Error| match error.raw_os_error() {
        Some(errno) => Error::os(call, quote(&name), errno),
        None => Error::new(ErrorKind::Malformed, format!("reading {} failed: {error}", quote(&name))),
    };
    let mut file = BufReader::new(File::open(path).map_err(|error| refused("open(2)", &error))?);
    let start = file.fill_buf().map_err(|error| refused("read(2)", &error))?;
    let text =
        if start.starts_with(&[0x1f, 0x8b]) { limited(MultiGzDecoder::new(file)) } else { limited(file) };
    let text = text.map_err(|error| refused("read(2)", &error))?;
    if text.len() as u64 > MAX_CONFIG {
        let message = format!("{} has more than {MAX_CONFIG} bytes", quote(&name));
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(Kconfig::new(name, text))
}

/// As much as is taken, and a byte more if there is more.
fn limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    reader.take(MAX_CONFIG + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Where the running kernel has these symbols, read line by line: the list has several megabytes.
pub fn kernel_symbols(names: &[String]) -> Result<KernelSymbols> {
    let refused = |call: &str, error: &io::Error| Error::io(call, quote(SYMBOLS), error);
    let mut file = BufReader::new(File::open(SYMBOLS).map_err(|error| refused("open(2)", &error))?);
    let mut symbols = KernelSymbols::of(names);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).map_err(|error| refused("read(2)", &error))? > 0 {
        symbols.add_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(symbols)
}

/// Which types the running kernel has, without those of modules. A kernel that was built without BTF says nothing.
/// What `sieve` keeps back need not be walked for again.
pub fn own_types(sieve: Sieve) -> Result<KernelTypes> {
    match kernel_btf(sieve) {
        Ok(btf) => Ok(KernelTypes { vmlinux: Some(btf), modules: None }),
        Err(error) if error.errno() == Some(ENOENT) => Ok(KernelTypes::default()),
        Err(error) => Err(error),
    }
}

/// Adds the types of these modules.
fn with_modules(types: KernelTypes, names: Vec<String>) -> Result<KernelTypes> {
    let Some(vmlinux) = &types.vmlinux else {
        return Ok(types);
    };
    let mut modules = Vec::new();
    for name in names {
        match module_btf(&name, vmlinux) {
            Ok(btf) => modules.push((name, btf)),
            // Unloaded since it was listed.
            Err(error) if error.errno() == Some(ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(KernelTypes { modules: Some(modules), ..types })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_tells_how_it_is_configured() {
        let config = running_kconfig().unwrap();
        let name = config.get("CONFIG_DEFAULT_HOSTNAME").unwrap();
        assert!(name.is_some(), "no host name in {}", config.origin());
    }

    #[test]
    fn the_running_kernel_tells_where_its_symbols_are() {
        let names = ["xdp_do_redirect", "no_such_symbol"].map(str::to_owned);
        let symbols = kernel_symbols(&names).unwrap();
        assert!(symbols.has("xdp_do_redirect") && !symbols.has("no_such_symbol"));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let missing = kconfig_file("/nonexistent/config").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "open(2) for `/nonexistent/config` failed: No such file or directory (ENOENT)"
        );
        let directory = kconfig_file("/proc").unwrap_err();
        assert_eq!(directory.to_string(), "read(2) for `/proc` failed: Is a directory (EISDIR)");
    }
}

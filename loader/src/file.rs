//! Object files on disk, and files with the types of a kernel: how their bytes come in.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::btf::{KernelTypes, LazyBtf, Sieve};
use crate::elf::ElfFile;
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::object::{Object, ParseOptions};
use crate::sys::os::open_file;
use crate::uapi::elf::ELFMAG;

/// The largest object that is read, in bytes. Objects with all their debug information have a few million.
pub const MAX_FILE_SIZE: u64 = 1 << 28;

/// The largest file that is searched for the types of a kernel: a `vmlinux` with all its debug information.
const MAX_KERNEL_SIZE: u64 = 1 << 30;

/// The bytes of the file at `path`.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    read_up_to(path, MAX_FILE_SIZE)
}

fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>> {
    let show = || quote(&path.to_string_lossy()).to_string();
    let refused = |call: &str, error: &io::Error| Error::io(call, show(), error);
    let too_large = || Error::new(ErrorKind::Unsupported, format!("{} has more than {most} bytes", show()));
    let mut file = open_file(path).map_err(|errno| Error::os("open(2)", show(), errno.0))?;
    let metadata = file.metadata().map_err(|error| refused("fstat(2)", &error))?;
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::Conflict, format!("{} is a directory", show())));
    }
    if metadata.len() > most {
        return Err(too_large());
    }
    let size = usize::try_from(metadata.len()).unwrap_or_default();
    // Memory that comes zeroed is fastest, but where there is none, `vec!` ends the process.
    Vec::<u8>::new().try_reserve_exact(size + 1).map_err(|error| refused("read(2)", &error.into()))?;
    let mut bytes = vec![0; size + 1];
    let first = match file.read(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        answer => answer.map_err(|error| refused("read(2)", &error))?,
    };
    bytes.truncate(first);
    // A regular file that had its size and no byte more ends there. A pipe has no size, and files of the kernel come a
    // page at a time.
    if first != size || !metadata.is_file() {
        let mut rest = file.take(most + 1 - first as u64);
        rest.read_to_end(&mut bytes).map_err(|error| refused("read(2)", &error))?;
    }
    if bytes.len() as u64 > most {
        return Err(too_large());
    }
    Ok(bytes)
}

/// How the images begin from which machines boot Linux, on x86 and with EFI on others.
const DOS_MAGIC: &[u8] = b"MZ";

/// The types of a kernel whose BTF is in the file at `path`, as [`btf`] reads it.
pub fn kernel_types(path: impl AsRef<Path>) -> Result<KernelTypes> {
    let path = path.as_ref();
    Ok(KernelTypes { vmlinux: Some(btf(path)?), modules: None })
}

/// The types in the file at `path`: BTF itself, or an ELF file with a section `.BTF`, such as a kernel's image.
pub fn btf(path: impl AsRef<Path>) -> Result<LazyBtf> {
    let path = path.as_ref();
    let name = path.to_string_lossy();
    let name = quote(&name);
    let bytes = read_up_to(path, MAX_KERNEL_SIZE)?;
    if bytes.starts_with(DOS_MAGIC) {
        let message = format!("{name} is a boot image, in which the kernel is compressed");
        return Err(Error::new(ErrorKind::Unsupported, message).with_help(
            "give the `vmlinux` that it was made from, or that kernel's /sys/kernel/btf/vmlinux",
        ));
    }
    if !bytes.starts_with(&ELFMAG) {
        return LazyBtf::from_bytes(bytes, name);
    }
    let range = btf_section(&bytes).context(|| format!("reading {name}"))?;
    LazyBtf::parse(Arc::new(bytes), range, format!("section `.BTF` of {name}"), Sieve::default())
}

/// Where in an ELF file its BTF is.
fn btf_section(bytes: &[u8]) -> Result<Range<usize>> {
    let elf = ElfFile::parse(bytes)?;
    let section = elf
        .section_named(".BTF")
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "the file has no section `.BTF`"))?;
    // The section is inside the file, as its bytes could be had.
    let len = elf.data(section)?.len();
    let start = usize::try_from(section.offset).unwrap_or_default();
    Ok(start..start + len)
}

/// What libbpf calls the object in this file: the file's name up to the first dot.
pub fn object_name(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().to_owned()
}

impl Object {
    /// Reads the object file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ParseOptions::default())
    }

    /// Reads the object file at `path`, given what only the caller knows.
    pub fn open_with(path: impl AsRef<Path>, options: &ParseOptions) -> Result<Self> {
        let path = path.as_ref();
        Self::parse_with(&read(path)?, options)
            .context(|| format!("reading {}", quote(&path.to_string_lossy())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let path = std::env::temp_dir().join(format!("xdpload-large-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        for (len, is_read) in [(3, true), (MAX_FILE_SIZE + 1, false), (1 << 40, false)] {
            file.set_len(len).unwrap();
            match read(&path) {
                Ok(bytes) => assert!(is_read && bytes.len() as u64 == len, "{len}"),
                Err(error) => {
                    assert!(!is_read, "{len}: {error}");
                    assert!(error.to_string().ends_with("has more than 268435456 bytes"), "{error}");
                }
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

//! What a path must look like to be the path of a pin.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, quote};

/// Checks, by its text alone, that `path` names a place below the bpffs at `root`, and that it does so plainly: no
/// `..`, no `.`, no doubled or trailing slash.
///
/// A dot anywhere below the root is refused too, since the kernel does so: `bpf_lookup()` in `kernel/bpf/inode.c`
/// keeps such names for itself.
pub fn check_pin_path(root: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
    let (root, path) = (root.as_ref(), path.as_ref());
    let wrong = |what: String| {
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("pin path {} {what}", quote(&path.to_string_lossy())),
        ))
    };
    let plain: PathBuf = path.components().filter(|part| *part != Component::ParentDir).collect();
    if plain.as_os_str() != path.as_os_str() {
        return wrong("has a `..`, a `.`, or a slash too many".to_owned());
    }
    match path.strip_prefix(root) {
        Ok(below) if below.as_os_str().is_empty() => {
            wrong("is the bpffs itself, not a name in it".to_owned())
        }
        Ok(below) if below.as_os_str().as_bytes().contains(&b'.') => {
            wrong("has a dot in a name, which the kernel does not allow".to_owned())
        }
        Ok(_) => Ok(()),
        Err(_) => wrong(format!("is not below {}", quote(&root.to_string_lossy()))),
    }
}

/// Where a map is pinned until it takes the place of the one at `path`. Nobody else gives a pin such a name: what is
/// there was left by a run that was killed.
pub(crate) fn beside(path: &str) -> String {
    format!("{path}_xdpload_new")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str) -> String {
        match check_pin_path(Path::new("/sys/fs/bpf"), Path::new(path)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_plain_path_below_the_root_is_taken() {
        assert_eq!(check("/sys/fs/bpf/m"), "ok");
        assert_eq!(check("/sys/fs/bpf/globals/globals/blacklist"), "ok");
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in
            ["/sys/fs/bpf/../x", "/sys/fs/bpf/a/../b", "/sys/fs/bpf/./b", "/sys/fs/bpf//b", "/sys/fs/bpf/b/"]
        {
            assert_eq!(check(path), format!("pin path `{path}` has a `..`, a `.`, or a slash too many"));
        }
        for path in ["/var/m", "m", "/sys/fs/bpfx/m"] {
            assert_eq!(check(path), format!("pin path `{path}` is not below `/sys/fs/bpf`"));
        }
        assert_eq!(check("/sys/fs/bpf"), "pin path `/sys/fs/bpf` is the bpffs itself, not a name in it");
        assert!(check("/sys/fs/bpf/a.b/c").ends_with("has a dot in a name, which the kernel does not allow"));
    }
}

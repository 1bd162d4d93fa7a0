//! The memory that this process may use: the least limit of its control groups (version 2), or the machine's memory.

use std::fs;
use std::path::Path;

/// The control groups.
const GROUPS: &str = "/sys/fs/cgroup";
/// The memory where the system tells none, in bytes.
const UNKNOWN: u64 = 1 << 30;

/// The memory of this process, in bytes.
pub(crate) fn available() -> usize {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let group = read(Path::new("/proc/self/cgroup")).and_then(|text| own_group(&text).map(str::to_owned));
    let own = Path::new(GROUPS).join(group.as_deref().unwrap_or_default());
    let groups = own.ancestors().take_while(|path| path.starts_with(GROUPS));
    let limits = groups.filter_map(|path| limit(&read(&path.join("memory.max"))?));
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let least = limits.chain(machine).min().unwrap_or(UNKNOWN);
    usize::try_from(least).unwrap_or(usize::MAX)
}

/// The control group of version 2 in `/proc/self/cgroup`, without its first slash.
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// A limit in bytes; none for `max`.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(own_group("0::/kubepods/pod1/abc\n"), Some("kubepods/pod1/abc"));
        assert_eq!(own_group("5:memory:/a\n0::/\n"), Some(""));
        assert_eq!(own_group("5:memory:/a\n"), None);
        assert_eq!((limit("max\n"), limit("536870912\n"), limit("")), (None, Some(536_870_912), None));
        assert_eq!(total("MemTotal:       24576 kB\nMemFree:  1 kB\n"), Some(24_576 * 1024));
        assert_eq!((total("MemFree: 1 kB\n"), total("MemTotal: many\n")), (None, None));
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(available() > 1 << 24, "{}", available());
    }
}

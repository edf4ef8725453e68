//! Memory that is free.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::device::DeviceName;

/// Bytes of memory that are free on a device; `None` where nobody tells.
///
/// Of a CPU's memory, it is what the machine has free, and what the control groups leave that the process is in, as those of a
/// container. Files that the system keeps in memory as long as nobody needs it count as free.
pub fn available_memory(device: DeviceName) -> Option<usize> {
    if device != DeviceName::Cpu {
        return None;
    }
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let of_machine = Some(system.available_memory()).filter(|&bytes| bytes > 0);
    let available = of_machine.into_iter().chain(left_by_control_groups(Path::new("/"))).min()?;
    usize::try_from(available).ok()
}

/// Bytes of memory that the machine has; `None` where nobody tells.
pub fn total_memory() -> Option<usize> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    usize::try_from(system.total_memory()).ok().filter(|&bytes| bytes > 0)
}

/// Files of a kind of control groups.
struct Hierarchy {
    /// Limits, in bytes, or a word for none.
    limits: &'static [&'static str],
    /// Bytes in use, those of files included.
    usage: &'static str,
    /// Where `memory.stat` counts the bytes of files that can be read again.
    files: [&'static str; 2],
}

const VERSION_1: Hierarchy = Hierarchy {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    files: ["total_active_file", "total_inactive_file"],
};

const VERSION_2: Hierarchy = Hierarchy {
    // Above `high`, the process is slowed until it stands still.
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    files: ["active_file", "inactive_file"],
};

/// Bytes that the control groups of this process leave it, the tightest of them; `None` where none has a limit.
///
/// The system's files lie under `root`.
fn left_by_control_groups(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let (groups, mounts) = (read("proc/self/cgroup")?, read("proc/self/mountinfo")?);
    let left = mounts.lines().filter_map(Mount::parse).filter_map(|mount| {
        let group = groups.lines().find_map(|line| mount.group(line))?;
        mount.left(root, group)
    });
    left.min()
}

/// Where a hierarchy of control groups for memory is seen.
struct Mount<'a> {
    hierarchy: &'static Hierarchy,
    /// The group that is seen at the place.
    top: &'a Path,
    place: &'a Path,
}

impl<'a> Mount<'a> {
    /// From a line of `/proc/self/mountinfo`; `None` for everything else that is mounted.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let hierarchy = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => &VERSION_2,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => &VERSION_1,
            _ => return None,
        };
        let mut place = place.split(' ').skip(3);
        Some(Self { hierarchy, top: Path::new(place.next()?), place: Path::new(place.next()?) })
    }

    /// The group of this hierarchy in a line of `/proc/self/cgroup`.
    fn group<'b>(&self, line: &'b str) -> Option<&'b Path> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let is_this = if std::ptr::eq(self.hierarchy, &VERSION_2) {
            number == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|controller| controller == "memory")
        };
        is_this.then(|| Path::new(group))
    }

    /// Bytes that a group and all that it lies in leave.
    fn left(&self, root: &Path, group: &Path) -> Option<u64> {
        let place = root.join(self.place.strip_prefix("/").ok()?);
        // A container may see its own group as the top, and be told the name that the group has outside.
        let below: PathBuf = group.strip_prefix(self.top).map(Path::to_owned).unwrap_or_default();
        let below = if below.components().all(|part| matches!(part, Component::Normal(_))) { below } else { PathBuf::new() };
        below.ancestors().filter_map(|group| self.left_by(&place.join(group))).min()
    }

    /// Bytes that one group leaves, if it has a limit.
    fn left_by(&self, folder: &Path) -> Option<u64> {
        let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        let limit = self.hierarchy.limits.iter().filter_map(|file| number(file)).min()?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let counted = stat.lines().filter_map(|line| line.split_once(' '));
        let files = counted.filter(|(name, _)| self.hierarchy.files.contains(name));
        let files = files.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).fold(0, u64::saturating_add);
        let used = number(self.hierarchy.usage).unwrap_or(0).saturating_sub(files);
        Some(limit.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        root
    }

    fn left(files: &[(&str, &str)]) -> Option<u64> {
        left_by_control_groups(system(files).path())
    }

    const V2: (&str, &str) = (
        "proc/self/mountinfo",
        "24 1 0:2 / / rw - ext4 /dev/a rw\n25 24 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
    );
    const V1: (&str, &str) = (
        "proc/self/mountinfo",
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
    );

    #[test]
    fn the_tightest_of_nested_groups_counts_and_files_in_memory_do_not() {
        let group = ("proc/self/cgroup", "0::/user.slice/job\n");
        let job = "sys/fs/cgroup/user.slice/job";
        let stat = "anon 100\nfile 600\ninactive_file 300\nactive_file 200\nshmem 100\n";
        let inner = [
            V2,
            group,
            (&format!("{job}/memory.max"), "1000\n"),
            (&format!("{job}/memory.current"), "700\n"),
            (&format!("{job}/memory.stat"), stat),
        ];
        assert_eq!(left(&inner), Some(1000 - (700 - 500)));
        let slice = [("sys/fs/cgroup/user.slice/memory.max", "900"), ("sys/fs/cgroup/user.slice/memory.current", "650")];
        assert_eq!(left(&[&inner[..], &slice].concat()), Some(250));
        let high = [("sys/fs/cgroup/user.slice/job/memory.high", "300")];
        assert_eq!(left(&[&inner[..], &high].concat()), Some(100));
        let unlimited = [("sys/fs/cgroup/user.slice/job/memory.max", "max\n")];
        assert_eq!(left(&[&inner[..], &unlimited].concat()), None);
        // More in use than the limit, which was lowered.
        let over = [("sys/fs/cgroup/user.slice/job/memory.max", "10")];
        assert_eq!(left(&[&inner[..], &over].concat()), Some(0));
    }

    #[test]
    fn the_first_version_is_read_too() {
        let group = ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n");
        let files = [
            V1,
            group,
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "800"),
            ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "500"),
            ("sys/fs/cgroup/memory/docker/abc/memory.stat", "active_file 7\ntotal_active_file 50\ntotal_inactive_file 60\n"),
        ];
        assert_eq!(left(&files), Some(800 - (500 - 110)));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_top() {
        let files = [("sys/fs/cgroup/memory.max", "400"), ("sys/fs/cgroup/memory.current", "100")];
        for (top, group) in [("/docker/abc", "0::/docker/abc"), ("/", "0::/"), ("/", "0::/../other"), ("/docker/abc", "0::/x")] {
            let mounts = V2.1.replace("0:22 /", &format!("0:22 {top}"));
            let place = [("proc/self/mountinfo", mounts.as_str()), ("proc/self/cgroup", group)];
            assert_eq!(left(&[&place[..], &files].concat()), Some(300), "{top} {group}");
        }
    }

    #[test]
    fn without_groups_the_machine_counts() {
        assert_eq!(left(&[]), None);
        assert_eq!(left(&[V1, ("proc/self/cgroup", "0::/\n")]), None);
        let available = available_memory(DeviceName::Cpu);
        assert!(available.is_some_and(|bytes| bytes > 0) || !sysinfo::IS_SUPPORTED_SYSTEM);
        assert_eq!(available_memory(DeviceName::Cuda(0)), None);
    }
}

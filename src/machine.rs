//! The memory this machine has for stages.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Memory that is free or can be freed, MiB; no limit where the kernel does not say.
pub fn free_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib / 1024).min(free_in_groups())
}

/// What the control groups this process is in leave of their memory, MiB: containers and batch systems set such limits (cgroup v2,
/// `memory.max`). Cached files are given back, and so do not count.
fn free_in_groups() -> u64 {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let group = Path::new("/sys/fs/cgroup").join(own);
    let groups = group.ancestors().take_while(|group| group.starts_with("/sys/fs/cgroup"));
    groups.filter_map(free_in_group).min().unwrap_or(u64::MAX)
}

fn free_in_group(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let most: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let of = |name: &str| {
        stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let cached = of("inactive_file ") + of("active_file ");
    Some(most.saturating_sub(used.saturating_sub(cached)) >> 20)
}

/// The memory of each GPU this process may use, MiB, as `nvidia-smi` tells it; nothing where it does not.
pub fn gpu_memory() -> Vec<u64> {
    let query = ["--query-gpu=memory.total,uuid", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(query).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "devices are counted by it")]
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    memory_of_visible(&text, visible.as_deref())
}

/// `listed` holds a line `MIB, UUID` for each GPU of the machine, `visible` the indices and beginnings of UUIDs of those that may be
/// used, all where there is none. What is not known of is of any size.
fn memory_of_visible(listed: &str, visible: Option<&str>) -> Vec<u64> {
    let gpu = |line: &str| {
        let (mib, uuid) = line.split_once(',')?;
        Some((mib.trim().parse::<u64>().ok()?, uuid.trim().to_owned()))
    };
    let gpus: Vec<(u64, String)> = listed.lines().map_while(gpu).collect();
    let Some(visible) = visible else { return gpus.into_iter().map(|(mib, _)| mib).collect() };
    let named = |name: &str| match name.trim().parse::<usize>() {
        Ok(index) => gpus.get(index),
        Err(_) => gpus.iter().find(|(_, uuid)| uuid.starts_with(name.trim())),
    };
    visible.split(',').map(|name| named(name).map_or(u64::MAX, |(mib, _)| *mib)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_gpus_that_may_be_used() {
        let listed = "81559, GPU-5ebc\n40960, GPU-77aa\n24576, GPU-9f01\n";
        let of = |visible| memory_of_visible(listed, visible);
        assert_eq!(of(None), [81559, 40960, 24576]);
        assert_eq!(of(Some("2,0")), [24576, 81559]);
        assert_eq!(of(Some("GPU-77, 7")), [40960, u64::MAX]);
        assert_eq!(memory_of_visible("", Some("0")), [u64::MAX]);
        assert_eq!(memory_of_visible("", None), [0; 0]);
    }

    #[test]
    fn a_group_leaves_what_it_may_take_less_what_it_cannot_give_back() {
        let group = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        assert_eq!(free_in_group(group.path()), None);
        write("memory.current", "7340032\n");
        write("memory.stat", "anon 4194304\ninactive_file 2097152\nactive_file 1048576\n");
        write("memory.max", "max\n");
        assert_eq!(free_in_group(group.path()), None);
        write("memory.max", "10485760\n");
        assert_eq!(free_in_group(group.path()), Some(6));
    }
}

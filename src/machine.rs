//! What this machine has for stages.

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

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// All of its memory, MiB; of one that is not known of, no limit.
    pub memory_mib: u64,
    /// Its model, where that is known.
    pub model: Option<String>,
}

/// The GPUs this process may use, as `nvidia-smi` tells of them; nothing where it does not.
pub fn gpus() -> Vec<Gpu> {
    let query = ["--query-gpu=memory.total,uuid,name", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(query).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "devices are counted by it")]
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    visible_among(&text, visible.as_deref())
}

/// The model of the processor, where the kernel tells.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim().to_owned())
}

/// `listed` holds a line `MIB, UUID, MODEL` for each GPU of the machine, `visible` the indices and beginnings of UUIDs of those that
/// may be used, all where there is none.
fn visible_among(listed: &str, visible: Option<&str>) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let mut fields = line.splitn(3, ',').map(str::trim);
        let (memory, uuid) = (fields.next()?.parse().unwrap_or(u64::MAX), fields.next()?.to_owned());
        let gpu = Gpu { memory_mib: memory, model: fields.next().map(str::to_owned) };
        uuid.starts_with("GPU-").then_some((uuid, gpu))
    };
    let gpus: Vec<(String, Gpu)> = listed.lines().map_while(gpu).collect();
    let Some(visible) = visible else { return gpus.into_iter().map(|(_, gpu)| gpu).collect() };
    let named = |name: &str| match name.trim().parse::<usize>() {
        Ok(index) => gpus.get(index),
        Err(_) => gpus.iter().find(|(uuid, _)| uuid.starts_with(name.trim())),
    };
    let unknown = Gpu { memory_mib: u64::MAX, model: None };
    visible.split(',').map(|name| named(name).map_or(unknown.clone(), |(_, gpu)| gpu.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_those_that_may_be_used() {
        let listed = "81559, GPU-5ebc, NVIDIA H100\n40960, GPU-77aa, NVIDIA A100-SXM4-40GB\n[N/A], GPU-9f01, NVIDIA L4\n";
        let of = |visible| {
            visible_among(listed, visible).into_iter().map(|gpu| gpu.memory_mib).collect::<Vec<_>>()
        };
        assert_eq!(of(None), [81559, 40960, u64::MAX]);
        assert_eq!(of(Some("2,0")), [u64::MAX, 81559]);
        assert_eq!(of(Some("GPU-77, 7")), [40960, u64::MAX]);
        assert_eq!(visible_among(listed, Some("1"))[0].model.as_deref(), Some("NVIDIA A100-SXM4-40GB"));
        assert_eq!(visible_among("", Some("0")), [Gpu { memory_mib: u64::MAX, model: None }]);
        assert_eq!(visible_among("", None), [] as [Gpu; 0]);
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

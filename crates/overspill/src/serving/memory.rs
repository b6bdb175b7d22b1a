//! How much memory large bodies may take.

use std::fs;

/// Of the memory that this process may use, bodies may take one part in so many.
const SHARE: u64 = 8;
/// Even on a small machine: some of the largest bodies fit.
const LEAST_BYTES: u64 = 256 << 20;
/// Where nobody says how much there is.
const USUAL_BYTES: u64 = 1 << 30;

/// Bytes of bodies at once (F11): an eighth of the machine's memory, or of what its control group allows.
pub(super) fn bodies_max() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    share_of(machine.as_deref(), group.as_deref())
}

fn share_of(meminfo: Option<&str>, memory_max: Option<&str>) -> u64 {
    let machine = meminfo.and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    });
    // "max" where there is no limit.
    let group = memory_max.and_then(|text| text.trim().parse().ok());
    let all = [machine, group].into_iter().flatten().min();
    all.map_or(USUAL_BYTES, |all| all / SHARE).max(LEAST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn it_is_an_eighth_of_what_there_is() {
        let meminfo = "MemTotal:       33554432 kB\nMemFree: 1 kB\n";
        assert_eq!(share_of(Some(meminfo), Some("max\n")), 4 * GIB);
        assert_eq!(share_of(Some(meminfo), Some("4294967296\n")), GIB / 2);
        assert_eq!(share_of(Some("MemTotal: 512000 kB\n"), None), LEAST_BYTES);
        assert_eq!(share_of(None, None), USUAL_BYTES);
    }
}

//! CPU time and memory of a process and its children, from `/proc`.

use std::fmt::Display;
use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// What a process tree has used.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Usage {
    /// User and system time of all threads, ended children too.
    pub(crate) cpu: Duration,
    /// Sum of the peak resident sizes (`VmHWM`), in KiB.
    pub(crate) peak_kib: u64,
    /// Sum of the resident sizes (`VmRSS`), in KiB.
    pub(crate) resident_kib: u64,
}

impl Sub for Usage {
    type Output = Duration;

    /// CPU time used since `earlier`.
    fn sub(self, earlier: Self) -> Duration {
        self.cpu.saturating_sub(earlier.cpu)
    }
}

/// The usage of `root` and all that descend from it.
pub(crate) fn of_tree(root: u32) -> Usage {
    let mut total = Usage::default();
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        total.cpu += cpu(pid).unwrap_or_default();
        total.peak_kib += status(pid, "VmHWM:").unwrap_or(0);
        total.resident_kib += status(pid, "VmRSS:").unwrap_or(0);
        queue.extend(children(pid));
    }
    total
}

/// CPU time of this process: what the generator cost.
pub(crate) fn own_cpu() -> Duration {
    cpu("self").unwrap_or_default()
}

/// Fields 14 to 17 of `stat`: user, system, and the same of the children waited for. The name in field 2 may hold
/// anything, so that fields are counted from its closing parenthesis.
fn cpu(pid: impl Display) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(')')?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    // SAFETY: sysconf reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
    Some(Duration::from_nanos(ticks * (1_000_000_000 / per_second.max(1))))
}

fn status(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let mut sum = 0_u64;
        while own_cpu().is_zero() {
            sum = sum.wrapping_add(1);
        }
        let usage = of_tree(std::process::id());
        assert!(usage.cpu > Duration::ZERO, "{sum} rounds");
        assert!(usage.peak_kib >= usage.resident_kib && usage.resident_kib > 100);
    }
}

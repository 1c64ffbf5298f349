//! What processes use: memory and processor time, as the kernel counts them.

use std::time::Duration;

use anyhow::{Context, Result};

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Memory that is resident now.
    pub resident: u64,
    /// The most memory that was ever resident.
    pub peak: u64,
}

/// Memory of a running process.
pub(super) fn memory_usage(pid: u32) -> Result<MemoryUsage> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_memory(&text).with_context(|| format!("{path} has no memory fields"))
}

fn parse_memory(status: &str) -> Option<MemoryUsage> {
    let of = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some(MemoryUsage { resident: of("VmRSS")?, peak: of("VmHWM")? })
}

/// Processor time that processes have used since they started, in user mode and kernel mode.
pub(super) fn processor_time(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().filter_map(|pid| cpu_ticks(*pid)).sum();
    // Linux reports 100 ticks a second to programs, whatever its internal frequency is.
    Duration::from_millis(ticks * 10)
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    parse_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name, in brackets, may contain anything. Only numbers follow it.
fn parse_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\temcee\nVmPeak:\t  900 kB\nVmHWM:\t   300 kB\nVmRSS:\t   200 kB\n";
        assert_eq!(parse_memory(status), Some(MemoryUsage { resident: 200 * 1024, peak: 300 * 1024 }));
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn a_programs_name_does_not_shift_the_fields() {
        let stat = "7 (a) b c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 1";
        assert_eq!(parse_ticks(stat), Some(200));
    }
}

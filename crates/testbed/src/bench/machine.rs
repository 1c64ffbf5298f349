//! Describes the machine of a measurement: what matters for the numbers, and nothing that identifies its owner.

use std::fs;

/// Processors, memory and kernel, in one line.
#[must_use]
pub fn describe_machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = proc_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = proc_field("/proc/meminfo", "MemTotal").and_then(|total| to_gibibytes(&total));
    let memory = memory.map_or_else(|| "unknown".to_owned(), |memory| format!("{memory} GiB"));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    // The part after the numbers is chosen by the distribution or the provider.
    let kernel = kernel.split('-').next().unwrap_or_default();
    format!("{cores} cores ({model}), {memory} of memory, Linux {kernel}")
}

fn proc_field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(field, _)| field.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
}

fn to_gibibytes(total: &str) -> Option<u64> {
    let kilobytes: u64 = total.strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_rounded_up_to_whole_gibibytes() {
        assert_eq!(to_gibibytes("24582912 kB"), Some(24));
        assert_eq!(to_gibibytes("24.5 GB"), None);
    }
}

//! Describes the machine of a measurement: what matters for the numbers, and nothing that identifies its owner.

use std::fs;

/// Processors, memory and kernel, in one line.
#[must_use]
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|total| gibibytes(&total));
    let memory = memory.map_or_else(|| "unknown".to_owned(), |memory| format!("{memory} GiB"));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    // The part after the numbers is chosen by the distribution or the provider.
    let kernel = kernel.split('-').next().unwrap_or_default();
    format!("{cores} cores ({model}), {memory} of memory, Linux {kernel}")
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(field, _)| field.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
}

fn gibibytes(total: &str) -> Option<u64> {
    let kilobytes: u64 = total.strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_rounded_up_to_what_was_bought() {
        assert_eq!(gibibytes("24582912 kB"), Some(24));
        assert_eq!(gibibytes("24.5 GB"), None);
    }
}

//! Measured values, formatted for people.

use std::time::Duration;

/// Marks a value that misses its target.
pub(super) fn mark_missed(value: String, met: bool) -> String {
    if met { value } else { format!("{value} **(missed)**") }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

pub(super) fn to_float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A time divided by the number of items, in milliseconds.
pub(super) fn milliseconds_per_item(time: Duration, of: usize) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0 / to_float(of))
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1 << 20))
}

pub(super) fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

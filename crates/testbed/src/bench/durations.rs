//! Quantiles of measured times.

use std::time::Duration;

/// The nearest-rank quantile: the smallest value that at least `percent` % of all values do not exceed.
#[must_use]
pub fn quantile(measured: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent.min(100)).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_one_of_the_measured_values() {
        let measured: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&measured, 50), Some(Duration::from_millis(100)));
        assert_eq!(quantile(&measured, 99), Some(Duration::from_millis(198)));
        assert_eq!(quantile(&measured, 100), Some(Duration::from_millis(200)));
        assert_eq!(quantile(&measured[..1], 1), Some(Duration::from_millis(200)));
        assert_eq!(quantile(&[], 50), None);
    }
}

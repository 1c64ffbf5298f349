//! Medians, quantiles and ratios with confidence intervals. Pure functions of what was measured.

use std::time::Duration;

use super::durations::quantile;
use super::formatting::to_float;

/// 95 % of a normal distribution are within this many standard deviations.
const DEVIATIONS: f64 = 1.96;
/// Number of samples that the bootstrap draws.
const RESAMPLES: usize = 1000;
/// Share of the resampled values below, and above, the interval.
const TAIL: usize = 25;

/// A value with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate<T> {
    /// Value of what was measured.
    pub value: T,
    /// Lower end of the interval.
    pub low: T,
    /// Upper end of the interval.
    pub high: T,
}

/// A quantile, with the interval that its order statistics give: whatever the distribution is, the number of values below
/// the true quantile is binomial.
#[must_use]
pub fn estimate_quantile(measured: &[Duration], percent: usize) -> Option<Estimate<Duration>> {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    let (count, share) = (to_float(sorted.len()), to_float(percent.min(100)) / 100.0);
    let margin = DEVIATIONS * (count * share * (1.0 - share)).sqrt();
    let at = |rank: f64| {
        // Ranks are at least 0 and at most the number of values, which fits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the clamp")]
        let rank = rank.clamp(0.0, count - 1.0) as usize;
        sorted.get(rank).copied()
    };
    let value = quantile(measured, percent)?;
    let center = count * share;
    Some(Estimate { value, low: at((center - margin).floor())?, high: at((center + margin).ceil())? })
}

/// The ratio of a quantile of two samples, with its bootstrap interval. The same samples always give the same interval.
#[must_use]
pub fn estimate_ratio(ours: &[Duration], theirs: &[Duration], percent: usize) -> Option<Estimate<f64>> {
    let ratio = |ours: &[Duration], theirs: &[Duration]| {
        let theirs = quantile(theirs, percent).filter(|time| !time.is_zero())?;
        Some(quantile(ours, percent)?.as_secs_f64() / theirs.as_secs_f64())
    };
    let value = ratio(ours, theirs)?;
    let mut random = PseudoRandom::default();
    let mut drawn: Vec<f64> =
        (0..RESAMPLES).filter_map(|_| ratio(&random.resample(ours), &random.resample(theirs))).collect();
    drawn.sort_by(f64::total_cmp);
    Some(Estimate { value, low: *drawn.get(TAIL)?, high: *drawn.get(RESAMPLES - 1 - TAIL)? })
}

/// The median of values that are not times, with the least and the greatest.
#[must_use]
pub fn median_and_range(measured: &[f64]) -> Option<Estimate<f64>> {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    let value = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(Estimate { value, low: *sorted.first()?, high: *sorted.last()? })
}

/// xorshift: enough for a bootstrap, and the same in every run.
struct PseudoRandom(u64);

impl Default for PseudoRandom {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl PseudoRandom {
    fn next_index(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % below.max(1)
    }

    fn resample(&mut self, of: &[Duration]) -> Vec<Duration> {
        (0..of.len()).filter_map(|_| of.get(self.next_index(of.len())).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(all: impl Iterator<Item = u64>) -> Vec<Duration> {
        all.map(Duration::from_millis).collect()
    }

    #[test]
    fn the_interval_of_a_median_contains_it_and_narrows_with_the_number() {
        let few = estimate_quantile(&milliseconds(1..=25), 50).expect("values");
        assert_eq!(few.value, Duration::from_millis(13));
        // 12.5 ± 4.9: the values at ranks 7 and 18, counted from 0.
        assert_eq!((few.low, few.high), (Duration::from_millis(8), Duration::from_millis(19)));
        let many = estimate_quantile(&milliseconds((0..2500).map(|n| 1 + n / 100)), 50).expect("values");
        let width = |of: Estimate<Duration>| of.high.saturating_sub(of.low);
        assert!(width(many) < width(few), "{many:?}");
        assert_eq!(estimate_quantile(&[], 50), None);
    }

    #[test]
    fn the_interval_of_a_high_quantile_ends_at_the_greatest_value() {
        let all = estimate_quantile(&milliseconds(1..=100), 99).expect("values");
        assert_eq!((all.value, all.high), (Duration::from_millis(99), Duration::from_millis(100)));
    }

    #[test]
    fn equal_samples_have_the_ratio_one() {
        let all = milliseconds(100..200);
        let ratio = estimate_ratio(&all, &all, 50).expect("values");
        assert!((ratio.value - 1.0).abs() < f64::EPSILON && ratio.low < 1.0 && ratio.high > 1.0, "{ratio:?}");
        assert_eq!(estimate_ratio(&all, &all, 50), Some(ratio));
        let double = milliseconds((100..200).map(|n| 2 * n));
        let ratio = estimate_ratio(&double, &all, 50).expect("values");
        assert!((ratio.value - 2.0).abs() < f64::EPSILON && ratio.low > 1.5 && ratio.high < 2.5, "{ratio:?}");
        assert_eq!(estimate_ratio(&all, &[Duration::ZERO], 50), None);
    }

    #[test]
    fn the_median_of_rounds_has_their_range() {
        let all = median_and_range(&[3.0, 1.0, 2.0]).expect("values");
        assert_eq!(all, Estimate { value: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(median_and_range(&[]), None);
    }
}

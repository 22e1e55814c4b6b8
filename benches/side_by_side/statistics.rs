//! The arithmetic of the report. Tested by `tests/benchmark.rs`.

use std::collections::BTreeMap;

use serde::Serialize;

/// The value below which the share `q` of the sorted values lies, interpolated between neighbours.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let (low, high) = (*sorted.get(below)?, *sorted.get(above)?);
    Some(low + (high - low) * position.fract())
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// The interquartile range as a share of the median. One value has no spread.
pub fn spread(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let sorted = sorted(values);
    let (low, middle, high) = (
        quantile(&sorted, 0.25)?,
        quantile(&sorted, 0.5)?,
        quantile(&sorted, 0.75)?,
    );
    (middle != 0.0).then(|| (high - low) / middle.abs())
}

/// The smallest value that at least the share `q` of all values does not exceed.
pub fn percentile(sorted: &[u32], q: f64) -> Option<u32> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// One contender compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// The spread of the rounds' ratios.
    pub spread: Option<f64>,
}

/// Divides round by round, so that a disturbance that hits both in a round cancels out. Rounds
/// that only one of them finished do not count.
pub fn paired_ratio(values: &BTreeMap<usize, f64>, base: &BTreeMap<usize, f64>) -> Option<Ratio> {
    let ratios: Vec<f64> = values
        .iter()
        .filter_map(|(round, value)| Some(value / base.get(round).filter(|base| **base != 0.0)?))
        .collect();
    Some(Ratio {
        median: median(&ratios)?,
        spread: spread(&ratios),
    })
}

/// True if a figure reaches the target, `None` if it is closer to the target than the noise, which
/// is a share of the target.
pub fn reached(value: f64, target: f64, noise: f64, more_is_better: bool) -> Option<bool> {
    let below = if more_is_better { target - value } else { value - target };
    (below.abs() > noise * target).then_some(below < 0.0)
}

// Cargo builds a benchmark without a harness as a test that has no tests.
#[cfg(test)]
#[allow(dead_code, unused_imports)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> BTreeMap<usize, f64> {
        values.iter().copied().enumerate().collect()
    }

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn the_spread_is_the_interquartile_range_over_the_median() {
        assert_eq!(spread(&[3.0]), None);
        assert_eq!(spread(&[5.0, 5.0, 5.0]), Some(0.0));
        assert_eq!(spread(&[1.0, 2.0, 3.0, 4.0, 5.0]), Some(2.0 / 3.0));
        assert_eq!(spread(&[0.0, 0.0, 0.0]), None);
    }

    #[test]
    fn one_outlier_moves_neither_median_nor_spread_far() {
        let quiet = [10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 10.0];
        let disturbed = [10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 100.0];
        assert_eq!(median(&quiet), median(&disturbed));
        assert!(spread(&disturbed).unwrap() < 0.02);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&values, 0.5), Some(50));
        assert_eq!(percentile(&values, 0.99), Some(99));
        assert_eq!(percentile(&values, 1.0), Some(100));
        assert_eq!(percentile(&[8], 0.99), Some(8));
        assert_eq!(percentile(&[8, 9], 0.0), Some(8));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_round_that_slows_both_down_does_not_change_their_ratio() {
        let base = rounds(&[10.0, 40.0, 10.0]);
        let half = rounds(&[5.0, 20.0, 5.0]);
        let ratio = paired_ratio(&half, &base).unwrap();
        assert_eq!((ratio.median, ratio.spread), (0.5, Some(0.0)));
    }

    #[test]
    fn the_ratio_is_the_median_of_ratios_not_the_ratio_of_medians() {
        let ratio = paired_ratio(&rounds(&[1.0, 6.0, 3.0]), &rounds(&[1.0, 2.0, 4.0])).unwrap();
        assert_eq!(ratio.median, 1.0);
    }

    #[test]
    fn rounds_without_a_counterpart_do_not_count() {
        let mut base = rounds(&[2.0, 2.0, 0.0]);
        base.remove(&1);
        let ratio = paired_ratio(&rounds(&[1.0, 100.0, 100.0]), &base).unwrap();
        assert_eq!((ratio.median, ratio.spread), (0.5, None));
        assert_eq!(paired_ratio(&rounds(&[1.0]), &BTreeMap::new()), None);
    }

    #[test]
    fn a_figure_within_the_noise_neither_reaches_nor_misses_its_target() {
        let cases = [
            (0.50, 0.55, 0.02, false, Some(true)),
            (0.60, 0.55, 0.02, false, Some(false)),
            (0.56, 0.55, 0.02, false, None),
            (1.20, 1.00, 0.05, true, Some(true)),
            (0.80, 1.00, 0.05, true, Some(false)),
            (0.97, 1.00, 0.05, true, None),
        ];
        for (value, target, noise, more, expected) in cases {
            assert_eq!(reached(value, target, noise, more), expected, "{value} for {target}");
        }
        assert_eq!(reached(1.9, 2.0, 0.0, false), Some(true));
    }
}

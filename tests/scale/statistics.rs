//! Statistics of the rounds of one measurement.

/// Median and spread of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Statistics {
    /// Median.
    pub(crate) median: f64,
    /// Smallest value.
    pub(crate) min: f64,
    /// Largest value.
    pub(crate) max: f64,
}

impl Statistics {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let (below, above) = (values.get(middle.saturating_sub(1))?, values.get(middle)?);
        let median = if values.len().is_multiple_of(2) { f64::midpoint(*below, *above) } else { *above };
        Some(Self { median, min, max })
    }

    /// The difference between the largest and the smallest value, as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.max - self.min) / self.median }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, median, spread) in [
            (vec![4.0], 4.0, 0.0),
            (vec![3.0, 1.0], 2.0, 1.0),
            (vec![9.0, 1.0, 2.0], 2.0, 4.0),
            (vec![4.0, 1.0, 2.0, 100.0], 3.0, 33.0),
            (vec![0.0, 0.0], 0.0, 0.0),
        ] {
            let statistics = Statistics::of(values.clone()).unwrap();
            assert!((statistics.median - median).abs() < 1e-9, "{values:?}: {statistics:?}");
            assert!((statistics.spread() - spread).abs() < 1e-9, "{values:?}: {statistics:?}");
        }
        assert_eq!(Statistics::of([]), None);
    }
}

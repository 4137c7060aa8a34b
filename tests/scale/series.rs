//! Values over time, for plots.

use jiff::Timestamp;

use crate::statistics::Statistics;

/// Largest number of values in a series.
const LENGTH: usize = 300;

/// Seconds between two times.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Samples since a time.
pub(crate) fn since(start: Timestamp, samples: &[(Timestamp, f64)]) -> Vec<(f64, f64)> {
    thinned(samples.iter().map(|(time, value)| (seconds(start, *time), *value)).collect())
}

/// The number of these times up to each time.
pub(crate) fn accumulated(start: Timestamp, mut times: Vec<Timestamp>) -> Vec<(f64, f64)> {
    times.sort();
    let numbers = (1_u32..).map(f64::from);
    thinned(times.into_iter().map(|time| seconds(start, time)).zip(numbers).collect())
}

/// At most about [`LENGTH`] values, with the last one.
fn thinned(values: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = values.len().div_ceil(LENGTH).max(1);
    let last = values.len().saturating_sub(1);
    let kept = values.into_iter().enumerate().filter(|(index, _)| index % step == 0 || *index == last);
    kept.map(|(_, value)| value).collect()
}

/// The median of the last quarter of this time, divided by the median of the second quarter. In the first quarter, a
/// program grows to the size of its work.
pub(crate) fn growth(samples: &[(Timestamp, f64)], from: Timestamp, to: Timestamp) -> Option<f64> {
    let whole = seconds(from, to);
    let quarter = |begin: f64, end: f64| {
        let within = samples.iter().filter(|(time, _)| {
            let position = seconds(from, *time) / whole;
            position >= begin && position < end
        });
        Statistics::of(within.map(|(_, value)| *value)).map(|it| it.median)
    };
    Some(quarter(0.75, 1.0)? / quarter(0.25, 0.5)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1000 + second).unwrap()
    }

    #[test]
    fn accumulated_times_are_sorted_and_counted() {
        assert_eq!(accumulated(at(0), vec![at(5), at(1), at(3)]), [(1.0, 1.0), (3.0, 2.0), (5.0, 3.0)]);
    }

    #[test]
    fn a_long_series_keeps_its_ends() {
        let values = accumulated(at(0), (0..1000).map(at).collect());
        assert!(values.len() <= LENGTH, "{}", values.len());
        assert_eq!((values.first(), values.last()), (Some(&(0.0, 1.0)), Some(&(999.0, 1000.0))));
    }

    #[test]
    fn growth_compares_the_last_quarter_with_the_second() {
        let samples: Vec<_> =
            (0..100).map(|second| (at(second), if second < 80 { 10.0 } else { 12.0 })).collect();
        assert_eq!(growth(&samples, at(0), at(100)), Some(1.2));
        assert_eq!(growth(&samples, at(0), at(80)), Some(1.0));
        assert_eq!(growth(&[], at(0), at(80)), None);
    }
}

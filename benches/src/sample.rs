//! Samples, and how they are told: the median, and the spread from the tenth to the ninetieth percentile.

use std::time::Duration;

/// Some measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn median(&self) -> Duration {
        at(&sorted(&self.0, Duration::cmp), 50).unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The longest.
    pub(crate) fn worst(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    /// Median, spread and number, as the cells of a table.
    pub(crate) fn cells(&self) -> String {
        let sorted = sorted(&self.0, Duration::cmp);
        let [low, middle, high] = [10, 50, 90].map(|percent| tell(at(&sorted, percent).unwrap_or_default()));
        format!("{middle} | {low} .. {high} | {}", self.0.len())
    }

    /// How many times as long as `other` this took, sample by sample of the same round, as cells.
    pub(crate) fn times(&self, other: &Self) -> String {
        let pairs = self.0.iter().zip(&other.0).filter(|(_, other)| !other.is_zero());
        let ratios: Vec<_> = pairs.map(|(one, other)| one.as_secs_f64() / other.as_secs_f64()).collect();
        let sorted = sorted(&ratios, f64::total_cmp);
        let [low, middle, high] = [10, 50, 90].map(|percent| ratio(at(&sorted, percent).unwrap_or_default()));
        format!("{middle} | {low} .. {high}")
    }
}

fn sorted<T: Copy>(values: &[T], by: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_by(by);
    values
}

fn at<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent + 50) / 100).copied()
}

fn ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

/// A length of time with three digits or so.
pub(crate) fn tell(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..10.0 => format!("{micros:.1} µs"),
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e5 => format!("{:.1} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

//! Measured times, and the table they are printed in.

use std::time::Duration;

/// What came of some knocks.
pub(crate) struct Samples {
    opened: Vec<Duration>,
    tried: usize,
}

impl Samples {
    pub(crate) fn new(mut opened: Vec<Duration>, tried: usize) -> Self {
        opened.sort();
        Self { opened, tried }
    }

    /// These and the knocks of another round.
    pub(crate) fn merge(&self, other: &Self) -> Self {
        let opened = [self.opened.as_slice(), &other.opened].concat();
        Self::new(opened, self.tried + other.tried)
    }

    /// How many times as long as those of `other` they took: the medians.
    pub(crate) fn ratio(&self, other: &Self) -> Option<f64> {
        let median = |samples: &Self| samples.quantile(0.5).map(|value| value.as_secs_f64());
        Some(median(self)? / median(other)?)
    }

    /// The time within which this part of the knocks that opened did.
    pub(crate) fn quantile(&self, part: f64) -> Option<Duration> {
        let last = self.opened.len().checked_sub(1)?;
        self.opened
            .get((last as f64 * part).round() as usize)
            .copied()
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.len()
    }
}

pub(crate) fn print_head(title: &str) {
    println!(
        "\n{title:<44}{:>10}{:>10}{:>10}{:>10}{:>12}{:>14}",
        "p5", "median", "p95", "max", "opened", "flood, 1/s"
    );
}

/// One row; `rate` is what was sent beside the knocks, packets a second.
pub(crate) fn print_row(name: &str, samples: &Samples, rate: Option<f64>) {
    let shown = |part| {
        samples.quantile(part).map_or("-".to_owned(), |value| {
            format!("{:.3} ms", value.as_secs_f64() * 1000.0)
        })
    };
    println!(
        "{name:<44}{:>10}{:>10}{:>10}{:>10}{:>12}{:>14}",
        shown(0.05),
        shown(0.5),
        shown(0.95),
        shown(1.0),
        format!("{} of {}", samples.opened(), samples.tried),
        rate.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
    );
}

//! Prometheus' text format for numbers that are counted elsewhere: families in the order of the table,
//! each with its samples together.

use std::collections::HashMap;
use std::fmt::{Display, Write};

use proto::metric::{self, Kind, Metric};

/// Samples by metric.
#[derive(Debug, Default)]
pub struct Text(HashMap<&'static str, String>);

impl Text {
    /// A sample. `values` are those of the metric's labels, in order.
    pub fn add(&mut self, metric: &Metric, values: &[&str], value: impl Display) {
        debug_assert_ne!(metric.kind, Kind::Histogram, "{}", metric.name);
        self.line(metric, "", values, None, value);
    }

    /// A histogram of one set of labels: each bucket's upper bound and count, and the sum over all. The
    /// last bucket takes whatever is above the bound before it.
    pub fn histogram(
        &mut self,
        metric: &Metric,
        values: &[&str],
        buckets: impl Iterator<Item = (f64, u64)>,
        sum: f64,
    ) {
        debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
        let mut buckets = buckets.peekable();
        let mut count = 0;
        while let Some((bound, inside)) = buckets.next() {
            count += inside;
            let bound = if buckets.peek().is_some() { bound.to_string() } else { "+Inf".into() };
            self.line(metric, "_bucket", values, Some(&bound), count);
        }
        self.line(metric, "_sum", values, None, sum);
        self.line(metric, "_count", values, None, count);
    }

    fn line(
        &mut self,
        metric: &Metric,
        part: &str,
        values: &[&str],
        bound: Option<&str>,
        value: impl Display,
    ) {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let labels = metric.labels.iter().copied().zip(values.iter().copied());
        let labels = labels.chain(bound.map(|bound| ("le", bound)));
        let labels: Vec<String> =
            labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let out = self.0.entry(metric.name).or_default();
        let braced =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // A string takes everything.
        let _ = writeln!(out, "{}{part}{braced} {value}", metric.name);
    }

    /// Everything, each family headed by what it is.
    pub fn finish(self) -> String {
        let mut out = String::new();
        for metric in metric::ALL {
            let Some(samples) = self.0.get(metric.name) else { continue };
            let (name, kind) = (metric.name, metric.kind.name());
            let _ = write!(out, "# HELP {name} {}\n# TYPE {name} {kind}\n{samples}", metric.help);
        }
        out
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stay_together_and_buckets_add_up() {
        let mut text = Text::default();
        text.add(&metric::SESSIONS, &["0"], 3);
        text.histogram(
            &metric::TURN_SECONDS,
            &["0"],
            [(0.5, 2), (1.0, 0), (2.0, 5)].into_iter(),
            9.5,
        );
        text.add(&metric::SESSIONS, &["1"], 4);
        text.add(&metric::BUILD_INFO, &["1\"\\\n", "c", "udp"], 1);
        let expected = concat!(
            "# HELP roomlane_build_info Always 1; what was built, and the type of the data plane's port.\n",
            "# TYPE roomlane_build_info gauge\n",
            "roomlane_build_info{version=\"1\\\"\\\\\\n\",commit=\"c\",backend=\"udp\"} 1\n",
            "# HELP roomlane_sessions Sessions on the shard.\n# TYPE roomlane_sessions gauge\n",
            "roomlane_sessions{worker=\"0\"} 3\nroomlane_sessions{worker=\"1\"} 4\n",
        );
        let text = text.finish();
        let (front, turns) = text.split_at(expected.len());
        assert_eq!(front, expected);
        let samples: Vec<&str> = turns.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "roomlane_turn_seconds_bucket{worker=\"0\",le=\"0.5\"} 2",
                "roomlane_turn_seconds_bucket{worker=\"0\",le=\"1\"} 2",
                "roomlane_turn_seconds_bucket{worker=\"0\",le=\"+Inf\"} 7",
                "roomlane_turn_seconds_sum{worker=\"0\"} 9.5",
                "roomlane_turn_seconds_count{worker=\"0\"} 7",
            ]
        );
    }
}

//! What the load generator found, as a table.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::fmt::Write;

/// A figure of the load generator, and how to show it.
#[derive(Debug)]
pub(crate) struct Column {
    title: &'static str,
    key: &'static str,
    /// The unit shown, in units of the figure.
    unit: f64,
    digits: usize,
    shows: Shows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// The median over the rounds.
    Median,
    /// The median and the least.
    Least,
    /// The greatest, of what should be nothing.
    Greatest,
    /// The median ratio to the base, round by round.
    Ratio,
}

const fn median(title: &'static str, key: &'static str, unit: f64, digits: usize) -> Column {
    Column { title, key, unit, digits, shows: Shows::Median }
}

const fn least(title: &'static str, key: &'static str, unit: f64, digits: usize) -> Column {
    Column { title, key, unit, digits, shows: Shows::Least }
}

const fn greatest(title: &'static str, key: &'static str) -> Column {
    Column { title, key, unit: 1.0, digits: 0, shows: Shows::Greatest }
}

const fn ratio(title: &'static str, key: &'static str) -> Column {
    Column { title, key, unit: 1.0, digits: 2, shows: Shows::Ratio }
}

pub(crate) const FANOUT: &[Column] = &[
    least("CPU-s per million (least)", "cpu_s_per_million", 1.0, 3),
    ratio("x base", "cpu_s_per_million"),
    median("p50 ms", "p50_us", 1e3, 1),
    median("p99 ms", "p99_us", 1e3, 1),
    median("bytes", "bytes_per_delivery", 1.0, 0),
    greatest("lost", "lost"),
];

pub(crate) const SLOW: &[Column] = &[
    median("p50, x before", "ratio_p50", 1.0, 2),
    median("p99, x before", "ratio_p99", 1.0, 2),
    median("MiB before", "rss_before_slow_mib", 1.0, 1),
    median("MiB at most", "rss_max_mib", 1.0, 1),
    median("MiB after", "rss_after_drain_mib", 1.0, 1),
    median("sockets, MiB at most", "socket_mem_max_mib", 1.0, 1),
    greatest("dropped", "slow_dropped_after"),
    greatest("lost", "lost"),
];

pub(crate) const CHURN: &[Column] = &[
    median("cycles a second", "cycles_per_s", 1.0, 0),
    least("CPU us a cycle (least)", "server_cpu_us_per_cycle", 1.0, 1),
    ratio("x base", "server_cpu_us_per_cycle"),
];

pub(crate) const PINGPONG: &[Column] = &[
    least("CPU-s per million (least)", "cpu_s_per_million", 1.0, 2),
    ratio("x base", "cpu_s_per_million"),
    median("round trips a second", "round_trips_per_s", 1.0, 0),
    median("p99 ms", "p99_us", 1e3, 2),
];

pub(crate) const HELD: &[Column] = &[
    median("RSS bytes each", "rss_per_conn", 1.0, 0),
    median("after messages", "rss_per_conn_after_messages", 1.0, 0),
    median("of the kernel, both ends", "kernel_slab_per_conn_both_ends", 1.0, 0),
    median("CPU us to connect", "connect_cpu_us", 1.0, 1),
    median("CPU ms a second", "idle_cpu_ms_per_s", 1.0, 2),
];

/// The results of all rounds, by server, in the order in which the servers first came.
#[derive(Debug)]
pub(crate) struct Runs(Vec<(String, Vec<Map<String, Value>>)>);

impl Runs {
    /// From the load generator's lines, each an object with the server's name.
    pub(crate) fn parse(lines: &str) -> Result<Self> {
        let mut servers: Vec<(String, Vec<Map<String, Value>>)> = Vec::new();
        for line in lines.lines() {
            let run: Map<String, Value> =
                serde_json::from_str(line).with_context(|| format!("no result: {line}"))?;
            let name = run.get("name").and_then(Value::as_str).with_context(|| format!("no name: {line}"))?;
            match servers.iter_mut().find(|(known, _)| known == name) {
                Some((_, runs)) => runs.push(run),
                None => servers.push((name.to_owned(), vec![run])),
            }
        }
        ensure!(!servers.is_empty(), "no server was measured");
        Ok(Self(servers))
    }

    /// The median of a figure.
    pub(crate) fn median(&self, server: &str, key: &str) -> Option<f64> {
        middle(self.figures(server, key).into_iter().flatten().collect())
    }

    /// A figure of each round.
    fn figures(&self, server: &str, key: &str) -> Vec<Option<f64>> {
        let runs = self.0.iter().find(|(name, _)| name == server);
        runs.into_iter().flat_map(|(_, runs)| runs).map(|run| run.get(key).and_then(Value::as_f64)).collect()
    }

    /// A table with a row for each server.
    pub(crate) fn markdown(&self, base: &str, columns: &[Column]) -> String {
        let mut table = String::from("| |");
        for column in columns {
            let title = column.title.replace("base", base);
            // To write to a string cannot fail.
            let _ = write!(table, " {title} |");
        }
        table += "\n|---|";
        table += &"---|".repeat(columns.len());
        table.push('\n');
        for (server, _) in &self.0 {
            let _ = write!(table, "| {server} |");
            for column in columns {
                let _ = write!(table, " {} |", self.cell(server, base, column));
            }
            table.push('\n');
        }
        table
    }

    fn cell(&self, server: &str, base: &str, column: &Column) -> String {
        let figures = self.figures(server, column.key);
        let all: Vec<_> = figures.iter().copied().flatten().collect();
        let figure = match column.shows {
            Shows::Median | Shows::Least => middle(all.clone()),
            Shows::Greatest => all.iter().copied().reduce(f64::max),
            Shows::Ratio => {
                let bases = self.figures(base, column.key);
                let pairs = figures
                    .iter()
                    .zip(&bases)
                    .filter_map(|(figure, base)| Some(figure.as_ref()? / base.as_ref()?));
                middle(pairs.collect())
            }
        };
        let Some(figure) = figure else { return "–".to_owned() };
        let show = |figure: f64| format!("{:.*}", column.digits, figure / column.unit);
        match (column.shows, all.into_iter().reduce(f64::min)) {
            (Shows::Least, Some(least)) => format!("{} ({})", show(figure), show(least)),
            _ => show(figure),
        }
    }
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"name":"floor","cpu_s_per_million":2.0,"p50_us":1000,"lost":0}
{"name":"ours","cpu_s_per_million":2.2,"p50_us":1500,"lost":0}
{"name":"ours","cpu_s_per_million":3.0,"p50_us":1500,"lost":2}
{"name":"floor","cpu_s_per_million":3.0,"p50_us":1000,"lost":0}
{"name":"floor","cpu_s_per_million":4.0,"p50_us":1000,"lost":0}
{"name":"ours","cpu_s_per_million":5.0,"lost":0}"#;

    #[test]
    fn ratios_are_taken_within_a_round_and_shown_at_their_median() {
        let columns = [
            least("CPU", "cpu_s_per_million", 1.0, 1),
            ratio("x base", "cpu_s_per_million"),
            median("p50 ms", "p50_us", 1e3, 1),
            greatest("lost", "lost"),
            median("gone", "gone", 1.0, 0),
        ];
        let table = Runs::parse(LINES).unwrap().markdown("floor", &columns);
        let expected = "| | CPU | x floor | p50 ms | lost | gone |\n|---|---|---|---|---|---|\n\
                        | floor | 3.0 (2.0) | 1.00 | 1.0 | 0 | – |\n| ours | 3.0 (2.2) | 1.10 | 1.5 | 2 | – |\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn results_without_a_name_are_refused() {
        assert!(Runs::parse("{}").is_err() && Runs::parse("").is_err());
    }
}

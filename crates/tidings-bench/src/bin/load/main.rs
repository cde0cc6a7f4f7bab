//! Our server beside other servers under the load generator, as ratios: `cargo xtask bench fanout` and its siblings.
//!
//! Every server is a process of its own on one core, the load generator has the other. The servers take turns, so that
//! what else the machine does hits all alike.

mod table;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};
use table::{Column, Runs};

/// Our server beside other servers under the load generator.
///
/// A table for each combination of subscribers, sizes and windows; what is not asked for has the scenario's default.
#[derive(Parser)]
struct Options {
    /// What the clients do.
    #[arg(value_enum)]
    scenario: Scenario,
    /// Subscribers, or connections (comma-separated).
    #[arg(long, value_delimiter = ',', value_name = "N")]
    subscribers: Vec<usize>,
    /// Payload bytes, at least 36 (comma-separated).
    #[arg(long, value_delimiter = ',', value_name = "BYTES")]
    sizes: Vec<usize>,
    /// Messages under way at once (comma-separated).
    #[arg(long, value_delimiter = ',', value_name = "N")]
    windows: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value = "1.2", value_name = "SECS")]
    seconds: String,
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Measure these servers alone, by their names in the tables (comma-separated).
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// The load generator.
    #[arg(long, value_name = "FILE", hide = true)]
    loadgen: PathBuf,
    /// Our server.
    #[arg(long, value_name = "FILE", hide = true)]
    server: PathBuf,
    /// Where the servers to compare with are.
    #[arg(long, value_name = "FOLDER", hide = true)]
    peers: PathBuf,
    /// How to start those of them that are not built like us, as `NAME=COMMAND`; without it they are left out.
    #[arg(long, value_name = "NAME=COMMAND", hide = true)]
    command: Vec<String>,
    /// For raw results.
    #[arg(long, value_name = "FOLDER", hide = true)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// One room that everybody hears: one message at a time, and sixteen.
    Fanout,
    /// The same, with 256 messages under way.
    Burst,
    /// A tenth of the subscribers stops reading.
    Slow,
    /// Connections that come and go.
    Churn,
    /// Round trips.
    Pingpong,
    /// Connections that are held.
    Held,
}

/// One table.
#[derive(Clone, Copy, Debug)]
struct Load {
    subscribers: usize,
    size: usize,
    window: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut bench = Bench::new(&options)?;
    for load in options.loads() {
        println!("\n{}\n", options.scenario.title(load));
        let runs = bench.run(load)?;
        print!("{}", runs.markdown(options.scenario.base(load), options.scenario.columns()));
    }
    Ok(())
}

impl Options {
    fn loads(&self) -> Vec<Load> {
        let defaults = self.scenario.defaults();
        let or = |asked: &[usize], default: &[usize]| {
            if asked.is_empty() { default.to_vec() } else { asked.to_vec() }
        };
        let mut loads = Vec::new();
        for subscribers in or(&self.subscribers, defaults.0) {
            for size in or(&self.sizes, defaults.1) {
                for window in or(&self.windows, defaults.2) {
                    loads.push(Load { subscribers, size, window });
                }
            }
        }
        loads
    }
}

impl Scenario {
    /// Subscribers, sizes and windows.
    fn defaults(self) -> (&'static [usize], &'static [usize], &'static [usize]) {
        match self {
            Self::Fanout => (&[1_000], &[64], &[1, 16]),
            Self::Burst => (&[1_000], &[64], &[256]),
            Self::Slow => (&[100], &[4_096], &[0]),
            Self::Churn => (&[64], &[64], &[0]),
            Self::Pingpong => (&[100], &[64], &[1]),
            Self::Held => (&[10_000], &[64], &[0]),
        }
    }

    fn matrix(self) -> &'static str {
        match self {
            Self::Fanout | Self::Burst => include_str!("../../../matrix/fanout.txt"),
            Self::Slow => include_str!("../../../matrix/slow.txt"),
            Self::Churn => include_str!("../../../matrix/churn.txt"),
            Self::Pingpong => include_str!("../../../matrix/pingpong.txt"),
            Self::Held => include_str!("../../../matrix/held.txt"),
        }
    }

    /// The load generator's words for it.
    fn words(self, load: Load, seconds: &str) -> String {
        let Load { subscribers, size, window } = load;
        match self {
            Self::Fanout | Self::Burst => {
                format!("--subs {subscribers} --size {size} --window {window} --secs {seconds} --warmup 0.5")
            }
            Self::Slow => {
                format!("--subs {subscribers} --size {size} --rate 400 --secs {seconds} --warmup 0.5")
            }
            Self::Churn => format!("--conns {subscribers} --secs {seconds}"),
            Self::Pingpong => {
                format!("--conns {subscribers} --size {size} --depth {window} --secs {seconds}")
            }
            Self::Held => format!("--conns {subscribers}"),
        }
    }

    fn title(self, load: Load) -> String {
        let Load { subscribers, size, window } = load;
        match self {
            Self::Fanout | Self::Burst => {
                format!("**{subscribers} subscribers, {size} B, {window} under way**")
            }
            Self::Slow => {
                format!("**{subscribers} subscribers, {size} B, 400 messages a second, a tenth frozen**")
            }
            Self::Churn => format!("**{subscribers} connections at a time**"),
            Self::Pingpong => format!("**{subscribers} connections, {size} B, {window} under way on each**"),
            Self::Held => format!("**{subscribers} connections**"),
        }
    }

    /// What the ratios are to: with several messages under way, the floor that writes them together.
    fn base(self, load: Load) -> &'static str {
        if matches!(self, Self::Fanout | Self::Burst) && load.window > 1 { "floor-batch" } else { "floor" }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::Fanout | Self::Burst => table::FANOUT,
            Self::Slow => table::SLOW,
            Self::Churn => table::CHURN,
            Self::Pingpong => table::PINGPONG,
            Self::Held => table::HELD,
        }
    }
}

/// The load generator, and what it is told about the servers.
struct Bench<'a> {
    options: &'a Options,
    matrix: PathBuf,
    sets: BTreeMap<&'static str, String>,
    servers: Vec<String>,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
        let matrix = options.out.join("matrix.txt");
        fs::write(&matrix, options.scenario.matrix())?;
        let mut sets = BTreeMap::from([
            ("SRV", options.server.display().to_string()),
            ("BODY", options.server.with_file_name("body").display().to_string()),
            ("P", options.peers.display().to_string()),
        ]);
        for name in COMMANDS {
            let command =
                options.command.iter().find_map(|command| command.strip_prefix(name)?.strip_prefix('='));
            sets.insert(name, command.unwrap_or_default().to_owned());
        }
        let servers = servers(options.scenario.matrix(), &options.only, |name| {
            sets.get(name).is_none_or(|command| !command.is_empty())
        })?;
        Ok(Self { options, matrix, sets, servers })
    }

    fn run(&mut self, load: Load) -> Result<Runs> {
        let words = self.options.scenario.words(load, &self.options.seconds);
        self.sets.insert("LOAD", words);
        self.sets.insert("SAME", load.size.to_string());
        if self.servers.iter().any(|name| name.ends_with("-same")) {
            self.sets.insert("SAME", self.same(load)?.to_string());
        }
        let base = self.options.scenario.base(load);
        ensure!(
            self.servers.iter().any(|name| name == base),
            "the ratios are to {base}, which is to be measured too"
        );
        self.measure(&self.servers, base, self.options.rounds)
    }

    /// The payload with which the floor writes as many bytes a delivery as we do over WebSocket.
    fn same(&self, load: Load) -> Result<usize> {
        let runs = self.measure(&[OURS.to_owned()], OURS, 1)?;
        let bytes = runs.median(OURS, "bytes_per_delivery").context("our server delivered nothing")?;
        let bytes = bytes.round() as usize;
        Ok(bytes.saturating_sub(header(bytes)).max(load.size))
    }

    fn measure(&self, servers: &[String], base: &str, rounds: usize) -> Result<Runs> {
        let out = self.options.out.join("runs.jsonl");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let mut command = Command::new(&self.options.loadgen);
        command.arg("matrix").arg("--file").arg(&self.matrix).arg("--out").arg(&out);
        command.args(["--rounds", &rounds.to_string(), "--base", base, "--only", &servers.join(",")]);
        for (name, value) in &self.sets {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        // Its own tables are longer than ours; what goes wrong it says on the other stream.
        let status = command.stdout(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot start {}", self.options.loadgen.display()))?;
        ensure!(status.success(), "the load generator failed ({status})");
        Runs::parse(&fs::read_to_string(&out)?)
    }
}

/// The servers of a matrix that are asked for and can be started, in its order.
fn servers(matrix: &str, only: &[String], is_there: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut servers = Vec::new();
    for line in matrix.lines().filter(|line| !line.starts_with('#') && !line.starts_with("let ")) {
        let (name, rest) = line.split_once(':').with_context(|| format!("no name in {line:?}"))?;
        let missing =
            COMMANDS.iter().find(|command| rest.contains(&format!("${{{command}}}")) && !is_there(command));
        match missing {
            Some(_) if only.is_empty() => {}
            Some(command) if only.iter().any(|asked| asked == name) => {
                bail!("{name} is not to be had here: there is no command for {command}")
            }
            _ if only.is_empty() || only.iter().any(|asked| asked == name) => servers.push(name.to_owned()),
            _ => {}
        }
    }
    if let Some(unknown) = only.iter().find(|asked| !servers.contains(asked)) {
        bail!("there is no server named {unknown}");
    }
    Ok(servers)
}

/// The header of a WebSocket frame of so many bytes in all, from a server (RFC 6455 §5.2).
fn header(bytes: usize) -> usize {
    match bytes {
        0..128 => 2,
        128..65_540 => 4,
        _ => 10,
    }
}

/// Our server on the transport whose bytes the floor is to have.
const OURS: &str = "tidings-ws";
/// What a matrix wants told of servers that are not built here.
const COMMANDS: [&str; 3] = ["NODE", "NGX", "UWS"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_cannot_be_started_are_left_out_unless_they_are_asked_for() {
        let matrix = "# a comment\nlet C=1\nfloor: ${C}\nuws: --spawn '${UWS}'\nnchan: ${NGX}\n";
        let there = |name: &str| name != "UWS";
        assert_eq!(servers(matrix, &[], there).unwrap(), ["floor", "nchan"]);
        assert_eq!(servers(matrix, &["nchan".to_owned()], there).unwrap(), ["nchan"]);
        let refused = servers(matrix, &["uws".to_owned()], there).unwrap_err().to_string();
        assert_eq!(refused, "uws is not to be had here: there is no command for UWS");
        let refused = servers(matrix, &["flor".to_owned()], there).unwrap_err().to_string();
        assert_eq!(refused, "there is no server named flor");
    }

    #[test]
    fn every_matrix_has_its_base_and_ours() {
        for scenario in Scenario::value_variants() {
            let servers = servers(scenario.matrix(), &[], |_| true).unwrap();
            for window in [1, 16] {
                let base = scenario.base(Load { subscribers: 1, size: 64, window });
                assert!(servers.iter().any(|name| name == base), "{scenario:?} has no {base}");
            }
            assert!(servers.iter().any(|name| name == OURS), "{scenario:?}");
        }
    }

    #[test]
    fn the_floor_gets_the_payload_that_makes_its_frame_as_long_as_ours() {
        for payload in [64_usize, 125, 126, 300, 65_535, 65_536] {
            let frame = payload
                + if payload < 126 {
                    2
                } else if payload < 65_536 {
                    4
                } else {
                    10
                };
            assert_eq!(frame - header(frame), payload);
        }
    }
}

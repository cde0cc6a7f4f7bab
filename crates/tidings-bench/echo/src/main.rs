//! Echo servers of several WebSocket libraries, side by side: messages a second, and CPU time of the server for each
//! message.
//!
//! A server is a process of its own with one thread; the libraries take turns, so that what else the machine does
//! hits all alike. The client's frames are made beforehand, and it only counts what comes back.

mod client;
mod servers;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use client::Load;
use servers::Engine;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Echo servers of several WebSocket libraries, side by side.
#[derive(Parser)]
struct Options {
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_name = "SECS")]
    seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// Messages of a connection that are under way at once.
    #[arg(long, default_value_t = 1, value_name = "N")]
    window: usize,
    /// Payload bytes (comma-separated).
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1_024, 65_536], value_name = "BYTES")]
    sizes: Vec<usize>,
    /// Measure these alone (comma-separated).
    #[arg(long, value_enum, value_delimiter = ',')]
    engines: Vec<Engine>,
    /// Be the server of one library.
    #[arg(long, value_enum, hide = true)]
    serve: Option<Engine>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(engine) = options.serve {
        return runtime()?.block_on(servers::serve(engine));
    }
    let engines =
        if options.engines.is_empty() { Engine::value_variants().to_vec() } else { options.engines };
    println!(
        "{} connections, {} message(s) of each under way, median of {} rounds of {} s",
        options.connections, options.window, options.rounds, options.seconds
    );
    println!(
        "{:<10}{:<12}{:<20}{:>12}{:>16}",
        "bytes", "compressed", "library", "messages/s", "us CPU/message"
    );
    for &size in &options.sizes {
        for compressed in [false, true] {
            let load = Load::new(size, compressed, options.connections, options.window);
            let engines: Vec<_> =
                engines.iter().copied().filter(|engine| !compressed || engine.compresses()).collect();
            let mut results = vec![Vec::new(); engines.len()];
            for _ in 0..options.rounds {
                for (engine, results) in engines.iter().zip(&mut results) {
                    results.push(measure(*engine, &load, Duration::from_secs(options.seconds))?);
                }
            }
            for (engine, results) in engines.iter().zip(&mut results) {
                let rate = median(results.iter().map(|result| result.0).collect());
                let cpu = median(results.iter().map(|result| result.1).collect());
                let compressed = if compressed { "yes" } else { "no" };
                println!("{size:<10}{compressed:<12}{:<20}{rate:>12.0}{cpu:>16.2}", engine.name());
            }
        }
    }
    Ok(())
}

/// Messages a second, and microseconds of the server's CPU for each.
fn measure(engine: Engine, load: &Load, time: Duration) -> Result<(f64, f64)> {
    let server = Server::start(engine)?;
    let pid = server.child.id();
    let mut before = 0.0;
    let runtime = runtime()?;
    let (messages, took) =
        runtime.block_on(load.run(server.address, time, || before = cpu(pid).unwrap_or(0.0)))?;
    let used = cpu(pid)? - before;
    if messages == 0 {
        bail!("{} has echoed nothing", engine.name());
    }
    Ok((messages as f64 / took.as_secs_f64(), used * 1e6 / messages as f64))
}

/// Seconds of CPU that a process has used, of the kernel's and its own.
fn cpu(pid: u32) -> Result<f64> {
    // Field by field of proc(5): nanoseconds that the process ran, over its one thread.
    let ran = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(ran.split(' ').next().context("a number")?.parse::<u64>()? as f64 / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

struct Server {
    child: Child,
    address: std::net::SocketAddr,
}

impl Server {
    fn start(engine: Engine) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &engine.name()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("{} says {line:?}", engine.name()))?;
        Ok(Self { child, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is not needed any more, and one that is gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

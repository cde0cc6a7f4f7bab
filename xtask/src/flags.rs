//! The command line: every task and every flag, in one place.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The tasks of this repository
///
/// `cargo xtask ci` is what a change must pass; the other tasks are its parts, for use on their own.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    Ci(Ci),
    Tidy(Tidy),
    Test(Test),
    /// Check the hand-overs between threads under every interleaving (loom)
    Loom,
    Fuzz(Fuzz),
    Abuse(Abuse),
    Rolling(Rolling),
    Soak(Soak),
    /// Run the browser client's tests that need no browser (node 20 or newer), and look whether its bundle is current
    Js,
    Browser(Browser),
    /// Run Python's `websockets` and chromium against our WebSockets, with compression
    Interop,
    Autobahn(Autobahn),
    Bench(Bench),
}

/// Run everything a change must pass, in order, and print a summary
///
/// Stops at the first failure. A tool that is missing is installed when the environment has CI set, or when running
/// as root on Debian; elsewhere the step fails and says which line would install it.
#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// Run these steps alone (comma-separated)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEPS")]
    pub(crate) only: Vec<Step>,
    /// Leave these steps out (comma-separated)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEPS")]
    pub(crate) skip: Vec<Step>,
    /// Go on after a failure and report all of them
    #[arg(long)]
    pub(crate) keep_going: bool,
}

/// A step of `ci`, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// The code is formatted
    Fmt,
    /// The house rules hold
    Tidy,
    /// Clippy has nothing to say
    Clippy,
    /// Unit, integration and documentation tests pass
    Test,
    /// The browser client's tests that need no browser pass
    Js,
    /// The hand-overs between threads hold under every interleaving
    Loom,
    /// No fuzz target fails in 10 seconds each
    Fuzz,
    /// The documentation builds without a warning
    Docs,
    /// Each feature of the facade stands alone and brings in no other transport
    Features,
    /// Every example builds
    Examples,
    /// The browser tests pass
    Browser,
    /// Python's `websockets` and chromium understand our WebSockets
    Interop,
    /// The fast set of the Autobahn suite passes, where its folder is there
    Autobahn,
}

/// Check the house rules: dependency arrows, file sizes, where a cfg may stand, reasons that must be given
///
/// Lists every fault as `path:line: what is wrong and what to do`.
#[derive(Debug, Default, Args)]
pub(crate) struct Tidy {
    /// Print warnings too: files that have grown past the soft limit
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// Run the tests of the whole workspace with all features
///
/// The same as `cargo test --workspace --all-features ARGS`; with `-p CRATE` among ARGS, that crate alone. Without ARGS, the tests of
/// delivery run once more over foreign servers (TIDINGS_SERVER=hyper, TIDINGS_SERVER=lanes), and their core on Redis and on NATS
/// (TIDINGS_BROKER=redis, TIDINGS_BROKER=nats; a server is started for each test).
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// All tests of delivery on Redis and on NATS, and nothing else
    #[arg(long)]
    pub(crate) brokers: bool,
    /// What to hand to `cargo test`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// Feed the parsers that a peer reaches with made-up bytes (libFuzzer)
///
/// Targets are the programs of `crates/tidings-fuzz`. What is found is kept in `fuzz/corpus/` under the target folder and
/// is where the next run begins; an input that fails goes to `fuzz/failures/`, and fails the task until it is mended.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Run these targets alone
    #[arg(value_name = "TARGETS")]
    pub(crate) targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = FUZZ_SECONDS, value_name = "N")]
    pub(crate) seconds: u32,
}

impl Default for Fuzz {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: FUZZ_SECONDS }
    }
}

/// Long enough to find what a change breaks in the first place, short enough to run with every change.
const FUZZ_SECONDS: u32 = 10;

/// Send a server what is wrong, in every way, and look whether it stays as it was
///
/// The same test runs with all others, with a few thousand inputs; here it is built for release. It prints how far it is, and
/// its seed, with which it sends the same again.
#[derive(Debug, Args)]
pub(crate) struct Abuse {
    /// How many requests, frames and commands to send
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) inputs: u64,
    /// Which
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<u64>,
}

/// Restart two nodes one after the other behind haproxy, under clients that must miss nothing
///
/// The same test runs with all others, with a few clients; here it is built for release. Needs nats-server and haproxy (or what
/// TIDINGS_NATS_SERVER and TIDINGS_HAPROXY name). The limit on open files must be five times as high as there are clients.
#[derive(Debug, Args)]
pub(crate) struct Rolling {
    /// How many clients
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub(crate) clients: u32,
}

/// Do everything at once for a while: clients that come and go, cuts, slow readers, nodes that are drained
///
/// After each round all have had everything once and in order, and no more memory is held than before. With `--cluster`, three
/// nodes share a broker instead; nodes and broker are killed and started again, and clients come back to another node: each has
/// had everything once and in order, or was told of a gap, of which there is none while only nodes are killed. The same tests
/// run with all others, for a short while; here they are built for release. They print their seed, which TIDINGS_SEED sets.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// For how long
    #[arg(long, default_value_t = 600, value_name = "N")]
    pub(crate) seconds: u32,
    /// Three nodes on this broker, whose server is started by itself (or what TIDINGS_REDIS_SERVER or TIDINGS_NATS_SERVER names)
    #[arg(long, value_enum, value_name = "BROKER")]
    pub(crate) cluster: Option<Cluster>,
    /// How many clients of the cluster
    #[arg(long, default_value_t = 60, value_name = "N", requires = "cluster")]
    pub(crate) clients: u32,
    /// Seconds between two kills of a node
    #[arg(long, default_value_t = 20, value_name = "N", requires = "cluster", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) node_every: u32,
    /// Seconds between two kills of the broker
    #[arg(long, default_value_t = 60, value_name = "N", requires = "cluster", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) broker_every: u32,
    /// Leave the broker alone
    #[arg(long, requires = "cluster", conflicts_with = "broker_every")]
    pub(crate) spare_broker: bool,
}

/// What nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cluster {
    Redis,
    Nats,
}

/// Run the browser tests: `node --test` in every `browser/` folder of a crate or an example
///
/// Needs chromium, nginx and haproxy (or what CHROMIUM, TIDINGS_NGINX and TIDINGS_HAPROXY name) and node 20 or
/// newer. The tests find the built servers through TIDINGS_TARGET_DIR, and the rest through these variables;
/// TIDINGS_HEADED=1 asks for a window.
#[derive(Debug, Default, Args)]
pub(crate) struct Browser {
    /// Show the browser's window
    #[arg(long)]
    pub(crate) headed: bool,
    /// Run the long tests for as long as they can be: minutes (TIDINGS_SOAK=1)
    #[arg(long)]
    pub(crate) soak: bool,
    /// Run only the tests whose name matches (a regular expression)
    pub(crate) filter: Option<String>,
}

/// Run the Autobahn suite against the echo server of `tidings-ws`, or with its client
///
/// Needs the conformance folder, which TIDINGS_CONFORMANCE names or which stands beside the checkout as
/// `../shared/conformance`; it makes its own environment on first use. Reports go to `autobahn/` under the target
/// folder.
#[derive(Debug, Default, Args)]
pub(crate) struct Autobahn {
    /// Run every case, which takes minutes, and not the fast set
    #[arg(long)]
    pub(crate) full: bool,
    /// Test our client against the suite's server
    #[arg(long)]
    pub(crate) client: bool,
}

/// Measure, in release builds; give `--help` after the name for what each can be told
///
/// Nothing here is judged: figures mean something beside others of the same run. What they were is in the README of the
/// crate concerned or in `crates/tidings-bench/RESULTS.md`, with the command.
///
/// What has the floor for a comparison (a raw `write()` loop) needs a load generator and the floor itself: the folders that
/// TIDINGS_LOADGEN and TIDINGS_PEERS name, or that stand beside the checkout as `../shared/loadgen` and `../shared/peers`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Install what other servers need, and measure those too
    #[arg(long)]
    pub(crate) peers: bool,
    /// What to measure
    #[arg(value_enum)]
    pub(crate) what: What,
    /// What to hand to the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Bytes that an idle connection costs
    Idle,
    /// Echo servers of several WebSocket libraries, side by side
    Echo,
    /// One room that everybody hears, beside the floor
    Fanout,
    /// The same with 256 messages under way
    Burst,
    /// A tenth of the subscribers stops reading
    Slow,
    /// Connections that come and go
    Churn,
    /// Round trips
    Pingpong,
    /// Connections that are held, and the memory of the server
    Held,
    /// Publishes to a broker, and the time from node to node
    Broker,
    /// The hot pieces, one by one
    Pieces,
}

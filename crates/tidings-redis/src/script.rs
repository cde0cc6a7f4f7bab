//! What the servers run.

use redis::Cmd;
use std::sync::LazyLock;

/// A script. It is named by its hash, and sent in full only to a server that does not know it.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

/// What a server is asked to do with a room.
pub(crate) enum Request<'a> {
    Run(Run<'a>),
    /// A command that needs no script.
    Command(Cmd),
}

/// One run of a script.
pub(crate) struct Run<'a> {
    pub(crate) script: &'static Script,
    pub(crate) keys: &'a [String],
    pub(crate) args: &'a [Arg<'a>],
}

/// What a script is told.
pub(crate) enum Arg<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The command that makes it known to a server.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.text);
        command
    }
}

impl Run<'_> {
    /// The command for a server that knows the script.
    pub(crate) fn by_hash(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script.hash);
        self.told(command)
    }

    /// The command for one that does not, but then does.
    pub(crate) fn in_full(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.script.text);
        self.told(command)
    }

    fn told(&self, mut command: Cmd) -> Cmd {
        command.arg(self.keys.len());
        for key in self.keys {
            command.arg(key);
        }
        for arg in self.args {
            match arg {
                Arg::Bytes(bytes) => command.arg(bytes),
                Arg::Number(number) => command.arg(number),
            };
        }
        command
    }
}

/// All of them, which a server is told of before it is used.
pub(crate) fn all() -> [&'static Script; 3] {
    [&PUBLISH, &READ, &HAND_OVER]
}

/// Stores an event in a room and hands it over.
pub(crate) static PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/publish.lua")));
/// Reads a piece of a room's history.
pub(crate) static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/read.lua")));
/// Hands an event over that nobody keeps, once.
pub(crate) static HAND_OVER: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/hand_over.lua")));

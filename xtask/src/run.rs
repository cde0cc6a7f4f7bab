//! Running commands: each is shown before it runs, and a failure names the command that failed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A command that can be shown as one would type it.
pub(crate) struct Cmd {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<String>,
}

pub(crate) fn cargo(args: &[&str]) -> Cmd {
    Cmd::new("cargo", args)
}

impl Cmd {
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        Self { program: program.to_owned(), args: Vec::new(), env: Vec::new(), directory: None }.args(args)
    }

    pub(crate) fn args<S: AsRef<str>>(mut self, args: &[S]) -> Self {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn directory(mut self, directory: &str) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Runs the command with its output on ours.
    pub(crate) fn run(&self) -> Result<()> {
        println!("$ {}", self.shown());
        let status = self.command().status().with_context(|| format!("cannot start `{}`", self.program))?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.shown());
        }
        Ok(())
    }

    /// Runs the command and returns what it wrote to standard output; its complaints go to ours.
    pub(crate) fn read(&self) -> Result<String> {
        println!("$ {}", self.shown());
        self.capture()
    }

    /// Like `read`, without showing the command.
    pub(crate) fn capture(&self) -> Result<String> {
        let output = self.command().stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{}`", self.program))?;
        if !output.status.success() {
            bail!("`{}` failed ({})", self.shown(), output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{}` did not write UTF-8", self.shown()))
    }

    /// Runs the command with its output, complaints and all, into a file, and says whether it succeeded.
    pub(crate) fn run_into(&self, path: &str) -> Result<bool> {
        println!("$ {}", self.shown());
        let output = File::create(path).with_context(|| format!("cannot write {path}"))?;
        let complaints = output.try_clone().with_context(|| format!("cannot write {path}"))?;
        let status = self.command().stdin(Stdio::null()).stdout(output).stderr(complaints).status();
        Ok(status.with_context(|| format!("cannot start `{}`", self.program))?.success())
    }

    /// Starts the command and lets it run; it ends with what is returned. Its output goes nowhere, but for lines
    /// that are asked for if `output` is piped.
    pub(crate) fn start(&self, output: Stdio) -> Result<Running> {
        println!("$ {} &", self.shown());
        let child = self.command().stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn();
        Ok(Running { child: child.with_context(|| format!("cannot start `{}`", self.program))? })
    }

    /// Asks in silence: the command's standard output, or nothing when it is missing or fails.
    pub(crate) fn probe(&self) -> Option<String> {
        let output = self.command().stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The command as one would type it in a shell.
    pub(crate) fn shown(&self) -> String {
        let mut words: Vec<_> =
            self.env.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        words.push(self.program.clone());
        words.extend(self.args.iter().map(|arg| quoted(arg)));
        let line = words.join(" ");
        match &self.directory {
            Some(directory) => format!("(cd {} && {line})", quoted(directory)),
            None => line,
        }
    }

    fn command(&self) -> Command {
        let mut command = match std::env::var_os("CARGO") {
            // The cargo that runs this task, whatever stands first on the PATH.
            Some(cargo) if self.program == "cargo" => Command::new(cargo),
            _ => Command::new(&self.program),
        };
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

/// A command that runs until this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// The next line that the command writes to standard output; what follows it is not read.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(output) = self.child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        assert_eq!(cargo(&["fmt", "--all", "--check"]).shown(), "cargo fmt --all --check");
        let doc = cargo(&["doc", "it's"]).env("RUSTDOCFLAGS", "-D warnings").directory("examples/chat");
        assert_eq!(doc.shown(), r"(cd examples/chat && RUSTDOCFLAGS='-D warnings' cargo doc 'it'\''s')");
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = Cmd::new("false", &["--of-course"]).run().unwrap_err();
        assert!(error.to_string().contains("`false --of-course` failed"), "{error}");
        let error = Cmd::new("no-such-program", &[]).capture().unwrap_err();
        assert!(error.to_string().contains("cannot start `no-such-program`"), "{error}");
        assert_eq!(Cmd::new("false", &[]).probe(), None);
    }
}

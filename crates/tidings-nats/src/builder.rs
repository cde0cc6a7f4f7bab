//! The settings of a [`NatsBroker`].

use crate::{broker::NatsBroker, names::Names};
use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use std::{path::PathBuf, time::Duration};

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums, reason = "the two kinds that JetStream has")]
pub enum Storage {
    /// On disk: histories outlive a restart of the servers.
    #[default]
    File,
    /// In memory: histories end with the servers that hold them. A server of 2.9 then looks through all rooms of a stream at
    /// each publish, and takes a tenth of what it takes with [`File`](Self::File).
    Memory,
}

/// The settings of a [`NatsBroker`]; begun by [`NatsBroker::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) partitions: u32,
    pub(crate) domain: Option<String>,
    pub(crate) replicas: usize,
    pub(crate) storage: Storage,
    pub(crate) timeout: Duration,
    credentials: Option<PathBuf>,
    certificates: Option<PathBuf>,
}

/// Why a broker cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The address is none.
    #[error("{url:?} is no address of NATS servers: {reason}")]
    Address {
        /// The address, without user and password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The prefix is not of letters, digits, `-` and `_`, or not 1 to 32 bytes.
    #[error("a prefix is 1 to 32 letters, digits, '-' and '_', not {0:?}")]
    Prefix(String),
    /// A number is out of its range.
    #[error("{what} must be {range}, not {value}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What it may be.
        range: &'static str,
        /// What it is.
        value: usize,
    },
    /// The file with the credentials cannot be read, or holds none.
    #[error("no credentials in {path}: {reason}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The domain is not one part of a subject.
    #[error("the domain {0:?} is not of letters, digits, - and _")]
    Domain(String),
    /// There is no tokio runtime.
    #[error("a broker is built within a tokio runtime")]
    NoRuntime,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: "td".to_owned(),
            partitions: 1,
            domain: None,
            replicas: 1,
            storage: Storage::File,
            timeout: Duration::from_secs(2),
            credentials: None,
            certificates: None,
        }
    }

    /// What streams and subjects begin with (`td`): installations with different prefixes share nothing.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Streams that rooms of a kind are spread over (1), at most 256: each has a leader of its own, so more of them use
    /// more servers of a cluster. It cannot be changed while there are streams.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// The JetStream domain whose streams they are (the one of the server that is reached): a leaf node that keeps no
    /// streams itself passes on what is asked of a domain that is named.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.to_owned());
        self
    }

    /// Servers of a cluster that hold each stream: 1, 3 or 5 (1). With 3, one of them may be lost and no event that was
    /// acknowledged is.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Where streams keep their messages ([`Storage::File`]).
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// How long a server may take to answer, or to take a connection (2 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A file with a user's JWT and seed, as `nsc` writes it.
    #[must_use]
    pub fn credentials(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Some(path.into());
        self
    }

    /// A file with the certificates of authorities, in PEM, that are trusted beside the system's, for `tls://`.
    #[must_use]
    pub fn certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificates = Some(path.into());
        self
    }

    /// Builds the broker, which connects in the background, however long that takes: see
    /// [`NatsBroker::ready`]. Must be called within a tokio runtime, on which it then works.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<NatsBroker, BuildError> {
        tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=32).contains(&self.prefix.len()) || !self.prefix.bytes().all(fits) {
            return Err(BuildError::Prefix(self.prefix));
        }
        if let Some(domain) = self.domain.as_ref().filter(|name| !name.bytes().all(fits) || name.is_empty()) {
            return Err(BuildError::Domain(domain.clone()));
        }
        let range = |what, range, value| Err(BuildError::Range { what, range, value });
        if !(1..=256).contains(&self.partitions) {
            return range("the number of partitions", "1 to 256", self.partitions as usize);
        }
        if !(1..=5).contains(&self.replicas) {
            return range("the number of replicas", "1 to 5", self.replicas);
        }
        let servers = self.servers()?;
        let options = self.options(&servers)?;
        let names = Names::new(self.prefix.clone(), self.partitions);
        NatsBroker::start(self, names, servers, options)
    }

    fn servers(&self) -> Result<Vec<ServerAddr>, BuildError> {
        let parse = |part: &str| {
            part.trim().parse::<ServerAddr>().map_err(|error| BuildError::Address {
                url: without_password(part.trim()),
                reason: error.to_string(),
            })
        };
        self.url.split(',').map(parse).collect()
    }

    fn options(&self, servers: &[ServerAddr]) -> Result<ConnectOptions, BuildError> {
        let mut options = ConnectOptions::new();
        // The client itself takes no notice of who is named in an address.
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        if let Some((user, server)) =
            servers.iter().find_map(|server| server.username().map(|user| (user, server)))
        {
            options = match server.password() {
                Some(password) => options.user_and_password(plain(user), plain(password)),
                None => options.token(plain(user)),
            };
        }
        if let Some(path) = &self.certificates {
            options = options.add_root_certificates(path.clone());
        }
        if let Some(path) = &self.credentials {
            let fault = |error: std::io::Error| BuildError::Credentials {
                path: path.clone(),
                reason: error.to_string(),
            };
            options = options.credentials(&std::fs::read_to_string(path).map_err(fault)?).map_err(fault)?;
        }
        Ok(options)
    }
}

/// An address as it may be shown.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://{}", &url[..scheme], &url[at + 1..]),
        (None, Some(at)) => url[at + 1..].to_owned(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(Builder) -> Builder) -> String {
        change(Builder::new("nats://127.0.0.1:1")).build().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_refused_at_once() {
        assert!(fault(|b| b.prefix("a.b")).contains("a.b"));
        assert!(fault(|b| b.prefix("")).contains("prefix"));
        assert!(fault(|b| b.partitions(0)).contains("1 to 256"));
        assert!(fault(|b| b.domain("a.b")).contains("a.b"));
        assert!(fault(|b| b.replicas(7)).contains("1 to 5"));
        let error = Builder::new("http://me:secret@h:1").build().unwrap_err().to_string();
        assert!(error.contains("http://h:1") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn without_a_runtime_it_says_so() {
        assert!(fault(|b| b).contains("runtime"));
    }
}

//! The settings of a [`RedisBroker`].

use crate::{broker::RedisBroker, names::Names, topology::Source};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates,
    io::tcp::TcpSettings,
};
use std::{path::PathBuf, time::Duration};

/// The settings of a [`RedisBroker`]; begun by [`RedisBroker::builder`].
#[derive(Clone)]
pub struct Builder {
    url: String,
    prefix: String,
    timeout: Duration,
    cluster: bool,
    sentinels: Option<String>,
    certificates: Option<PathBuf>,
}

/// Why a broker cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The address is none.
    #[error("{url:?} is no address of Redis: {reason}")]
    Address {
        /// The address, without user and password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The prefix is not of letters, digits, `-` and `_`, or not 1 to 32 bytes.
    #[error("a prefix is 1 to 32 letters, digits, '-' and '_', not {0:?}")]
    Prefix(String),
    /// Settings that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// The file with the certificates cannot be read, or holds none.
    #[error("no certificates in {path}: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no tokio runtime.
    #[error("a broker is built within a tokio runtime")]
    NoRuntime,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: "td".to_owned(),
            timeout: Duration::from_secs(2),
            cluster: false,
            sentinels: None,
            certificates: None,
        }
    }

    /// What keys and channels begin with (`td`): installations with different prefixes share nothing.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How long a server may take to answer, or to take a connection (2 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The addresses are of servers of a cluster, from which the others are learned. Rooms are spread over all of them.
    #[must_use]
    pub fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// The addresses are of Sentinels, which say where the master of this name is. User, password and database of the
    /// addresses are the master's; Sentinels are asked without.
    #[must_use]
    pub fn sentinels_of(mut self, master: &str) -> Self {
        self.sentinels = Some(master.to_owned());
        self
    }

    /// A file with the certificates of authorities, in PEM, that are trusted instead of the system's, for `rediss://`.
    #[must_use]
    pub fn certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificates = Some(path.into());
        self
    }

    /// Builds the broker, which connects in the background, however long that takes: see
    /// [`RedisBroker::ready`]. Must be called within a tokio runtime, on which it then works.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<RedisBroker, BuildError> {
        tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=32).contains(&self.prefix.len()) || !self.prefix.bytes().all(fits) {
            return Err(BuildError::Prefix(self.prefix));
        }
        let mut servers = self.servers()?;
        let database = servers[0].redis_settings().db();
        let source = match self.sentinels {
            Some(_) if self.cluster => {
                return Err(BuildError::Conflict("a cluster has no Sentinels"));
            }
            Some(master) => Source::Sentinels(servers, master),
            None if self.cluster && database != 0 => {
                return Err(BuildError::Conflict("a cluster has the database 0 alone"));
            }
            None if self.cluster => Source::Cluster(servers),
            None if servers.len() > 1 => {
                return Err(BuildError::Conflict("several addresses are of a cluster or of Sentinels"));
            }
            None => Source::One(servers.swap_remove(0)),
        };
        let names = Names::new(&self.prefix, database);
        Ok(RedisBroker::start(names, self.timeout, self.cluster, source))
    }

    fn servers(&self) -> Result<Vec<ConnectionInfo>, BuildError> {
        let certificates = match &self.certificates {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| BuildError::Certificates {
                path: path.clone(),
                reason: error.to_string(),
            })?),
        };
        self.url.split(',').map(|url| self.server(url.trim(), certificates.as_deref())).collect()
    }

    fn server(&self, url: &str, certificates: Option<&[u8]>) -> Result<ConnectionInfo, BuildError> {
        let fault = |reason: String| BuildError::Address { url: without_password(url), reason };
        let info = url.into_connection_info().map_err(|error| fault(error.to_string()))?;
        // The hand-over tells what is handed over from what is an answer.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        // Whatever waits to be sent is sent at once: what can be gathered is gathered before.
        let mut info =
            info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            if rustls::crypto::CryptoProvider::get_default().is_none() {
                // The client panics where there are several and none is said to be the one. If somebody else says so
                // at the same moment, that is as good.
                let _ = rustls::crypto::ring::default_provider().install_default();
            }
            if let (Some(path), Some(certificates)) = (&self.certificates, certificates) {
                let tls = TlsCertificates { client_tls: None, root_cert: Some(certificates.to_vec()) };
                let client = Client::build_with_tls(info, tls).map_err(|error| BuildError::Certificates {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
                info = client.get_connection_info().clone();
            }
        }
        Ok(info)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("prefix", &self.prefix).finish_non_exhaustive()
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

    fn fault(url: &str, change: impl FnOnce(Builder) -> Builder) -> String {
        change(Builder::new(url)).build().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_refused_at_once() {
        let url = "redis://127.0.0.1:1";
        assert!(fault(url, |b| b.prefix("a.b")).contains("a.b"));
        assert!(fault(url, |b| b.prefix("")).contains("prefix"));
        assert!(fault(url, |b| b.cluster().sentinels_of("m")).contains("Sentinels"));
        assert!(fault("redis://127.0.0.1:1/3", Builder::cluster).contains("database"));
        assert!(fault("redis://a:1,redis://b:1", |b| b).contains("several"));
        assert!(fault("rediss://a:1", |b| b.certificates("/no/such/file")).contains("/no/such/file"));
        let error = fault("http://me:secret@h:1", |b| b);
        assert!(error.contains("http://h:1") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn without_a_runtime_it_says_so() {
        assert!(fault("redis://127.0.0.1:1", |b| b).contains("runtime"));
    }

    #[test]
    fn settings_are_shown_without_the_password() {
        let shown = format!("{:?}", Builder::new("redis://me:secret@h:1"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}

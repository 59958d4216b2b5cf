//! A certificate that is read again when its files change.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
};

use crate::serve::run::received;

use super::{
    Resolver,
    certificate::{MAX_PEM, Pair, TlsError},
};

/// Interval between two looks at the files. A change is read at the first look that finds it
/// unchanged since the previous one, so that files are read when both are written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Identifies the content of a file, as far as its metadata do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The versions of both files. `None` for one that can't be read.
pub(super) type Stamps = [Option<Stamp>; 2];

impl Files {
    pub(super) fn new(certificate: &Path, key: &Path) -> Self {
        Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }
    }

    pub(super) fn read(&self) -> Result<Pair, TlsError> {
        let certificate = read(&self.certificate)?;
        let key = read(&self.key)?;
        Pair::parse(&certificate, &key)
            .map_err(|error| error.of_files(&self.certificate, &self.key))
    }

    /// Reads files that have changed. A pipe in the place of one is an error: opening it could wait for ever, and no
    /// later change would be seen.
    fn read_again(&self) -> Result<Pair, TlsError> {
        for path in [&self.certificate, &self.key] {
            let is_file = fs::metadata(path).map(|meta| meta.is_file());
            if !is_file.map_err(|error| TlsError::read(path, error))? {
                let error = io::Error::other("it is not a regular file, and so isn't read again");
                return Err(TlsError::read(path, error));
            }
        }
        self.read()
    }

    pub(super) fn stamps(&self) -> Stamps {
        // It follows symbolic links, which tools for certificates replace.
        let stamp = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some(Stamp {
                file: (meta.dev(), meta.ino()),
                size: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            })
        };
        [stamp(&self.certificate), stamp(&self.key)]
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: io::Error| TlsError::read(path, error);
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_PEM as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() > MAX_PEM {
        true => Err(TlsError::too_large(path)),
        false => Ok(bytes),
    }
}

/// Keeps a certificate up to date with its files.
pub(in crate::serve) struct Reload {
    files: Files,
    /// The stamps of the files before they were read last.
    loaded: Stamps,
    resolver: Arc<Resolver>,
}

impl Reload {
    pub(super) fn new(files: Files, loaded: Stamps, resolver: Arc<Resolver>) -> Self {
        Self {
            files,
            loaded,
            resolver,
        }
    }

    /// Returns a future that watches the files for as long as it is polled. On SIGHUP it reads them
    /// at once, if `on_hangup` is set. The signal is registered before this returns.
    ///
    /// # Errors
    /// The signal can't be registered.
    pub(in crate::serve) fn run(
        self,
        on_hangup: bool,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let hangup = match on_hangup {
            true => Some(signal(SignalKind::hangup())?),
            false => None,
        };
        Ok(self.watch(hangup))
    }

    async fn watch(mut self, mut hangup: Option<Signal>) {
        let mut last = self.loaded;
        loop {
            let is_told = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = received(&mut hangup) => true,
            };
            let now = self.stamps().await;
            let is_settled = now == std::mem::replace(&mut last, now);
            if is_told || (is_settled && now != self.loaded) {
                self.load().await;
                // After a failure too: each content is tried once.
                self.loaded = now;
            }
        }
    }

    async fn stamps(&self) -> Stamps {
        let files = self.files.clone();
        spawn_blocking(move || files.stamps())
            .await
            .unwrap_or_default()
    }

    async fn load(&self) {
        let files = self.files.clone();
        match spawn_blocking(move || files.read_again()).await {
            Ok(Ok(pair)) => {
                self.resolver.replace(pair);
                tracing::info!(
                    certificate = %self.files.certificate.display(),
                    "the TLS certificate was read again"
                );
            }
            Ok(Err(error)) => tracing::error!(
                %error,
                "the new TLS certificate can't be used; the previous one is kept"
            ),
            // The runtime ends.
            Err(_) => {}
        }
    }
}

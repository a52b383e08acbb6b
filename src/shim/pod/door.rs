//! The token that callers must know. It is in a file, which the kubelet replaces when the Secret changes.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The longest token, in bytes: no header is as long.
const MAX_TOKEN: u64 = 8 * 1024;

/// How often the file is looked at, at the most, when somebody shows another token than the known one: it may be the next one.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked at in any case, so that the one before loses its force.
const POLL: Duration = Duration::from_secs(30);

/// A token that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the token file {} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Anybody could come in with an empty token.
    #[error("the token file {} is empty", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// Lets in who knows the token.
pub(super) struct Door(Arc<Lock>);

struct Lock {
    file: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    /// Digest of the only token that is taken. A digest, so that comparing it takes a time that tells nothing about the token.
    token: [u8; 32],
    read: Instant,
}

impl Door {
    /// Reads the token.
    pub(super) fn open(file: PathBuf) -> Result<Self, TokenError> {
        let token = read(&file)?;
        Ok(Self(Arc::new(Lock { file, known: Mutex::new(Known { token, read: Instant::now() }) })))
    }

    /// Whether a request comes from somebody who knows the token.
    pub(super) async fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(shown) = shown(headers) else { return false };
        if self.0.known.lock().token == shown {
            return true;
        }
        // Marked before it is read, so that one caller at a time has it read.
        let is_due = {
            let mut known = self.0.known.lock();
            let is_due = known.read.elapsed() >= AGAIN;
            if is_due {
                known.read = Instant::now();
            }
            is_due
        };
        if is_due {
            self.0.clone().renew().await;
        }
        self.0.known.lock().token == shown
    }

    /// Follows the file until this is dropped.
    pub(super) fn watch(&self) -> AbortOnDropHandle<()> {
        let lock = Arc::clone(&self.0);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL).await;
                lock.clone().renew().await;
            }
        }))
    }
}

impl Lock {
    /// Reads the file again. What cannot be used leaves the known token in force.
    async fn renew(self: Arc<Self>) {
        let lock = Arc::clone(&self);
        match tokio::task::spawn_blocking(move || read(&lock.file)).await {
            Ok(Ok(token)) => {
                let mut known = self.known.lock();
                if known.token != token {
                    tracing::info!("the token has changed");
                }
                *known = Known { token, read: Instant::now() };
            }
            Ok(Err(error)) => tracing::warn!(%error, "the token stays as it is"),
            Err(_) => {}
        }
    }
}

fn read(file: &PathBuf) -> Result<[u8; 32], TokenError> {
    let mut token = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_TOKEN).read_to_end(&mut token))
        .map_err(|source| TokenError::Unreadable { file: file.clone(), source })?;
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(TokenError::Empty { file: file.clone() });
    }
    Ok(Sha256::digest(token).into())
}

/// The digest of the bearer token that a request shows.
fn shown(headers: &HeaderMap) -> Option<[u8; 32]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| Sha256::digest(token.trim_ascii()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(authorization: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(authorization))])
    }

    fn file(directory: &tempfile::TempDir, content: &str) -> PathBuf {
        let file = directory.path().join("token");
        std::fs::write(&file, content).unwrap();
        file
    }

    #[tokio::test]
    async fn only_the_token_opens() {
        let directory = tempfile::tempdir().unwrap();
        let door = Door::open(file(&directory, "s3cret\n")).unwrap();
        assert!(door.admits(&headers("Bearer s3cret")).await && door.admits(&headers("bearer s3cret")).await);
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "Basic s3cret", "s3cret", "Bearers3cret"] {
            assert!(!door.admits(&headers(wrong)).await, "{wrong}");
        }
        assert!(!door.admits(&HeaderMap::new()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_token_is_found_when_it_is_shown_and_the_old_one_falls() {
        let directory = tempfile::tempdir().unwrap();
        let door = Door::open(file(&directory, "old")).unwrap();
        file(&directory, "new");
        assert!(!door.admits(&headers("Bearer new")).await, "not looked at again within a second");
        assert!(door.admits(&headers("Bearer old")).await);
        tokio::time::advance(AGAIN).await;
        assert!(door.admits(&headers("Bearer new")).await);
        assert!(!door.admits(&headers("Bearer old")).await);

        file(&directory, "");
        tokio::time::advance(AGAIN).await;
        assert!(!door.admits(&headers("Bearer ")).await);
        assert!(door.admits(&headers("Bearer new")).await, "what cannot be used changes nothing");
    }

    #[test]
    fn a_door_without_a_token_does_not_open() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Door::open(file(&directory, " \n")), Err(TokenError::Empty { .. })));
        let missing = Door::open(directory.path().join("missing")).err().unwrap().to_string();
        assert!(missing.starts_with("the token file ") && missing.contains("missing"), "{missing}");
    }
}

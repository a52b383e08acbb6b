//! A generation as it is mounted into a pod: the keys of a `ConfigMap` and of a `Secret`, each a directory.

use super::follow::Source;
use crate::ir::generation::{CREDENTIALS_FILE, Generation, GenerationError, SNAPSHOT_FILE};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes: a `ConfigMap` and a `Secret` hold 1 MiB each.
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Where a generation is.
#[derive(Clone, Debug)]
pub struct Directories {
    /// Holds [`SNAPSHOT_FILE`].
    pub snapshot: PathBuf,
    /// Holds [`CREDENTIALS_FILE`].
    pub credentials: PathBuf,
}

/// A generation that is not there or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file system says no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Larger than anything that can be mounted.
    #[error("{}: is larger than {MAX_FILE_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// One of the two files is malformed.
    #[error("{}: {source}", .directory.display())]
    Malformed {
        /// The directory of the file.
        directory: PathBuf,
        /// What is wrong with it.
        source: GenerationError,
    },
}

impl Directories {
    /// Reads the generation that is there now.
    pub fn read(&self) -> Result<Generation, DirectoryError> {
        let snapshot = read(&self.snapshot.join(SNAPSHOT_FILE))?;
        let credentials = read(&self.credentials.join(CREDENTIALS_FILE))?;
        Generation::decode(&snapshot, &credentials).map_err(|source| {
            let directory = match source {
                GenerationError::Credentials { .. } => &self.credentials,
                _ => &self.snapshot,
            };
            DirectoryError::Malformed { directory: directory.clone(), source }
        })
    }
}

impl Source for Directories {
    fn directories(&self) -> Vec<PathBuf> {
        vec![self.snapshot.clone(), self.credentials.clone()]
    }

    fn read(&self) -> Result<Generation, String> {
        Self::read(self).map_err(|error| error.to_string())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DirectoryError> {
    let failed = |source| DirectoryError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(DirectoryError::TooLarge(path.to_owned())) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::fake::generation;
    use crate::ir::generation::{encode_credentials, encode_snapshot};
    use std::fs;

    #[test]
    fn what_was_written_is_read_back_and_mistakes_name_the_file() {
        let home = tempfile::tempdir().unwrap();
        let directories = Directories { snapshot: home.path().to_owned(), credentials: home.path().to_owned() };
        let message = || directories.read().unwrap_err().to_string();
        assert!(message().contains("snapshot.json.gz: No such file"), "{}", message());

        let written = generation(&["http"]);
        fs::write(home.path().join(SNAPSHOT_FILE), encode_snapshot(&written.snapshot).unwrap()).unwrap();
        fs::write(home.path().join(CREDENTIALS_FILE), encode_credentials(&written.credentials).unwrap()).unwrap();
        assert_eq!(directories.read().unwrap(), written);

        fs::write(home.path().join(CREDENTIALS_FILE), r#"{"values":{"a/b/c":"hunter2!"}}"#).unwrap();
        assert!(message().contains("credentials are malformed") && !message().contains("hunter2"), "{}", message());
        fs::write(home.path().join(SNAPSHOT_FILE), "not gzip").unwrap();
        assert!(message().contains("cannot be decompressed"), "{}", message());
        fs::write(home.path().join(SNAPSHOT_FILE), vec![0; 3 * 1024 * 1024]).unwrap();
        assert!(message().contains("larger than"), "{}", message());
    }
}

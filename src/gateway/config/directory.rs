//! A generation as it is mounted into a pod: the keys of a `ConfigMap` and of a `Secret`, each a directory.
//!
//! Each directory changes as a whole, but not both at once. What tells which belong together is the [`Stamp`] beside the
//! credentials; without one, as somebody's own files are, the two are taken as they are found.

use super::follow::{Found, Source, Unread};
use super::rank::Rank;
use crate::ir::generation::{CREDENTIALS_FILE, Generation, GenerationError, SNAPSHOT_FILE, STAMP_FILE, Stamp};
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
    /// Holds [`CREDENTIALS_FILE`] and, from the operator, [`STAMP_FILE`].
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
    /// Reads the generation that is there now; `None` while its halves do not belong together.
    pub fn read(&self) -> Result<Option<Found>, (Rank, DirectoryError)> {
        let unknown = |error| (Rank::default(), error);
        let before = self.stamp().map_err(unknown)?;
        let rank = Rank::mounted(before.as_ref().map_or(0, |stamp| stamp.revision));
        let failed = |error| (rank, error);
        let snapshot = read(&self.snapshot.join(SNAPSHOT_FILE)).map_err(failed)?;
        let credentials = read(&self.credentials.join(CREDENTIALS_FILE)).map_err(failed)?;
        // The same before and after: then the credentials between them are this stamp's.
        let is_whole = before.as_ref().is_none_or(|stamp| stamp.is_of(&snapshot));
        if !is_whole || self.stamp().map_err(unknown)? != before {
            return Ok(None);
        }
        let generation = Generation::decode(&snapshot, &credentials).map_err(|source| {
            let directory = match source {
                GenerationError::Credentials { .. } => &self.credentials,
                _ => &self.snapshot,
            };
            (rank, DirectoryError::Malformed { directory: directory.clone(), source })
        })?;
        Ok(Some(Found { generation, rank }))
    }

    fn stamp(&self) -> Result<Option<Stamp>, DirectoryError> {
        match read(&self.credentials.join(STAMP_FILE)) {
            Err(DirectoryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => Stamp::decode(&bytes)
                .map(Some)
                .map_err(|source| DirectoryError::Malformed { directory: self.credentials.clone(), source }),
        }
    }
}

impl Source for Directories {
    fn directories(&self) -> Vec<PathBuf> {
        vec![self.snapshot.clone(), self.credentials.clone()]
    }

    fn read(&self) -> Result<Found, Unread> {
        match Self::read(self) {
            Ok(found) => found.ok_or(Unread::Torn),
            Err((rank, error)) => Err(Unread::Unusable { reason: error.to_string(), rank }),
        }
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
    use tempfile::TempDir;

    /// Directories in which nothing is yet.
    fn empty() -> (TempDir, Directories) {
        let home = tempfile::tempdir().unwrap();
        let directory = |name| {
            let path = home.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let directories = Directories { snapshot: directory("snapshot"), credentials: directory("credentials") };
        (home, directories)
    }

    fn write_snapshot(directories: &Directories, generation: &Generation) -> Vec<u8> {
        let bytes = encode_snapshot(&generation.snapshot).unwrap();
        fs::write(directories.snapshot.join(SNAPSHOT_FILE), &bytes).unwrap();
        bytes
    }

    fn write_credentials(directories: &Directories, generation: &Generation) {
        let bytes = encode_credentials(&generation.credentials).unwrap();
        fs::write(directories.credentials.join(CREDENTIALS_FILE), bytes).unwrap();
    }

    fn write_stamp(directories: &Directories, revision: u64, snapshot: &[u8]) {
        let stamp = Stamp::new(revision, snapshot).encode().unwrap();
        fs::write(directories.credentials.join(STAMP_FILE), stamp).unwrap();
    }

    #[test]
    fn what_was_written_is_read_back_and_mistakes_name_the_file() {
        let (_home, directories) = empty();
        let message = || directories.read().unwrap_err().1.to_string();
        assert!(message().contains("snapshot.json.gz: No such file"), "{}", message());

        let written = generation(&["http"]);
        write_snapshot(&directories, &written);
        write_credentials(&directories, &written);
        let found = Found { generation: written, rank: Rank::mounted(0) };
        assert_eq!(directories.read().unwrap(), Some(found));

        let credentials = directories.credentials.join(CREDENTIALS_FILE);
        fs::write(credentials, r#"{"values":{"a/b/c":"hunter2!"}}"#).unwrap();
        assert!(message().contains("credentials are malformed") && !message().contains("hunter2"), "{}", message());
        let snapshot = directories.snapshot.join(SNAPSHOT_FILE);
        fs::write(&snapshot, "not gzip").unwrap();
        assert!(message().contains("cannot be decompressed"), "{}", message());
        fs::write(&snapshot, vec![0; 3 * 1024 * 1024]).unwrap();
        assert!(message().contains("larger than"), "{}", message());
        fs::write(directories.credentials.join(STAMP_FILE), "{}").unwrap();
        assert!(message().contains("the stamp is malformed"), "{}", message());
    }

    #[test]
    fn halves_of_two_generations_are_no_generation() {
        let (_home, directories) = empty();
        let (old, mut new) = (generation(&["http"]), generation(&["http", "more"]));
        new.credentials.keyring[0] = crate::ir::secrets::PrivateBytes::new([8; 32]);
        let old_snapshot = write_snapshot(&directories, &old);
        write_credentials(&directories, &old);
        write_stamp(&directories, 1, &old_snapshot);
        let found = |generation: &Generation, revision| {
            Some(Found { generation: generation.clone(), rank: Rank::mounted(revision) })
        };
        assert_eq!(directories.read().unwrap(), found(&old, 1));

        // Whichever half comes first.
        let new_snapshot = write_snapshot(&directories, &new);
        assert_eq!(directories.read().unwrap(), None);
        write_credentials(&directories, &new);
        write_stamp(&directories, 2, &new_snapshot);
        assert_eq!(directories.read().unwrap(), found(&new, 2));
        write_snapshot(&directories, &old);
        assert_eq!(directories.read().unwrap(), None);

        // What belongs together and cannot be read is said to be so, with how new it is.
        fs::write(directories.snapshot.join(SNAPSHOT_FILE), "not gzip").unwrap();
        write_stamp(&directories, 3, b"not gzip");
        assert_eq!(directories.read().unwrap_err().0, Rank::mounted(3));
    }
}

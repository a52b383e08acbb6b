//! Flags that stand in for what only a cluster has.

use crate::ir::secrets::PrivateBytes;
use std::str::FromStr;

/// `--backend NAME=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackendFlag {
    /// `name` or `namespace/name`.
    pub(super) name: String,
    pub(super) url: String,
}

impl FromStr for BackendFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, url)) if !name.is_empty() && !url.is_empty() => {
                Ok(Self { name: name.to_owned(), url: url.to_owned() })
            }
            _ => Err("write NAME=URL".to_owned()),
        }
    }
}

/// `--secret NAME.KEY=@FILE` or `--secret NAME.KEY=$VARIABLE`. The value is read when the command line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretFlag {
    pub(super) secret: String,
    pub(super) key: String,
    pub(super) value: PrivateBytes,
}

impl FromStr for SecretFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || "write NAME.KEY=@FILE or NAME.KEY=$VARIABLE".to_owned();
        let (target, source) = text.split_once('=').ok_or_else(usage)?;
        // Keys have dots (`tls.crt`), names of Secrets hardly ever. Where one does, a slash ends it.
        let (secret, key) = target.split_once('/').or_else(|| target.split_once('.')).ok_or_else(usage)?;
        if secret.is_empty() || key.is_empty() {
            return Err(usage());
        }
        let value = if let Some(file) = source.strip_prefix('@') {
            std::fs::read(file).map_err(|error| format!("{file}: {error}"))?
        } else if let Some(variable) = source.strip_prefix('$') {
            let value = std::env::var_os(variable).ok_or_else(|| format!("${variable} is not set"))?;
            value.into_encoded_bytes()
        } else {
            // Everyone on the machine can read a command line.
            return Err("a value on the command line is no secret: write @FILE or '$VARIABLE' (quoted)".to_owned());
        };
        Ok(Self { secret: secret.to_owned(), key: key.to_owned(), value: PrivateBytes::new(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_or_the_environment_and_from_nowhere_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let flag: SecretFlag = format!("mcp-tls.tls.crt=@{}", file.path().display()).parse().unwrap();
        assert_eq!((flag.secret.as_str(), flag.key.as_str()), ("mcp-tls", "tls.crt"));
        assert_eq!(flag.value.expose(), b"hunter2\n");
        let flag: SecretFlag = "a.b/token=$PATH".parse().unwrap();
        assert_eq!((flag.secret.as_str(), flag.key.as_str()), ("a.b", "token"));
        assert!(!flag.value.expose().is_empty());

        let refused = |text: &str| text.parse::<SecretFlag>().unwrap_err();
        for text in ["token", "token=@x", ".token=@x", "github.=@x"] {
            assert!(refused(text).starts_with("write NAME.KEY"), "{text}");
        }
        assert_eq!(refused("github.token=$NO_SUCH_VARIABLE_HERE"), "$NO_SUCH_VARIABLE_HERE is not set");
        assert!(refused("github.token=@/no/such/file").contains("No such file"));
        let literal = refused("github.token=hunter2");
        assert!(literal.contains("is no secret") && !literal.contains("hunter2"), "{literal}");
    }
}

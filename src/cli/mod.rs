//! What the binaries do, beyond parsing their arguments.

#[cfg(feature = "operator")]
pub mod check;
pub mod client_config;
pub mod crds;
#[cfg(feature = "gateway")]
mod host;
pub mod import;
pub mod lint;
mod lint_world;
pub mod manifests;
pub mod mcp_json;
#[cfg(feature = "operator")]
pub mod operate;
#[cfg(feature = "gateway")]
pub mod run;
mod secret_values;
#[cfg(feature = "gateway")]
pub mod serve;
#[cfg(feature = "gateway")]
pub mod shim;
#[cfg(feature = "operator")]
pub mod status;

use std::fmt;
use std::process::ExitCode;

/// Why a command failed, a line per reason for its user, and the exit code that goes with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// The command could not do its work: exit code 1.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    /// The command was called wrongly: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), code: 2 }
    }

    /// The command failed in a way that has an exit code of its own.
    #[cfg(feature = "gateway")]
    pub(crate) fn with_code(message: impl fmt::Display, code: u8) -> Self {
        Self { message: message.to_string(), code }
    }

    /// Tells the user, and ends the process accordingly.
    pub fn exit(&self) -> ExitCode {
        self.message.lines().for_each(|line| eprintln!("error: {line}"));
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Tells about arguments that cannot be parsed in one line, or prints the help that was asked for.
pub fn refuse_arguments(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as K;
    if matches!(error.kind(), K::DisplayHelp | K::DisplayVersion | K::DisplayHelpOnMissingArgumentOrSubcommand) {
        // Help on a closed pipe is nobody's loss.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    Failure::usage(one_line(&error.to_string())).exit()
}

/// clap's message without its usage and hints: the first paragraph, as one line.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let text = words.join(" ");
    format!("{}; see --help", text.strip_prefix("error: ").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_argument_is_one_line() {
        let command = clap::Command::new("x").arg(clap::arg!(--port <N>).value_parser(clap::value_parser!(u16)));
        let message =
            |arguments: &[&str]| one_line(&command.clone().try_get_matches_from(arguments).unwrap_err().to_string());
        assert_eq!(message(&["x", "--prot", "1"]), "unexpected argument '--prot' found; see --help");
        let wrong = message(&["x", "--port", "a"]);
        assert!(wrong.starts_with("invalid value 'a' for '--port <N>'") && !wrong.contains('\n'), "{wrong}");
    }

    #[test]
    fn several_missing_arguments_are_one_line_too() {
        let command = clap::Command::new("x").arg(clap::arg!(<A>)).arg(clap::arg!(<B>));
        let error = command.try_get_matches_from(["x"]).unwrap_err().to_string();
        assert_eq!(one_line(&error), "the following required arguments were not provided: <A> <B>; see --help");
    }
}

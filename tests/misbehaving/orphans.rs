//! Processes that their parent leaves behind: only a PID 1 that reaps keeps them from staying as zombies.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use clap::Subcommand;

/// This program in another part, for the tool `fork`.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// Start a process, print its id, and end without waiting for it
    #[command(hide = true)]
    Abandon { millis: u64 },
    /// Live for so long
    #[command(hide = true)]
    Linger { millis: u64 },
}

impl Part {
    pub(crate) fn play(self) -> io::Result<()> {
        match self {
            Self::Abandon { millis } => {
                let orphan = this_program("linger", millis)?.stdout(Stdio::null()).spawn()?;
                writeln!(io::stdout(), "{}", orphan.id())
            }
            Self::Linger { millis } => {
                std::thread::sleep(Duration::from_millis(millis));
                Ok(())
            }
        }
    }
}

/// Starts a process that outlives its parent, lives for `millis` more and ends; gives its id.
pub(crate) fn abandon(millis: u64) -> io::Result<u32> {
    let output = this_program("abandon", millis)?.output()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
}

fn this_program(part: &str, millis: u64) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(part).arg(millis.to_string()).stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

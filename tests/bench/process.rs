//! Child processes of the benchmark, and what the kernel says about them.

use crate::Result;
use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Unit of the CPU times in `/proc/<pid>/stat`, in µs: the kernel's ABI fixes it to 1/100 s on every Linux port in use.
const TICK_US: u64 = 10_000;

/// Binds a loopback port, prints its address as one line, and serves until stdin closes: a child never outlives its parent,
/// even one that was killed.
pub(crate) async fn serve_until_stdin_closes<F>(serve: impl FnOnce(TcpListener) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let mut ignored = Vec::new();
    tokio::select! {
        served = serve(listener) => served,
        _ = async { tokio::io::stdin().read_to_end(&mut ignored).await } => Ok(()),
    }
}

/// Waits for the parent's sign to go on.
pub(crate) async fn wait_for_line() -> Result<()> {
    BufReader::new(tokio::io::stdin()).read_line(&mut String::new()).await?;
    Ok(())
}

/// A running child. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    name: String,
}

impl Process {
    /// Starts this program again, as another part of the benchmark. Its stdout is read line by line.
    pub(crate) fn start_self(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::start(command, arguments.first().copied().unwrap_or("bench"))
    }

    /// Starts another program, which says what it has to say to a file.
    pub(crate) fn start_logged(mut command: Command, name: &str, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Self::start(command, name)
    }

    fn start(mut command: Command, name: &str) -> Result<Self> {
        let mut child =
            command.kill_on_drop(true).spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        let stdin = child.stdin.take();
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Self { child, stdin, lines, name: name.to_owned() })
    }

    /// The next line it prints.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let lines = self.lines.as_mut().ok_or("the output goes to a file")?;
        let line = lines.next_line().await?;
        line.ok_or_else(|| format!("{} ended before it said what was expected of it", self.name).into())
    }

    /// Gives a child that waits on stdin its sign to go on.
    pub(crate) async fn go(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or("a piped stdin is missing")?;
        stdin.write_all(b"\n").await?;
        Ok(stdin.flush().await?)
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn finished(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", self.name).into()) }
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// CPU time it has used so far, user and system, all threads, in µs.
    pub(crate) fn cpu_us(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        cpu_us(&stat).ok_or_else(|| "/proc/<pid>/stat has an unknown form".into())
    }

    /// Memory it holds now, in MiB.
    pub(crate) fn rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        rss_mib(&status).ok_or_else(|| "/proc/<pid>/status has an unknown form".into())
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().ok_or_else(|| format!("{} has ended", self.name).into())
    }
}

fn cpu_us(stat: &str) -> Option<u64> {
    // The program's name, in parentheses, may hold anything: fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_US)
}

fn rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(f64::from(kib) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 3 0 100 1000 200 18446744073709551615";
        assert_eq!(cpu_us(stat), Some(120_000));
        assert_eq!(cpu_us("12 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_mib() {
        let read = rss_mib("Name:\tx\nVmRSS:\t   10240 kB\nThreads:\t3\n").unwrap();
        assert!((read - 10.0).abs() < f64::EPSILON);
        assert_eq!(rss_mib("Name:\tx\n"), None);
    }
}

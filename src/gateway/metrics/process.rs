//! What the process costs, under the names that every prometheus client uses. Read from `/proc` when the page is; other
//! systems than Linux have no such page entries.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge};
use std::fs;

/// Clock ticks per second in `/proc`: `USER_HZ`, part of the kernel's stable interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process's own accounting.
pub(super) struct ProcessStats {
    cpu: Counter,
    resident: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    start: Gauge,
}

impl ProcessStats {
    pub(super) fn new() -> prometheus::Result<Self> {
        let stats = Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time spent.")?,
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory.")?,
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors.")?,
            max_fds: IntGauge::new("process_max_fds", "File descriptors allowed.")?,
            threads: IntGauge::new("process_threads", "Threads.")?,
            start: Gauge::new("process_start_time_seconds", "Start of the process, since the Unix epoch.")?,
        };
        if let Some(start) = start_time() {
            stats.start.set(start);
        }
        Ok(stats)
    }

    fn refresh(&self) {
        if let Some(stat) = Stat::read() {
            // A counter only goes up; two readers at once must not add the same step twice, hence the maximum.
            self.cpu.inc_by((stat.cpu_ticks / TICKS_PER_SECOND - self.cpu.get()).max(0.0));
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            if let Some(kibibytes) = status_field(&status, "VmRSS:") {
                self.resident.set(kibibytes.saturating_mul(1024));
            }
            if let Some(threads) = status_field(&status, "Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // Without the descriptor that reads the directory.
            self.open_fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX).saturating_sub(1));
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            self.max_fds.set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
    }
}

/// The number after a name in `/proc/self/status`.
fn status_field(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields of `/proc/self/stat`.
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Reads on from the last parenthesis, since the program's name before it may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // proc(5) counts from 1 and from the process id; `fields` starts at the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)? })
    }
}

fn start_time() -> Option<f64> {
    let kernel = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + Stat::read()?.start_ticks / TICKS_PER_SECOND)
}

impl Collector for ProcessStats {
    fn desc(&self) -> Vec<&Desc> {
        let gauges: [&dyn Collector; 6] =
            [&self.cpu, &self.resident, &self.open_fds, &self.max_fds, &self.threads, &self.start];
        gauges.into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let gauges: [&dyn Collector; 6] =
            [&self.cpu, &self.resident, &self.open_fds, &self.max_fds, &self.threads, &self.start];
        gauges.into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_is_skipped() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 3 0 9000 1 2";
        let stat = Stat::parse(stat).unwrap();
        assert!((stat.cpu_ticks - 200.0).abs() < f64::EPSILON);
        assert!((stat.start_ticks - 9000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nonsense_is_no_number() {
        assert!(Stat::parse("").is_none());
        assert!(Stat::parse("7 (a) S 1").is_none());
        assert_eq!(status_field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(status_field("VmRSS:\t  many\n", "VmRSS:"), None);
    }
}

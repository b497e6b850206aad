//! What the kernel knows of this process, read when it is asked for.

use std::fs;

use metrics::{Unit, describe_gauge, gauge};

/// The gauges of this process, under the role's name.
pub(crate) struct ProcessMetrics {
    resident_memory: String,
    open_fds: String,
    start_time: String,
    cpu: String,
}

impl ProcessMetrics {
    pub(crate) fn of(role: &str) -> Self {
        let name = |noun| format!("crashmill_{role}_process_{noun}");
        let metrics = Self {
            resident_memory: name("resident_memory_bytes"),
            open_fds: name("open_fds"),
            start_time: name("start_time_seconds"),
            cpu: name("cpu_seconds"),
        };
        describe_gauge!(
            metrics.resident_memory.clone(),
            Unit::Bytes,
            "Memory of this process that is in RAM."
        );
        describe_gauge!(metrics.open_fds.clone(), "Open file descriptors.");
        describe_gauge!(
            metrics.start_time.clone(),
            Unit::Seconds,
            "When this process started, in Unix time."
        );
        describe_gauge!(metrics.cpu.clone(), Unit::Seconds, "Processor time used so far, user and system.");
        metrics
    }

    /// Reads the gauges anew. What this system does not tell is left out.
    pub(crate) fn refresh(&self) {
        let values = [
            (&self.resident_memory, resident_memory()),
            (&self.open_fds, open_fds()),
            (&self.start_time, start_time()),
            (&self.cpu, cpu()),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                gauge!(name.clone()).set(value);
            }
        }
    }
}

fn resident_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_fds() -> Option<f64> {
    // The listing itself holds one open.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(count).ok().map(f64::from)
}

fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks(&own_stat()?, 22)?)
}

fn cpu() -> Option<f64> {
    let stat = own_stat()?;
    Some(ticks(&stat, 14)? + ticks(&stat, 15)?)
}

fn own_stat() -> Option<String> {
    fs::read_to_string("/proc/self/stat").ok()
}

/// The field of proc(5)'s `stat` with that number, as seconds.
fn ticks(stat: &str, field: usize) -> Option<f64> {
    // The name of the program, field 2, may itself hold blanks and brackets; field 3 follows its last bracket.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(ticks / f64::from(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 300 200 0 0 20 0 1 0 12345 1 1";
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).map(f64::from).unwrap();
        assert_eq!(ticks(stat, 14), Some(300.0 / per_second));
        assert_eq!(ticks(stat, 15), Some(200.0 / per_second));
        assert_eq!(ticks(stat, 22), Some(12345.0 / per_second));
        assert_eq!(ticks("nonsense", 14), None);
    }

    #[test]
    fn this_process_is_plausible() {
        assert!(resident_memory().unwrap() > 500_000.0);
        assert!(open_fds().unwrap() >= 3.0);
        let age = jiff::Timestamp::now().as_second() as f64 - start_time().unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}

//! Process metrics: CPU time, memory, files, threads. They come from `procfs`, because the process metrics of the
//! `prometheus` crate count CPU time in whole seconds, and an idle controller uses one second in ten minutes.

use super::Metrics;
use procfs::{
    WithCurrentSystemInfo,
    process::{LimitValue, Process},
};
use prometheus::{Counter, Gauge};

/// Updates the metrics before each scrape. Without procfs they stay zero.
pub(super) fn measure(metrics: &Metrics) -> prometheus::Result<()> {
    let gauge = |name: &str, help: &str| metrics.register(Gauge::new(name, help)?);
    let cpu = metrics.register(Counter::new(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
    )?)?;
    let open = gauge("process_open_fds", "Number of open file descriptors.")?;
    let most_open = gauge("process_max_fds", "Maximum number of open file descriptors.")?;
    let resident = gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?;
    let virtual_size = gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?;
    let threads = gauge("process_threads", "Number of OS threads in the process.")?;
    let started =
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")?;
    metrics.before_scrape(move || {
        let Ok(process) = Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            let ticks = float(procfs::ticks_per_second()).max(1.0);
            cpu.inc_by((float(stat.utime + stat.stime) / ticks - cpu.get()).max(0.0));
            resident.set(float(stat.rss_bytes().get()));
            virtual_size.set(float(stat.vsize));
            threads.set(float(stat.num_threads.unsigned_abs()));
            if let Ok(boot) = procfs::boot_time_secs() {
                started.set(float(boot) + float(stat.starttime) / ticks);
            }
        }
        if let Ok(count) = process.fd_count() {
            open.set(float(count as u64));
        }
        if let Ok(LimitValue::Value(most)) = process.limits().map(|limits| limits.max_open_files.soft_limit) {
            most_open.set(float(most));
        }
    });
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "exact to eight petabytes")]
fn float(number: u64) -> f64 {
    number as f64
}

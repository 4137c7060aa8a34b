//! CPU time and memory of a process, from `/proc`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use procfs::process::Process;

/// Interval of the samples of resident memory.
const INTERVAL: Duration = Duration::from_millis(100);

const MIB: f64 = 1024.0 * 1024.0;

/// Memory of a process at one moment, in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) resident: f64,
    /// Largest resident since the start of the process.
    pub(crate) peak: f64,
    /// Private and dirty: what the kernel cannot share or drop.
    pub(crate) private_dirty: f64,
}

/// CPU seconds of a process since its start.
pub(crate) fn cpu_seconds(pid: i32) -> Result<f64> {
    let stat = process(pid)?.stat()?;
    Ok(as_f64(stat.utime + stat.stime) / as_f64(procfs::ticks_per_second()).max(1.0))
}

/// The memory of a process.
pub(crate) fn memory(pid: i32) -> Result<Memory> {
    let process = process(pid)?;
    let status = process.status()?;
    let rollup = process.smaps_rollup()?.memory_map_rollup;
    let private_dirty = rollup.iter().filter_map(|map| map.extension.map.get("Private_Dirty")).sum::<u64>();
    let mib = |kib: Option<u64>| as_f64(kib.unwrap_or_default()) / 1024.0;
    Ok(Memory {
        resident: mib(status.vmrss),
        peak: mib(status.vmhwm),
        private_dirty: as_f64(private_dirty) / MIB,
    })
}

fn process(pid: i32) -> Result<Process> {
    Process::new(pid).with_context(|| format!("cannot read /proc/{pid}"))
}

#[expect(clippy::cast_precision_loss, reason = "bytes and ticks of a process are far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Samples the resident memory of a process in a thread of its own, until it is stopped.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    pid: Arc<Mutex<i32>>,
    thread: Option<JoinHandle<Vec<(Timestamp, f64)>>>,
}

impl Sampler {
    /// Starts the samples.
    pub(crate) fn start(pid: i32) -> Self {
        let (stop, pid) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(pid)));
        let (stopped, sampled) = (Arc::clone(&stop), Arc::clone(&pid));
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let pid = *sampled.lock().unwrap_or_else(PoisonError::into_inner);
                // The process may be stopped at the moment.
                if let Ok(statm) = process(pid).and_then(|process| Ok(process.statm()?)) {
                    samples.push((Timestamp::now(), as_f64(statm.resident * procfs::page_size()) / MIB));
                }
                std::thread::sleep(INTERVAL);
            }
            samples
        });
        Self { stop, pid, thread: Some(thread) }
    }

    /// Samples another process from now on.
    pub(crate) fn follow(&self, pid: i32) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    /// Stops, and returns the samples: time, and MiB.
    pub(crate) fn finish(mut self) -> Result<Vec<(Timestamp, f64)>> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(samples)) => Ok(samples),
            _ => Err(anyhow!("the thread that samples memory panicked")),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

//! CPU time and memory of a process, from `/proc`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
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

/// Samples of resident memory: time, and MiB.
type Samples = Vec<(Timestamp, f64)>;

/// Samples the resident memory of a process in a thread of its own, until it is dropped.
pub(crate) struct Sampler {
    state: Arc<Mutex<State>>,
}

struct State {
    /// The process; `None` ends the thread.
    pid: Option<i32>,
    samples: Samples,
}

impl Sampler {
    /// Starts the samples.
    pub(crate) fn start(pid: i32) -> Self {
        let state = Arc::new(Mutex::new(State { pid: Some(pid), samples: Vec::new() }));
        let sampled = Arc::clone(&state);
        std::thread::spawn(move || {
            while sample(&mut lock(&sampled)) {
                std::thread::sleep(INTERVAL);
            }
        });
        Self { state }
    }

    /// Samples another process from now on.
    pub(crate) fn follow(&self, pid: i32) {
        lock(&self.state).pid = Some(pid);
    }

    /// The samples so far.
    pub(crate) fn samples(&self) -> Samples {
        lock(&self.state).samples.clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        lock(&self.state).pid = None;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a sample. Returns whether to continue.
fn sample(state: &mut State) -> bool {
    let Some(pid) = state.pid else { return false };
    // A process that is being restarted does not exist for a moment.
    if let Ok(statm) = process(pid).and_then(|process| Ok(process.statm()?)) {
        state.samples.push((Timestamp::now(), as_f64(statm.resident * procfs::page_size()) / MIB));
    }
    true
}

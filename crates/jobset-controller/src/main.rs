//! Program `jobset-controller-manager`.

use jobset_controller::Flags;
use manager_runtime::{install_crypto_provider, logging};
use mimalloc::MiMalloc;
use std::{process::ExitCode, thread::available_parallelism};
use tokio::runtime;
use tracing::error;

/// It takes less CPU time than the allocator of the C library, and keeps less memory after a burst. See
/// docs/contributors/benchmarks.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The largest number of threads. The controller mostly waits for the API server, and the allocator keeps memory for
/// each thread, so more cores than these do not help.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let flags = Flags::of_process();
    let log = flags.logging.init();
    install_crypto_provider();
    let threads = available_parallelism().map_or(THREADS, |cores| cores.get().clamp(2, THREADS));
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("cannot start the threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(jobset_controller::run(&flags, log));
    #[cfg(feature = "opentelemetry")]
    manager_runtime::traces::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{}", logging::in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

//! Program `jobset-controller-manager`.

use jobset_controller::Flags;
use manager_runtime::{install_crypto_provider, logging};
use std::process::ExitCode;
use tracing::error;

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::of_process();
    let log = flags.logging.init();
    install_crypto_provider();
    let outcome = jobset_controller::run(&flags, log).await;
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

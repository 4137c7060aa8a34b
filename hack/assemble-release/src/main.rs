//! Program `assemble-release`, which hack/release calls.

use std::path::PathBuf;
use std::process::ExitCode;

use assemble_release::{Inputs, assemble};
use clap::Parser;

/// Writes all files of a release into one folder. hack/release builds the programs and calls this program.
#[derive(Parser)]
#[command(name = "assemble-release", version)]
struct Arguments {
    #[command(flatten)]
    inputs: Inputs,
    /// Folder of the release. It must be empty or not exist.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match assemble(&arguments.inputs, &arguments.output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("assemble-release: {error:#}");
            ExitCode::FAILURE
        }
    }
}

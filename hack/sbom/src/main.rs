//! Program `sbom`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Writes the licences of the crates in the image's programs to standard output, for the image's folder /licenses.
#[derive(Parser)]
#[command(name = "sbom", version)]
struct Arguments {
    /// Root of the repository.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// Target for which the programs are built.
    #[arg(long, value_name = "TRIPLE", default_value = "x86_64-unknown-linux-gnu")]
    target: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sbom: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let root = arguments.root.canonicalize();
    let root = root.with_context(|| format!("cannot read --root {}", arguments.root.display()))?;
    print!("{}", sbom::third_party(&sbom::read(&root, &[&arguments.target])?)?);
    Ok(())
}

//! `cargo run -p generate`: writes the generated files, or checks them with `--check`.

use anyhow::{Context, Result};
use clap::Parser;
use generate::images::Images;
use std::{path::PathBuf, process::ExitCode};

/// Writes the generated files of this repository: manifests/, deploy/ and bundle/.
#[derive(Parser)]
#[command(name = "generate", version)]
struct Arguments {
    /// Write nothing; list the files that differ, and exit with code 1 if there are any.
    #[arg(long)]
    check: bool,
    /// Root of the repository.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
    #[command(flatten)]
    images: Images,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("generate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = arguments
        .root
        .canonicalize()
        .with_context(|| format!("cannot read --root {}", arguments.root.display()))?;
    let files = generate::generate(&root, &arguments.images)?;
    if !arguments.check {
        for difference in files.write(&root)? {
            println!("{}", difference.action());
        }
        println!("{} generated files are up to date", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    let differences = files.differences(&root)?;
    if differences.is_empty() {
        println!("{} generated files are up to date", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    for difference in &differences {
        println!("{difference}");
    }
    println!("{} generated files are out of date: run `cargo run -p generate` and commit", differences.len());
    Ok(ExitCode::FAILURE)
}

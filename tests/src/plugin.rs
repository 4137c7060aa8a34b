//! Runs `kubectl jobset` as a process.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use crate::controller::beside_this_program;

/// Runs the plugin with this kubeconfig.
pub fn run(kubeconfig: &Path, args: &[&str]) -> Result<Output> {
    let program = beside_this_program("kubectl-jobset")?;
    Ok(Command::new(program).args(args).env("KUBECONFIG", kubeconfig).output()?)
}

/// The output of a run that succeeds.
pub fn output(kubeconfig: &Path, args: &[&str]) -> Result<String> {
    let Output { status, stdout, stderr } = run(kubeconfig, args)?;
    ensure!(
        status.success(),
        "kubectl jobset {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&stderr)
    );
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

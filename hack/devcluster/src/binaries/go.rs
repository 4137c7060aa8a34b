//! Builds programs with Go: finds the compiler, downloads modules, compiles and reports progress.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::process::run;
use crate::progress::Step;

/// Growth of the Go compiler's heap between two garbage collections, in percent. Compared with the default of 100, a
/// build needs a sixth less CPU time, and a compiler process up to 600 MB of memory instead of 440.
const GOGC: &str = "400";

/// The folder of this Go module in `hack/` of this source tree.
pub(super) fn source_folder(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(module)
}

/// The Go files of the module, sorted by path. Each of its packages is a folder.
pub(super) fn sources(module: &Path) -> Result<Vec<PathBuf>> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read folder {}", folder.display()))?;
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
    };
    let mut files = Vec::new();
    for package in entries(module)?.into_iter().filter(|path| path.is_dir()) {
        let is_go = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "go");
        files.extend(entries(&package)?.into_iter().filter(is_go));
    }
    files.sort();
    Ok(files)
}

/// A Go command in this folder. It overrides settings of the user that would change the build.
fn go_command(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(folder)
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .env("GOGC", GOGC);
    command
}

/// Finds a Go command that is new enough to download the toolchain of the module.
fn go() -> Result<PathBuf> {
    const REMEDY: &str = "install Go 1.21 or newer, or set --assets to a folder with the programs";
    let standard = Path::new("/usr/local/go/bin/go");
    let (go, output) = [Path::new("go"), standard]
        .into_iter()
        .find_map(|go| Some((go.to_path_buf(), Command::new(go).args(["env", "GOVERSION"]).output().ok()?)))
        .ok_or_else(|| {
            anyhow!("cannot build the programs of the cluster, because Go is not installed: {REMEDY}")
        })?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !is_new_enough(&version) {
        bail!("cannot build the programs of the cluster with {version}: {REMEDY}");
    }
    Ok(go)
}

fn is_new_enough(goversion: &str) -> bool {
    let mut numbers = goversion.trim_start_matches("go").split(['.', '-', ' ']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => minor >= 21,
        (Some(Ok(major)), _) => major > 1,
        // A development version.
        _ => goversion.starts_with("devel"),
    }
}

/// The folder of a module in the Go module cache. Downloads the module if the cache does not have it.
pub(crate) fn module_folder(module: &str) -> Result<PathBuf> {
    let (go, source) = (go()?, source_folder(super::CONTROLPLANE));
    run(go_command(&go, &source).args(["mod", "download", module]))?;
    let folder = run(go_command(&go, &source).args(["list", "-m", "-f", "{{.Dir}}", module]))?;
    Ok(PathBuf::from(folder.trim()))
}

/// Template for `go list`: package, folder and source files of a package that is not in the build cache.
const LISTING: &str = "{{if .Stale}}{{.ImportPath}}\t{{.Dir}}{{range .GoFiles}}\t{{.}}{{end}}{{end}}";

/// Builds the programs of these packages of the Go module in `source` into a folder.
pub(super) fn build(
    source: &Path,
    packages: &[&str],
    ldflags: &str,
    target: &Path,
    step: &Step,
) -> Result<()> {
    let go = go()?;
    let command = || go_command(&go, source);
    // `go list` also downloads missing modules. The time to compile a package is proportional to the size of its
    // sources.
    let mut sizes = HashMap::new();
    stream(command().args(["list", "-deps", "-trimpath", "-f", LISTING]).args(packages), |line, is_error| {
        if is_error {
            step.message(line);
        } else if let Some((package, size)) = size_of(line) {
            sizes.insert(package, size);
        }
    })
    .context("cannot list or download the Go packages")?;
    step.total(sizes.values().sum());
    let mut command = command();
    command.args(["build", "-v", "-trimpath", "-ldflags", ldflags, "-o"]).arg(target).args(packages);
    stream(&mut command, |line, _| {
        step.message(line);
        // Go prints a package when its compilation starts. For progress, that is close enough.
        step.advance(sizes.remove(line).unwrap_or_default());
    })
    .context("cannot build the programs")
}

/// Parses a line of [`LISTING`] into a package and the size of its sources.
fn size_of(line: &str) -> Option<(String, u64)> {
    let mut fields = line.split('\t');
    let (package, folder) = (fields.next()?, Path::new(fields.next()?));
    let sizes = fields.filter_map(|file| Some(fs::metadata(folder.join(file)).ok()?.len()));
    Some((package.to_owned(), sizes.sum()))
}

/// Runs a command and calls `on_line` with each line of its output; `true` means standard error.
fn stream(command: &mut Command, mut on_line: impl FnMut(&str, bool)) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = std::sync::mpsc::channel();
    let pipes: [(Option<Box<dyn std::io::Read + Send>>, bool); 2] = [
        (child.stdout.take().map(|pipe| Box::new(pipe) as _), false),
        (child.stderr.take().map(|pipe| Box::new(pipe) as _), true),
    ];
    for (pipe, is_error) in pipes {
        let Some(pipe) = pipe else { continue };
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send((line, is_error)).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut last = String::new();
    for (line, is_error) in lines {
        on_line(&line, is_error);
        if is_error && !line.trim().is_empty() {
            last = line;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("go failed with {status}: {last}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_as_numbers() {
        for (version, expected) in [
            ("go1.26.8", true),
            ("go1.21", true),
            ("go1.19.8", false),
            ("go2.0", true),
            ("", false),
            ("devel go1.27-abc", true),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn size_of_a_package_is_the_sum_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [("a.go", "package a"), ("b.go", "package a\n")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let line = format!("x.io/a\t{}\ta.go\tb.go", folder.path().display());
        assert_eq!(size_of(&line), Some(("x.io/a".to_owned(), 19)));
        assert_eq!(size_of("unsafe\t/nowhere"), Some(("unsafe".to_owned(), 0)));
        assert_eq!(size_of(""), None);
    }
}

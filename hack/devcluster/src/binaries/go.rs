//! Building with Go: finding the compiler, fetching sources, compiling, and how far that is.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::process::run;
use crate::progress::Step;

/// How much the Go compiler's heap grows between two collections, in percent. With 400 instead of 100, a build takes a
/// sixth less CPU time, and a compiler process at most 600 MB instead of 440.
const GOGC: &str = "400";

/// `hack/controlplane` of this source tree: the Go module that pins every program.
pub(super) fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane")
}

/// The module's own Go files, in a fixed order: those of its packages, one folder each.
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

/// The Go command in the module's folder. The user's own settings do not change what it builds.
fn go_command(go: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(source_folder())
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .env("GOGC", GOGC);
    command
}

/// The Go compiler, when it is new enough to fetch the one that the module asks for.
fn go() -> Result<PathBuf> {
    const INSTALL: &str = "install Go 1.21 or newer, or name ready-made programs with --assets";
    let standard = Path::new("/usr/local/go/bin/go");
    let (go, output) = [Path::new("go"), standard]
        .into_iter()
        .find_map(|go| Some((go.to_path_buf(), Command::new(go).args(["env", "GOVERSION"]).output().ok()?)))
        .ok_or_else(|| {
            anyhow!("the programs of the cluster are built with Go, which is not installed: {INSTALL}")
        })?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !is_new_enough(&version) {
        bail!("the programs of the cluster cannot be built with {version}: {INSTALL}");
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

/// Where the Go module cache holds a module, which is fetched when it is missing there.
pub(crate) fn module_folder(module: &str) -> Result<PathBuf> {
    let go = go()?;
    run(go_command(&go).args(["mod", "download", module]))?;
    let folder = run(go_command(&go).args(["list", "-m", "-f", "{{.Dir}}", module]))?;
    Ok(PathBuf::from(folder.trim()))
}

/// What Go lists of a package that is not in its build cache: the package, its folder, its source files.
const LISTING: &str = "{{if .Stale}}{{.ImportPath}}\t{{.Dir}}{{range .GoFiles}}\t{{.}}{{end}}{{end}}";

/// Builds the programs with these packages into a folder.
pub(super) fn build(packages: &[&str], ldflags: &str, target: &Path, step: &Step) -> Result<()> {
    let go = go()?;
    let command = || go_command(&go);
    // Fetches what is missing, and lists what is not in Go's build cache. The time to compile a package goes with the
    // size of its sources.
    let mut sizes = HashMap::new();
    stream(command().args(["list", "-deps", "-trimpath", "-f", LISTING]).args(packages), |line, is_error| {
        if is_error {
            step.message(line);
        } else if let Some((package, size)) = size_of(line) {
            sizes.insert(package, size);
        }
    })
    .context("cannot fetch the sources")?;
    step.total(sizes.values().sum());
    let mut command = command();
    command.args(["build", "-v", "-trimpath", "-ldflags", ldflags, "-o"]).arg(target).args(packages);
    stream(&mut command, |line, _| {
        step.message(line);
        // Go names a package when its compilation begins; on the whole that makes no difference.
        step.advance(sizes.remove(line).unwrap_or_default());
    })
    .context("cannot build them")
}

/// A package and the size of its sources, from a line of [`LISTING`].
fn size_of(line: &str) -> Option<(String, u64)> {
    let mut fields = line.split('\t');
    let (package, folder) = (fields.next()?, Path::new(fields.next()?));
    let sizes = fields.filter_map(|file| Some(fs::metadata(folder.join(file)).ok()?.len()));
    Some((package.to_owned(), sizes.sum()))
}

/// Runs a command and hands over each line of its output as it comes (true: from standard error).
fn stream(command: &mut Command, mut each: impl FnMut(&str, bool)) -> Result<()> {
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
        each(&line, is_error);
        if is_error && !line.trim().is_empty() {
            last = line;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("go ended with {status}: {last}");
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
    fn a_package_weighs_what_its_files_do() {
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

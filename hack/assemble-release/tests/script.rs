//! What `hack/release` refuses, before it builds anything.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use assemble_release::VERSION;

/// A repository with the script and the files that it checks, in one commit.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::create_dir_all(repository.path("hack/lib")).unwrap();
        for file in [
            "hack/release",
            "hack/lib/terminal.sh",
            "hack/lib/prerequisites.sh",
            "Cargo.toml",
            "rust-toolchain.toml",
        ] {
            fs::copy(root.join(file), repository.path(file)).unwrap();
        }
        fs::write(repository.path("CHANGELOG.md"), format!("## [{VERSION}]\n\n* New.\n")).unwrap();
        repository.git(&["init", "--quiet"]);
        repository.commit();
        repository
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
        let status =
            Command::new("git").args(identity).args(arguments).current_dir(self.0.path()).status().unwrap();
        assert!(status.success(), "git {arguments:?}");
    }

    fn commit(&self) {
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "--message", "test"]);
    }

    /// The error of `hack/release` with these arguments.
    fn refusal(&self, arguments: &[&str]) -> String {
        refusal(Command::new(self.path("hack/release")).args(arguments))
    }
}

fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[track_caller]
fn assert_has(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{error:?} does not contain {part:?}");
    }
}

#[test]
fn another_version_is_refused() {
    let repository = Repository::new();
    let error = repository.refusal(&["9.9.9"]);
    assert_has(&error, &[VERSION, "not 9.9.9", &format!("hack/release {VERSION}"), "Cargo.toml"]);
    assert_has(&repository.refusal(&[]), &["the version is missing"]);
    assert_has(&repository.refusal(&[VERSION, "2.0.0"]), &["two versions"]);
    assert_has(&repository.refusal(&["--outptu", "x"]), &["unknown option --outptu", "--help"]);
    assert_has(&repository.refusal(&[VERSION, "--output"]), &["--output has no value"]);
    let two = ["--target", "a-b", "--target", "c-d", "--programs", "x"];
    assert_has(
        &repository.refusal(&[&[VERSION], &two[..]].concat()),
        &["--programs is a folder for one target"],
    );
}

#[test]
fn changes_that_are_not_committed_are_refused_unless_allowed() {
    let repository = Repository::new();
    fs::write(repository.path("new.txt"), "").unwrap();
    assert_has(&repository.refusal(&[VERSION]), &["not committed", "new.txt", "--allow-dirty"]);
    let folder = repository.path("hack");
    let error = repository.refusal(&[VERSION, "--allow-dirty", "--output", folder.to_str().unwrap()]);
    assert_has(&error, &["is not empty", "--output"]);
    repository.commit();
    // A tag has a v before the version.
    let error = repository.refusal(&[&format!("v{VERSION}"), "--output", folder.to_str().unwrap()]);
    assert_has(&error, &["is not empty"]);
}

#[test]
fn a_folder_without_commit_is_refused() {
    let repository = Repository::new();
    fs::remove_dir_all(repository.path(".git")).unwrap();
    assert_has(&repository.refusal(&[VERSION]), &["not a git repository", "clone"]);
}

#[test]
fn a_version_without_changes_for_users_is_refused() {
    let repository = Repository::new();
    fs::write(repository.path("CHANGELOG.md"), "# Changelog\n").unwrap();
    repository.commit();
    assert_has(&repository.refusal(&[VERSION]), &["CHANGELOG.md", VERSION]);
}

/// A folder with these programs of the machine.
fn programs(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for name in names {
        let found = std::env::split_paths(&path).map(|one| one.join(name)).find(|one| one.is_file());
        symlink(found.unwrap_or_else(|| panic!("no {name} on this machine")), folder.path().join(name))
            .unwrap();
    }
    folder
}

#[test]
fn a_missing_tool_is_named() {
    let repository = Repository::new();
    let shell = ["bash", "cat", "dirname", "grep", "head", "id", "install", "sed", "sha256sum"];
    let without_git = programs(&shell);
    let run = |path: &Path| {
        refusal(Command::new(repository.path("hack/release")).arg(VERSION).env_clear().env("PATH", path))
    };
    assert_has(&run(without_git.path()), &["git is missing"]);
    let without_cargo = programs(&[&shell[..], &["git"]].concat());
    assert_has(&run(without_cargo.path()), &["cargo is missing", "rustup"]);
}

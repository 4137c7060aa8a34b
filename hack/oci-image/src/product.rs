//! The image of this project's programs, with the layout of the `Containerfile`.
//!
//! [`FILES`], [`USER`], [`ENTRYPOINT`] and [`labels`] have the values of COPY, USER, ENTRYPOINT and LABEL in the
//! `Containerfile`. Its base image contains the dynamic linker, the C library, `/etc/passwd` and `/tmp`. Without a base
//! image, this module adds them from this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{Base, Entry, Image, RunConfig, architecture, elf};

/// Files of the image: path in the image, and source.
pub const FILES: [(&str, Source); 4] = [
    ("usr/bin/in-place-restart-agent", Source::Program("in-place-restart-agent")),
    ("usr/bin/jobset-controller-manager", Source::Program("jobset-controller-manager")),
    ("usr/bin/jobset-operator", Source::Program("jobset-operator")),
    ("licenses/LICENSE", Source::Repository("LICENSE")),
];
/// Symbolic links of the image: path in the image, and target.
pub const LINKS: [(&str, &str); 3] = [
    ("in-place-restart-agent", "/usr/bin/in-place-restart-agent"),
    ("manager", "/usr/bin/jobset-controller-manager"),
    ("usr/bin/gather", "/usr/bin/jobset-operator"),
];
/// User of the container: `nonroot`.
pub const USER: &str = "65532:65532";
/// Entrypoint of the image.
pub const ENTRYPOINT: &str = "/manager";

/// Source of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A program, in the folder of `--binaries`.
    Program(&'static str),
    /// A file of the source tree.
    Repository(&'static str),
}

/// Builds the image from the programs in `binaries`, which are for an architecture of Rust, such as `x86_64`.
pub fn image(binaries: &Path, tag: &str, for_architecture: &str, base: Option<Base>) -> Result<Image> {
    let mut entries = BTreeMap::new();
    let mut programs = Vec::new();
    for (path, source) in FILES {
        let (file, mode) = match source {
            Source::Program(name) => (binaries.join(name), 0o755),
            Source::Repository(name) => (repository().join(name), 0o644),
        };
        if !file.is_file() {
            match source {
                Source::Program(name) => bail!(
                    "--binaries {} contains no program {name}: build it (`cargo build --release`), or set \
                     --binaries to its folder",
                    binaries.display()
                ),
                Source::Repository(_) => {
                    bail!("{} is missing: restore it with git", file.display())
                }
            }
        }
        if mode == 0o755 {
            programs.push(file.clone());
        }
        entries.insert(path.to_owned(), Entry::file(file, mode));
    }
    for (link, to) in LINKS {
        entries.insert(link.to_owned(), Entry::link(to));
    }
    if base.is_none() {
        entries.extend(system(&programs, for_architecture)?);
    }
    add_parents(&mut entries);
    let config = RunConfig { entrypoint: vec![ENTRYPOINT.into()], user: USER.into(), ..RunConfig::default() };
    let architecture = architecture(for_architecture).to_owned();
    Ok(Image { architecture, base, ..Image::new(tag, entries, config) })
}

/// What a base image contains: the dynamic linker, the libraries of these programs, their licences, users, `/tmp`.
fn system(programs: &[PathBuf], for_architecture: &str) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::from([
        ("etc/passwd".to_owned(), Entry::text(PASSWD, 0o644)),
        ("etc/group".to_owned(), Entry::text(GROUP, 0o644)),
        ("tmp".to_owned(), Entry::folder(0o1777)),
    ]);
    for (path, source) in elf::shared_objects(programs, &elf::Search::new(for_architecture))? {
        let path = path.strip_prefix("/").unwrap_or(&path);
        entries.insert(path.to_string_lossy().into_owned(), Entry::file(source, 0o755));
    }
    for package in ["libc6", "libgcc-s1"] {
        let installed = if for_architecture == std::env::consts::ARCH {
            package.to_owned()
        } else {
            format!("{package}-{}-cross", architecture(for_architecture))
        };
        let copyright = Path::new("/usr/share/doc").join(installed).join("copyright");
        if copyright.is_file() {
            entries.insert(format!("licenses/{package}"), Entry::file(copyright, 0o644));
        }
    }
    Ok(entries)
}

/// Labels of the image: those that a certification of OpenShift requires, and those of OCI.
pub fn labels(version: &str, commit: &str, created: u64) -> BTreeMap<String, String> {
    let created = i64::try_from(created).ok().and_then(|time| jiff::Timestamp::from_second(time).ok());
    let created = created.unwrap_or_default().to_string();
    let mut labels: BTreeMap<_, _> =
        LABELS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (names, value) in [
        (["version", "org.opencontainers.image.version"], version),
        (["vcs-ref", "org.opencontainers.image.revision"], commit),
        (["build-date", "org.opencontainers.image.created"], &created),
    ] {
        for name in names {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    labels
}

const DESCRIPTION: &str =
    "The JobSet controller, the operator that installs it, and the in-place-restart-agent";
const SUMMARY: &str = "Runs groups of Kubernetes Jobs as one unit";
const VENDOR: &str = "JobSet Operator contributors";
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Labels that have the same value in every build. A base has some of these labels too, with values about itself.
const LABELS: [(&str, &str); 18] = [
    ("com.redhat.component", "jobset-operator"),
    ("description", DESCRIPTION),
    ("distribution-scope", "public"),
    ("io.k8s.description", DESCRIPTION),
    ("io.k8s.display-name", "JobSet Operator"),
    ("io.openshift.tags", "jobset,batch,job"),
    ("maintainer", VENDOR),
    ("name", "jobset-operator"),
    ("org.opencontainers.image.description", DESCRIPTION),
    ("org.opencontainers.image.licenses", "Apache-2.0"),
    ("org.opencontainers.image.source", REPOSITORY),
    ("org.opencontainers.image.title", "JobSet Operator"),
    ("org.opencontainers.image.url", REPOSITORY),
    ("org.opencontainers.image.vendor", VENDOR),
    ("release", "1"),
    ("summary", SUMMARY),
    ("url", REPOSITORY),
    ("vendor", VENDOR),
];

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// Adds the parent folders of every path, so that their permissions do not depend on the program that unpacks the
/// image.
pub fn add_parents(entries: &mut BTreeMap<String, Entry>) {
    let paths: Vec<_> = entries.keys().cloned().collect();
    for path in paths {
        for parent in
            Path::new(&path).ancestors().skip(1).filter_map(Path::to_str).filter(|parent| !parent.is_empty())
        {
            entries.entry(parent.to_owned()).or_insert_with(|| Entry::folder(0o755));
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn release() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        for (_, source) in FILES {
            if let Source::Program(name) = source {
                std::fs::copy(&own, folder.path().join(name)).unwrap();
            }
        }
        folder
    }

    #[test]
    fn image_contains_programs_links_licence_and_libraries() {
        let folder = release();
        let image = image(folder.path(), "localhost/jobset:dev", std::env::consts::ARCH, None).unwrap();
        assert_eq!(image.entries["manager"].kind, Kind::Link("/usr/bin/jobset-controller-manager".into()));
        assert_eq!(
            image.entries["usr/bin/jobset-operator"],
            Entry::file(folder.path().join("jobset-operator"), 0o755)
        );
        assert!(image.entries.contains_key("licenses/LICENSE"));
        assert_eq!(image.entries["tmp"].mode, 0o1777);
        assert!(image.entries.keys().any(|path| path.ends_with("/libc.so.6")), "{:?}", image.entries.keys());
        assert_eq!(image.config.user, "65532:65532");
        for path in image.entries.keys() {
            let parent = Path::new(path).parent().and_then(Path::to_str).unwrap();
            assert!(parent.is_empty() || image.entries[parent].kind == Kind::Folder, "{path}");
        }
    }

    #[test]
    fn a_missing_program_is_an_error_with_a_remedy() {
        let folder = release();
        std::fs::remove_file(folder.path().join("jobset-operator")).unwrap();
        let message = image(folder.path(), "t", std::env::consts::ARCH, None).unwrap_err().to_string();
        assert!(
            message.contains("no program jobset-operator") && message.contains("cargo build --release"),
            "{message}"
        );
    }

    #[test]
    fn image_matches_the_containerfile() {
        let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
        let (containerfile, build) = (read("Containerfile"), read("hack/build-programs"));
        let has =
            |line: &str| assert!(containerfile.contains(line), "Containerfile does not contain: {line}");
        has(&format!("USER {USER}\n"));
        has(&format!("ENTRYPOINT [\"{ENTRYPOINT}\"]\n"));
        for (link, to) in LINKS {
            has(&format!("ln -s {to} /image/{link}"));
        }
        for (path, source) in FILES {
            let folder = Path::new(path).parent().unwrap().display();
            match source {
                Source::Program(name) => {
                    has(&format!("hack/build-programs /image/{folder} "));
                    assert!(
                        build.contains(&format!("/{name}\"")),
                        "hack/build-programs does not build {name}"
                    );
                }
                Source::Repository(name) => has(&format!("-t /image/{folder} {name}")),
            }
        }
        let in_file: BTreeMap<_, _> = containerfile
            .lines()
            .filter_map(|line| line.strip_prefix("      ")?.trim_end_matches(" \\").split_once("=\""))
            .map(|(name, value)| (name, value.trim_end_matches('"')))
            .collect();
        assert_eq!(
            in_file.keys().copied().collect::<Vec<_>>(),
            labels("1", "c", 0).keys().collect::<Vec<_>>()
        );
        for (name, value) in in_file {
            let fixed = LABELS.iter().find(|(label, _)| *label == name).map(|(_, value)| *value);
            assert!(fixed == Some(value) || fixed.is_none() && value.starts_with("${"), "{name}: {value}");
        }
    }
}

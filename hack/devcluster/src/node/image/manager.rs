//! The one image of this project's programs, as the `Containerfile` lays it out.
//!
//! [`FILES`], [`USER`] and [`ENTRYPOINT`] say what the `Containerfile` says with COPY, USER and ENTRYPOINT. Its
//! base image brings the dynamic linker, the C library, `/etc/passwd` and `/tmp`; here they are added from this
//! machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Entry, Image, RunConfig, elf};

/// Where each file of the release ends up: (path in the image, file).
pub const FILES: [(&str, Source); 3] = [
    ("usr/bin/jobset-controller-manager", Source::Program("jobset-controller-manager")),
    ("usr/bin/jobset-operator", Source::Program("jobset-operator")),
    ("licenses/LICENSE", Source::Repository("LICENSE")),
];
/// Other paths of the same files: (link, path it leads to).
pub const LINKS: [(&str, &str); 1] = [("manager", "/usr/bin/jobset-controller-manager")];
/// Who runs them: `nonroot`.
pub const USER: &str = "65532:65532";
/// What is run when a pod names no command.
pub const ENTRYPOINT: &str = "/manager";

/// Where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A program, in the folder of the release binaries.
    Program(&'static str),
    /// A file of the source tree.
    Repository(&'static str),
}

/// The image, from the programs in `binaries`.
pub fn image(binaries: &Path, tag: &str) -> Result<Image> {
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
                    "there is no program {name} in {}: build it (`cargo build --release`), and name the folder it is in with --binaries",
                    binaries.display()
                ),
                Source::Repository(_) => {
                    bail!("there is no file {}: the source tree is not whole", file.display())
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
    entries.insert("etc/passwd".into(), Entry::text(PASSWD, 0o644));
    entries.insert("etc/group".into(), Entry::text(GROUP, 0o644));
    entries.insert("tmp".into(), Entry::folder(0o1777));
    for object in elf::shared_objects(&programs, &elf::library_folders())? {
        let path = object.strip_prefix("/").unwrap_or(&object);
        entries.insert(path.to_string_lossy().into_owned(), Entry::file(&object, 0o755));
    }
    add_parents(&mut entries);
    Ok(Image {
        tags: vec![tag.to_owned()],
        entries,
        config: RunConfig { entrypoint: vec![ENTRYPOINT.into()], command: vec![], user: USER.into() },
    })
}

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// The folders above every path, so that their permissions do not depend on who unpacks.
fn add_parents(entries: &mut BTreeMap<String, Entry>) {
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
    use crate::node::image::Kind;

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
    fn programs_links_licence_and_libraries_have_their_places() {
        let folder = release();
        let image = image(folder.path(), "localhost/jobset:dev").unwrap();
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
    fn a_missing_program_is_named_with_the_way_out() {
        let folder = release();
        std::fs::remove_file(folder.path().join("jobset-operator")).unwrap();
        let message = image(folder.path(), "t").unwrap_err().to_string();
        assert!(
            message.contains("no program jobset-operator") && message.contains("cargo build --release"),
            "{message}"
        );
    }

    #[test]
    fn the_containerfile_says_the_same() {
        let containerfile = std::fs::read_to_string(repository().join("Containerfile")).unwrap();
        let has = |line: &str| assert!(containerfile.contains(line), "Containerfile does not say: {line}");
        has(&format!("USER {USER}\n"));
        has(&format!("ENTRYPOINT [\"{ENTRYPOINT}\"]\n"));
        for (link, to) in LINKS {
            has(&format!("ln -s {to} /image/{link}\n"));
        }
        for (path, source) in FILES {
            let folder = Path::new(path).parent().unwrap().display();
            has(&format!("-t /image/{folder} "));
            match source {
                Source::Program(name) => has(&format!("target/release/{name}")),
                Source::Repository(name) => has(&format!("/image/{folder} {name}")),
            }
        }
    }
}

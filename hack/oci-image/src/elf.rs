//! Finds the shared libraries that a program needs, as the dynamic linker does.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use goblin::elf::Elf;

/// Dependencies of an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Dependencies {
    /// Absolute path of the dynamic linker; `None` for static programs and libraries.
    interpreter: Option<PathBuf>,
    /// Names of libraries.
    libraries: Vec<String>,
}

/// Where to find the libraries of an architecture.
pub(crate) struct Search {
    folders: Vec<PathBuf>,
    /// Folder of the libraries in the image; `None` if it is the one on this machine.
    in_image: Option<PathBuf>,
}

impl Search {
    /// The search path of Debian's dynamic linker; for another architecture than this machine's, the folder of Debian's
    /// packages for cross-compilation.
    pub(crate) fn new(architecture: &str) -> Self {
        if architecture != std::env::consts::ARCH {
            return Self {
                folders: vec![format!("/usr/{architecture}-linux-gnu/lib").into()],
                in_image: Some(format!("/lib/{architecture}-linux-gnu").into()),
            };
        }
        let folders = [
            format!("/lib/{architecture}-linux-gnu"),
            format!("/usr/lib/{architecture}-linux-gnu"),
            "/lib64".to_owned(),
            "/usr/lib64".to_owned(),
            "/lib".to_owned(),
            "/usr/lib".to_owned(),
        ];
        Self { folders: folders.map(PathBuf::from).to_vec(), in_image: None }
    }

    /// The path of a library in the image, and on this machine.
    fn library(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let source = self.folders.iter().map(|folder| folder.join(name)).find(|path| path.exists())?;
        Some((self.in_image.as_ref().map_or_else(|| source.clone(), |folder| folder.join(name)), source))
    }

    /// The same for a dynamic linker, whose path in the image is fixed.
    fn interpreter(&self, path: PathBuf) -> Option<(PathBuf, PathBuf)> {
        match self.in_image {
            None => Some((path.clone(), path)),
            Some(_) => self.library(path.file_name()?.to_str()?).map(|(_, source)| (path, source)),
        }
    }
}

/// The dynamic linker and every library that these programs need, directly or indirectly: their paths in the image and
/// on this machine.
pub(crate) fn shared_objects(programs: &[PathBuf], search: &Search) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut pending: VecDeque<PathBuf> = programs.iter().cloned().collect();
    while let Some(file) = pending.pop_front() {
        let dependencies = read(&file)?;
        let missing = |name: &str| {
            format!(
                "{} needs {name}, which is not in the search path of the dynamic linker: {}",
                file.display(),
                search
                    .folders
                    .iter()
                    .map(|folder| folder.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        let mut objects = Vec::new();
        if let Some(path) = dependencies.interpreter {
            let name = path.display().to_string();
            objects.push(search.interpreter(path).with_context(|| missing(&name))?);
        }
        for name in dependencies.libraries {
            objects.push(search.library(&name).with_context(|| missing(&format!("the library {name}")))?);
        }
        for (path, source) in objects {
            if found.insert(path, source.clone()).is_none() {
                pending.push_back(source);
            }
        }
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Dependencies> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&bytes).with_context(|| format!("cannot add {} to an image", file.display()))
}

fn parse(bytes: &[u8]) -> Result<Dependencies> {
    if !bytes.starts_with(b"\x7fELF") {
        bail!("not an ELF file");
    }
    let elf = Elf::parse(bytes).context("invalid ELF file")?;
    Ok(Dependencies {
        interpreter: elf.interpreter.map(PathBuf::from),
        libraries: elf.libraries.iter().map(|name| (*name).to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_program_needs_libc_and_the_dynamic_linker() {
        // Cargo links the test program as it links the image's programs.
        let program = std::env::current_exe().unwrap();
        let objects = shared_objects(&[program], &Search::new(std::env::consts::ARCH)).unwrap();
        let names: Vec<_> = objects.keys().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert!(names.contains(&"libc.so.6"), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("ld-linux")), "{names:?}");
    }

    #[test]
    fn other_files_are_errors() {
        assert!(parse(b"#!/bin/sh\n").unwrap_err().to_string().contains("not an ELF file"));
        assert!(parse(b"\x7fELF and then nothing").unwrap_err().to_string().contains("invalid ELF file"));
    }

    #[test]
    fn an_error_names_the_missing_library() {
        let program = std::env::current_exe().unwrap();
        let error = shared_objects(&[program], &Search::new("nowhere")).unwrap_err().to_string();
        assert!(error.contains(" needs /lib") && error.contains("/usr/nowhere-linux-gnu/lib"), "{error}");
    }

    #[test]
    fn libraries_of_another_architecture_have_other_paths_in_the_image() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libc.so.6", "ld-linux-aarch64.so.1"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let search = Search {
            folders: vec![folder.path().to_owned()],
            in_image: Some("/lib/aarch64-linux-gnu".into()),
        };
        let (path, source) = search.library("libc.so.6").unwrap();
        assert_eq!(path, Path::new("/lib/aarch64-linux-gnu/libc.so.6"));
        assert_eq!(source, folder.path().join("libc.so.6"));
        let (path, source) = search.interpreter("/lib/ld-linux-aarch64.so.1".into()).unwrap();
        assert_eq!(path, Path::new("/lib/ld-linux-aarch64.so.1"));
        assert_eq!(source, folder.path().join("ld-linux-aarch64.so.1"));
        assert_eq!(search.library("libm.so.6"), None);
    }
}

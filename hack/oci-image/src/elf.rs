//! Finds the shared libraries that a program needs, as the dynamic linker does.

use std::collections::{BTreeSet, VecDeque};
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

/// The search path of Debian's dynamic linker for this machine's architecture.
pub(crate) fn library_folders() -> Vec<PathBuf> {
    let architecture = std::env::consts::ARCH;
    [
        format!("/lib/{architecture}-linux-gnu"),
        format!("/usr/lib/{architecture}-linux-gnu"),
        "/lib64".to_owned(),
        "/usr/lib64".to_owned(),
        "/lib".to_owned(),
        "/usr/lib".to_owned(),
    ]
    .map(PathBuf::from)
    .to_vec()
}

/// The paths of the dynamic linker and of every library that these programs need, directly or indirectly.
pub(crate) fn shared_objects(programs: &[PathBuf], folders: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut pending: VecDeque<PathBuf> = programs.iter().cloned().collect();
    while let Some(file) = pending.pop_front() {
        let dependencies = read(&file)?;
        let libraries = dependencies.libraries.iter().map(|name| {
            folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()).with_context(|| {
                format!(
                    "{} needs the library {name}, which is not in the search path of the dynamic linker",
                    file.display()
                )
            })
        });
        for path in dependencies.interpreter.into_iter().map(Ok).chain(libraries) {
            let path = path?;
            if found.insert(path.clone()) {
                pending.push_back(path);
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
        let objects = shared_objects(&[program], &library_folders()).unwrap();
        let names: Vec<_> = objects.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
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
        let error = shared_objects(&[program], &[PathBuf::from("/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("needs the library lib"), "{error}");
    }
}

//! Which shared libraries a program needs, read from the program as the dynamic linker would.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use goblin::elf::Elf;

/// What one ELF file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Needs {
    /// The dynamic linker, as an absolute path; none: a static program, or a library.
    interpreter: Option<PathBuf>,
    /// Names of libraries.
    libraries: Vec<String>,
}

/// The folders in which Debian's dynamic linker looks, in its order, for this machine's architecture.
pub(super) fn library_folders() -> Vec<PathBuf> {
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

/// The dynamic linker and every library that these programs need, directly or through another library, by the
/// paths at which they are found.
pub(super) fn shared_objects(programs: &[PathBuf], folders: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut pending: VecDeque<PathBuf> = programs.iter().cloned().collect();
    while let Some(file) = pending.pop_front() {
        let needs = read(&file)?;
        let libraries = needs.libraries.iter().map(|name| {
            folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()).with_context(|| {
                format!(
                    "{} needs the library {name}, which is in none of the system's library folders",
                    file.display()
                )
            })
        });
        for path in needs.interpreter.into_iter().map(Ok).chain(libraries) {
            let path = path?;
            if found.insert(path.clone()) {
                pending.push_back(path);
            }
        }
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Needs> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&bytes).with_context(|| format!("{} cannot be put into an image", file.display()))
}

fn parse(bytes: &[u8]) -> Result<Needs> {
    if !bytes.starts_with(b"\x7fELF") {
        bail!("it is not a Linux program");
    }
    let elf = Elf::parse(bytes).context("it is a damaged program")?;
    Ok(Needs {
        interpreter: elf.interpreter.map(PathBuf::from),
        libraries: elf.libraries.iter().map(|name| (*name).to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_machine_needs_libc_and_the_linker() {
        // The test program itself is built as our programs are.
        let program = std::env::current_exe().unwrap();
        let objects = shared_objects(&[program], &library_folders()).unwrap();
        let names: Vec<_> = objects.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert!(names.contains(&"libc.so.6"), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("ld-linux")), "{names:?}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(parse(b"#!/bin/sh\n").unwrap_err().to_string().contains("not a Linux program"));
        assert!(parse(b"\x7fELF and then nothing").unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_library_that_is_nowhere_is_named() {
        let program = std::env::current_exe().unwrap();
        let error = shared_objects(&[program], &[PathBuf::from("/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("needs the library lib"), "{error}");
    }
}

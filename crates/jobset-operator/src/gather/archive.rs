//! The output: a folder, or a tar archive on standard output.

use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Folder of the files in a tar archive.
const TOP: &str = "must-gather";

/// Receives the files. Their paths are relative, and contain only the names of Kubernetes objects.
pub(super) struct Archive {
    sink: Sink,
    index: Index,
}

enum Sink {
    Folder(PathBuf),
    Tar(Box<tar::Builder<Box<dyn Write + Send>>>),
}

/// What the archive contains, and what it does not.
#[derive(Debug, Default, Serialize)]
struct Index {
    /// The files, in the order of their collection.
    files: Vec<File>,
    /// What could not be collected, and why.
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Missing {
    what: String,
    reason: String,
}

impl Archive {
    /// Writes to a folder, which it creates.
    pub(super) fn folder(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { sink: Sink::Folder(path.to_owned()), index: Index::default() })
    }

    /// Writes a tar archive.
    pub(super) fn tar(output: impl Write + Send + 'static) -> Self {
        let output: Box<dyn Write + Send> = Box::new(output);
        Self { sink: Sink::Tar(Box::new(tar::Builder::new(output))), index: Index::default() }
    }

    /// Adds a file with text.
    pub(super) fn text(&mut self, path: &str, text: &str) -> io::Result<()> {
        self.index.files.push(File { path: path.to_owned(), objects: None });
        self.write(path, text.as_bytes())
    }

    /// Adds a file with this value as YAML. `objects` is the number of Kubernetes objects in it.
    pub(super) fn yaml(&mut self, path: &str, value: &impl Serialize, objects: usize) -> io::Result<()> {
        let text = serde_yaml::to_string(value).map_err(io::Error::other)?;
        self.index.files.push(File { path: path.to_owned(), objects: Some(objects) });
        self.write(path, text.as_bytes())
    }

    /// Records that something could not be collected.
    pub(super) fn missing(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.index.missing.push(Missing { what: what.into(), reason: reason.into() });
    }

    /// The number of files and of missing parts.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.index.files.len(), self.index.missing.len())
    }

    /// Writes the index, and ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let index = serde_yaml::to_string(&self.index).map_err(io::Error::other)?;
        self.write("index.yaml", index.as_bytes())?;
        match self.sink {
            Sink::Folder(_) => Ok(()),
            Sink::Tar(builder) => builder.into_inner()?.flush(),
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sink {
            Sink::Folder(folder) => {
                let path = folder.join(path);
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::write(path, bytes)
            }
            Sink::Tar(builder) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, format!("{TOP}/{path}"), bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn fill(archive: &mut Archive) {
        archive.text("version", "1\n").unwrap();
        archive.yaml("namespaces/a/core/pods.yaml", &["p"], 1).unwrap();
        archive.missing("secrets of namespace a", "forbidden");
        assert_eq!(archive.counts(), (2, 1));
    }

    const INDEX: &str = "files:\n- path: version\n- path: namespaces/a/core/pods.yaml\n  objects: 1\nmissing:\n- what: \
         secrets of namespace a\n  reason: forbidden\n";

    #[test]
    fn a_folder_contains_the_files_and_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::folder(&folder.path().join("new")).unwrap();
        fill(&mut archive);
        archive.finish().unwrap();
        let read = |path: &str| std::fs::read_to_string(folder.path().join("new").join(path)).unwrap();
        assert_eq!(read("namespaces/a/core/pods.yaml"), "- p\n");
        assert_eq!(read("index.yaml"), INDEX);
    }

    #[test]
    fn a_tar_archive_contains_the_same_files() {
        let output = Shared::default();
        let mut archive = Archive::tar(output.clone());
        fill(&mut archive);
        archive.finish().unwrap();
        let bytes = output.0.lock().unwrap().clone();
        let mut reader = tar::Archive::new(bytes.as_slice());
        let mut files = Vec::new();
        for entry in reader.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            files.push((entry.path().unwrap().display().to_string(), text));
        }
        let paths: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["must-gather/version", "must-gather/namespaces/a/core/pods.yaml", "must-gather/index.yaml"]
        );
        assert_eq!(files[2].1, INDEX);
    }
}

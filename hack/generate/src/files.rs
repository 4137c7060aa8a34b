//! Writes generated files to the repository, or compares them with it.
//!
//! The folders in [`GENERATED`] contain only generated files. Any other file there is obsolete: writing removes it, and
//! checking reports it.

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Folders of generated files, relative to the root of the repository.
pub const GENERATED: [&str; 3] = ["manifests", "deploy", "bundle"];

/// Content of the generated files, by path relative to the root of the repository.
#[derive(Default)]
pub struct Files(BTreeMap<PathBuf, String>);

/// A difference between a file on disk and the generated file.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file does not exist.
    Missing(PathBuf),
    /// The file exists, but is not generated.
    Obsolete(PathBuf),
    /// The content differs.
    Changed {
        /// The file.
        path: PathBuf,
        /// Number of the first different line, starting at 1.
        line: usize,
        /// The line on disk.
        on_disk: String,
        /// The generated line.
        generated: String,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "missing      {}", path.display()),
            Self::Obsolete(path) => write!(f, "obsolete     {}", path.display()),
            Self::Changed { path, line, on_disk, generated } => write!(
                f,
                "different    {}, first in line {line}\n    on disk:   {on_disk}\n    generated: {generated}",
                path.display()
            ),
        }
    }
}

impl Difference {
    /// Message about the change that `write` makes.
    pub fn action(&self) -> String {
        match self {
            Self::Missing(path) | Self::Changed { path, .. } => format!("wrote {}", path.display()),
            Self::Obsolete(path) => format!("removed {}", path.display()),
        }
    }
}

impl Files {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<PathBuf>, content: String) {
        self.0.insert(path.into(), content);
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Content of a file.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(Path::new(path)).map(String::as_str)
    }

    /// All files, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(path, content)| (path.as_path(), content.as_str()))
    }

    /// Writes the files that differ and removes obsolete files. Returns the differences that it resolved.
    pub fn write(&self, root: &Path) -> Result<Vec<Difference>> {
        let differences = self.differences(root)?;
        for difference in &differences {
            match difference {
                Difference::Obsolete(path) => {
                    fs::remove_file(root.join(path))
                        .with_context(|| format!("cannot remove {}", path.display()))?;
                }
                Difference::Missing(path) | Difference::Changed { path, .. } => {
                    let target = root.join(path);
                    if let Some(folder) = target.parent() {
                        fs::create_dir_all(folder)
                            .with_context(|| format!("cannot create {}", folder.display()))?;
                    }
                    let content = self.0.get(path).map_or("", String::as_str);
                    fs::write(&target, content)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(differences)
    }

    /// Compares the files with those under `root`.
    pub fn differences(&self, root: &Path) -> Result<Vec<Difference>> {
        let mut found = Vec::new();
        for (path, generated) in &self.0 {
            match fs::read_to_string(root.join(path)) {
                Ok(on_disk) if on_disk == *generated => {}
                Ok(on_disk) => found.push(first_difference(path, &on_disk, generated)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    found.push(Difference::Missing(path.clone()));
                }
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            }
        }
        for folder in GENERATED {
            for path in files_under(root, Path::new(folder))? {
                if !self.0.contains_key(&path) {
                    found.push(Difference::Obsolete(path));
                }
            }
        }
        Ok(found)
    }
}

fn first_difference(path: &Path, on_disk: &str, generated: &str) -> Difference {
    let on_disk: Vec<_> = on_disk.split('\n').collect();
    let generated: Vec<_> = generated.split('\n').collect();
    let longest = on_disk.len().max(generated.len());
    let index = (0..longest).find(|&index| on_disk.get(index) != generated.get(index)).unwrap_or(longest);
    Difference::Changed {
        path: path.to_owned(),
        line: index + 1,
        on_disk: excerpt(on_disk.get(index)),
        generated: excerpt(generated.get(index)),
    }
}

fn excerpt(line: Option<&&str>) -> String {
    match line {
        None => "(end of file)".to_owned(),
        Some(line) if line.chars().count() > 100 => line.chars().take(100).chain("…".chars()).collect(),
        Some(line) => (*line).to_owned(),
    }
}

/// Files under `folder`, relative to `root`, sorted. Empty if the folder does not exist.
fn files_under(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read folder {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read folder {}", folder.display()))?;
        let path = folder.join(entry.file_name());
        if entry.file_type().with_context(|| format!("cannot read {}", path.display()))?.is_dir() {
            found.extend(files_under(root, &path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_resolves_every_kind_of_difference() {
        let root = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        files.add("deploy/same.yaml", "a: 1\n".into());
        files.add("deploy/changed.yaml", "a: 1\nb: 2\n".into());
        files.add("bundle/missing.yaml", "a: 1\n".into());
        fs::create_dir_all(root.path().join("deploy/old")).unwrap();
        fs::write(root.path().join("deploy/same.yaml"), "a: 1\n").unwrap();
        fs::write(root.path().join("deploy/changed.yaml"), "a: 1\nb: 3\n").unwrap();
        fs::write(root.path().join("deploy/old/left.yaml"), "").unwrap();

        let expected = vec![
            Difference::Missing("bundle/missing.yaml".into()),
            Difference::Changed {
                path: "deploy/changed.yaml".into(),
                line: 2,
                on_disk: "b: 3".into(),
                generated: "b: 2".into(),
            },
            Difference::Obsolete("deploy/old/left.yaml".into()),
        ];
        assert_eq!(files.differences(root.path()).unwrap(), expected);
        assert_eq!(files.write(root.path()).unwrap(), expected);
        assert_eq!(files.differences(root.path()).unwrap(), []);
    }

    #[test]
    fn a_truncated_file_differs_at_its_end() {
        let difference = first_difference(Path::new("x"), "a\n", "a\nb\n");
        let Difference::Changed { line, on_disk, generated, .. } = difference else { panic!("{difference}") };
        assert_eq!((line, on_disk.as_str(), generated.as_str()), (2, "", "b"));
    }
}

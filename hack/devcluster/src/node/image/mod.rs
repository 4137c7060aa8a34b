//! Builds container images from files of this machine, because the node reaches no registry.
//!
//! An image consists of the entries of its root folder and a [`RunConfig`]. [`Image::write`] writes an archive in the
//! format of `docker save`, which containerd imports. Archives are reproducible: entries are sorted, have no times, and
//! belong to root.

mod contents;
mod elf;
pub mod manager;
mod shell;

pub use contents::{Entry, Kind, from_folder};
pub use shell::{PAUSE_TAG, busybox, pause, program};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Default command and user of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that a pod's `args` replace.
    pub command: Vec<String>,
    /// `uid` or `uid:gid`; empty means root.
    pub user: String,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Names of the image, such as `localhost/busybox:dev`.
    pub tags: Vec<String>,
    /// Entries of its root folder, by path without leading slash.
    pub entries: BTreeMap<String, Entry>,
    /// Default command and user.
    pub config: RunConfig,
}

/// A written archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// ID of the image: the digest of its configuration.
    pub id: String,
    /// Size of its layer in bytes.
    pub size: u64,
}

impl Image {
    /// Writes the archive to `target`.
    pub fn write(&self, target: &Path) -> Result<Written> {
        let folder = target.parent().unwrap_or(Path::new("."));
        let write = || -> Result<Written> {
            let mut layer = DigestWriter::new(tempfile::tempfile_in(folder)?);
            self.write_layer(&mut layer)?;
            let (mut layer, diff_id, size) = layer.finish()?;
            let config = self.config_json(&diff_id).to_string();
            let id = hex(&Sha256::digest(config.as_bytes()));
            let manifest = json!([{
                "Config": format!("{id}.json"),
                "RepoTags": self.tags,
                "Layers": ["layer.tar"],
            }]);
            let temporary = tempfile::NamedTempFile::new_in(folder)?;
            let mut archive = tar::Builder::new(io::BufWriter::new(temporary.as_file()));
            append(&mut archive, "manifest.json", manifest.to_string().as_bytes())?;
            append(&mut archive, &format!("{id}.json"), config.as_bytes())?;
            layer.rewind()?;
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(size);
            archive.append_data(&mut header, "layer.tar", BufReader::new(layer))?;
            archive.into_inner()?.flush()?;
            temporary.persist(target)?;
            Ok(Written { id: format!("sha256:{id}"), size })
        };
        write()
            .with_context(|| format!("cannot write image {} to {}", self.tags.join(", "), target.display()))
    }

    /// A digest of everything except for the content of copied files.
    pub fn fingerprint(&self) -> String {
        let mut digest = hex(&Sha256::digest(format!("{self:?}").as_bytes()));
        digest.truncate(16);
        digest
    }

    fn write_layer(&self, out: impl Write) -> Result<()> {
        let mut layer = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            let mut write = || -> Result<()> {
                match &entry.kind {
                    Kind::Folder => {
                        let mut header = header(tar::EntryType::Directory, entry.mode);
                        header.set_size(0);
                        layer.append_data(&mut header, path, io::empty())?;
                    }
                    Kind::Text(text) => {
                        let mut header = header(tar::EntryType::Regular, entry.mode);
                        header.set_size(text.len() as u64);
                        layer.append_data(&mut header, path, text.as_bytes())?;
                    }
                    Kind::File(source) => {
                        let file = File::open(source)
                            .with_context(|| format!("cannot read {}", source.display()))?;
                        let mut header = header(tar::EntryType::Regular, entry.mode);
                        header.set_size(file.metadata()?.len());
                        layer.append_data(&mut header, path, BufReader::new(file))?;
                    }
                    Kind::Link(to) => {
                        let mut header = header(tar::EntryType::Symlink, entry.mode);
                        header.set_size(0);
                        layer.append_link(&mut header, path, to)?;
                    }
                }
                Ok(())
            };
            write().with_context(|| format!("cannot add /{path}"))?;
        }
        layer.into_inner()?.flush()?;
        Ok(())
    }

    fn config_json(&self, diff_id: &str) -> serde_json::Value {
        let config = json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
            "Entrypoint": self.config.entrypoint,
            "Cmd": self.config.command,
            "User": self.config.user,
        });
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
        })
    }
}

/// This machine's architecture, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, 0o644);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes a file through a buffer and computes its size and digest.
struct DigestWriter {
    file: io::BufWriter<File>,
    hash: Sha256,
    size: u64,
}

impl DigestWriter {
    fn new(file: File) -> Self {
        Self { file: io::BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), size: 0 }
    }

    fn finish(self) -> Result<(File, String, u64)> {
        Ok((self.file.into_inner()?, hex(&self.hash.finalize()), self.size))
    }
}

impl Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads the names of the images in an archive of `docker save` or of the OCI image layout.
pub fn tags_in(archive: &Path) -> Result<Vec<String>> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let mut tags = Vec::new();
    let mut is_image = false;
    let read = || -> Result<()> {
        for entry in tar::Archive::new(BufReader::new(file)).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let pointer = match path.to_str() {
                Some("manifest.json") => "docker",
                Some("index.json") => "oci",
                _ => continue,
            };
            is_image = true;
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            tags.extend(tags_of(pointer == "docker", &serde_json::from_str(&text)?));
        }
        Ok(())
    };
    // For a file of another format, the reader's own error is misleading.
    read().map_err(|_| anyhow!("{} is not an archive of container images", archive.display()))?;
    anyhow::ensure!(
        is_image,
        "{} is not an archive of container images: it contains neither manifest.json (`docker save`) nor \
         index.json (OCI)",
        archive.display()
    );
    tags.sort();
    tags.dedup();
    Ok(tags)
}

fn tags_of(is_docker: bool, manifest: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    if is_docker {
        let images = manifest.as_array().into_iter().flatten();
        return images.filter_map(|image| image["RepoTags"].as_array()).flatten().filter_map(text).collect();
    }
    // OCI's annotation may contain only the tag. containerd's contains the full name.
    let manifests = manifest["manifests"].as_array().into_iter().flatten();
    manifests
        .filter_map(|one| {
            let annotations = &one["annotations"];
            text(&annotations["io.containerd.image.name"])
                .or_else(|| text(&annotations["org.opencontainers.image.ref.name"]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let entries = [
            ("etc/passwd", Entry::text("nobody:x:1:1::/:/bin/false\n", 0o644)),
            ("tmp", Entry::folder(0o1777)),
            ("bin/ls", Entry::link("/bin/box")),
            ("etc", Entry::folder(0o755)),
        ];
        Image {
            tags: vec!["localhost/test:one".into()],
            entries: entries.into_iter().map(|(path, entry)| (path.to_owned(), entry)).collect(),
            config: RunConfig { entrypoint: vec!["/bin/ls".into()], command: vec![], user: "7:8".into() },
        }
    }

    fn read(archive: impl Read) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), content);
        }
        files
    }

    #[test]
    fn an_archive_contains_the_digests_of_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image.tar");
        let written = image().write(&target).unwrap();
        let files = read(File::open(&target).unwrap());
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["localhost/test:one"]));
        let config_file = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(written.id, format!("sha256:{}", config_file.trim_end_matches(".json")));
        assert_eq!(hex(&Sha256::digest(&files[config_file])), config_file.trim_end_matches(".json"));
        let config: serde_json::Value = serde_json::from_slice(&files[config_file]).unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!([format!("sha256:{}", hex(&Sha256::digest(&files["layer.tar"])))])
        );
        assert_eq!(config["config"]["User"], "7:8");
        assert_eq!(written.size, files["layer.tar"].len() as u64);
        let layer = read(files["layer.tar"].as_slice());
        assert_eq!(
            layer.keys().map(|path| path.trim_end_matches('/')).collect::<Vec<_>>(),
            ["bin/ls", "etc", "etc/passwd", "tmp"]
        );
        assert_eq!(file_count(folder.path()), 1, "temporary files are left");
    }

    fn file_count(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn archives_are_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("1"), folder.path().join("2"));
        image().write(&one).unwrap();
        image().write(&other).unwrap();
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    }

    #[test]
    fn both_formats_contain_names() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image.tar");
        image().write(&target).unwrap();
        assert_eq!(tags_in(&target).unwrap(), ["localhost/test:one"]);
        let index = json!({"manifests": [
            {"annotations": {"io.containerd.image.name": "example.org/a:1", "org.opencontainers.image.ref.name": "1"}},
            {"annotations": {"org.opencontainers.image.ref.name": "example.org/b:2"}},
            {},
        ]});
        assert_eq!(tags_of(false, &index), ["example.org/a:1", "example.org/b:2"]);
    }

    #[test]
    fn an_archive_of_other_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("notes.tar");
        let mut archive = tar::Builder::new(File::create(&target).unwrap());
        append(&mut archive, "notes.txt", b"hello").unwrap();
        archive.finish().unwrap();
        assert!(tags_in(&target).unwrap_err().to_string().contains("neither manifest.json"));
        std::fs::write(&target, "not an archive").unwrap();
        assert!(format!("{:#}", tags_in(&target).unwrap_err()).contains("is not an archive"));
    }
}

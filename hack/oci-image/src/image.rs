//! An image, and its archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use oci_spec::distribution::Reference;
use serde_json::{Value, json};

use crate::base::Base;
use crate::contents::Entry;
use crate::digest::sha256;
use crate::layer::{self, Compression, header};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Default command and user of containers, and labels of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that a pod's `args` replace.
    pub command: Vec<String>,
    /// `uid` or `uid:gid`; empty means root.
    pub user: String,
    /// Labels. Those of a base stay, unless they have the same name.
    pub labels: BTreeMap<String, String>,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Names of the image, such as `localhost/busybox:dev`.
    pub tags: Vec<String>,
    /// Entries of its root folder, by path without leading slash.
    pub entries: BTreeMap<String, Entry>,
    /// Default command, user and labels.
    pub config: RunConfig,
    /// Architecture of its programs, as images name it: `amd64`, `arm64`.
    pub architecture: String,
    /// Time of the image and of its entries, in seconds since 1970.
    pub created: u64,
    /// The image below the entries.
    pub base: Option<Base>,
}

/// A written archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Digest of the image's manifest, or of the index of several: the digest by which a registry serves the image.
    pub digest: String,
    /// Size of the entries in bytes, without a base and with all architectures.
    pub size: u64,
}

impl Image {
    /// An image for this machine's architecture, without base, of 1970.
    pub fn new(tag: impl Into<String>, entries: BTreeMap<String, Entry>, config: RunConfig) -> Self {
        let architecture = architecture(std::env::consts::ARCH).to_owned();
        Self { tags: vec![tag.into()], entries, config, architecture, created: 0, base: None }
    }

    /// Writes the archive to `target`.
    pub fn write(&self, target: &Path, compression: Compression) -> Result<Written> {
        write(std::slice::from_ref(self), target, compression)
    }

    /// A digest of everything except for the content of copied files.
    pub fn fingerprint(&self) -> String {
        sha256(format!("{self:?}").as_bytes()).trim_start_matches("sha256:").chars().take(16).collect()
    }

    /// Adds the image's blobs. Returns the descriptor of its manifest, and the size of its layer.
    fn add_to<'a>(
        &'a self,
        blobs: &mut Blobs<'a>,
        folder: &Path,
        compression: Compression,
    ) -> Result<(Value, u64)> {
        let layer = layer::write(&self.entries, self.created, compression, tempfile::tempfile_in(folder)?)?;
        let mut layers = Vec::new();
        for (descriptor, content) in self.base.iter().flat_map(|base| &base.layers) {
            let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default();
            blobs.insert(digest.to_owned(), Blob::Borrowed(content));
            layers.push(descriptor.clone());
        }
        layers.push(descriptor(compression.media_type(), &layer.digest, layer.size));
        let config = add(blobs, CONFIG, self.config_json(&layer.diff_id)?);
        blobs.insert(layer.digest, Blob::File(layer.file, layer.size));
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut descriptor = add(blobs, MANIFEST, manifest);
        if let Some(fields) = descriptor.as_object_mut() {
            let platform = json!({ "architecture": self.architecture, "os": "linux" });
            fields.insert("platform".to_owned(), platform);
        }
        Ok((descriptor, layer.unpacked))
    }

    fn config_json(&self, diff_id: &str) -> Result<Value> {
        let created =
            i64::try_from(self.created).context("the image is from a time too far in the future")?;
        let created = jiff::Timestamp::from_second(created).context("invalid time of the image")?;
        let of_base = self.base.as_ref().and_then(|base| base.config.get("config"));
        let inherited = |name: &str| of_base.and_then(|config| config.get(name));
        let mut labels = inherited("Labels").and_then(Value::as_object).cloned().unwrap_or_default();
        labels.extend(self.config.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        let path = json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        let diff_ids = self.base.iter().flat_map(Base::diff_ids).chain([diff_id.into()]);
        Ok(json!({
            "created": created.to_string(),
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "Env": inherited("Env").cloned().unwrap_or(path),
                "WorkingDir": "/",
                "Entrypoint": self.config.entrypoint,
                "Cmd": self.config.command,
                "User": self.config.user,
                "Labels": labels,
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
        }))
    }
}

/// Writes an archive with one image, or with one for each of several architectures. Names and time are those of the
/// first one.
pub fn write(images: &[Image], target: &Path, compression: Compression) -> Result<Written> {
    let names = images.first().map(|image| image.tags.join(", ")).unwrap_or_default();
    write_archive(images, target, compression)
        .with_context(|| format!("cannot write image {names} to {}", target.display()))
}

fn write_archive(images: &[Image], target: &Path, compression: Compression) -> Result<Written> {
    let first = images.first().context("there is no image")?;
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut blobs = Blobs::new();
    let mut manifests = Vec::new();
    let mut size = 0;
    for image in images {
        let (descriptor, of_layer) = image.add_to(&mut blobs, folder, compression)?;
        manifests.push(descriptor);
        size += of_layer;
    }
    let root = match manifests.as_slice() {
        [only] => only.clone(),
        several => add(&mut blobs, INDEX, index(several)),
    };
    let digest = root.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();

    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    {
        let mut archive = Archive(tar::Builder::new(io::BufWriter::new(temporary.as_file())), first.created);
        archive.folder("blobs/")?;
        archive.folder("blobs/sha256/")?;
        for (digest, blob) in blobs {
            let path = format!("blobs/{}", digest.replacen(':', "/", 1));
            match blob {
                Blob::Borrowed(bytes) => archive.bytes(&path, bytes)?,
                Blob::Owned(bytes) => archive.bytes(&path, &bytes)?,
                Blob::File(mut file, size) => {
                    file.rewind()?;
                    archive.file(&path, size, BufReader::new(file))?;
                }
            }
        }
        archive.bytes("index.json", &text(index(&named(&root, &first.tags)?)))?;
        archive.bytes("oci-layout", &text(json!({ "imageLayoutVersion": "1.0.0" })))?;
        archive.0.into_inner()?.flush()?;
    }
    // A temporary file is readable only by its owner.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temporary.as_file().set_permissions(permissions)?;
    temporary.persist(target)?;
    Ok(Written { digest, size })
}

/// The descriptor once for each name.
fn named(descriptor: &Value, tags: &[String]) -> Result<Vec<Value>> {
    let with_name = |tag: &String| {
        let name: Reference = tag.parse().with_context(|| format!("invalid image name {tag}"))?;
        let mut descriptor = descriptor.clone();
        let annotations = json!({
            // containerd and Docker take the first one for the whole name, with a registry.
            "io.containerd.image.name": name.whole(),
            "org.opencontainers.image.ref.name": name.tag(),
        });
        if let Some(fields) = descriptor.as_object_mut() {
            fields.insert("annotations".to_owned(), annotations);
        }
        Ok(descriptor)
    };
    tags.iter().map(with_name).collect()
}

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

enum Blob<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    File(File, u64),
}

/// Blobs by digest.
type Blobs<'a> = BTreeMap<String, Blob<'a>>;

/// Adds a document, and returns its descriptor.
fn add(blobs: &mut Blobs<'_>, media_type: &str, document: Value) -> Value {
    let bytes = text(document);
    let digest = sha256(&bytes);
    let descriptor = descriptor(media_type, &digest, bytes.len() as u64);
    blobs.insert(digest, Blob::Owned(bytes));
    descriptor
}

/// The archive, and the time of its entries.
struct Archive<W: io::Write>(tar::Builder<W>, u64);

impl<W: io::Write> Archive<W> {
    fn folder(&mut self, path: &str) -> io::Result<()> {
        let mut header = header(tar::EntryType::Directory, 0o755, self.1, 0);
        self.0.append_data(&mut header, path, io::empty())
    }

    fn bytes(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.file(path, content.len() as u64, content)
    }

    fn file(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644, self.1, size);
        self.0.append_data(&mut header, path, content)
    }
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

/// JSON with sorted keys, independent of `serde_json`'s feature `preserve_order`.
fn text(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    value.to_string().into_bytes()
}

/// An architecture of Rust, as images name it.
pub fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout};

    fn image() -> Image {
        let entries = [
            ("etc/passwd", Entry::text("nobody:x:1:1::/:/bin/false\n", 0o644)),
            ("tmp", Entry::folder(0o1777)),
            ("bin/ls", Entry::link("/bin/box")),
            ("etc", Entry::folder(0o755)),
        ];
        let mut image = Image::new(
            "localhost:5000/test:one",
            entries.into_iter().map(|(path, entry)| (path.to_owned(), entry)).collect(),
            RunConfig { entrypoint: vec!["/bin/ls".into()], user: "7:8".into(), ..RunConfig::default() },
        );
        image.created = 1_000_000_000;
        image.config.labels = ["b", "a", "c"].map(|name| (name.to_owned(), "x".to_owned())).into();
        image
    }

    fn read(archive: impl Read) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut paths = Vec::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (1_000_000_000, 0));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            paths.push(path.clone());
            files.insert(path, content);
        }
        assert!(paths.is_sorted(), "{paths:?}");
        files
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, digest: &str) -> &'a [u8] {
        let bytes = &files[&format!("blobs/{}", digest.replacen(':', "/", 1))];
        assert_eq!(sha256(bytes), digest);
        bytes
    }

    /// Reads the archive with the types of another project.
    fn parsed(archive: &Path) -> (ImageIndex, ImageManifest, ImageConfiguration, BTreeMap<String, Vec<u8>>) {
        let files = read(File::open(archive).unwrap());
        let layout = OciLayout::from_reader(files["oci-layout"].as_slice()).unwrap();
        assert_eq!(layout.image_layout_version(), "1.0.0");
        let index = ImageIndex::from_reader(files["index.json"].as_slice()).unwrap();
        let manifest = index.manifests()[0].digest().to_string();
        let manifest = ImageManifest::from_reader(blob(&files, &manifest)).unwrap();
        let config = manifest.config().digest().to_string();
        let config = ImageConfiguration::from_reader(blob(&files, &config)).unwrap();
        (index, manifest, config, files)
    }

    #[test]
    fn names_are_those_by_which_a_kubelet_asks() {
        let names = |tag: &str| {
            let named = named(&json!({}), &[tag.to_owned()])?;
            let annotations = &named[0]["annotations"];
            anyhow::Ok(
                ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
                    .map(|name| annotations[name].as_str().unwrap().to_owned()),
            )
        };
        assert_eq!(names("busybox").unwrap(), ["docker.io/library/busybox:latest", "latest"]);
        assert_eq!(names("me/box:1").unwrap(), ["docker.io/me/box:1", "1"]);
        assert_eq!(names("localhost:5000/a/b:1").unwrap(), ["localhost:5000/a/b:1", "1"]);
        assert!(names("A b").unwrap_err().to_string().contains("A b"));
    }

    #[test]
    fn an_archive_is_an_oci_layout() {
        for (compression, media_type) in
            [(Compression::None, MediaType::ImageLayer), (Compression::Gzip, MediaType::ImageLayerGzip)]
        {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("image.tar");
            let written = image().write(&target, compression).unwrap();
            let (index, manifest, config, files) = parsed(&target);
            assert_eq!(index.manifests()[0].digest().to_string(), written.digest);
            assert_eq!(index.manifests()[0].platform().as_ref().unwrap().os().to_string(), "linux");
            assert_eq!(crate::tags_in(&target).unwrap(), ["localhost:5000/test:one"]);
            let names = index.manifests()[0].annotations().clone().unwrap();
            assert_eq!(names["org.opencontainers.image.ref.name"], "one");

            assert_eq!(config.created().as_deref(), Some("2001-09-09T01:46:40Z"));
            let run = config.config().as_ref().unwrap();
            assert_eq!(run.user().as_deref(), Some("7:8"));
            assert_eq!(run.labels().as_ref().unwrap().len(), 3);

            assert_eq!(manifest.layers().len(), 1);
            assert_eq!(*manifest.layers()[0].media_type(), media_type);
            let bytes = blob(&files, manifest.layers()[0].digest().as_ref());
            let mut layer = Vec::new();
            if compression == Compression::Gzip {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut layer).unwrap();
            } else {
                layer.extend_from_slice(bytes);
            }
            assert_eq!(config.rootfs().diff_ids(), &[sha256(&layer)]);
            assert_eq!(written.size, layer.len() as u64);
            let paths = read(layer.as_slice());
            assert_eq!(
                paths.keys().map(|path| path.trim_end_matches('/')).collect::<Vec<_>>(),
                ["bin/ls", "etc", "etc/passwd", "tmp"]
            );
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are left");
        }
    }

    #[test]
    fn archives_are_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("1"), folder.path().join("2"));
        image().write(&one, Compression::Gzip).unwrap();
        image().write(&other, Compression::Gzip).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
        let mut later = image();
        later.created += 1;
        later.write(&other, Compression::Gzip).unwrap();
        assert_ne!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    }

    #[test]
    fn every_name_has_an_entry_in_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image.tar");
        let mut image = image();
        image.tags = vec!["busybox:latest".into(), "localhost/busybox:dev".into()];
        image.write(&target, Compression::None).unwrap();
        let names = ["docker.io/library/busybox:latest", "localhost/busybox:dev"];
        assert_eq!(crate::tags_in(&target).unwrap(), names);
    }

    #[test]
    fn several_architectures_have_one_index() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image.tar");
        let images = ["amd64", "arm64"].map(|architecture| {
            let mut image = image();
            image.entries.insert("program".into(), Entry::text(architecture, 0o755));
            Image { architecture: architecture.into(), ..image }
        });
        let written = write(&images, &target, Compression::Gzip).unwrap();
        let files = read(File::open(&target).unwrap());
        let outer = ImageIndex::from_reader(files["index.json"].as_slice()).unwrap();
        assert_eq!(outer.manifests().len(), 1);
        assert_eq!(outer.manifests()[0].digest().to_string(), written.digest);
        assert_eq!(*outer.manifests()[0].media_type(), MediaType::ImageIndex);
        assert_eq!(crate::tags_in(&target).unwrap(), ["localhost:5000/test:one"]);
        let inner = ImageIndex::from_reader(blob(&files, &written.digest)).unwrap();
        let mut found = Vec::new();
        for manifest in inner.manifests() {
            let platform = manifest.platform().clone().unwrap().architecture().to_string();
            let manifest = ImageManifest::from_reader(blob(&files, manifest.digest().as_ref())).unwrap();
            let config = blob(&files, manifest.config().digest().as_ref());
            let config = ImageConfiguration::from_reader(config).unwrap();
            assert_eq!(config.architecture().to_string(), platform);
            found.push(platform);
        }
        assert_eq!(found, ["amd64", "arm64"]);
        // Such an archive can be a base.
        for architecture in ["amd64", "arm64"] {
            let base = Base::read(&target, &format!("example.org/base@{}", written.digest), architecture);
            assert_eq!(base.unwrap().config["architecture"], architecture);
        }
    }

    #[test]
    fn an_image_on_a_base_has_its_layers_and_labels() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image.tar");
        let base = image().write(&target, Compression::Gzip).unwrap();
        let mut upper = image();
        upper.base =
            Some(Base::read(&target, &format!("example.org/base@{}", base.digest), "amd64").unwrap());
        upper.entries = [("new".to_owned(), Entry::text("new", 0o644))].into();
        upper.config.labels = [("a".to_owned(), "changed".to_owned())].into();
        upper.write(&target, Compression::Gzip).unwrap();
        let (_, manifest, config, files) = parsed(&target);
        assert_eq!(manifest.layers().len(), 2);
        assert_eq!(config.rootfs().diff_ids().len(), 2);
        for layer in manifest.layers() {
            blob(&files, layer.digest().as_ref());
        }
        let labels = config.config().as_ref().unwrap().labels().clone().unwrap();
        assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("changed", "x"));
    }
}

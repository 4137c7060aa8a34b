//! Reads the image on which another one is built, from an archive such as `skopeo copy docker://NAME oci-archive:FILE`
//! writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::digest::sha256;

/// The image below the entries of another image.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Name of the image, with the digest by which it was requested.
    pub name: String,
    /// The image's configuration.
    pub(crate) config: Value,
    /// Descriptors and contents of its layers, the lowest first.
    pub(crate) layers: Vec<(Value, Vec<u8>)>,
}

impl Base {
    /// Reads the image `name` for `architecture` from `archive`. The name ends in the digest of the image or of its
    /// list of architectures, which the archive must contain.
    pub fn read(archive: &Path, name: &str, architecture: &str) -> Result<Self> {
        let read = || -> Result<Self> {
            let blobs = Blobs(files(archive)?);
            let Some((_, digest)) = name.split_once('@') else {
                bail!("the name has no digest: use NAME@sha256:DIGEST");
            };
            let index = blobs.json("index.json")?;
            let (found, manifest) = blobs.manifest(&index, architecture)?;
            ensure!(
                found.iter().any(|one| one == digest),
                "the archive contains {}: use one of these digests, or another archive",
                found.join(" and ")
            );
            let config = blobs.blob(manifest.get("config").context("the manifest has no config")?)?;
            let layers =
                manifest.get("layers").and_then(Value::as_array).context("the manifest has no layers")?;
            let layers = layers
                .iter()
                .map(|layer| Ok((layer.clone(), blobs.blob(layer)?.to_vec())))
                .collect::<Result<_>>()?;
            Ok(Self { name: name.to_owned(), config: serde_json::from_slice(config)?, layers })
        };
        read().with_context(|| format!("cannot read the base image {name} from {}", archive.display()))
    }

    /// The digest in the name.
    pub fn digest(&self) -> &str {
        self.name.split_once('@').map_or("", |(_, digest)| digest)
    }

    /// Digests of the layers before compression.
    pub(crate) fn diff_ids(&self) -> impl Iterator<Item = Value> {
        self.config.pointer("/rootfs/diff_ids").and_then(Value::as_array).into_iter().flatten().cloned()
    }
}

fn files(archive: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(BufReader::new(File::open(archive)?)).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(path, content);
        }
    }
    Ok(files)
}

struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn json(&self, path: &str) -> Result<Value> {
        let bytes = self.0.get(path).with_context(|| {
            format!(
                "the archive has no {path}: save the image with `skopeo copy docker://NAME oci-archive:FILE`"
            )
        })?;
        serde_json::from_slice(bytes).with_context(|| format!("{path} is not JSON"))
    }

    /// The content that a descriptor refers to.
    fn blob(&self, descriptor: &Value) -> Result<&[u8]> {
        let digest =
            descriptor.get("digest").and_then(Value::as_str).context("a descriptor has no digest")?;
        let path = format!("blobs/{}", digest.replacen(':', "/", 1));
        let bytes = self.0.get(&path).with_context(|| format!("the archive has no {path}"))?;
        let actual = sha256(bytes);
        ensure!(actual == digest, "{path} has the digest {actual}: the archive is damaged, save it again");
        Ok(bytes)
    }

    /// The manifest for this architecture, and the digests that lead to it.
    fn manifest(&self, index: &Value, architecture: &str) -> Result<(Vec<String>, Value)> {
        let mut digests = Vec::new();
        let mut list = index.clone();
        loop {
            let all = list.get("manifests").and_then(Value::as_array).context("an index has no manifests")?;
            let descriptor = match all.as_slice() {
                [only] => only,
                _ => all
                    .iter()
                    .find(|one| one.pointer("/platform/architecture").is_some_and(|it| it == architecture))
                    .with_context(|| format!("the archive has no image for {architecture}"))?,
            };
            digests.extend(descriptor.get("digest").and_then(Value::as_str).map(str::to_owned));
            let next: Value = serde_json::from_slice(self.blob(descriptor)?)?;
            if next.get("layers").is_some() {
                return Ok((digests, next));
            }
            list = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, Entry, Image, RunConfig};

    fn archive(folder: &Path) -> (std::path::PathBuf, String) {
        let file = folder.join("base.tar");
        let mut image = Image::new(
            "localhost/base:1",
            [("etc/os-release".to_owned(), Entry::text("ID=base\n", 0o644))].into(),
            RunConfig { user: "9".into(), ..RunConfig::default() },
        );
        image.config.labels = [("name", "base"), ("vendor", "V")].map(|(k, v)| (k.into(), v.into())).into();
        let digest = image.write(&file, Compression::Gzip).unwrap().digest;
        (file, digest)
    }

    #[test]
    fn a_base_is_read_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (file, digest) = archive(folder.path());
        let base = Base::read(&file, &format!("example.org/base@{digest}"), "amd64").unwrap();
        assert_eq!(base.digest(), digest);
        assert_eq!(base.layers.len(), 1);
        assert_eq!(base.config["config"]["Labels"]["vendor"], "V");
        assert_eq!(base.diff_ids().count(), 1);
    }

    #[test]
    fn an_error_names_the_problem_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let (file, digest) = archive(folder.path());
        let message = |name: &str, file: &Path| format!("{:#}", Base::read(file, name, "amd64").unwrap_err());
        assert!(message("example.org/base:1", &file).contains("use NAME@sha256:DIGEST"));
        let other = message("example.org/base@sha256:00", &file);
        assert!(other.contains(&digest) && other.contains("another archive"), "{other}");
        std::fs::write(&file, "").unwrap();
        assert!(message(&format!("b@{digest}"), &file).contains("skopeo copy"));
    }

    #[test]
    fn a_list_of_architectures_is_followed() {
        let manifest = br#"{"layers":[]}"#;
        let list = serde_json::json!({"manifests": [
            {"digest": "sha256:0", "platform": {"architecture": "s390x"}},
            {"digest": sha256(manifest), "platform": {"architecture": "arm64"}},
        ]});
        let list = list.to_string().into_bytes();
        let index = serde_json::json!({"manifests": [{"digest": sha256(&list)}]});
        let path = |bytes: &[u8]| format!("blobs/{}", sha256(bytes).replacen(':', "/", 1));
        let blobs = Blobs([(path(manifest), manifest.to_vec()), (path(&list), list.clone())].into());
        let (digests, _) = blobs.manifest(&index, "arm64").unwrap();
        assert_eq!(digests, [sha256(&list), sha256(manifest)]);
        let error = blobs.manifest(&index, "ppc64le").unwrap_err().to_string();
        assert_eq!(error, "the archive has no image for ppc64le");
        let damaged = Blobs([(path(manifest), b"{}".to_vec()), (path(&list), list)].into());
        assert!(format!("{:#}", damaged.manifest(&index, "arm64").unwrap_err()).contains("damaged"));
    }
}

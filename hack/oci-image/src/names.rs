//! Reads the names of images in an archive.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

/// Reads the names of the images in an archive of `docker save` or of the OCI image layout.
pub fn tags_in(archive: &Path) -> Result<Vec<String>> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let mut tags = Vec::new();
    let mut is_image = false;
    let read = || -> Result<()> {
        for entry in tar::Archive::new(BufReader::new(file)).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let is_docker = match path.to_str() {
                Some("manifest.json") => true,
                Some("index.json") => false,
                _ => continue,
            };
            is_image = true;
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            tags.extend(tags_of(is_docker, &serde_json::from_str(&text)?));
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
    use serde_json::json;

    #[test]
    fn both_formats_contain_names() {
        let manifest = json!([{ "RepoTags": ["localhost/test:one"] }, { "RepoTags": null }]);
        assert_eq!(tags_of(true, &manifest), ["localhost/test:one"]);
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
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        archive.append_data(&mut header, "notes.txt", b"hello".as_slice()).unwrap();
        archive.finish().unwrap();
        assert!(tags_in(&target).unwrap_err().to_string().contains("neither manifest.json"));
        std::fs::write(&target, "not an archive").unwrap();
        assert!(format!("{:#}", tags_in(&target).unwrap_err()).contains("is not an archive"));
    }
}

//! `devcluster load-image`: imports an image into the node's containerd, because the node reaches no registry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use oci_image::{Compression, Image, RunConfig, Written, from_folder, product, tags_in};

use super::containerd;
use crate::context::Context;
use crate::process::run;

/// Arguments of `devcluster load-image`. Exactly one of the three sources is required.
#[derive(Clone, Debug, clap::Args)]
// The subcommand has a group of the same name.
#[group(skip)]
pub struct LoadImage {
    /// An archive made by `docker save`, `podman save` or `buildah push oci-archive:...`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["binaries", "rootfs"], required_unless_present_any = ["binaries", "rootfs"])]
    pub archive: Option<PathBuf>,
    /// Folder with this project's programs, such as target/release; the image has the layout of the Containerfile
    #[arg(long, value_name = "DIR", conflicts_with = "rootfs", requires = "tag")]
    pub binaries: Option<PathBuf>,
    /// Folder that becomes the root folder of the image
    #[arg(long, value_name = "DIR", requires = "tag")]
    pub rootfs: Option<PathBuf>,
    /// Name of the new image, such as localhost/jobset:dev
    #[arg(long, value_name = "NAME:TAG", value_parser = parse_tag, conflicts_with = "archive")]
    pub tag: Option<String>,
}

/// A loaded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its names.
    pub tags: Vec<String>,
    /// Size of its root folder in bytes, if devcluster built the image.
    pub size: Option<u64>,
}

/// Builds the image, unless it is an archive, and loads it into the node.
pub fn load_image(context: &Context, request: &LoadImage) -> Result<Loaded> {
    if let Some(archive) = &request.archive {
        let archive =
            archive.canonicalize().with_context(|| format!("cannot read --archive {}", archive.display()))?;
        let tags = tags_in(&archive)?;
        if tags.is_empty() {
            bail!("no image in {} has a name: save the image by its name, not by its ID", archive.display());
        }
        import(context, &archive)?;
        return Ok(Loaded { tags, size: None });
    }
    let Some(tag) = &request.tag else { bail!("--tag is missing: set it to the NAME:TAG of the new image") };
    let image = match (&request.binaries, &request.rootfs) {
        (Some(binaries), _) => product::image(binaries, tag, std::env::consts::ARCH, None)?,
        (None, Some(rootfs)) => {
            if !rootfs.is_dir() {
                bail!("--rootfs {}: no such folder", rootfs.display());
            }
            Image::new(tag, from_folder(rootfs)?, RunConfig::default())
        }
        (None, None) => bail!("no source: set --archive, --binaries or --rootfs"),
    };
    let written = load(context, &image)?;
    Ok(Loaded { tags: image.tags, size: Some(written.size) })
}

/// Builds an image and loads it into the node.
pub fn load(context: &Context, image: &Image) -> Result<Written> {
    // On the disk of containerd's data, which needs the same space.
    let folder =
        tempfile::tempdir_in(context.layout.node()).context("cannot create a folder for the image")?;
    let archive = folder.path().join("image.tar");
    let written = image.write(&archive, Compression::None)?;
    import(context, &archive)?;
    Ok(written)
}

/// Like [`load`], but keeps the archive in `folder` for the next cluster. The image's files must not change as long as
/// that folder exists.
pub fn load_cached(context: &Context, image: &Image, folder: &Path) -> Result<()> {
    let archive = folder.join(format!("image-{}.tar", image.fingerprint()));
    if !archive.is_file() {
        image.write(&archive, Compression::None)?;
    }
    import(context, &archive)
}

fn import(context: &Context, archive: &Path) -> Result<()> {
    let ctr = containerd::ctr(context)?.arg("images").arg("import").arg(archive.to_string_lossy());
    run(&mut ctr.command())
        .map(drop)
        .with_context(|| format!("cannot load {} into the node", archive.display()))
}

/// Validates `name:tag`. As in Docker, the tag follows the last colon that no slash follows.
fn parse_tag(text: &str) -> Result<String, String> {
    let is_word = |text: &str, others: &str| {
        !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || others.contains(it))
    };
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => {
            let path = name.split('/').all(|part| is_word(part, "._-:"));
            if path && is_word(tag, "._-") && !name.chars().any(|it| it.is_ascii_uppercase()) {
                Ok(text.to_owned())
            } else {
                Err("invalid characters: use lower-case letters, digits and . _ - / in the name, and letters, digits \
                     and . _ - in the tag"
                    .into())
            }
        }
        _ => Err(format!("the tag is missing: use {text}:dev, for example")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadImage,
    }

    fn parse(args: &[&str]) -> Result<LoadImage, String> {
        Line::try_parse_from([&["load-image"], args].concat())
            .map(|line| line.load)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn exactly_one_source_is_required() {
        assert!(parse(&["--archive", "a.tar"]).is_ok());
        assert!(parse(&["--binaries", "target/release", "--tag", "localhost/jobset:dev"]).is_ok());
        assert!(parse(&["--rootfs", "root", "--tag", "localhost:5000/shell:1"]).is_ok());
        assert!(parse(&[]).unwrap_err().contains("--archive"));
        assert!(
            parse(&["--archive", "a", "--rootfs", "b", "--tag", "c:d"])
                .unwrap_err()
                .contains("cannot be used with")
        );
        assert!(parse(&["--rootfs", "root"]).unwrap_err().contains("--tag"));
    }

    #[test]
    fn an_invalid_tag_is_an_error_with_a_remedy() {
        assert!(parse_tag("localhost/jobset").unwrap_err().contains("localhost/jobset:dev"));
        assert!(parse_tag("localhost:5000/jobset").unwrap_err().contains("tag is missing"));
        assert!(parse_tag("Localhost/jobset:1").unwrap_err().contains("lower-case"));
        assert!(parse_tag("a b:1").is_err());
        assert_eq!(parse_tag("localhost:5000/jobset:v1.0").unwrap(), "localhost:5000/jobset:v1.0");
    }
}

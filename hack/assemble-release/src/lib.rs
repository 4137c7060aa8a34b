//! Writes all files of a release into one folder, from the built programs and from what `hack/generate` generates.
//!
//! ```text
//! programs, licences ──> image ── digest ──┐
//!                                      generate ──> bundle image ── digest ──┐
//!                                          │                             generate ──> catalog image
//!                                          └──> manifests.yaml, operator.yaml, CRDs, charts
//! cargo metadata ──> licences, SBOM         CHANGELOG.md ──> release notes
//! ```
//!
//! Every reference to an image in these files has the digest of the image in the folder. The files depend on nothing but
//! the programs and the inputs: two runs write the same bytes.

mod archive;
mod changelog;
mod charts;
mod containerfile;
mod images;
mod plugin;
mod single_file;

use std::collections::BTreeMap;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser as _};
use generate::files::Files;
use generate::images::Images;
use oci_image::{Compression, Image, sha256};

/// Version of the release: that of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a release is made of.
#[derive(Args, Clone, Debug)]
pub struct Inputs {
    /// Root of the repository.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub root: PathBuf,
    /// A target of Rust, such as x86_64-unknown-linux-gnu, and the folder with the programs for it. Repeat the option for
    /// an image of several architectures.
    #[arg(long, value_name = "TARGET=FOLDER", required = true)]
    pub programs: Vec<Programs>,
    /// Commit of the source.
    #[arg(long)]
    pub commit: String,
    /// Time of the commit, in seconds since 1970. All files in images and archives have this time.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    pub created: u64,
    /// Registry and path to which the images will be pushed, such as registry.example.com/batch.
    #[arg(long, value_name = "NAME", default_value = "localhost", value_parser = registry)]
    pub registry: String,
    /// Base image, by digest. Without one, the image contains the C library of this machine.
    #[arg(long, value_name = "NAME@DIGEST", requires = "base_archive")]
    pub base_image: Option<String>,
    /// OCI archive that contains the base image: `skopeo copy docker://NAME@DIGEST oci-archive:FILE`.
    #[arg(long, value_name = "FILE", requires = "base_image")]
    pub base_archive: Option<PathBuf>,
    /// Options of hack/generate after --, such as --maintainer-email ADDRESS.
    #[arg(last = true, value_name = "OPTION")]
    pub generator: Vec<String>,
}

/// The programs for one target.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The target, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// The folder with the programs.
    pub folder: PathBuf,
}

impl std::str::FromStr for Programs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((target, folder)) if target.contains('-') && !folder.is_empty() => {
                Ok(Self { target: target.to_owned(), folder: folder.into() })
            }
            _ => Err("use TARGET=FOLDER, such as x86_64-unknown-linux-gnu=target/release".to_owned()),
        }
    }
}

impl Programs {
    /// The architecture, as Rust names it.
    pub(crate) fn architecture(&self) -> &str {
        self.target.split('-').next().unwrap_or_default()
    }
}

/// Validates the name of a registry, which becomes the start of image names.
fn registry(text: &str) -> Result<String, String> {
    let valid = |part: &str| {
        !part.is_empty()
            && part.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || "._-:".contains(it))
    };
    if text.split('/').all(valid) {
        Ok(text.to_owned())
    } else {
        Err("use the host and path of a registry, without scheme and final slash, such as \
             registry.example.com/batch"
            .to_owned())
    }
}

/// References of the release's images.
pub(crate) struct References {
    registry: String,
}

impl References {
    pub(crate) fn tag(&self, name: &str) -> String {
        format!("{}/{name}:v{VERSION}", self.registry)
    }

    pub(crate) fn digest(&self, name: &str, digest: &str) -> String {
        format!("{}/{name}@{digest}", self.registry)
    }
}

/// Name of the image with the programs.
pub const IMAGE: &str = "jobset-operator";
/// Name of the image with the bundle of OLM.
pub const BUNDLE: &str = "jobset-operator-bundle";
/// Name of the image with the catalog of OLM.
pub const CATALOG: &str = "jobset-operator-catalog";

/// The name of an image's archive in the folder.
pub fn archive(image: &str) -> String {
    format!("{image}-image.tar")
}

/// Writes the release into `output`, a folder that is empty or does not exist.
pub fn assemble(inputs: &Inputs, output: &Path) -> Result<()> {
    let root = inputs.root.canonicalize();
    let root = root.with_context(|| format!("cannot read --root {}", inputs.root.display()))?;
    prepare(output)?;
    let notes = changelog::section(&root, VERSION)?;
    let targets: Vec<_> = inputs.programs.iter().map(|programs| programs.target.as_str()).collect();
    let crates = sbom::read(&root, &targets)?;
    let subject =
        sbom::Subject { name: IMAGE, version: VERSION, commit: &inputs.commit, created: inputs.created };
    let bill = sbom::bill_of_materials(&subject, &crates)?;
    let references = References { registry: inputs.registry.clone() };

    let mut list = Vec::new();
    let mut write_image = |name: &str, images: &[Image]| -> Result<String> {
        let written = oci_image::write(images, &output.join(archive(name)), Compression::Gzip)?;
        let reference = references.digest(name, &written.digest);
        list.push(format!("{reference} {}", archive(name)));
        Ok(reference)
    };
    let licenses = sbom::third_party(&crates)?;
    let of_programs = inputs
        .programs
        .iter()
        .map(|programs| images::programs(inputs, programs, &licenses, &references))
        .collect::<Result<Vec<_>>>()?;
    let mut named =
        Images::try_parse_from(iter::once("generate").chain(inputs.generator.iter().map(String::as_str)))
            .context("invalid options of the generator after --")?;
    named.architectures = of_programs.iter().map(|image| image.architecture.clone()).collect();
    named.image = write_image(IMAGE, &of_programs)?;
    // The digest of each image is in the files of the next one. The bundle's own name counts as pinned before it is known.
    named.bundle_image = references.digest(BUNDLE, "sha256:unknown");
    let files = generate::generate(&root, &named)?;
    named.bundle_image = write_image(BUNDLE, &[images::bundle(inputs, &files, &references)?])?;
    let files = generate::generate(&root, &named)?;
    named.catalog_image = write_image(CATALOG, &[images::catalog(inputs, &files, &references)?])?;
    let files = generate::generate(&root, &named)?;

    let mut texts = BTreeMap::from([
        ("images.txt".to_owned(), lines(&list)),
        ("release-notes.md".to_owned(), notes),
        ("sbom.cdx.json".to_owned(), bill),
    ]);
    texts.extend(single_file::all(&files)?);
    for (name, text) in texts {
        write(output, &name, text.as_bytes())?;
    }
    let plugins = plugin::all(inputs, &root, &licenses)?;
    for (name, bytes) in charts::all(&files, inputs.created)?.into_iter().chain(plugins) {
        write(output, &name, &bytes)?;
    }
    write(output, CHECKSUMS, checksums(output)?.as_bytes())
}

/// The content of a generated file.
pub(crate) fn generated<'a>(files: &'a Files, path: &str) -> Result<&'a str> {
    files.get(path).with_context(|| format!("hack/generate generates no {path}"))
}

fn prepare(output: &Path) -> Result<()> {
    fs::create_dir_all(output).with_context(|| format!("cannot create folder {}", output.display()))?;
    let mut entries = fs::read_dir(output).with_context(|| format!("cannot read {}", output.display()))?;
    if entries.next().is_some() {
        bail!("folder {} is not empty: delete it, or set --output to another folder", output.display());
    }
    Ok(())
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

const CHECKSUMS: &str = "SHA256SUMS";

/// The checksums of all files in the folder, in the format of `sha256sum`.
fn checksums(folder: &Path) -> Result<String> {
    let mut digests = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        digests.insert(name, sha256(&content));
    }
    let line =
        |(name, digest): (&String, &String)| format!("{}  {name}", digest.trim_start_matches("sha256:"));
    Ok(lines(&digests.iter().map(line).collect::<Vec<_>>()))
}

/// A text of these lines.
fn lines(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_a_host_and_a_path() {
        for valid in ["localhost", "localhost:5000", "registry.example.com/batch/jobset"] {
            assert_eq!(registry(valid).as_deref(), Ok(valid));
        }
        for invalid in ["", "https://registry.example.com", "registry.example.com/", "Registry/x", "a b"] {
            assert!(registry(invalid).unwrap_err().contains("without scheme"), "{invalid}");
        }
    }

    #[test]
    fn programs_have_a_target_and_a_folder() {
        let programs: Programs = "aarch64-unknown-linux-gnu=a=b".parse().unwrap();
        assert_eq!((programs.architecture(), programs.folder.to_str()), ("aarch64", Some("a=b")));
        for invalid in ["target/release", "a-b=", "x=y"] {
            assert!(invalid.parse::<Programs>().unwrap_err().contains("TARGET=FOLDER"), "{invalid}");
        }
    }

    #[test]
    fn a_folder_with_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        prepare(&folder.path().join("new/one")).unwrap();
        fs::write(folder.path().join("old"), "").unwrap();
        let message = prepare(folder.path()).unwrap_err().to_string();
        assert!(message.contains("is not empty") && message.contains("--output"), "{message}");
    }
}

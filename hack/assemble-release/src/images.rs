//! The images of a release.

use std::collections::BTreeMap;

use anyhow::Result;
use generate::files::Files;
use oci_image::{Base, Entry, Image, RunConfig, product};

use crate::{BUNDLE, CATALOG, IMAGE, Inputs, Programs, References, VERSION, containerfile, generated};

/// Folder of the catalog in its image.
pub(crate) const CATALOG_FOLDER: &str = "configs";
/// The label that names this folder for OLM.
const CATALOG_LABEL: &str = "operators.operatorframework.io.index.configs.v1";

/// The image with the programs, and the licences of their crates.
pub(crate) fn programs(
    inputs: &Inputs,
    programs: &Programs,
    licenses: &str,
    references: &References,
) -> Result<Image> {
    let architecture = programs.architecture();
    let base = match (&inputs.base_image, &inputs.base_archive) {
        (Some(name), Some(file)) => Some(Base::read(file, name, oci_image::architecture(architecture))?),
        _ => None,
    };
    let mut image = product::image(&programs.folder, &references.tag(IMAGE), architecture, base)?;
    image.entries.insert("licenses/THIRD-PARTY.txt".to_owned(), Entry::text(licenses, 0o644));
    image.config.labels = labels(inputs);
    if let Some(base) = &image.base {
        let name = base.name.split('@').next().unwrap_or_default().to_owned();
        let digest = base.digest().to_owned();
        image.config.labels.insert("org.opencontainers.image.base.name".to_owned(), name);
        image.config.labels.insert("org.opencontainers.image.base.digest".to_owned(), digest);
    }
    image.created = inputs.created;
    Ok(image)
}

/// The image with the bundle of OLM.
pub(crate) fn bundle(inputs: &Inputs, files: &Files, references: &References) -> Result<Image> {
    let contents = containerfile::follow(generated(files, "bundle/bundle.Dockerfile")?, files, "bundle")?;
    Ok(of_files(inputs, references.tag(BUNDLE), contents.entries, contents.labels))
}

/// The image with the catalog of OLM, without the program that serves it.
pub(crate) fn catalog(inputs: &Inputs, files: &Files, references: &References) -> Result<Image> {
    let catalog = generated(files, "bundle/catalog/job-set/catalog.yaml")?;
    let entries = [(format!("{CATALOG_FOLDER}/job-set/catalog.yaml"), Entry::text(catalog, 0o644))];
    let labels = [(CATALOG_LABEL.to_owned(), format!("/{CATALOG_FOLDER}"))];
    Ok(of_files(inputs, references.tag(CATALOG), entries.into(), labels.into()))
}

fn of_files(
    inputs: &Inputs,
    tag: String,
    mut entries: BTreeMap<String, Entry>,
    labels: BTreeMap<String, String>,
) -> Image {
    product::add_parents(&mut entries);
    let mut image = Image::new(tag, entries, RunConfig { labels, ..RunConfig::default() });
    image.created = inputs.created;
    image
}

fn labels(inputs: &Inputs) -> BTreeMap<String, String> {
    product::labels(VERSION, &inputs.commit, inputs.created)
}

//! `manifests/charts/`: Helm charts of the controller and of the operator.
//!
//! ```text
//! <chart>/objects/     the objects of manifests/ and deploy/, with words in place of what only a release knows
//! <chart>/templates/   read these objects, change what the values ask for, and print them
//! <chart>/values.yaml, values.schema.json, Chart.yaml
//! ```
//!
//! The objects are those of `manifests/` and `deploy/`, so that an installation with default values has the same ones.
//! Templates end in `.yml`: they are no YAML, and programs that read every `.yaml` of `manifests/` skip them.

mod objects;
mod schema;

use crate::{deploy, files::Files, images::Images, yaml};
use anyhow::{Context, Result};
use jobset_operator::desired::PRIORITY_CLASS;
use jobset_operator::{names, operator_objects};
use kube::api::DynamicObject;
use objects::NAMESPACE;
use serde_json::{Value, json};

/// Folder of the charts.
const FOLDER: &str = "manifests/charts";
/// Templates of both charts.
const OBJECTS: &str = include_str!("../../assets/charts/_objects.tpl");
const CRDS: &str = include_str!("../../assets/charts/crds.yml");

/// The files that only one chart has.
struct Chart {
    name: &'static str,
    description: &'static str,
    values: &'static str,
    template: &'static str,
    notes: &'static str,
    schema: Value,
}

/// Adds the files of both charts. Each of the two CRDs has a chart.
pub fn add(files: &mut Files, images: &Images, jobset_crd: &Value, operator_crd: &Value) -> Result<()> {
    let controller = Chart {
        name: "jobset",
        description: "The JobSet controller, which runs groups of Jobs as one unit.",
        values: include_str!("../../assets/charts/jobset/values.yaml"),
        template: include_str!("../../assets/charts/jobset/templates/objects.yml"),
        notes: include_str!("../../assets/charts/jobset/NOTES.txt"),
        schema: schema::controller()?,
    };
    controller.add(files, images, jobset_crd)?;
    for (name, objects) in objects::controller(&images.image)? {
        controller.add_objects(files, name, &objects)?;
    }
    let operator = Chart {
        name: names::OPERATOR,
        description: "The JobSet operator, which installs and manages the JobSet controller.",
        values: include_str!("../../assets/charts/jobset-operator/values.yaml"),
        template: include_str!("../../assets/charts/jobset-operator/templates/objects.yml"),
        notes: include_str!("../../assets/charts/jobset-operator/NOTES.txt"),
        schema: schema::operator(),
    };
    operator.add(files, images, operator_crd)?;
    let mut objects = operator_objects(&deploy::inputs(images, NAMESPACE, false))?;
    // Helm creates the namespace of a release, with --create-namespace.
    objects.retain(|object| crate::objects::kind(object) != "Namespace");
    operator.add_objects(files, "common", &objects)
}

impl Chart {
    fn path(&self, file: &str) -> String {
        format!("{FOLDER}/{}/{file}", self.name)
    }

    fn add(&self, files: &mut Files, images: &Images, crd: &Value) -> Result<()> {
        let generated = |text: &str| format!("{}{text}", yaml::NOTICE);
        // In a template, a comment of YAML would be an empty document.
        let commented = |text: &str| format!("{{{{- /* {} */}}}}\n{text}", notice());
        files.add(
            self.path("Chart.yaml"),
            yaml::file(&json!({
                "apiVersion": "v2",
                "name": self.name,
                "description": self.description,
                "type": "application",
                "version": env!("CARGO_PKG_VERSION"),
                "appVersion": env!("CARGO_PKG_VERSION"),
                "kubeVersion": ">=1.31.0-0",
                "home": names::REPOSITORY,
                "sources": [names::REPOSITORY],
                "keywords": ["jobset", "batch", "job", "training", "hpc"],
            }))?,
        );
        files.add(self.path("values.yaml"), generated(&with_defaults(self.values, images)?));
        files.add(self.path("values.schema.json"), format!("{:#}\n", self.schema));
        files.add(self.path("templates/_objects.tpl"), commented(OBJECTS));
        files.add(self.path("templates/crds.yml"), commented(CRDS));
        files.add(self.path("templates/objects.yml"), commented(self.template));
        files.add(self.path("templates/NOTES.txt"), self.notes.to_owned());
        files.add(self.path("objects/customresourcedefinition.yaml"), yaml::file(crd)?);
        Ok(())
    }

    fn add_objects(&self, files: &mut Files, name: &str, objects: &[DynamicObject]) -> Result<()> {
        files.add(self.path(&format!("objects/{name}.yaml")), crate::objects::file(objects)?);
        Ok(())
    }
}

fn notice() -> &'static str {
    yaml::NOTICE.trim_start_matches("# ").trim_end()
}

/// The values, with defaults that other files determine.
fn with_defaults(values: &str, images: &Images) -> Result<String> {
    let image = Image::parse(&images.image).context("--image")?;
    Ok([
        ("IMAGE-REPOSITORY", image.repository),
        ("IMAGE-TAG", image.tag),
        ("IMAGE-DIGEST", image.digest),
        ("PRIORITY-CLASS", PRIORITY_CLASS),
        ("LOG-LEVEL", "info"),
    ]
    .into_iter()
    .fold(values.to_owned(), |text, (word, default)| {
        text.replace(word, if default.is_empty() { "\"\"" } else { default })
    }))
}

/// The parts of an image reference.
#[derive(Debug, PartialEq, Eq)]
struct Image<'a> {
    repository: &'a str,
    tag: &'a str,
    digest: &'a str,
}

impl<'a> Image<'a> {
    fn parse(reference: &'a str) -> Result<Self> {
        let (name, digest) = reference.split_once('@').unwrap_or((reference, ""));
        // A colon before the last slash separates the port of the registry.
        let start = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name.get(start..).and_then(|last| last.find(':')) {
            Some(colon) => (name.get(..start + colon), name.get(start + colon + 1..)),
            None => (Some(name), Some("")),
        };
        let image = Self { repository: repository.unwrap_or_default(), tag: tag.unwrap_or_default(), digest };
        let has_version = !image.tag.is_empty() || !digest.is_empty();
        anyhow::ensure!(
            !image.repository.is_empty() && has_version,
            "{reference:?} has no tag and no digest: use a reference such as registry.example/jobset:v1"
        );
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_repository_and_a_tag_or_a_digest() {
        for (reference, repository, tag, digest) in [
            ("localhost/a:v1", "localhost/a", "v1", ""),
            ("registry.example:5000/a/b:v1", "registry.example:5000/a/b", "v1", ""),
            ("registry.example:5000/a@sha256:ab", "registry.example:5000/a", "", "sha256:ab"),
            ("registry.example/a:v1@sha256:ab", "registry.example/a", "v1", "sha256:ab"),
        ] {
            assert_eq!(Image::parse(reference).unwrap(), Image { repository, tag, digest }, "{reference}");
        }
        for reference in ["registry.example:5000/a", "a", ""] {
            assert!(Image::parse(reference).unwrap_err().to_string().contains("no tag"), "{reference}");
        }
    }
}

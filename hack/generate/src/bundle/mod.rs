//! `bundle/`: the OLM bundle (registry+v1) and a file-based catalog that contains it.
//!
//! ```text
//! bundle/manifests/            the ClusterServiceVersion and the JobSetOperator CRD
//! bundle/metadata/             package, channels
//! bundle/tests/scorecard/      configuration of `operator-sdk scorecard`
//! bundle/bundle.Dockerfile     builds the bundle image, with the same labels as metadata/
//! bundle/catalog/              package, channel and bundle for a catalog image
//! bundle/catalog.Dockerfile    builds the catalog image
//! bundle/templates/            inputs of `opm` for catalogs with more versions
//! bundle/samples/              what an administrator applies to install from the catalog image
//! ```

mod catalog;
mod csv;
mod descriptors;
mod samples;
mod scorecard;

use crate::{files::Files, images::Images, yaml};
use anyhow::Result;
use jobset_operator::names;
use serde_json::{Value, json};
use std::fmt::Write;

/// Name of the package in a catalog.
const PACKAGE: &str = "job-set";
/// The only channel and the default channel.
const CHANNEL: &str = "stable-v1.0";

/// The OpenShift versions with Kubernetes 1.31 or newer.
const OPENSHIFT_VERSIONS: &str = "v4.18";

/// Adds the files of `bundle/`.
pub fn add(files: &mut Files, images: &Images, operator_crd: &Value) -> Result<()> {
    let csv = csv::cluster_service_version(images)?;
    files.add("bundle/manifests/jobset-operator.clusterserviceversion.yaml", yaml::file(&csv)?);
    files.add(
        format!("bundle/manifests/{}", crate::crds::file_name(operator_crd)?),
        yaml::file(operator_crd)?,
    );
    let annotations: serde_json::Map<String, Value> =
        ANNOTATIONS.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    files.add("bundle/metadata/annotations.yaml", yaml::file(&json!({ "annotations": annotations }))?);
    files.add("bundle/tests/scorecard/config.yaml", yaml::file(&scorecard::configuration(images))?);
    files.add("bundle/bundle.Dockerfile", dockerfile()?);
    files.add("bundle/catalog/job-set/catalog.yaml", catalog::catalog(images, &csv)?);
    files.add("bundle/catalog.Dockerfile", catalog::dockerfile());
    files.add("bundle/templates/basic.yaml", catalog::basic_template(images, &csv)?);
    files.add("bundle/templates/semver.yaml", catalog::semver_template(images)?);
    files.add("bundle/samples/catalogsource.yaml", samples::catalog_source(images)?);
    files.add("bundle/samples/subscription.yaml", samples::subscription(images)?);
    Ok(())
}

/// Annotations of the bundle for OLM, which are also labels of its image.
const ANNOTATIONS: [(&str, &str); 9] = [
    ("com.redhat.openshift.versions", OPENSHIFT_VERSIONS),
    ("operators.operatorframework.io.bundle.channel.default.v1", CHANNEL),
    ("operators.operatorframework.io.bundle.channels.v1", CHANNEL),
    ("operators.operatorframework.io.bundle.manifests.v1", "manifests/"),
    ("operators.operatorframework.io.bundle.mediatype.v1", "registry+v1"),
    ("operators.operatorframework.io.bundle.metadata.v1", "metadata/"),
    ("operators.operatorframework.io.bundle.package.v1", PACKAGE),
    ("operators.operatorframework.io.test.config.v1", "tests/scorecard/"),
    ("operators.operatorframework.io.test.mediatype.v1", "scorecard+v1"),
];

/// Labels of the bundle's image, which certification requires.
const LABELS: [(&str, &str); 14] = [
    ("com.redhat.component", "jobset-operator-bundle"),
    ("com.redhat.delivery.operator.bundle", "true"),
    ("description", csv::SUMMARY),
    ("distribution-scope", "public"),
    ("io.k8s.description", csv::SUMMARY),
    ("io.k8s.display-name", "JobSet Operator"),
    ("io.openshift.tags", "jobset,batch,jobset-operator"),
    ("maintainer", csv::MAINTAINERS),
    ("name", "job-set/jobset-operator-bundle"),
    ("release", csv::VERSION),
    ("summary", csv::SUMMARY),
    ("url", names::REPOSITORY),
    ("vendor", csv::MAINTAINERS),
    ("version", csv::VERSION),
];

fn dockerfile() -> Result<String> {
    let mut text = format!("{}# Build it with bundle/ as the build context.\nFROM scratch\n", yaml::NOTICE);
    for (key, value) in ANNOTATIONS {
        writeln!(text, "LABEL {key}={value}")?;
    }
    for (key, value) in LABELS {
        writeln!(text, "LABEL {key}=\"{value}\"")?;
    }
    text.push_str(
        "COPY manifests /manifests/\nCOPY metadata /metadata/\nCOPY tests/scorecard /tests/scorecard/\n",
    );
    Ok(text)
}

//! Image references in the generated files.

use clap::Parser;

/// Images in the generated files.
///
/// The defaults are local names for images that a developer builds. A release sets references with digests.
#[derive(Clone, Debug, Parser)]
pub struct Images {
    /// Image of the operator and the operand, built from Containerfile.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator:v", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Image of the OLM bundle, built from bundle/bundle.Dockerfile. The catalog refers to it.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator-bundle:v", env!("CARGO_PKG_VERSION")))]
    pub bundle_image: String,
    /// Image of the catalog, built from bundle/catalog.Dockerfile. The catalog source refers to it.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator-catalog:v", env!("CARGO_PKG_VERSION")))]
    pub catalog_image: String,
    /// Image with the tests that `operator-sdk scorecard` runs against the bundle.
    #[arg(long, value_name = "REFERENCE", default_value = "localhost/scorecard-test:latest")]
    pub scorecard_image: String,
    /// Architectures of these images, which the bundle declares.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "amd64,arm64")]
    pub architectures: Vec<String>,
    /// Address of the maintainers in the bundle, which catalogs of operators require. The default is no address: a release sets
    /// one.
    #[arg(long, value_name = "ADDRESS", default_value = "maintainers@jobset-operator.example")]
    pub maintainer_email: String,
}

impl Images {
    /// Whether the references have digests, so that a mirror of the images can serve them.
    pub fn are_pinned(&self) -> bool {
        [&self.image, &self.bundle_image].iter().all(|image| image.contains("@sha256:"))
    }
}

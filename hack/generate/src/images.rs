//! Image references in the generated files.

use clap::Args;

/// Images in the generated files.
///
/// The defaults are local names for images that a developer builds. A release sets references with digests.
#[derive(Args, Clone, Debug)]
pub struct Images {
    /// Image of the operator and the operand, built from Containerfile.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator:v", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Image of the OLM bundle, built from bundle/bundle.Dockerfile. The catalog refers to it.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator-bundle:v", env!("CARGO_PKG_VERSION")))]
    pub bundle_image: String,
    /// Image with the tests that `operator-sdk scorecard` runs against the bundle.
    #[arg(long, value_name = "REFERENCE", default_value = "localhost/scorecard-test:latest")]
    pub scorecard_image: String,
}

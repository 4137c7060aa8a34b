//! Image references in the generated files. They stand here once; a release names its own.

use clap::Args;

/// Images that the generated files refer to.
///
/// The defaults are names without a registry: whoever builds the images locally can use the files as they are,
/// and a release passes references by digest.
#[derive(Args, Clone, Debug)]
pub struct Images {
    /// Image of operator and operand, built from Containerfile.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator:v", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Image of the OLM bundle, built from bundle/bundle.Dockerfile; named by the catalog.
    #[arg(long, value_name = "REFERENCE", default_value = concat!("localhost/jobset-operator-bundle:v", env!("CARGO_PKG_VERSION")))]
    pub bundle_image: String,
    /// Image with the tests that `operator-sdk scorecard` runs against the bundle.
    #[arg(long, value_name = "REFERENCE", default_value = "localhost/scorecard-test:latest")]
    pub scorecard_image: String,
}

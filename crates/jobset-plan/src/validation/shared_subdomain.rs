//! Two JobSets whose pods use host names of the same headless Service, which selects the pods of only one of them.

use super::warnings::{as_header, shown};
use crate::subdomain;
use jobset_api::JobSet;

/// Name of the headless Service that provides the host names of this JobSet's pods. `None` if the pods have no host
/// names or if the JobSet has no name yet. Works without defaulting.
pub fn headless_service(jobset: &JobSet) -> Option<&str> {
    let enabled = jobset.spec.network.as_ref().and_then(|network| network.enable_dns_hostnames);
    Some(subdomain(jobset)).filter(|name| enabled != Some(false) && !name.is_empty())
}

/// The warning about a new JobSet that uses the same [`headless_service`] as the JobSet `other`.
pub fn shared_subdomain(jobset: &JobSet, other: &str) -> String {
    let name = subdomain(jobset);
    let own = jobset.spec.network.as_ref().and_then(|network| network.subdomain.as_deref());
    let field = if own == Some(name) { "spec.network.subdomain" } else { "metadata.name" };
    as_header(format!(
        "{field}: JobSet {} also uses subdomain {}, and its Service publishes host names for the pods of one JobSet \
         only; choose another spec.network.subdomain",
        shown(other),
        shown(name)
    ))
}

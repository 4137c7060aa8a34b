//! Names of the scheduling objects of a JobSet, and of the templates in its Workload.
//!
//! | object | name |
//! |---|---|
//! | [`workload`]: the Workload, and the template and PodGroup of the whole JobSet | `<jobset>-<hash>` |
//! | [`shared_template`]: the template of an entry of `replicatedJobs` without `job` | `<target>-<target>-<hash>` |
//! | [`job_template`]: the template of one Job | `<replicatedJob>-<index>-<hash>` |
//! | [`pod_group`]: the PodGroup of one of the last two | `<jobset>-<template>` |
//!
//! Each is a DNS label. The hash makes it unique if the readable part is cut.

use sha1::{Digest, Sha1};
use std::fmt::Write;

/// Maximum length of a DNS label (Kubernetes).
const LABEL_MAX: usize = 63;
/// The number of bytes of the hash that a name contains. Each has two hexadecimal digits.
const HASH_BYTES: usize = 5;

/// Name of the Workload, and of the template and the PodGroup of the whole JobSet.
pub(crate) fn workload(namespace: &str, jobset: &str) -> String {
    cut(jobset, &hash(&format!("JobSet/{namespace}/{jobset}")))
}

/// Name of the template that these ReplicatedJobs share.
pub(crate) fn shared_template(namespace: &str, jobset: &str, targets: &[String]) -> String {
    let targets = targets.join("-");
    cut(&targets, &hash(&format!("ReplicatedJobGroup/{namespace}/{jobset}/{targets}")))
}

/// Name of the template of one Job.
pub(crate) fn job_template(namespace: &str, jobset: &str, replicated_job: &str, index: i32) -> String {
    let hash = hash(&format!("Job/{namespace}/{jobset}/{replicated_job}/{index}"));
    cut(&format!("{replicated_job}-{index}"), &hash)
}

/// Name of the PodGroup of a template, unless it is the template of the whole JobSet.
pub(crate) fn pod_group(jobset: &str, template: &str) -> String {
    let name = format!("{jobset}-{template}");
    if name.len() <= LABEL_MAX { name } else { cut(jobset, &hash(&format!("{jobset}/{template}"))) }
}

/// `<readable>-<hash>`, with as much of the readable part as a label can have.
fn cut(readable: &str, hash: &str) -> String {
    let room = LABEL_MAX.saturating_sub(hash.len() + 1);
    let end = readable.floor_char_boundary(room);
    format!("{}-{hash}", readable.get(..end).unwrap_or(readable))
}

/// The first digits of a SHA-1 digest, in hexadecimal.
fn hash(text: &str) -> String {
    let digest = Sha1::digest(text);
    digest.iter().take(HASH_BYTES).fold(String::with_capacity(2 * HASH_BYTES), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NAMESPACE: &str = "default";

    fn shared(jobset: &str, targets: &[&str]) -> String {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        shared_template(NAMESPACE, jobset, &targets)
    }

    #[test]
    fn names_are_those_of_upstream() {
        assert_eq!(workload(NAMESPACE, "train"), "train-9820341ee6");
        assert_eq!(shared("train", &["workers"]), "workers-31ce2aca7c");
        assert_eq!(pod_group("train", "workers-31ce2aca7c"), "train-workers-31ce2aca7c");
        assert_eq!(shared("train", &["driver", "workers"]), "driver-workers-03b8ad107a");
        assert_eq!(job_template(NAMESPACE, "train", "workers", 0), "workers-0-7098129e3a");
        let long = "j".repeat(50);
        assert_eq!(shared(&long, &["workers"]), "workers-3ee6cf796e");
        assert_eq!(pod_group(&long, "workers-3ee6cf796e"), format!("{long}-2a27fc3bf7"));
    }

    #[test]
    fn a_long_name_is_cut_to_63_characters() {
        let long = "j".repeat(63);
        for (name, readable) in [
            (workload(NAMESPACE, &long), "j".repeat(52)),
            (shared("train", &[&long]), "j".repeat(52)),
            (shared("train", &["workers", &long]), format!("workers-{}", "j".repeat(44))),
            (job_template(NAMESPACE, "train", &long, 7), "j".repeat(52)),
            (pod_group(&long, "workers"), "j".repeat(52)),
        ] {
            assert_eq!(name.len(), LABEL_MAX, "{name}");
            assert_eq!(name.get(..53), Some(format!("{readable}-").as_str()), "{name}");
        }
        let fits = pod_group(&"j".repeat(52), "t234567890");
        assert_eq!(fits, format!("{}-t234567890", "j".repeat(52)), "63 characters are not cut");
        assert_ne!(pod_group(&"j".repeat(53), "t234567890"), format!("{}-t234567890", "j".repeat(53)));
    }

    #[test]
    fn names_differ_if_the_readable_parts_are_equal() {
        let long = |end: &str| format!("{}{end}", "j".repeat(60));
        let names = [
            workload(NAMESPACE, &long("a")),
            workload(NAMESPACE, &long("b")),
            workload("team", &long("a")),
            shared("train", &[&long("a")]),
            shared("train", &[&long("b")]),
            shared("tune", &[&long("a")]),
            job_template(NAMESPACE, "train", &long("a"), 1),
            job_template(NAMESPACE, "train", &long("a"), 2),
            job_template(NAMESPACE, "train", "w-1", 1),
            shared("train", &["w-1-1"]),
            pod_group(&long("a"), "w"),
            pod_group(&long("b"), "w"),
            pod_group(&long("a"), "v"),
        ];
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:#?}");
    }

    /// Admission computes names before it knows that the readable parts are valid.
    #[test]
    fn a_name_is_cut_between_characters() {
        let name = workload(NAMESPACE, &"\u{e9}\u{e9}\u{e9}x".repeat(20));
        assert!(name.len() <= LABEL_MAX, "{name}");
    }
}

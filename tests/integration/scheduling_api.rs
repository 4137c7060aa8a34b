//! The gate of gang scheduling on a control plane that does not serve Workloads and PodGroups.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Integration;
use crate::jobset::LiveJobSet;

pub(crate) const GATES: &[(&str, bool)] = &[("JobSetWorkloadAwareSchedulingAPI", true)];

/// A controller becomes ready although a JobSet needs the API, other JobSets run, and no request but the discovery
/// fails.
pub(crate) async fn other_jobsets_run_without_the_api(suite: Arc<Integration>) -> Result<()> {
    let replicated_jobs = "replicatedJobs: [{name: w, template: {spec: {completions: 1, parallelism: 1}}}]";
    LiveJobSet::create(&suite, "gang", &format!("{{scheduling: {{}}, {replicated_jobs}}}")).await?;
    let restarted = Arc::new(crate::prepare(suite.cluster.clone(), GATES).await?);

    let jobset = LiveJobSet::create(&restarted, "plain", &format!("{{{replicated_jobs}}}")).await?;
    jobset.jobs_become(&["w-0@0"]).await?;
    jobset.succeed("w-0").await?;
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;

    let audit = suite.cluster.cluster().audit();
    let about_the_api = || async {
        let of_controller = audit.query().user(restarted.controller.user());
        of_controller.filter(|entry| entry.request_uri.starts_with("/apis/scheduling.k8s.io/")).entries()
    };
    let requests = wait_for("discovery", TIMEOUT, about_the_api, |requests| !requests.is_empty()).await?;
    for request in requests {
        let found = (request.verb.as_str(), request.request_uri.as_str(), request.code());
        assert_eq!(found, ("get", "/apis/scheduling.k8s.io/v1beta1", 404));
    }
    Ok(())
}

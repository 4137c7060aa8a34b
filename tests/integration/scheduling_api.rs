//! The gate of gang scheduling on a control plane that does not serve Workloads and PodGroups.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::controller::Controller;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::Integration;
use crate::jobset::LiveJobSet;

/// The controller becomes ready although a JobSet needs the API, other JobSets run, and no request but the discovery
/// fails.
pub(crate) async fn other_jobsets_run_without_the_api(suite: Arc<Integration>) -> Result<()> {
    let replicated_jobs = "replicatedJobs: [{name: w, template: {spec: {completions: 1, parallelism: 1}}}]";
    LiveJobSet::create(&suite, "gang", &format!("{{scheduling: {{}}, {replicated_jobs}}}")).await?;
    let layout = suite.cluster.layout();
    let gates = [("JobSetWorkloadAwareSchedulingAPI", true)];
    let restarted = Controller::start_with(&suite.client, layout, &gates).await?;

    let jobset = LiveJobSet::create(&suite, "plain", &format!("{{{replicated_jobs}}}")).await?;
    jobset.succeed("w-0").await?;
    jobset.status_when("completion", |status| status["terminalState"] == "Completed").await?;

    let audit = suite.cluster.cluster().audit();
    let about_the_api = || async {
        let of_controller = audit.query().user(restarted.user());
        of_controller.filter(|entry| entry.request_uri.starts_with("/apis/scheduling.k8s.io/")).entries()
    };
    let requests = wait_for("discovery", TIMEOUT, about_the_api, |requests| !requests.is_empty()).await?;
    for request in requests {
        let found = (request.verb.as_str(), request.request_uri.as_str(), request.code());
        assert_eq!(found, ("get", "/apis/scheduling.k8s.io/v1beta1", 404));
    }
    Ok(())
}

//! How JobSets end: completed, failed, deleted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::wait_for;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::Integration;
use crate::children::{create, jobs_of};

const PATIENCE: Duration = Duration::from_mins(1);

/// A ReplicatedJob whose simulated pods end so, after so long.
pub(crate) fn replicated_job(name: &str, replicas: u32, outcome: &str, after: &str) -> String {
    format!(
        "{{name: {name}, replicas: {replicas}, template: {{spec: {{backoffLimit: 0, template: {{
            metadata: {{annotations: {{devcluster.jobset.dev/outcome: {outcome}, devcluster.jobset.dev/after: {after}}}}},
            spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}}}}}}}}}"
    )
}

pub(crate) async fn completes_when_every_job_has(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let (leader, worker) =
        (replicated_job("leader", 1, "succeed", "1s"), replicated_job("worker", 3, "succeed", "12s"));
    let created =
        create(&suite, &namespace, "demo", &format!("{{replicatedJobs: [{leader}, {worker}]}}")).await?;

    let running = wait_for_status(&suite, &created, "the leader alone to have succeeded", |status| {
        status["replicatedJobsStatus"][1]["succeeded"] == 1 && status["replicatedJobsStatus"][0]["ready"] == 3
    })
    .await?;
    assert_eq!(
        running["replicatedJobsStatus"],
        json!([
            { "name": "worker", "ready": 3, "succeeded": 0, "failed": 0, "active": 3, "suspended": 0 },
            { "name": "leader", "ready": 0, "succeeded": 1, "failed": 0, "active": 0, "suspended": 0 },
        ])
    );
    assert_eq!((&running["terminalState"], &running["conditions"]), (&Value::Null, &Value::Null));

    let mut status = wait_for_status(&suite, &created, "the JobSet to finish", |status| {
        !status["terminalState"].is_null() && status["replicatedJobsStatus"][0]["succeeded"] == 3
    })
    .await?;
    assert!(status["conditions"][0]["lastTransitionTime"].take().is_string());
    assert_eq!(
        status,
        json!({
            "terminalState": "Completed",
            "restarts": 0,
            "conditions": [{
                "type": "Completed", "status": "True", "reason": "AllJobsCompleted",
                "message": "jobset completed successfully", "lastTransitionTime": null,
            }],
            "replicatedJobsStatus": [
                { "name": "worker", "ready": 0, "succeeded": 3, "failed": 0, "active": 0, "suspended": 0 },
                { "name": "leader", "ready": 0, "succeeded": 1, "failed": 0, "active": 0, "suspended": 0 },
            ],
        })
    );
    assert_eq!(
        events(&suite, &created, 1).await?,
        [event("Normal", "AllJobsCompleted", "jobset completed successfully")]
    );
    // Finished Jobs and the Service stay, to be looked at.
    assert_eq!(jobs_of(&suite, &namespace, "demo", 4).await?.len(), 4);
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &namespace);
    assert!(services.get_opt("demo").await?.is_some());
    Ok(())
}

pub(crate) async fn fails_with_the_first_failed_job(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let (bad, good) = (replicated_job("bad", 1, "fail", "1s"), replicated_job("good", 2, "stay", "1s"));
    let created =
        create(&suite, &namespace, "doomed", &format!("{{replicatedJobs: [{good}, {bad}]}}")).await?;

    let message = "jobset failed due to one or more job failures (first failed job: doomed-bad-0)";
    let mut status = wait_for_status(&suite, &created, "the JobSet to finish", |status| {
        !status["terminalState"].is_null()
    })
    .await?;
    assert!(status["conditions"][0]["lastTransitionTime"].take().is_string());
    assert_eq!((&status["terminalState"], &status["restarts"]), (&json!("Failed"), &json!(0)));
    assert_eq!(
        status["conditions"],
        json!([{
            "type": "Failed", "status": "True", "reason": "FailedJobs", "message": message, "lastTransitionTime": null,
        }])
    );
    assert_eq!(events(&suite, &created, 1).await?, [event("Warning", "FailedJobs", message)]);

    // What still ran is stopped; the Job that failed stays as evidence.
    let jobs = jobs_of(&suite, &namespace, "doomed", 1).await?;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["doomed-bad-0"]);
    Ok(())
}

/// Kubernetes' garbage collector looks for new kinds every half minute only, and JobSet is new to this cluster.
pub(crate) async fn deletion_takes_the_children(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let spec = format!("{{replicatedJobs: [{}]}}", replicated_job("w", 2, "stay", "1s"));
    let created = create(&suite, &namespace, "gone", &spec).await?;
    jobs_of(&suite, &namespace, "gone", 2).await?;
    objects::delete(&suite.client, &created).await?;
    let (client, all) = (&suite.client, ListParams::default());
    wait_for(
        "nothing to be left",
        PATIENCE,
        || async {
            let jobs = Api::<Job>::namespaced(client.clone(), &namespace).list(&all).await?.items;
            let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&all).await?.items;
            let services = Api::<Service>::namespaced(client.clone(), &namespace).list(&all).await?.items;
            Ok((
                jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
                pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
                services.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            ))
        },
        |(jobs, pods, services)| jobs.is_empty() && pods.is_empty() && services.is_empty(),
    )
    .await?;
    Ok(())
}

/// A new JobSet of an old name neither waits for nor takes over what the old one had.
pub(crate) async fn recreated_jobset_has_children_of_its_own(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let spec = format!("{{replicatedJobs: [{}]}}", replicated_job("w", 2, "succeed", "2s"));
    let first = create(&suite, &namespace, "twice", &spec).await?;
    wait_for_status(&suite, &first, "the first JobSet to finish", |status| {
        status["terminalState"] == "Completed"
    })
    .await?;
    objects::delete(&suite.client, &first).await?;
    let api = objects::api_of(&suite.client, &first).await?;
    wait_for(
        "the first JobSet to be gone",
        PATIENCE,
        || async { Ok(api.get_opt("twice").await?) },
        Option::is_none,
    )
    .await?;

    let second = create(&suite, &namespace, "twice", &spec).await?;
    let uid = second.uid().context("a created object has a uid")?;
    assert_ne!(first.uid().as_deref(), Some(uid.as_str()));
    wait_for_status(&suite, &second, "the second JobSet to finish", |status| {
        status["terminalState"] == "Completed"
    })
    .await?;
    for (name, job) in jobs_of(&suite, &namespace, "twice", 2).await? {
        assert_eq!(job.owner_references()[0].uid, uid, "{name} belongs to the first JobSet");
    }
    Ok(())
}

/// The status of a JobSet, as soon as `condition` holds for it.
pub(crate) async fn wait_for_status(
    suite: &Integration,
    jobset: &DynamicObject,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let api = objects::api_of(&suite.client, jobset).await?;
    let name = jobset.name_any();
    wait_for(
        what,
        PATIENCE,
        || async {
            suite.controller.check()?;
            Ok(api.get(&name).await?.data["status"].clone())
        },
        condition,
    )
    .await
}

/// Type, reason, note and controller of the events of an object, oldest first, as soon as there are so many.
async fn events(suite: &Integration, object: &DynamicObject, number: usize) -> Result<Vec<[String; 4]>> {
    let events: Api<Event> = Api::namespaced(suite.client.clone(), &object.namespace().unwrap_or_default());
    let uid = object.uid();
    wait_for(
        &format!("{number} events"),
        PATIENCE,
        || async {
            let mut events = events.list(&ListParams::default()).await?.items;
            events.retain(|event| event.regarding.as_ref().is_some_and(|it| it.uid == uid));
            events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
            Ok(events
                .into_iter()
                .map(|event| {
                    [event.type_, event.reason, event.note, event.reporting_controller]
                        .map(Option::unwrap_or_default)
                })
                .collect::<Vec<_>>())
        },
        |events| events.len() >= number,
    )
    .await
}

fn event(kind: &str, reason: &str, note: &str) -> [String; 4] {
    [kind, reason, note, "jobset"].map(str::to_owned)
}

//! The JobSets of docs/examples with real pods.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::E2e;

pub(crate) async fn workers_reach_their_coordinator(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    e2e.kubectl.run(&["apply", "--namespace", &namespace, "-f", &example("coordinator.yaml")])?;
    let pods = wait_until_running(&e2e, &namespace, "coordinator", 4).await?;
    let stems: Vec<_> = pods.iter().filter_map(|name| name.rsplit_once('-')).map(|(stem, _)| stem).collect();
    assert_eq!(
        stems,
        [
            "coordinator-driver-0-0",
            "coordinator-workers-0-0",
            "coordinator-workers-0-1",
            "coordinator-workers-0-2"
        ]
    );
    wait_until_completed(&e2e, &namespace, "coordinator").await?;
    for (index, pod) in pods[1..].iter().enumerate() {
        let log = e2e.kubectl.run(&["logs", "--namespace", &namespace, pod])?;
        let reached = format!(
            "worker {index}: reached the coordinator at coordinator-driver-0-0.coordinator: welcome from coordinator-driver-0-0"
        );
        assert!(log.lines().any(|line| line == reached), "log of {pod}:\n{log}");
        assert!(log.ends_with(&format!("worker {index}: done\n")), "log of {pod}:\n{log}");
    }
    let log = e2e.kubectl.run(&["logs", "--namespace", &namespace, &pods[0]])?;
    assert!(log.contains("driver: all 3 workers have joined\ndriver: all 3 workers have done\n"), "{log}");
    delete(&e2e, &namespace, "coordinator").await
}

/// Columns, names and messages are those in the published documentation of this JobSet.
pub(crate) async fn demo_jobset_completes_as_documented(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    let kubectl = |args: &[&str]| e2e.kubectl.run(&[args, &["--namespace", &namespace]].concat());
    kubectl(&["apply", "-f", &example("demo-jobset.yaml")])?;
    let pods = wait_until_running(&e2e, &namespace, "demo-jobset", 4).await?;

    let running = table(&kubectl(&["get", "jobset", "demo-jobset"])?);
    assert_eq!(
        running[0],
        ["NAME", "TERMINALSTATE", "RESTARTS", "COMPLETED", "SUSPENDED", "STARTTIME", "AGE"]
    );
    assert_eq!(running[1][..2], ["demo-jobset", "0"]);
    let jobs = table(&kubectl(&["get", "jobs", "--no-headers"])?);
    let jobs: Vec<_> = jobs.iter().map(|row| row[..3].join(" ")).collect();
    assert_eq!(
        jobs,
        [
            "demo-jobset-leader-0 Running 0/1",
            "demo-jobset-worker-0 Running 0/1",
            "demo-jobset-worker-1 Running 0/1",
            "demo-jobset-worker-2 Running 0/1",
        ]
    );

    wait_until_completed(&e2e, &namespace, "demo-jobset").await?;
    let finished = table(&kubectl(&["get", "jobset", "demo-jobset"])?);
    assert_eq!(finished[1][..4], ["demo-jobset", "Completed", "0", "True"]);
    for (pod, line) in
        pods.iter().zip(["leader started", "worker started", "worker started", "worker started"])
    {
        assert_eq!(kubectl(&["logs", pod])?.trim_end(), line, "log of {pod}");
    }

    let described = wait_for(
        "kubectl describe to show the event",
        TIMEOUT,
        || async { kubectl(&["describe", "jobset", "demo-jobset"]) },
        |text| !text.ends_with("Events:  <none>\n"),
    )
    .await?;
    let rows = table(&described);
    for expected in [
        "Enable DNSHostnames: true",
        "Publish Not Ready Addresses: true",
        "Group Name: default",
        "Completion Mode: Indexed",
        "Startup Policy Order: AnyOrder",
        "Operator: All",
        "Message: jobset completed successfully",
        "Reason: AllJobsCompleted",
        "Restarts: 0",
        "Terminal State: Completed",
    ] {
        assert!(rows.iter().any(|row| row.join(" ") == expected), "no \"{expected}\" in:\n{described}");
    }
    let event = rows.last().context("kubectl describe printed nothing")?;
    assert_eq!((event[0].as_str(), event[1].as_str()), ("Normal", "AllJobsCompleted"), "{described}");
    assert_eq!(event[3..].join(" "), "jobset jobset completed successfully", "{described}");
    delete(&e2e, &namespace, "demo-jobset").await
}

/// Waits until this number of the JobSet's pods are 1/1 Running, and returns their names, sorted.
async fn wait_until_running(e2e: &E2e, namespace: &str, jobset: &str, number: usize) -> Result<Vec<String>> {
    let selector = format!("jobset.sigs.k8s.io/jobset-name={jobset}");
    let rows = wait_for(
        &format!("{number} pods of {jobset} to run"),
        TIMEOUT,
        || async {
            Ok(table(&e2e.kubectl.run(&[
                "get",
                "pods",
                "--namespace",
                namespace,
                "--selector",
                &selector,
                "--no-headers",
            ])?))
        },
        |rows| rows.len() == number && rows.iter().all(|row| row[1..3] == ["1/1", "Running"]),
    )
    .await?;
    Ok(rows.into_iter().map(|mut row| row.remove(0)).collect())
}

pub(crate) async fn wait_until_completed(e2e: &E2e, namespace: &str, jobset: &str) -> Result<()> {
    wait_for(
        &format!("{jobset} to complete"),
        TIMEOUT,
        || async {
            let path = "jsonpath={.status.terminalState}";
            e2e.kubectl.run(&["get", "jobset", jobset, "--namespace", namespace, "--output", path])
        },
        |state| state == "Completed",
    )
    .await?;
    Ok(())
}

/// Deletes a JobSet, and waits until its children are deleted.
pub(crate) async fn delete(e2e: &E2e, namespace: &str, jobset: &str) -> Result<()> {
    e2e.kubectl.run(&["delete", "jobset", jobset, "--namespace", namespace])?;
    wait_for(
        &format!("{jobset} and its children to be deleted"),
        TIMEOUT,
        || async {
            e2e.kubectl.run(&[
                "get",
                "jobsets,jobs,pods,services",
                "--namespace",
                namespace,
                "--output",
                "name",
            ])
        },
        String::is_empty,
    )
    .await?;
    Ok(())
}

pub(crate) fn example(file: &str) -> String {
    objects::repository().join("docs/examples").join(file).display().to_string()
}

/// The words of each line.
fn table(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

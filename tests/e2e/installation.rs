//! The operator, installed as by OLM, and its operand.

use std::sync::Arc;

use anyhow::{Result, bail};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::{E2e, status_of};

/// The output of `oc get pod -n openshift-jobset-operator` is as documented.
pub(crate) async fn both_pods_run(e2e: Arc<E2e>) -> Result<()> {
    assert_eq!(e2e.installation.namespace, "openshift-jobset-operator");
    wait_for(
        "two pods to be 1/1 Running",
        TIMEOUT,
        || async {
            e2e.kubectl.run(&["get", "pod", "--namespace", "openshift-jobset-operator", "--no-headers"])
        },
        |pods| {
            let rows: Vec<Vec<&str>> = pods.lines().map(|line| line.split_whitespace().collect()).collect();
            let runs = |row: &Vec<&str>, name: &str| {
                row[0].starts_with(name) && row[1..4] == ["1/1", "Running", "0"]
            };
            rows.len() == 2
                && runs(&rows[0], "jobset-controller-manager-")
                && runs(&rows[1], "jobset-operator-")
        },
    )
    .await?;
    Ok(())
}

pub(crate) async fn operator_reports_its_conditions(e2e: Arc<E2e>) -> Result<()> {
    let api = objects::api_of(&e2e.client, &e2e.operator).await?;
    wait_for(
        "Available=True, Progressing=False, Degraded=False",
        TIMEOUT,
        || async { Ok(api.get("cluster").await?.data["status"]["conditions"].clone()) },
        |conditions| {
            status_of(conditions, "Available") == "True"
                && status_of(conditions, "Progressing") == "False"
                && status_of(conditions, "Degraded") == "False"
        },
    )
    .await?;
    Ok(())
}

/// The API server reaches the operand's webhooks through their Service and trusts their certificate.
pub(crate) async fn controller_answers_webhooks(e2e: Arc<E2e>) -> Result<()> {
    let invalid = objects::one(
        "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: invalid}
spec:
  successPolicy: {operator: All, targetReplicatedJobs: [ghost]}
  replicatedJobs:
  - name: worker
    template: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}
",
    )?;
    let Err(refusal) = objects::create(&e2e.client, "default", &invalid, true).await else {
        bail!("the webhooks accepted an invalid JobSet");
    };
    assert!(
        refusal.code == 422 && refusal.message.contains("invalid replicatedJob name 'ghost'"),
        "{refusal}"
    );
    for example in objects::examples()? {
        objects::create(&e2e.client, "default", &example, true).await?;
    }
    Ok(())
}

/// The pods of operator and operand meet the Pod Security Standard `restricted`.
pub(crate) async fn pods_are_restricted(e2e: Arc<E2e>) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(e2e.client.clone(), &e2e.installation.namespace);
    for pod in pods.list(&ListParams::default()).await? {
        let name = pod.name_any();
        let spec = pod.spec.as_ref().unwrap();
        let context = spec.security_context.as_ref().unwrap();
        assert_eq!(context.run_as_non_root, Some(true), "{name}");
        assert_eq!(context.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault", "{name}");
        for container in &spec.containers {
            let context = container.security_context.as_ref().unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
            assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
            assert_eq!(context.capabilities.as_ref().unwrap().drop, Some(vec!["ALL".to_owned()]), "{name}");
        }
    }
    Ok(())
}

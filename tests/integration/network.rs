//! `spec.network`: the headless Service for the host names of the pods.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::Integration;
use crate::jobset::{LiveJobSet, counts};

/// Without `spec.network`, the Service has the name of the JobSet.
pub(crate) async fn service_is_named_after_the_jobset(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "named", "{replicatedJobs: [{name: w}]}").await?;
    let service = service(&suite, &jobset.namespace, "named", None).await?;
    assert_eq!(
        json!(service.metadata.owner_references),
        json!([{
            "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "named", "uid": jobset.uid,
            "controller": true, "blockOwnerDeletion": true,
        }])
    );
    let spec = service.spec.context("a Service has a spec")?;
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    assert_eq!(spec.publish_not_ready_addresses, Some(true));
    assert_eq!(json!(spec.selector), json!({ "jobset.sigs.k8s.io/jobset-name": "named" }));
    assert_eq!(spec.ports, None);
    Ok(())
}

/// The Service has the ports of all containers. The controller restores them, and keeps the fields that it does not set.
pub(crate) async fn service_has_the_ports_of_the_containers(suite: Arc<Integration>) -> Result<()> {
    let spec = "
replicatedJobs:
- name: driver
  template: {spec: {template: {spec: {containers: [{name: c, image: i, ports: [{containerPort: 9000}, {containerPort: 53, protocol: UDP}]}]}}}}
- name: w
  template: {spec: {template: {spec: {containers: [{name: c, image: i, ports: [{containerPort: 8080, name: http}, {containerPort: 9000}]}]}}}}
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &jobset.namespace);
    let port = |name: &str, port: i32, protocol: &str| json!({ "name": name, "port": port, "protocol": protocol, "targetPort": port });
    let expected =
        json!([port("tcp-9000", 9000, "TCP"), port("udp-53", 53, "UDP"), port("tcp-8080", 8080, "TCP")]);
    let first = service(&suite, &jobset.namespace, "js", None).await?;
    assert_eq!(json!(first.spec.and_then(|spec| spec.ports)), expected);
    jobset.jobs_become(&["driver-0@0", "w-0@0"]).await?;
    let read = || async { Ok(json!(services.get("js").await?.spec.and_then(|spec| spec.ports))) };
    // An earlier version creates the Service without ports.
    for ports in [json!(null), json!([port("web", 80, "TCP"), port("tcp-9000", 9000, "TCP")])] {
        let patch = json!({ "spec": { "ports": ports } });
        services.patch("js", &PatchParams::default(), &Patch::Merge(patch)).await?;
        wait_for("the ports to be restored", TIMEOUT, read, |ports| *ports == expected).await?;
    }
    let mut own = expected.clone();
    own[2]["appProtocol"] = "http".into();
    let patch = json!({ "spec": { "ports": own } });
    let patched = services.patch("js", &PatchParams::default(), &Patch::Merge(patch)).await?;
    holds_for(
        "no further write of the Service",
        Duration::from_secs(2),
        || async { Ok(services.get("js").await?.metadata.resource_version) },
        |version| *version == patched.metadata.resource_version,
    )
    .await?;
    jobset.events_become(&[]).await
}

/// Admission denies the correction of the ports. The controller reports it, and the JobSet runs and restarts Jobs.
pub(crate) async fn denied_ports_do_not_stop_a_jobset(suite: Arc<Integration>) -> Result<()> {
    let spec = "
replicatedJobs:
- name: w
  template: {spec: {template: {spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}}}}
";
    let jobset = LiveJobSet::create(&suite, "js", spec).await?;
    let jobs = jobset.jobs_become(&["w-0@0"]).await?;
    let (namespace, user) = (&jobset.namespace, suite.controller.user());
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(suite.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(suite.client.clone());
    let policy = serde_json::from_value(json!({
        "metadata": { "name": namespace },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"], "operations": ["UPDATE"],
            }] },
            "validations": [{ "expression": format!("request.userInfo.username != '{user}'"), "message": "not yours" }],
        },
    }))?;
    policies.create(&PostParams::default(), &policy).await?;
    let binding = serde_json::from_value(json!({
        "metadata": { "name": namespace },
        "spec": { "policyName": namespace, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
        } },
    }))?;
    bindings.create(&PostParams::default(), &binding).await?;

    let services: Api<Service> = Api::namespaced(suite.client.clone(), namespace);
    let ports = || async { Ok(services.get("js").await?.spec.and_then(|spec| spec.ports)) };
    // The policy takes effect with a delay.
    let denied = || async {
        services
            .patch("js", &PatchParams::default(), &Patch::Merge(json!({"spec": {"ports": null}})))
            .await?;
        Ok(jobset.events_of("HeadlessServiceUpdateFailed").await?.pop().and_then(|event| event.note))
    };
    let note = wait_for("an event about the ports", TIMEOUT, denied, Option::is_some).await?;
    let note = note.unwrap_or_default();
    assert!(
        note.starts_with("changing the ports of Service \"js\": ") && note.contains("not yours"),
        "{note}"
    );
    assert_eq!(ports().await?, None);

    jobset.jobs.delete("js-w-0", &DeleteParams::background()).await?;
    let first = jobs["w-0"].metadata.uid.clone();
    let read = || async { Ok(jobset.jobs.get_opt("js-w-0").await?.and_then(|job| job.metadata.uid)) };
    wait_for("a new Job", TIMEOUT, read, |uid| uid.is_some() && *uid != first).await?;
    jobset.suspend(true).await?;
    jobset.jobs_become(&["w-0@0 suspended"]).await?;

    bindings.delete(namespace, &DeleteParams::default()).await?;
    policies.delete(namespace, &DeleteParams::default()).await?;
    jobset.suspend(false).await?;
    wait_for("the ports", TIMEOUT, ports, Option::is_some).await?;
    Ok(())
}

pub(crate) async fn subdomain_and_readiness_can_be_set(suite: Arc<Integration>) -> Result<()> {
    let spec = "{network: {subdomain: custom, publishNotReadyAddresses: false}, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "named", spec).await?;
    let service = service(&suite, &jobset.namespace, "custom", None).await?;
    // The API server omits the value false.
    assert_eq!(service.spec.and_then(|spec| spec.publish_not_ready_addresses), None);
    let jobs = jobset.jobs_become(&["w-0@0"]).await?;
    assert_eq!(subdomain(&jobs["w-0"]), Some("custom"));
    Ok(())
}

pub(crate) async fn no_service_is_created_without_host_names(suite: Arc<Integration>) -> Result<()> {
    let spec = "{network: {enableDNSHostnames: false}, replicatedJobs: [{name: w}]}";
    let jobset = LiveJobSet::create(&suite, "nameless", spec).await?;
    let jobs = jobset.jobs_become(&["w-0@0"]).await?;
    assert_eq!(subdomain(&jobs["w-0"]), None);
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &jobset.namespace);
    holds_for(
        "no Service in the namespace",
        Duration::from_secs(2),
        || async { Ok(services.list(&ListParams::default()).await?.items.len()) },
        |services| *services == 0,
    )
    .await
}

pub(crate) async fn deleted_service_is_recreated(suite: Arc<Integration>) -> Result<()> {
    let jobset = LiveJobSet::create(&suite, "named", "{replicatedJobs: [{name: w}]}").await?;
    let first = service(&suite, &jobset.namespace, "named", None).await?;
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &jobset.namespace);
    services.delete("named", &DeleteParams::default()).await?;
    let second = service(&suite, &jobset.namespace, "named", first.uid()).await?;
    assert_eq!(second.owner_references()[0].uid, jobset.uid);
    Ok(())
}

/// Two JobSets can have the same subdomain. The Service selects only the pods of the first JobSet, which the controller
/// reports for the second JobSet. When the first JobSet is deleted, the controller creates the Service for the second.
pub(crate) async fn jobset_with_a_shared_subdomain_reports_a_conflict(suite: Arc<Integration>) -> Result<()> {
    let spec = "{network: {subdomain: shared}, replicatedJobs: [{name: w}]}";
    let first = LiveJobSet::create(&suite, "first", spec).await?;
    first.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    let created = service(&suite, &first.namespace, "shared", None).await?;
    let second = LiveJobSet::create_in(&suite, &first.namespace, "second", spec).await?;
    second.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    let unchanged = service(&suite, &first.namespace, "shared", None).await?;
    assert_eq!(unchanged.metadata.resource_version, created.metadata.resource_version);
    second
        .events_become(&[
            "Warning HeadlessServiceConflict: Service shared, which belongs to JobSet first, has selector jobset.sigs.k8s.io/jobset-name=first, which misses pods of replicatedJob w, so the host names of this JobSet's pods do not resolve; create this JobSet with another network.subdomain, or create a headless Service of this name that selects the pods of both",
        ])
        .await?;
    first.events_become(&[]).await?;

    first.delete().await?;
    let next = service(&suite, &first.namespace, "shared", created.uid()).await?;
    assert_eq!(next.owner_references()[0].uid, second.uid);
    assert_eq!(
        json!(next.spec.and_then(|spec| spec.selector)),
        json!({ "jobset.sigs.k8s.io/jobset-name": "second" })
    );
    Ok(())
}

/// Two JobSets share a headless Service that the user created and that selects the pods of both.
pub(crate) async fn service_that_selects_the_pods_is_no_conflict(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let own = objects::one(
        "{apiVersion: v1, kind: Service, metadata: {name: shared}, spec: {clusterIP: None, selector: {app: mpi}}}",
    )?;
    let own = objects::create(&suite.client, &namespace, &own, false).await?;
    let spec = "{network: {subdomain: shared}, replicatedJobs: [{name: w, template: {spec: {template: {metadata: {labels: {app: mpi}}}}}}]}";
    let first = LiveJobSet::create_in(&suite, &namespace, "first", spec).await?;
    let second = LiveJobSet::create_in(&suite, &namespace, "second", spec).await?;
    for jobset in [&first, &second] {
        jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
        jobset.events_become(&[]).await?;
    }
    // A selector that matches no pods causes an event for both JobSets. A correct selector causes no event.
    let services: Api<Service> = Api::namespaced(suite.client.clone(), &namespace);
    for (app, conflict) in [("web", true), ("mpi", false)] {
        let patch = json!({ "spec": { "selector": { "app": app } } });
        services.patch("shared", &PatchParams::default(), &Patch::Merge(patch)).await?;
        for jobset in [&first, &second].into_iter().filter(|_| conflict) {
            let event = jobset.event("HeadlessServiceConflict", |_| true).await?;
            let note = event.note.unwrap_or_default();
            assert!(
                note.starts_with("Service shared, which no controller owns, has selector app=web, which"),
                "{note}"
            );
            assert_eq!(event.related.and_then(|it| it.uid), own.uid(), "`related` is not the Service");
        }
    }
    for jobset in [&first, &second] {
        jobset.jobs_stay(&["w-0@0"]).await?;
    }
    Ok(())
}

pub(crate) async fn service_that_is_not_headless_is_a_conflict(suite: Arc<Integration>) -> Result<()> {
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let web = objects::one(
        "{apiVersion: v1, kind: Service, metadata: {name: js}, spec: {ports: [{port: 80}], selector: {jobset.sigs.k8s.io/jobset-name: js}}}",
    )?;
    objects::create(&suite.client, &namespace, &web, false).await?;
    let jobset = LiveJobSet::create_in(&suite, &namespace, "js", "{replicatedJobs: [{name: w}]}").await?;
    jobset.counts_become(&[counts("w", [1, 0, 0, 1, 0])]).await?;
    jobset
        .events_become(&[
            "Warning HeadlessServiceConflict: Service js, which no controller owns, is not headless, so the host names of this JobSet's pods do not resolve; create this JobSet with another network.subdomain, or make the Service a headless one that selects its pods",
        ])
        .await
}

/// Waits for a Service with this name that does not have the UID `old`. Returns the Service.
async fn service(suite: &Integration, namespace: &str, name: &str, old: Option<String>) -> Result<Service> {
    let services: Api<Service> = Api::namespaced(suite.client.clone(), namespace);
    let read = || async { Ok(services.get_opt(name).await?) };
    let is_new = |service: &Option<Service>| {
        service.as_ref().is_some_and(|it| it.metadata.uid != old && it.metadata.deletion_timestamp.is_none())
    };
    wait_for(&format!("Service {name}"), TIMEOUT, read, is_new).await?.context("the Service is missing")
}

fn subdomain(job: &k8s_openapi::api::batch::v1::Job) -> Option<&str> {
    job.spec.as_ref()?.template.spec.as_ref()?.subdomain.as_deref()
}

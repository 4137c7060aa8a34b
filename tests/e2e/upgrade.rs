//! Upgrades from the previous release to this one, and back, under admission load. JobSets run all the time.
//!
//! `hack/previous-release` builds the previous release. Each release is installed from its own `manifests/` or `deploy/`,
//! with the documented commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use devcluster::node::{LoadImage, load_image};
use jobset_tests::cluster::SuiteCluster;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, wait_for};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::load::Load;
use crate::migration::{self, RUNNER, documented_in, wait_until_serving};
use crate::release::{Release, image_in};
use crate::{E2e, status_of};

const OPERAND: &str = "jobset-controller-manager";
/// Namespace of the controller without the operator.
const CONTROLLER_NAMESPACE: &str = "jobset-system";
/// Namespace of the JobSets that run all the time.
const RUNNING: &str = "upgrade-running";
/// Namespaces of suspended JobSets: those that the previous release stored, and those that this one stored.
const STORED: [&str; 2] = ["upgrade-stored-before", "upgrade-stored-after"];

/// In its second attempt, a suspended one, and one with a coordinator and a claim.
const JOBSETS: &str = "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: restarted}
spec:
  failurePolicy: {maxRestarts: 5}
  replicatedJobs:
  - name: worker
    replicas: 2
    template:
      spec:
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 0
            containers:
            - name: worker
              image: busybox
              env:
              - name: ATTEMPT
                valueFrom: {fieldRef: {fieldPath: \"metadata.labels['jobset.sigs.k8s.io/restart-attempt']\"}}
              command: [sh, -c, 'test $ATTEMPT -gt 0 && exec sleep 36000']
---
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: paused}
spec:
  suspend: true
  replicatedJobs:
  - name: part
    replicas: 3
    template:
      spec:
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 0
            containers: [{name: part, image: busybox, command: [sleep, '36000']}]
---
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: training}
spec:
  coordinator: {replicatedJob: driver}
  volumeClaimPolicies:
  - templates:
    - metadata: {name: checkpoint}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
    retentionPolicy: {whenDeleted: Retain}
  replicatedJobs:
  - name: driver
    template: &template
      spec:
        completions: 1
        template:
          spec:
            restartPolicy: OnFailure
            terminationGracePeriodSeconds: 0
            containers:
            - name: main
              image: busybox
              volumeMounts: [{name: checkpoint, mountPath: /checkpoint}]
              command: [sleep, '36000']
  - name: worker
    template: *template
";

/// The stable state of [`JOBSETS`]: name, restarts, and the field of `status.replicatedJobsStatus` that counts the
/// Jobs, with its sum.
const STABLE: [(&str, u32, &str, u64); 3] =
    [("restarted", 1, "ready", 2), ("paused", 0, "suspended", 3), ("training", 0, "ready", 2)];

/// Their children, without claims, which have no label.
const CHILDREN: &str = "--selector=jobset.sigs.k8s.io/jobset-name in (restarted,paused,training)";

/// A cluster without JobSet, with the images of both releases.
pub(crate) async fn prepare(cluster: SuiteCluster) -> Result<E2e> {
    for release in Release::both()? {
        let image = LoadImage {
            archive: None,
            binaries: Some(release.programs),
            rootfs: None,
            tag: Some(release.image),
        };
        load_image(cluster.cluster().context(), &image)?;
    }
    let e2e = migration::prepare(cluster).await?;
    for namespace in [&[RUNNING], STORED.as_slice()].concat() {
        let text = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}");
        objects::apply(&e2e.client, &objects::one(&text)?, "kubectl").await?;
    }
    Ok(e2e)
}

pub(crate) async fn controller_with_one_replica_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    upgrade_and_downgrade(&e2e, &Installation::Controller { replicas: 1 }).await
}

pub(crate) async fn controller_with_two_replicas_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    upgrade_and_downgrade(&e2e, &Installation::Controller { replicas: 2 }).await
}

/// cert-manager issues the certificates.
pub(crate) async fn operator_with_one_replica_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    uninstall_controller(&e2e)?;
    let spec = json!({"managementState": "Managed", "controller": {"replicas": 1}});
    upgrade_and_downgrade(&e2e, &Installation::Operator { spec, replicas: 1 }).await
}

/// The operator issues the certificates.
pub(crate) async fn operator_with_two_replicas_rejects_no_request(e2e: Arc<E2e>) -> Result<()> {
    uninstall_controller(&e2e)?;
    let spec = json!({
        "managementState": "Managed", "controller": {"replicas": 2}, "certificates": {"provider": "BuiltIn"},
    });
    upgrade_and_downgrade(&e2e, &Installation::Operator { spec, replicas: 2 }).await
}

/// The controller of this release resumes, and counts restarts from, what the previous one stored.
pub(crate) async fn jobsets_continue_after_upgrades(e2e: Arc<E2e>) -> Result<()> {
    uninstall_controller(&e2e)?;
    let [previous, current] = Release::both()?;
    let spec = json!({"managementState": "Managed", "controller": {"replicas": 1}});
    let installation = Installation::Operator { spec, replicas: 1 };
    installation.install(&e2e, &previous).await?;
    run_jobsets(&e2e).await?;
    installation.install(&e2e, &current).await?;

    let resume = ["patch", "jobset", "paused", "--type=merge", "--patch", r#"{"spec":{"suspend":false}}"#];
    kubectl(&e2e, RUNNING, &resume)?;
    wait_until_stable(&e2e, "paused", 0, "ready", 3).await?;
    // backoffLimit is 0: the Job fails with its pod.
    let worker = "--selector=jobset.sigs.k8s.io/jobset-name=restarted,jobset.sigs.k8s.io/job-index=0";
    kubectl(&e2e, RUNNING, &["delete", "pod", worker])?;
    wait_until_stable(&e2e, "restarted", 2, "ready", 2).await?;
    kubectl(&e2e, RUNNING, &["delete", "jobset", "--all"]).map(drop)
}

/// After a downgrade, the API server removes the fields that the CRD of the previous release does not have.
pub(crate) async fn fields_that_a_downgrade_loses_are_documented(_: Arc<E2e>) -> Result<()> {
    let [previous, current] = Release::both()?;
    let document = objects::repository().join("docs/upgrading.md");
    for file in ["jobset.x-k8s.io_jobsets.yaml", "operator.openshift.io_jobsetoperators.yaml"] {
        let [before, after] = [&previous, &current].map(|release| release.fields(file));
        let (before, after) = (before?, after?);
        ensure!(before.contains("spec") && after.contains("spec"), "{file} has no fields");
        for field in after.difference(&before) {
            let text = std::fs::read_to_string(&document).unwrap_or_default();
            ensure!(
                text.contains(&format!("`{field}`")),
                "{file}: field {field} is new in {}, so a downgrade loses it: name it in docs/upgrading.md",
                current.version()
            );
        }
    }
    Ok(())
}

/// What is installed.
enum Installation {
    /// The controller from `manifests/`.
    Controller { replicas: usize },
    /// The operator from `deploy/`, with this spec of the JobSetOperator.
    Operator { spec: Value, replicas: usize },
}

impl Installation {
    /// Installs a release, or replaces the other one, and waits until nothing of the other one runs.
    async fn install(&self, e2e: &E2e, release: &Release) -> Result<()> {
        match self {
            &Self::Controller { replicas } => {
                apply_controller(e2e, release, replicas)?;
                wait_for_program(
                    e2e,
                    CONTROLLER_NAMESPACE,
                    "control-plane=controller-manager",
                    release,
                    replicas,
                )
                .await?;
            }
            Self::Operator { spec, replicas } => {
                documented_in(e2e, &release.root, "kubectl apply --server-side --force-conflicts -k deploy")?;
                let mut operator = e2e.operator.clone();
                operator.data["spec"] = spec.clone();
                let operator = apply_when_served(e2e, &operator).await?;
                let settled = wait_until_rolled_out(e2e, &operator, release).await;
                settled.inspect_err(|_| e2e.keep_program_logs())?;
                let namespace = &e2e.installation.namespace;
                wait_for_program(e2e, namespace, "name=jobset-operator", release, 1).await?;
                wait_for_program(e2e, namespace, "control-plane=controller-manager", release, *replicas)
                    .await?;
            }
        }
        wait_until_serving(e2e).await
    }
}

/// Upgrades to this release, and downgrades to the previous one.
async fn upgrade_and_downgrade(e2e: &E2e, installation: &Installation) -> Result<()> {
    let [previous, current] = Release::both()?;
    installation.install(e2e, &previous).await?;
    run_jobsets(e2e).await?;
    let [of_previous, of_current] = STORED;
    store_examples(e2e, of_previous).await?;
    let before = observe(e2e, &[of_previous])?;
    let after = switch(e2e, installation, &current).await?;
    unchanged(&before, &observe(e2e, &[of_previous])?, "the upgrade")?;

    store_examples(e2e, of_current).await?;
    let before = observe(e2e, &STORED)?;
    let back = switch(e2e, installation, &previous).await?;
    unchanged(&before, &observe(e2e, &STORED)?, "the downgrade")?;
    eprintln!(
        "figure: from {} to {} in {after:.1?}, and back in {back:.1?}",
        previous.version(),
        current.version()
    );
    for namespace in STORED {
        kubectl(e2e, namespace, &["delete", "jobset", "--all"])?;
    }
    Ok(())
}

/// Installs the other release under admission load. Its controller then runs a new JobSet, and accepts the existing ones
/// as they are. Returns the time until nothing of the other release runs.
async fn switch(e2e: &E2e, installation: &Installation, release: &Release) -> Result<std::time::Duration> {
    let load = Load::start(&e2e.client).await?;
    let started = Instant::now();
    installation.install(e2e, release).await?;
    let elapsed = started.elapsed();
    load.end().await?;

    let new = in_namespace(&RUNNER.replace("runner", "meanwhile"), RUNNING)?.remove(0);
    objects::apply(&e2e.client, &new, "kubectl").await?;
    wait_until_stable(e2e, "meanwhile", 0, "ready", 2).await?;
    kubectl(e2e, RUNNING, &["delete", "jobset", "meanwhile"])?;
    run_jobsets(e2e).await?;
    for namespace in STORED {
        if !kubectl(e2e, namespace, &["get", "jobsets", "--output", "name"])?.is_empty() {
            store_examples(e2e, namespace).await?;
        }
    }
    Ok(elapsed)
}

/// Applies [`JOBSETS`], which changes nothing if they exist, and waits until they are stable.
async fn run_jobsets(e2e: &E2e) -> Result<()> {
    for jobset in in_namespace(JOBSETS, RUNNING)? {
        objects::apply(&e2e.client, &jobset, "kubectl").await?;
    }
    for (name, restarts, state, jobs) in STABLE {
        wait_until_stable(e2e, name, restarts, state, jobs).await?;
    }
    // The garbage collector deletes the pods of the first attempt.
    let list = || async { kubectl(e2e, RUNNING, &["get", "pods", CHILDREN, "--output", "name"]) };
    wait_for("4 pods", TIMEOUT, list, |pods| pods.lines().count() == 4).await.map(drop)
}

/// Applies the JobSets of the previous release's docs/examples, suspended.
async fn store_examples(e2e: &E2e, namespace: &str) -> Result<()> {
    let [previous, _] = Release::both()?;
    for mut jobset in objects::examples_in(&previous.root)? {
        jobset.metadata.namespace = Some(namespace.to_owned());
        jobset.data["spec"]["suspend"] = json!(true);
        objects::apply(&e2e.client, &jobset, "kubectl").await?;
    }
    Ok(())
}

/// Waits until a JobSet has this number of restarts, and so many of its Jobs are counted in the field `state`.
async fn wait_until_stable(e2e: &E2e, name: &str, restarts: u32, state: &str, jobs: u64) -> Result<()> {
    wait_for(
        &format!("{jobs} Jobs of {name} to be {state}, after {restarts} restarts"),
        TIMEOUT,
        || async {
            let jobset: Value =
                serde_json::from_str(&kubectl(e2e, RUNNING, &["get", "jobset", name, "--output", "json"])?)?;
            Ok(jobset["status"].clone())
        },
        |status| {
            let counts = status["replicatedJobsStatus"].as_array().into_iter().flatten();
            status["restarts"].as_u64().unwrap_or_default() == u64::from(restarts)
                && counts.filter_map(|it| it[state].as_u64()).sum::<u64>() == jobs
        },
    )
    .await?;
    Ok(())
}

/// Properties of objects that a change of the release must not change, by kind, namespace and name.
type Observation = BTreeMap<String, Value>;

/// Observes [`JOBSETS`] with their children, and the JobSets in the namespaces `stored`.
///
/// No controller writes to a JobSet that is stable, so its resource version stays. The previous controller may still
/// write the status of a JobSet in `stored`, so only what users wrote must stay there.
fn observe(e2e: &E2e, stored: &[&str]) -> Result<Observation> {
    let list = |namespace: &str, arguments: &[&str]| -> Result<Vec<Value>> {
        let text = kubectl(e2e, namespace, &[&["get", "--output", "json"], arguments].concat())?;
        Ok(serde_json::from_str::<Value>(&text)?["items"].as_array().cloned().unwrap_or_default())
    };
    let mut found = Observation::new();
    let mut add = |object: &Value, properties: Value| {
        let metadata = &object["metadata"];
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(part).join(" ");
        found.insert(key, properties);
    };
    for jobset in list(RUNNING, &["jobsets"])? {
        let metadata = &jobset["metadata"];
        if STABLE.iter().any(|(name, ..)| metadata["name"] == *name) {
            let version = &metadata["resourceVersion"];
            add(&jobset, json!([metadata["uid"], version, jobset["spec"], jobset["status"]]));
        }
    }
    for namespace in stored {
        for jobset in list(namespace, &["jobsets"])? {
            add(
                &jobset,
                json!([jobset["metadata"]["uid"], jobset["metadata"]["generation"], jobset["spec"]]),
            );
        }
    }
    for object in list(RUNNING, &["jobs,pods", CHILDREN])? {
        let restarts: Vec<_> = object["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|container| container["restartCount"].clone())
            .collect();
        add(&object, json!([object["metadata"]["uid"], restarts]));
    }
    for object in list(RUNNING, &["services,persistentvolumeclaims"])? {
        if object["metadata"]["name"] != "meanwhile" {
            add(&object, json!([object["metadata"]["uid"], object["spec"]]));
        }
    }
    let count = |kind: &str| found.keys().filter(|key| key.starts_with(&format!("{kind} "))).count();
    ensure!(count("Pod") == 4 && count("Job") == 7, "the children are not complete: {:?}", found.keys());
    ensure!(count("PersistentVolumeClaim") == 1, "the claim is missing: {:?}", found.keys());
    Ok(found)
}

/// An error that contains what changed.
fn unchanged(before: &Observation, after: &Observation, what: &str) -> Result<()> {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changes: Vec<_> = keys
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key}: {:?} -> {:?}", before.get(key), after.get(key)))
        .collect();
    ensure!(changes.is_empty(), "{what} changed {changes:#?}");
    Ok(())
}

/// The Deployment in `manifests/` has one replica.
fn apply_controller(e2e: &E2e, release: &Release, replicas: usize) -> Result<()> {
    if replicas == 1 {
        return documented_in(
            e2e,
            &release.root,
            "kubectl apply --server-side --force-conflicts -k manifests",
        );
    }
    let folder = release.root.join("manifests").display().to_string();
    let mut objects = objects::parse(&e2e.kubectl.run(&["kustomize", &folder])?)?;
    let deployment = objects.iter_mut().find(|object| objects::kind(object) == "Deployment");
    deployment.context("manifests/ contains no Deployment")?.data["spec"]["replicas"] = json!(replicas);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    e2e.kubectl.run_with_input(&arguments, &list).map(drop)
}

/// Uninstalls the controller of `manifests/`, if it is installed. The JobSets stay.
fn uninstall_controller(e2e: &E2e) -> Result<()> {
    let installed = kubectl(
        e2e,
        CONTROLLER_NAMESPACE,
        &["get", "deployment", OPERAND, "--ignore-not-found", "--output", "name"],
    )?;
    if installed.is_empty() {
        return Ok(());
    }
    for arguments in [["-f", "manifests/controller/webhooks.yaml"], ["-k", "manifests/controller"]] {
        let arguments = [["delete", "--ignore-not-found"], arguments].concat();
        migration::run_in(e2e, &objects::repository(), &arguments)?;
    }
    Ok(())
}

async fn apply_when_served(e2e: &E2e, object: &DynamicObject) -> Result<DynamicObject> {
    let what = format!("the API of {}", objects::kind(object));
    let apply = || async {
        Ok(objects::apply(&e2e.client, object, "kubectl").await.map_err(|error| format!("{error:#}")))
    };
    wait_for(&what, TIMEOUT, apply, Result::is_ok).await?.map_err(anyhow::Error::msg)
}

/// Waits until the JobSetOperator reports that the operand of this release is rolled out.
async fn wait_until_rolled_out(e2e: &E2e, operator: &DynamicObject, release: &Release) -> Result<()> {
    let api = objects::api_of(&e2e.client, operator).await?;
    let name = operator.name_any();
    wait_for(
        &format!("the operand of version {}", release.version()),
        TIMEOUT,
        || async { Ok(api.get(&name).await?) },
        |operator| {
            let status = &operator.data["status"];
            let condition = |kind| status_of(&status["conditions"], kind);
            status["version"] == release.version()
                && status["observedGeneration"] == json!(operator.metadata.generation)
                && condition("Available") == "True"
                && condition("Progressing") == "False"
                && condition("Degraded") == "False"
        },
    )
    .await?;
    Ok(())
}

/// Waits until so many pods of this release are ready, and no others exist.
async fn wait_for_program(
    e2e: &E2e,
    namespace: &str,
    selector: &str,
    release: &Release,
    replicas: usize,
) -> Result<()> {
    let list = || async {
        let pods = kubectl(e2e, namespace, &["get", "pods", "--selector", selector, "--output", "json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let summary = |pod: &Value| {
            let image = image_in(&pod["spec"]).unwrap_or_default();
            let ends = !pod["metadata"]["deletionTimestamp"].is_null();
            (image, status_of(&pod["status"]["conditions"], "Ready") == "True", ends)
        };
        Ok(pods["items"].as_array().into_iter().flatten().map(summary).collect::<Vec<_>>())
    };
    let expected = vec![(release.image.clone(), true, false); replicas];
    let what = format!("{replicas} ready pods of {selector} with {}", release.image);
    let waited = wait_for(&what, TIMEOUT, list, |pods| *pods == expected).await;
    waited.inspect_err(|_| migration::keep_pods(e2e, namespace)).map(drop)
}

fn in_namespace(yaml: &str, namespace: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = objects::parse(yaml)?;
    for object in &mut objects {
        object.metadata.namespace = Some(namespace.to_owned());
    }
    Ok(objects)
}

fn kubectl(e2e: &E2e, namespace: &str, arguments: &[&str]) -> Result<String> {
    e2e.kubectl.run(&[arguments, &["--namespace", namespace]].concat())
}

//! `spec.volumeClaimPolicies`.

use super::*;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

const CLAIMS: &str = "
replicatedJobs:
- name: reader
  template: {spec: {template: {spec: {containers: [{name: c, volumeMounts: [{name: data, mountPath: /d}]}], volumes: [{name: own}]}}}}
- name: loader
  template: {spec: {template: {spec: {initContainers: [{name: i, volumeMounts: [{name: cache, mountPath: /c}, {name: data, mountPath: /d}]}], containers: [{name: c}]}}}}
- name: idler
  template: {spec: {template: {spec: {containers: [{name: c, volumeMounts: [{name: other, mountPath: /o}]}]}}}}
volumeClaimPolicies:
- retentionPolicy: {whenDeleted: Delete}
  templates:
  - {metadata: {name: data, labels: {tier: hot}, annotations: {note: big}}, spec: {storageClassName: fast}}
- retentionPolicy: {whenDeleted: Retain}
  templates:
  - {metadata: {name: cache}, spec: {storageClassName: slow}}
- templates:
  - {metadata: {name: scratch}}
";

fn claims(plan: &Plan) -> Vec<&PersistentVolumeClaim> {
    let claims = plan.actions.iter().filter_map(|action| match action {
        Action::CreateClaim(claim) => Some(claim.as_ref()),
        _ => None,
    });
    claims.collect()
}

/// One claim for each template. A claim with whenDeleted Delete, the default, belongs to the JobSet.
#[test]
fn each_template_creates_a_claim() {
    let plan = jobset(CLAIMS).plan();
    let expected: Vec<PersistentVolumeClaim> = serde_yaml::from_str(
        "
- metadata:
    name: data-train
    namespace: team
    labels: {tier: hot, jobset.sigs.k8s.io/jobset-name: train}
    annotations: {note: big}
    ownerReferences:
    - {apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: train-uid, controller: true, blockOwnerDeletion: true}
  spec: {storageClassName: fast}
- metadata: {name: cache-train, namespace: team, labels: {jobset.sigs.k8s.io/jobset-name: train}}
  spec: {storageClassName: slow}
- metadata:
    name: scratch-train
    namespace: team
    labels: {jobset.sigs.k8s.io/jobset-name: train}
    ownerReferences:
    - {apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, name: train, uid: train-uid, controller: true, blockOwnerDeletion: true}
",
    )
    .unwrap();
    assert_eq!(claims(&plan), expected.iter().collect::<Vec<_>>());
}

/// A policy that omits whenDeleted deletes the claims (upstream #1305).
#[test]
fn claims_belong_to_the_jobset_unless_they_are_retained() {
    for (policy, owned) in [
        ("", true),
        ("retentionPolicy: {}", true),
        ("retentionPolicy: {whenDeleted: Delete}", true),
        ("retentionPolicy: {whenDeleted: Retain}", false),
    ] {
        let plan =
            jobset(&format!("volumeClaimPolicies: [{{templates: [{{metadata: {{name: d}}}}], {policy}}}]"))
                .plan();
        let owners: Vec<_> =
            claims(&plan).iter().map(|claim| claim.metadata.owner_references.is_some()).collect();
        assert_eq!(owners, [owned], "{policy}");
    }
}

/// A Job has a volume for each claim that one of its containers mounts.
#[test]
fn jobs_have_volumes_for_mounted_claims() {
    let plan = jobset(CLAIMS).plan();
    let volumes = |job: &Job| {
        let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        let volumes = pod.volumes.iter().flatten().map(|volume| {
            let claim = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
            format!("{}: {}", volume.name, claim.unwrap_or_default())
        });
        volumes.collect::<Vec<_>>()
    };
    let volumes: Vec<_> = created(&plan).into_iter().map(volumes).collect();
    assert_eq!(
        volumes,
        [vec!["own: ", "data: data-train"], vec!["data: data-train", "cache: cache-train"], vec![]]
    );
}

/// An existing claim with any owner is used unchanged. A JobSet that finishes creates no claim.
#[test]
fn only_missing_claims_are_created() {
    let mut scene = jobset(CLAIMS);
    scene.claims = ["data-train", "scratch-train", "stranger"].map(str::to_owned).into();
    let names = |scene: &Scene| -> Vec<String> {
        claims(&scene.plan()).iter().map(|claim| claim.metadata.name.clone().unwrap()).collect()
    };
    assert_eq!(names(&scene), ["cache-train"]);
    assert_eq!(
        claim_names(&scene.jobset).collect::<Vec<_>>(),
        ["data-train", "cache-train", "scratch-train"]
    );
    assert_eq!(names(&scene.clone().jobs("reader-0 failed@9")), Vec::<String>::new());
    assert_eq!(names(&scene.jobs("reader-0 failed@9").stored()), Vec::<String>::new());
}

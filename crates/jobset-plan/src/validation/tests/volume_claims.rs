use super::*;
use crate::validation::{ExistingClaim, claims_to_read};

const MOUNTS: &str = "/spec/replicatedJobs/1/template/spec/template/spec/containers/0/volumeMounts";

fn claim_spec() -> Value {
    json!({
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}},
    })
}

fn template(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": claim_spec()})
}

/// [`valid`] with these templates in one policy, mounted by the workers.
fn with_templates(templates: &[Value]) -> Vec<(&'static str, Value)> {
    let mounts: Vec<Value> = templates
        .iter()
        .map(|template| json!({"name": template["metadata"]["name"], "mountPath": "/data"}))
        .collect();
    vec![
        (MOUNTS, json!(mounts)),
        (
            "/spec/volumeClaimPolicies",
            json!([{"templates": templates, "retentionPolicy": {"whenDeleted": "Retain"}}]),
        ),
    ]
}

fn name_error(index: usize, name: &str, detail: &str) -> String {
    format!("spec.volumeClaimPolicies[0].template[{index}].name: Invalid value: {name:?}: {detail}")
}

#[test]
fn names_of_templates() {
    assert!(created(&with_templates(&[template("data"), template("more")])).is_empty());
    assert_eq!(
        created(&with_templates(&[template("data"), template("data")])),
        [name_error(1, "data", "names must be unique for VolumeClaimPolicies template")],
        "1"
    );
    let mut second_policy = with_templates(&[template("data")]);
    second_policy.push(("/spec/volumeClaimPolicies/1", json!({"templates": [template("data")]})));
    assert_eq!(
        created(&second_policy),
        ["spec.volumeClaimPolicies[1].template[0].name: Invalid value: \"data\": names must be unique for \
          VolumeClaimPolicies template"],
        "1: in another policy"
    );
    let errors = created(&with_templates(&[template("Data")]));
    assert_eq!(errors.len(), 1, "2: {errors:?}");
    assert!(errors[0].starts_with(&name_error(0, "Data", "a lowercase RFC 1123 subdomain must consist of")));
    assert!(created(&with_templates(&[template(&"d".repeat(60))])).is_empty(), "3: 60 and `-js` are 63");
    let long = "d".repeat(61);
    assert_eq!(
        created(&with_templates(&[template(&long)])),
        [name_error(0, &long, "VolumeClaimPolicies template name is too long")],
        "3"
    );
    let unnamed = created(&[("/spec/volumeClaimPolicies", json!([{"templates": [{}]}]))]);
    assert!(unnamed[0].starts_with(&name_error(0, "", "a lowercase RFC 1123 subdomain")), "{unnamed:?}");
}

#[test]
fn volumes_and_mounts() {
    let mut taken = with_templates(&[template("data")]);
    taken.push((
        "/spec/replicatedJobs/0/template/spec/template/spec/volumes",
        json!([{"name": "other", "emptyDir": {}}, {"name": "data", "emptyDir": {}}]),
    ));
    assert_eq!(
        created(&taken),
        [
            "spec.replicatedJobs[0].template.spec.template.spec.volumes[1].name: Invalid value: \"data\": volume name \
          conflicts with VolumeClaimPolicy template name: data"
        ],
        "4"
    );
    let mut unmounted = with_templates(&[template("data")]);
    unmounted.push((MOUNTS, Value::Null));
    let errors = created(&unmounted);
    assert_eq!(errors.len(), 1, "5: {errors:?}");
    assert!(
        errors[0].starts_with(
            "spec.replicatedJobs: Invalid value: [{\"name\":\"driver\",\"groupName\":\"default\""
        )
    );
    assert!(errors[0].ends_with(
        ": replicatedJob containers don't have a matching volumeMount: data from VolumeClaimPolicies"
    ));
    unmounted.push((
        "/spec/replicatedJobs/0/template/spec/template/spec/initContainers",
        json!([{"name": "init", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]),
    ));
    assert!(created(&unmounted).is_empty(), "5: an init container mounts it");
}

#[test]
fn claims_that_exist() {
    let present = |spec: Value| ExistingClaim::Present(serde_json::from_value(spec).unwrap());
    let errors = |retention: Value, claim: ExistingClaim| {
        let mut edits = with_templates(&[template("data")]);
        edits.push(("/spec/volumeClaimPolicies/0/retentionPolicy", retention));
        let claims = ExistingClaims::from([("data-js".to_owned(), claim)]);
        texts(&validate_create(&edited(&edits), &claims, &Gates::default()))
    };
    let retain = json!({"whenDeleted": "Retain"});
    assert!(errors(retain.clone(), present(claim_spec())).is_empty(), "the same spec, retained");
    assert!(errors(retain.clone(), ExistingClaim::Absent).is_empty());
    assert!(errors(json!({"whenDeleted": "Delete"}), ExistingClaim::Absent).is_empty());
    assert!(errors(Value::Null, present(claim_spec())).is_empty(), "no retention policy");

    let mut same = claim_spec();
    same["resources"]["requests"]["storage"] = json!("1024Mi");
    assert!(errors(retain.clone(), present(same)).is_empty(), "another notation of the same size");

    let mut other = claim_spec();
    other["accessModes"] = json!(["ReadWriteMany"]);
    let mismatch = "spec does not match existing PVC data-js in namespace team";
    let found = errors(retain.clone(), present(other));
    assert_eq!(found.len(), 1, "6: {found:?}");
    assert!(
        found[0].starts_with("spec.volumeClaimPolicies[0].template[0].spec: Invalid value: {"),
        "{found:?}"
    );
    assert!(found[0].ends_with(&format!("}}: {mismatch}")), "{found:?}");

    assert_eq!(
        errors(json!({"whenDeleted": "Delete"}), present(claim_spec())),
        [
            "spec.volumeClaimPolicies[0].retentionPolicy.whenDeleted: Invalid value: \"Delete\": retentionPolicy must be \
          retain when PVC exists"
        ],
        "6"
    );
    assert_eq!(
        errors(retain, ExistingClaim::ReadError("connection refused".to_owned())),
        [
            "spec.volumeClaimPolicies[0].template[0]: Internal error: failed to check for existing PVC data-js: \
          connection refused"
        ],
        "6"
    );
}

/// Fields that the API server and the binder set are no difference, if the template does not set them.
#[test]
fn fields_that_the_cluster_sets_are_no_difference() {
    let snapshot =
        |name: &str| json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name});
    for (field, is, silent, is_not) in [
        ("dataSource", snapshot("a"), vec![], vec![snapshot("b")]),
        ("dataSourceRef", snapshot("a"), vec![], vec![snapshot("b")]),
        ("storageClassName", json!("fast"), vec![], vec![json!("slow"), json!("")]),
        ("volumeAttributesClassName", json!("silver"), vec![], vec![json!("gold"), json!("")]),
        ("volumeMode", json!("Filesystem"), vec![], vec![json!("Block")]),
        ("volumeName", json!("pv-7"), vec![json!("")], vec![json!("pv-8")]),
    ] {
        let with = |value: &Value| {
            let mut template = template("data");
            template["spec"][field] = value.clone();
            template
        };
        let existing = serde_json::from_value(with(&is)["spec"].clone()).unwrap();
        let claims = ExistingClaims::from([("data-js".to_owned(), ExistingClaim::Present(existing))]);
        let matches = |value: &Value| {
            let jobset = edited(&with_templates(&[with(value)]));
            validate_create(&jobset, &claims, &Gates::default()).is_empty()
        };
        for value in [is, Value::Null].iter().chain(&silent) {
            assert!(matches(value), "{field}: {value}");
        }
        assert!(!is_not.iter().any(matches), "{field}: {is_not:?}");
    }
}

#[test]
fn claims_to_read_are_valid_and_unique() {
    let jobset =
        edited(&with_templates(&[template("data"), template("a"), template("data"), template("B A D")]));
    assert_eq!(claims_to_read(&jobset), ["a-js", "data-js"], "each name once, without invalid names");
    let mut generated = with_templates(&[template("data")]);
    generated.push(("/metadata/name", Value::Null));
    generated.push(("/metadata/generateName", json!("js-")));
    assert!(
        claims_to_read(&edited(&generated)).is_empty(),
        "the name is unknown until the API server generates it"
    );
}

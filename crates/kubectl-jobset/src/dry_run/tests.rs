//! Plans of files.

use super::*;
use std::{collections::BTreeMap, fs, path::Path};

fn planned(text: &str, gates: &Gates) -> Vec<Planned> {
    read(text).unwrap().iter().map(|manifest| plan(manifest, None, gates).unwrap()).collect()
}

fn text(planned: &Planned) -> String {
    anstream::adapter::strip_str(&planned.to_string()).to_string()
}

fn jobset(spec: &str) -> String {
    format!("{{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {{name: a}}, spec: {spec}}}")
}

const ROLE: &str = "{name: r, replicas: 2, template: {spec: {parallelism: 3, completions: 3, \
                    template: {spec: {containers: [{name: c, image: i}]}}}}}";

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let all = BTreeMap::from([("AllAlpha".to_owned(), true)]);
    let gates = Gates::configured(&all).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let mut jobsets = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = fs::read_to_string(&path).unwrap();
        let Ok(manifests) = read(&file) else { continue };
        for manifest in manifests {
            let planned = plan(&manifest, None, &gates).unwrap();
            assert!(planned.refusals.is_empty(), "{}: {:?}", path.display(), planned.refusals);
            let kinds: Vec<_> =
                planned.stages.iter().flat_map(|stage| &stage.objects).map(|it| &it["kind"]).collect();
            let position = |kind: &str| kinds.iter().position(|it| *it == kind);
            assert!(position("Service") < position("Job"), "{}: {kinds:?}", path.display());
            jobsets += 1;
        }
    }
    assert!(jobsets >= 10, "{jobsets} JobSets");
}

#[test]
fn stages_follow_the_order_of_the_jobset() {
    let in_order = jobset(&format!(
        "{{startupPolicy: {{startupPolicyOrder: InOrder}}, replicatedJobs: [{ROLE}, {}]}}",
        ROLE.replace("name: r", "name: s")
    ));
    let [planned] = &*planned(&in_order, &Gates::default()) else { panic!() };
    assert_eq!(
        text(planned),
        "JobSet default/a: admission accepts it\n\n\
         At once\n  Service a: headless, host names of the pods\n  \
         Job a-r-0 … a-r-1: 2 Jobs of 3 pods; host names a-r-0-0.a … a-r-1-2.a\n\n\
         Then\n  (the startup policy waits for replicatedJob r to be ready: 0 of 2)\n  \
         Job a-s-0 … a-s-1: 2 Jobs of 3 pods; host names a-s-0-0.a … a-s-1-2.a\n"
    );
}

#[test]
fn a_suspended_jobset_waits_with_its_jobs() {
    let [planned] =
        &*planned(&jobset(&format!("{{suspend: true, replicatedJobs: [{ROLE}]}}")), &Gates::default())
    else {
        panic!()
    };
    assert!(text(planned).contains("2 Jobs of 3 pods, suspended"), "{planned}");
    assert!(text(planned).contains("Then it waits\n"), "{planned}");
}

#[test]
fn refusals_name_the_field() {
    let gang = format!("{{scheduling: {{schedulingPolicy: {{gang: {{}}}}}}, replicatedJobs: [{ROLE}]}}");
    let [planned] = &*planned(&jobset(&gang), &Gates::default()) else { panic!() };
    assert!(planned.is_refused() && planned.stages.is_empty());
    assert!(text(planned).contains("admission refuses it\n  * spec.scheduling: Forbidden"), "{planned}");
}

#[test]
fn unknown_fields_are_warnings() {
    let [planned] =
        &*planned(&jobset(&format!("{{sucessPolicy: {{}}, replicatedJobs: [{ROLE}]}}")), &Gates::default())
    else {
        panic!()
    };
    assert_eq!(planned.warnings, ["unknown field \"spec.sucessPolicy\""]);
}

#[test]
fn a_plan_is_limited() {
    let many = ROLE.replace("replicas: 2", "replicas: 2000000000").replace('3', "1");
    let [planned] = &*planned(&jobset(&format!("{{replicatedJobs: [{many}]}}")), &Gates::default()) else {
        panic!()
    };
    assert_eq!(planned.then, ["the plan ends after 1000 objects"]);
}

#[test]
fn errors_of_files_say_what_is_wrong() {
    for (file, error) in [
        ("", "the file is empty"),
        ("{", "neither YAML nor JSON"),
        ("kind: Pod\n---\nkind: Job", "contains no JobSet, but Job, Pod"),
        ("hello", "an object without kind"),
        ("{kind: JobSet, apiVersion: jobset.x-k8s.io/v1}", "use jobset.x-k8s.io/v1alpha2"),
    ] {
        let found = format!("{:#}", read(file).unwrap_err());
        assert!(found.contains(error), "{file:?}: {found}");
    }
    let wrong = jobset("{replicatedJobs: [{name: 5}]}");
    let manifests = read(&wrong).unwrap();
    let found = plan(&manifests[0], None, &Gates::default()).unwrap_err().to_string();
    assert!(found.starts_with("spec.replicatedJobs[0].name: invalid type"), "{found}");
}

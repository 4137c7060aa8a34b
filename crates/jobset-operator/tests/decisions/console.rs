//! Objects for the console of OpenShift: where its APIs and the namespace of its dashboards exist, and only there.

use crate::{decide, delete_all, execute, installed, operator, ready_to_install};
use jobset_operator::observe::{ObjectKey, Observed, kinds};
use serde_json::json;
use std::sync::Arc;

const APIS: [&str; 2] = [kinds::QUICK_START_CRD, kinds::YAML_SAMPLE_CRD];

fn is_of_console(key: &ObjectKey) -> bool {
    key.kind.starts_with("Console") || key.name == "grafana-dashboard-jobset"
}

/// The objects for the console in the plan.
fn planned(observed: &Observed) -> usize {
    decide(observed).apply.iter().filter(|step| is_of_console(&step.key)).count()
}

#[test]
fn objects_follow_the_apis_and_the_namespace() {
    let mut observed = ready_to_install(json!({}));
    assert_eq!(planned(&observed), 0);
    observed.apis.insert(APIS[0].to_owned());
    assert_eq!(planned(&observed), 1, "the quick start");
    observed.apis.insert(APIS[1].to_owned());
    assert_eq!(planned(&observed), 5, "and four samples");
    observed.dashboard_namespace = true;
    assert_eq!(planned(&observed), 6, "and the dashboard");
}

#[test]
fn removed_deletes_them_and_unmanaged_does_not() {
    let mut observed = installed(json!({}));
    observed.apis.extend(APIS.map(str::to_owned));
    observed.dashboard_namespace = true;
    execute(&mut observed);
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Unmanaged"}))));
    assert!(decide(&observed).delete.is_empty());
    observed.operator = Some(Arc::new(operator(json!({"managementState": "Removed"}))));
    let deleted = delete_all(observed);
    assert_eq!(deleted.iter().filter(|key| is_of_console(key)).count(), 6);
}

#[test]
fn the_dashboard_of_a_deleted_namespace_is_no_longer_desired() {
    let mut observed = installed(json!({}));
    observed.dashboard_namespace = true;
    execute(&mut observed);
    assert_eq!(decide(&observed).delete, []);
    observed.dashboard_namespace = false;
    assert!(decide(&observed).delete.iter().all(is_of_console));
    assert_eq!(planned(&observed), 0);
}

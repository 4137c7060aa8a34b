//! Taking over from OpenShift's Go operator, whose objects exist and whose pods run.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

/// Roles and their bindings.
const ROLES: [(&str, &str); 2] =
    [("ClusterRole", "jobset-manager-role"), ("Role", "jobset-leader-election-role")];

/// A role of the Go operator that this operator does not need.
const UNUSED: &str = "jobset-manager-secrets-role";

/// A live object that another client applied.
fn foreign(kind: &str, name: &str, content: Value) -> (ObjectKey, Live) {
    let mut object: DynamicObject =
        serde_json::from_value(json!({"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": name}}))
            .unwrap();
    object.data = content;
    object.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "operator.openshift.io/v1".into(),
        kind: "JobSetOperator".into(),
        ..OwnerReference::default()
    }]);
    (ObjectKey::of(&object), Live::new(object))
}

/// The cluster as the Go operator leaves it, with one available pod.
fn of_the_go_operator() -> Observed {
    let mut observed = ready_to_install(json!({}));
    let labels = json!({
        "app.kubernetes.io/instance": "jobset", "app.kubernetes.io/managed-by": "kustomize",
        "app.kubernetes.io/name": "jobset", "control-plane": "controller-manager",
    });
    let deployment = json!({
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}},
        "status": rolled_out(),
    });
    observed.objects.extend([foreign("Deployment", names::OPERAND, deployment)]);
    let rules = json!([{"apiGroups": [""], "resources": ["events", "pods"], "verbs": ["create", "update"]}]);
    observed.objects.extend(ROLES.map(|(kind, name)| foreign(kind, name, json!({ "rules": rules }))));
    observed.objects.extend(
        ROLES.map(|(kind, name)| foreign(&format!("{kind}Binding"), &format!("{name}binding"), json!({}))),
    );
    observed.objects.extend([foreign("Role", UNUSED, json!({ "rules": rules }))]);
    observed.running_pods = 1;
    observed
}

fn applied_roles(observed: &Observed) -> usize {
    let plan = decide(observed);
    let is_applied = |(kind, name): &&(&str, &str)| {
        let role = step(&plan, kind, name).is_some();
        let binding = step(&plan, &format!("{kind}Binding"), &format!("{name}binding")).is_some();
        assert_eq!(role, binding, "a binding to a role with more permissions cannot be changed: {name}");
        role
    };
    ROLES.iter().filter(is_applied).count()
}

/// With the same selector, the takeover is a rollout of the same Deployment.
#[test]
fn the_deployment_keeps_the_selector_of_the_go_operator() {
    let observed = of_the_go_operator();
    let plan = decide(&observed);
    let desired = step(&plan, "Deployment", names::OPERAND).unwrap();
    let live = observed.get("Deployment", names::OPERAND).unwrap();
    for path in ["/spec/selector", "/spec/template/metadata/labels"] {
        assert_eq!(desired.data.pointer(path), live.object.data.pointer(path), "{path}");
    }
}

/// The Deployment of an operator that selected its pods by fewer labels.
#[test]
fn a_live_selector_is_kept() {
    let mut observed = installed(json!({}));
    let live = observed.objects.get_mut(&ObjectKey::new("Deployment", names::OPERAND)).unwrap();
    let mut object = (*live.object).clone();
    let selector = json!({"matchLabels": {"control-plane": "controller-manager"}});
    object.data["spec"]["selector"] = selector.clone();
    live.object = Arc::new(object);
    let plan = decide(&observed);
    assert_eq!(step(&plan, "Deployment", names::OPERAND).unwrap().data["spec"]["selector"], selector);
}

#[test]
fn roles_are_not_narrowed_until_the_previous_pods_have_ended() {
    let mut observed = of_the_go_operator();
    assert_eq!(applied_roles(&observed), 0, "the previous pods run");
    let key = ObjectKey::new("Deployment", names::OPERAND);
    let previous = observed.objects.remove(&key).unwrap();
    assert_eq!(applied_roles(&observed), 0, "the pods run without their Deployment, which is recreated");

    let plan = decide(&observed);
    // The operator replaced its contents, and did not apply it.
    observed.objects.insert(key, Live::new(step(&plan, "Deployment", names::OPERAND).unwrap().clone()));
    let rollout = |updated: u8, ending: usize| {
        let status = json!({
            "observedGeneration": 7, "replicas": 1 + u8::from(updated == 0), "updatedReplicas": updated,
            "availableReplicas": 1,
        });
        let mut observed = with_deployment(observed.clone(), status);
        observed.ending_pods = ending;
        observed
    };
    assert_eq!(applied_roles(&rollout(0, 0)), 0, "the image of the new pod cannot be pulled");
    assert_eq!(applied_roles(&rollout(1, 1)), 0, "the previous pod is terminating");
    assert_eq!(applied_roles(&rollout(1, 0)), ROLES.len());
    let deletes_unused =
        |observed: &Observed| decide(observed).delete.contains(&ObjectKey::new("Role", UNUSED));
    assert!(!deletes_unused(&rollout(0, 0)) && deletes_unused(&rollout(1, 0)));

    let mut observed = of_the_go_operator();
    let mut object = (*previous.object).clone();
    object.data["status"] = json!({"replicas": 1});
    observed.objects.insert(ObjectKey::new("Deployment", names::OPERAND), Live::new(object));
    assert_eq!(applied_roles(&observed), ROLES.len(), "no previous pod is available");
}

/// Otherwise, a role that another client emptied would permanently block the rollout, whose pods need it.
#[test]
fn roles_that_grant_too_little_are_repaired_at_once() {
    let mut observed = of_the_go_operator();
    observed.objects.extend(ROLES.map(|(kind, name)| foreign(kind, name, json!({"rules": []}))));
    assert_eq!(applied_roles(&observed), ROLES.len());
}

/// Otherwise a pod may serve with the new certificate before the API server trusts its CA.
#[test]
fn the_issuer_changes_when_the_webhooks_trust_the_new_ca() {
    let mut observed = of_the_go_operator();
    let certificate = json!({"spec": {"issuerRef": {"name": names::SELF_SIGNED_ISSUER}}});
    observed.objects.extend([foreign("Certificate", names::WEBHOOK_CERTIFICATE, certificate)]);
    let changes_issuer =
        |observed: &Observed| step(&decide(observed), "Certificate", names::WEBHOOK_CERTIFICATE).is_some();
    assert!(!changes_issuer(&observed), "the new CA does not exist");
    observed.secrets.insert(names::CA_SECRET.into(), complete("hash-3", &AUTHORITIES[1]));
    execute(&mut observed);
    let bundle = trusted_by_webhooks(&observed);
    assert_eq!(bundle, AUTHORITIES.concat(), "both CAs are trusted");
    assert!(changes_issuer(&observed));
}

fn trusted_by_webhooks(observed: &Observed) -> String {
    let webhooks = observed.get(VALIDATING, names::VALIDATING_WEBHOOKS).unwrap();
    manager_runtime::certificates::inject::trusted(&webhooks.object)
}

/// Without a binding, the previous pods do not have the permissions of the role, and the operator cannot create one.
#[test]
fn roles_without_a_binding_are_not_kept() {
    let mut observed = of_the_go_operator();
    for (kind, name) in ROLES {
        observed.objects.remove(&ObjectKey::new(&format!("{kind}Binding"), &format!("{name}binding")));
    }
    assert_eq!(applied_roles(&observed), ROLES.len());
}

/// The administrator went back to the Go operator, which changes labels and contents of the objects, and now returns.
/// The field manager of this operator stays in them.
#[test]
fn roles_are_not_narrowed_at_the_second_takeover() {
    let mut observed = installed(json!({}));
    let of_the_go_operator = of_the_go_operator();
    for (key, live) in &of_the_go_operator.objects {
        let mut object = (*live.object).clone();
        object.labels_mut().insert(names::MANAGED_BY_LABEL.to_owned(), "kustomize".to_owned());
        let live = if observed.objects.contains_key(key) { applied(object) } else { Live::new(object) };
        observed.objects.insert(key.clone(), live);
    }
    observed.running_pods = 1;
    assert_eq!(applied_roles(&observed), 0, "the pods of the Go operator run");
    assert!(!decide(&observed).delete.contains(&ObjectKey::new("Role", UNUSED)));
}

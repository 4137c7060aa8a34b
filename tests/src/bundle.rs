//! Installs the OLM bundle as OLM does, on a cluster without OLM.
//!
//! OLM applies the CRDs in `bundle/manifests` and creates the operator's objects from the `ClusterServiceVersion`:
//!
//! | in the CSV | becomes |
//! |---|---|
//! | `permissions[]` | `ServiceAccount`, `Role` and `RoleBinding` in the install namespace |
//! | `clusterPermissions[]` | `ServiceAccount`, `ClusterRole` and `ClusterRoleBinding` |
//! | `install.spec.deployments[]` | Deployments in the install namespace |
//!
//! OLM applies other objects of the bundle, such as Services, in the install namespace, which the CSV suggests.
//! [`plan`] computes the objects without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::objects;

/// Field manager of OLM's objects.
pub const FIELD_MANAGER: &str = "olm";

/// The objects of an installed bundle.
#[derive(Debug)]
pub struct Installation {
    /// Name of the `ClusterServiceVersion`.
    pub name: String,
    /// Namespace of the operator.
    pub namespace: String,
    /// The objects, in the order in which to apply them.
    pub objects: Vec<DynamicObject>,
    /// Names of the Deployments among them.
    pub deployments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Strategy {
    strategy: String,
    spec: StrategySpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StrategySpec {
    #[serde(default)]
    permissions: Vec<Permission>,
    #[serde(default)]
    cluster_permissions: Vec<Permission>,
    #[serde(default)]
    deployments: Vec<StrategyDeployment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permission {
    service_account_name: String,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

#[derive(Deserialize)]
struct StrategyDeployment {
    name: String,
    #[serde(default)]
    label: BTreeMap<String, String>,
    spec: DeploymentSpec,
}

/// Reads the bundle in this folder and computes the objects to apply.
///
/// `image` replaces every image in the CSV: those of containers, and those in environment variables whose names end
/// with `_IMAGE` or start with `RELATED_IMAGE_`, which configure the operand's image.
pub fn plan(bundle: &Path, image: Option<&str>) -> Result<Installation> {
    let manifests = objects::read_folder(&bundle.join("manifests"))?;
    let csv = manifests
        .iter()
        .find(|object| objects::kind(object) == "ClusterServiceVersion")
        .ok_or_else(|| anyhow!("{} contains no ClusterServiceVersion", bundle.join("manifests").display()))?;
    let name = csv.name_any();
    let namespace = csv
        .annotations()
        .get("operatorframework.io/suggested-namespace")
        .cloned()
        .ok_or_else(|| anyhow!("{name} has no annotation operatorframework.io/suggested-namespace"))?;
    let strategy: Strategy = Strategy::deserialize(csv.data.pointer("/spec/install").unwrap_or(&Value::Null))
        .with_context(|| format!("spec.install of {name} is not an install strategy"))?;
    if strategy.strategy != "deployment" {
        bail!(
            "spec.install.strategy of {name} is \"{}\", but OLM supports only \"deployment\"",
            strategy.strategy
        );
    }

    let mut objects = vec![namespace_object(csv, &namespace)?];
    objects.extend(
        manifests.iter().filter(|object| objects::kind(object) == "CustomResourceDefinition").cloned(),
    );
    let spec = strategy.spec;
    let accounts: BTreeSet<_> = spec
        .permissions
        .iter()
        .chain(&spec.cluster_permissions)
        .map(|it| it.service_account_name.as_str())
        .collect();
    for account in accounts {
        objects.push(object(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": account, "namespace": namespace },
        }))?);
    }
    for (index, permission) in spec.permissions.iter().enumerate() {
        let metadata = json!({ "name": format!("{name}-{index}"), "namespace": namespace });
        objects.extend(role_and_binding("Role", &metadata, permission, &namespace)?);
    }
    for (index, permission) in spec.cluster_permissions.iter().enumerate() {
        let metadata = json!({ "name": format!("{name}-{index}") });
        objects.extend(role_and_binding("ClusterRole", &metadata, permission, &namespace)?);
    }
    for other in &manifests {
        if !matches!(objects::kind(other), "ClusterServiceVersion" | "CustomResourceDefinition") {
            let mut other = other.clone();
            other.metadata.namespace = Some(namespace.clone());
            objects.push(other);
        }
    }
    let mut deployments = Vec::new();
    for deployment in spec.deployments {
        deployments.push(deployment.name.clone());
        objects.push(deployment_object(deployment, &name, &namespace, image)?);
    }
    Ok(Installation { name, namespace, objects, deployments })
}

/// The namespace, from the CSV's template if it has one.
fn namespace_object(csv: &DynamicObject, namespace: &str) -> Result<DynamicObject> {
    const TEMPLATE: &str = "operatorframework.io/suggested-namespace-template";
    let Some(template) = csv.annotations().get(TEMPLATE) else {
        return object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }));
    };
    serde_json::from_str(template)
        .with_context(|| format!("annotation {TEMPLATE} of {} is not a Namespace", csv.name_any()))
}

fn role_and_binding(
    kind: &str,
    metadata: &Value,
    permission: &Permission,
    namespace: &str,
) -> Result<[DynamicObject; 2]> {
    Ok([
        object(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
            "rules": permission.rules,
        }))?,
        object(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata.get("name") },
            "subjects": [
                { "kind": "ServiceAccount", "name": permission.service_account_name, "namespace": namespace },
            ],
        }))?,
    ])
}

fn deployment_object(
    deployment: StrategyDeployment,
    csv: &str,
    namespace: &str,
    image: Option<&str>,
) -> Result<DynamicObject> {
    let StrategyDeployment { name, label, mut spec } = deployment;
    // OLM sets the namespaces of the OperatorGroup as an annotation, and the name of the CSV as a variable.
    let annotations = spec.template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    annotations.insert("olm.targetNamespaces".into(), namespace.into());
    let pod =
        spec.template.spec.as_mut().ok_or_else(|| anyhow!("Deployment {name} of {csv} has no pod spec"))?;
    for container in &mut pod.containers {
        let variables = container.env.get_or_insert_default();
        if let Some(image) = image {
            container.image = Some(image.into());
            for variable in variables.iter_mut().filter(|it| names_an_image(&it.name)) {
                variable.value = Some(image.into());
            }
        }
        variables.push(EnvVar {
            name: "OPERATOR_CONDITION_NAME".into(),
            value: Some(csv.into()),
            ..EnvVar::default()
        });
    }
    object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "labels": label },
        "spec": spec,
    }))
}

fn names_an_image(variable: &str) -> bool {
    variable.ends_with("_IMAGE") || variable.starts_with("RELATED_IMAGE_")
}

fn object(value: Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = r#"
apiVersion: operators.coreos.com/v1alpha1
kind: ClusterServiceVersion
metadata:
  name: kettle.v1.2.3
  annotations: {operatorframework.io/suggested-namespace: kitchen}
spec:
  install:
    strategy: deployment
    spec:
      permissions:
      - {serviceAccountName: cook, rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]}
      clusterPermissions:
      - {serviceAccountName: cook, rules: [{apiGroups: [""], resources: [nodes], verbs: [list]}]}
      - {serviceAccountName: waiter, rules: [{nonResourceURLs: [/menu], verbs: [get]}]}
      deployments:
      - name: kettle
        label: {app: kettle}
        spec:
          selector: {matchLabels: {app: kettle}}
          template:
            metadata: {labels: {app: kettle}}
            spec:
              containers:
              - name: kettle
                image: registry.example/kettle:1
                env:
                - {name: OPERAND_IMAGE, value: registry.example/tea:1}
                - {name: COLOUR, value: red}
"#;

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!(
            "bundle-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(folder.join("manifests")).unwrap();
        folder
    }

    fn planned(image: Option<&str>) -> Installation {
        let folder = folder();
        std::fs::write(folder.join("manifests/csv.yaml"), CSV).unwrap();
        let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: kettles.example}\n";
        std::fs::write(folder.join("manifests/crd.yaml"), crd).unwrap();
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: metrics}\n";
        std::fs::write(folder.join("manifests/service.yaml"), service).unwrap();
        let plan = plan(&folder, image).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        plan
    }

    #[test]
    fn plan_lists_the_objects_in_the_order_in_which_to_apply_them() {
        let plan = planned(None);
        assert_eq!((plan.name.as_str(), plan.namespace.as_str()), ("kettle.v1.2.3", "kitchen"));
        assert_eq!(plan.deployments, ["kettle"]);
        assert_eq!(
            plan.objects.iter().map(objects::title).collect::<Vec<_>>(),
            [
                "Namespace kitchen",
                "CustomResourceDefinition kettles.example",
                "ServiceAccount kitchen/cook",
                "ServiceAccount kitchen/waiter",
                "Role kitchen/kettle.v1.2.3-0",
                "RoleBinding kitchen/kettle.v1.2.3-0",
                "ClusterRole kettle.v1.2.3-0",
                "ClusterRoleBinding kettle.v1.2.3-0",
                "ClusterRole kettle.v1.2.3-1",
                "ClusterRoleBinding kettle.v1.2.3-1",
                "Service kitchen/metrics",
                "Deployment kitchen/kettle",
            ]
        );
        let binding = &plan.objects[9].data;
        assert_eq!(binding["roleRef"]["name"], "kettle.v1.2.3-1");
        assert_eq!(
            binding["subjects"][0],
            json!({"kind": "ServiceAccount", "name": "waiter", "namespace": "kitchen"})
        );
    }

    #[test]
    fn only_images_are_replaced() {
        let containers = |plan: &Installation| {
            plan.objects.last().unwrap().data["spec"]["template"]["spec"]["containers"].clone()
        };
        let own = containers(&planned(None));
        assert_eq!(own[0]["image"], "registry.example/kettle:1");
        let replaced = containers(&planned(Some("local/kettle:dev")));
        assert_eq!(replaced[0]["image"], "local/kettle:dev");
        assert_eq!(
            replaced[0]["env"],
            json!([
                {"name": "OPERAND_IMAGE", "value": "local/kettle:dev"},
                {"name": "COLOUR", "value": "red"},
                {"name": "OPERATOR_CONDITION_NAME", "value": "kettle.v1.2.3"},
            ])
        );
    }

    #[test]
    fn an_error_names_the_folder_without_a_csv() {
        let folder = folder();
        let error = plan(&folder, None).unwrap_err().to_string();
        std::fs::remove_dir_all(folder).unwrap();
        assert!(error.ends_with("manifests contains no ClusterServiceVersion"), "{error}");
    }
}

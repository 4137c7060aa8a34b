//! The charts of `manifests/charts`, with Helm.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use jobset_tests::helm::{self, Helm};
use jobset_tests::objects;
use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Api;

const CONTROLLER: &str = "jobset";
const OPERATOR: &str = "jobset-operator";

fn helm(api: &Api) -> Result<Helm> {
    Helm::new(api.cluster.layout())
}

/// Objects by kind and name.
fn by_name(objects: Vec<DynamicObject>) -> Result<BTreeMap<String, Value>> {
    objects
        .into_iter()
        .map(|object| {
            let key = format!("{}/{}", objects::kind(&object), object.name_any());
            Ok((key, serde_json::to_value(object)?))
        })
        .collect()
}

pub(crate) async fn charts_have_no_lint_errors(api: Arc<Api>) -> Result<()> {
    let helm = helm(&api)?;
    for chart in [CONTROLLER, OPERATOR] {
        let output = helm.run(&["lint", "--strict", &helm::folder(chart).display().to_string()])?;
        ensure!(output.contains("0 chart(s) failed") && !output.contains("[WARNING]"), "{output}");
    }
    Ok(())
}

/// With default values, the charts contain the objects of `manifests/` and `deploy/`, without the namespace. What differs
/// is that Helm manages them, and keeps the CRD.
pub(crate) async fn default_values_render_the_plain_manifests(api: Arc<Api>) -> Result<()> {
    let helm = helm(&api)?;
    let root = objects::repository();
    let crd = |name: &str| objects::read(&root.join("manifests/crds").join(name));
    let controller = objects::read_folder(&root.join("manifests/controller"))?;
    let operator = objects::read_folder(&root.join("deploy"))?;
    for (chart, namespace, plain, crds) in [
        (CONTROLLER, "jobset-system", controller, crd("jobset.x-k8s.io_jobsets.yaml")?),
        (OPERATOR, "openshift-jobset-operator", operator, Vec::new()),
    ] {
        let mut expected = by_name([plain, crds].concat())?;
        expected.retain(|key, _| !key.starts_with("Namespace/") && key != "JobSetOperator/cluster");
        for (key, object) in &mut expected {
            if key.starts_with("CustomResourceDefinition/") {
                object["metadata"]["annotations"]["helm.sh/resource-policy"] = json!("keep");
            } else if let Some(manager) = object.pointer_mut("/metadata/labels/app.kubernetes.io~1managed-by")
            {
                *manager = json!("Helm");
            }
        }
        let rendered = by_name(helm.template(chart, namespace, &[])?)?;
        let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&expected), "{chart}");
        for (key, object) in &rendered {
            assert_eq!(Some(object), expected.get(key), "{chart}: {key}");
        }
    }
    Ok(())
}

const DEPLOYMENT: &str = "Deployment/jobset-controller-manager";
const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// Values, an object, a JSON pointer, and what it points to; null if nothing.
type Row<'a> = (&'a [&'a str], &'a str, String, Value);

/// Renders the chart with each row's values and compares.
fn check(helm: &Helm, chart: &str, rows: Vec<Row<'_>>) -> Result<()> {
    for (values, key, pointer, expected) in rows {
        let rendered =
            by_name(helm.template(chart, "elsewhere", values).with_context(|| format!("{values:?}"))?)?;
        let object = rendered.get(key).unwrap_or(&Value::Null);
        let found = object.pointer(&pointer).unwrap_or(&Value::Null);
        assert_eq!(*found, expected, "{values:?}: {key} {pointer}");
    }
    Ok(())
}

pub(crate) async fn values_of_the_controller_reach_its_objects(api: Arc<Api>) -> Result<()> {
    let helm = helm(&api)?;
    let pod = |field: &str| format!("{POD}/{field}");
    let container = |field: &str| format!("{CONTAINER}/{field}");
    let digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123";
    check(
        &helm,
        CONTROLLER,
        vec![
            (&[], DEPLOYMENT, "/metadata/namespace".into(), json!("elsewhere")),
            (
                &[],
                "ClusterRoleBinding/jobset-manager-rolebinding",
                "/subjects/0/namespace".into(),
                json!("elsewhere"),
            ),
            (
                &[],
                "ValidatingWebhookConfiguration/jobset-validating-webhook-configuration",
                "/webhooks/0/clientConfig/service/namespace".into(),
                json!("elsewhere"),
            ),
            (
                &[r#"commonLabels={"team":"red"}"#],
                "Service/jobset-webhook-service",
                "/metadata/labels/team".into(),
                json!("red"),
            ),
            (
                &[r#"commonLabels={"team":"red"}"#],
                DEPLOYMENT,
                "/spec/template/metadata/labels/team".into(),
                json!("red"),
            ),
            (
                &[r#"commonLabels={"team":"red"}"#],
                DEPLOYMENT,
                "/spec/selector/matchLabels/team".into(),
                Value::Null,
            ),
            (
                &[r#"commonLabels={"app.kubernetes.io/name":"mine"}"#],
                DEPLOYMENT,
                "/spec/template/metadata/labels/app.kubernetes.io~1name".into(),
                json!("jobset"),
            ),
            (
                &[r#"commonAnnotations={"note":"a"}"#],
                "CustomResourceDefinition/jobsets.jobset.x-k8s.io",
                "/metadata/annotations/note".into(),
                json!("a"),
            ),
            (
                &[r#"image.repository="registry.example:5000/a""#, r#"image.tag="v7""#],
                DEPLOYMENT,
                container("image"),
                json!("registry.example:5000/a:v7"),
            ),
            (
                &[
                    r#"image.repository="registry.example/a""#,
                    r#"image.digest="sha256:0123456789012345678901234567890123456789012345678901234567890123""#,
                ],
                DEPLOYMENT,
                container("image"),
                json!(format!("registry.example/a@{digest}")),
            ),
            (&[r#"image.pullPolicy="Always""#], DEPLOYMENT, container("imagePullPolicy"), json!("Always")),
            (
                &[r#"image.pullSecrets=[{"name":"s"}]"#],
                DEPLOYMENT,
                pod("imagePullSecrets"),
                json!([{"name": "s"}]),
            ),
            (
                &["crds.enable=false"],
                "CustomResourceDefinition/jobsets.jobset.x-k8s.io",
                String::new(),
                Value::Null,
            ),
            (&["controller.replicas=3"], DEPLOYMENT, "/spec/replicas".into(), json!(3)),
            (
                &["controller.replicas=3"],
                DEPLOYMENT,
                pod("topologySpreadConstraints/0/topologyKey"),
                json!("kubernetes.io/hostname"),
            ),
            (
                &["controller.replicas=3"],
                "PodDisruptionBudget/jobset-controller-manager",
                "/spec/maxUnavailable".into(),
                json!(1),
            ),
            (
                &["controller.replicas=3", "controller.podDisruptionBudget.minAvailable=2"],
                "PodDisruptionBudget/jobset-controller-manager",
                "/spec".into(),
                json!({
                    "minAvailable": 2,
                    "selector": {"matchLabels": {
                        "app.kubernetes.io/instance": "jobset",
                        "app.kubernetes.io/name": "jobset",
                        "control-plane": "controller-manager",
                    }},
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                }),
            ),
            (
                &[
                    "controller.replicas=3",
                    "controller.podDisruptionBudget={\"minAvailable\":2,\"maxUnavailable\":0}",
                ],
                "PodDisruptionBudget/jobset-controller-manager",
                "/spec/maxUnavailable".into(),
                json!(0),
            ),
            (
                &["controller.replicas=3", "controller.podDisruptionBudget.enabled=false"],
                "PodDisruptionBudget/jobset-controller-manager",
                String::new(),
                Value::Null,
            ),
            (
                &["controller.logLevel=\"debug\"", "controller.extraArgs=[\"--zap-encoder=json\"]"],
                DEPLOYMENT,
                container("args"),
                json!([
                    "--config=/controller_manager_config.yaml",
                    "--zap-log-level=debug",
                    "--zap-encoder=json"
                ]),
            ),
            (
                &[r#"controller.annotations={"a":"b"}"#],
                DEPLOYMENT,
                "/metadata/annotations/a".into(),
                json!("b"),
            ),
            (
                &[r#"controller.podAnnotations={"a":"b"}"#],
                DEPLOYMENT,
                "/spec/template/metadata/annotations/a".into(),
                json!("b"),
            ),
            (
                &[r#"controller.podLabels={"a":"b"}"#],
                DEPLOYMENT,
                "/spec/template/metadata/labels/a".into(),
                json!("b"),
            ),
            (
                &[r#"controller.env=[{"name":"A","value":"b"}]"#],
                DEPLOYMENT,
                container("env"),
                json!([{"name": "A", "value": "b"}]),
            ),
            (
                &[r#"controller.envFrom=[{"configMapRef":{"name":"a"}}]"#],
                DEPLOYMENT,
                container("envFrom"),
                json!([{"configMapRef": {"name": "a"}}]),
            ),
            (
                &[r#"controller.volumes=[{"name":"a","emptyDir":{}}]"#],
                DEPLOYMENT,
                pod("volumes/2/name"),
                json!("a"),
            ),
            (
                &[r#"controller.volumeMounts=[{"name":"a","mountPath":"/a"}]"#],
                DEPLOYMENT,
                container("volumeMounts/2/name"),
                json!("a"),
            ),
            (
                &[r#"controller.resources={"limits":{"memory":"1Gi"}}"#],
                DEPLOYMENT,
                container("resources"),
                json!({"limits": {"memory": "1Gi"}}),
            ),
            (
                &[r#"controller.securityContext={"runAsUser":7}"#],
                DEPLOYMENT,
                container("securityContext"),
                json!({"runAsUser": 7}),
            ),
            (
                &[r#"controller.podSecurityContext={"fsGroup":7}"#],
                DEPLOYMENT,
                pod("securityContext"),
                json!({"fsGroup": 7}),
            ),
            (
                &[r#"controller.nodeSelector={"disk":"ssd"}"#],
                DEPLOYMENT,
                pod("nodeSelector"),
                json!({"disk": "ssd"}),
            ),
            (
                &[r#"controller.tolerations=[{"key":"a","operator":"Exists"}]"#],
                DEPLOYMENT,
                pod("tolerations"),
                json!([{"key": "a", "operator": "Exists"}]),
            ),
            (
                &[r#"controller.affinity={"nodeAffinity":{}}"#],
                DEPLOYMENT,
                pod("affinity"),
                json!({"nodeAffinity": {}}),
            ),
            (
                &[r#"controller.priorityClassName="mine""#],
                DEPLOYMENT,
                pod("priorityClassName"),
                json!("mine"),
            ),
            (
                &[r#"controller.priorityClassName="mine""#],
                "ResourceQuota/jobset-critical-pods",
                String::new(),
                Value::Null,
            ),
            (&[r#"controller.priorityClassName="""#], DEPLOYMENT, pod("priorityClassName"), Value::Null),
            (
                &["controller.hostNetwork=true"],
                DEPLOYMENT,
                pod("dnsPolicy"),
                json!("ClusterFirstWithHostNet"),
            ),
        ],
    )?;
    configuration_has_the_values(&helm)?;
    check(
        &helm,
        CONTROLLER,
        vec![
            (
                &["certManager.enable=true"],
                "ValidatingWebhookConfiguration/jobset-validating-webhook-configuration",
                "/metadata/annotations/cert-manager.io~1inject-ca-from".into(),
                json!("elsewhere/jobset-serving-cert"),
            ),
            (
                &["certManager.enable=true"],
                "Certificate/jobset-serving-cert",
                "/spec/dnsNames/0".into(),
                json!("jobset-webhook-service.elsewhere.svc"),
            ),
            (&["certManager.enable=true"], "Role/jobset-manager-secrets-role", String::new(), Value::Null),
            (
                &["certManager.enable=true"],
                DEPLOYMENT,
                pod("volumes/1/secret/secretName"),
                json!("webhook-server-cert"),
            ),
            (
                &[
                    "certManager.enable=true",
                    r#"certManager.issuerRef={"kind":"ClusterIssuer","name":"mine"}"#,
                ],
                "Certificate/jobset-serving-cert",
                "/spec/issuerRef".into(),
                json!({"kind": "ClusterIssuer", "name": "mine"}),
            ),
            (
                &[
                    "certManager.enable=true",
                    r#"certManager.issuerRef={"kind":"ClusterIssuer","name":"mine"}"#,
                ],
                "Issuer/jobset-ca-issuer",
                String::new(),
                Value::Null,
            ),
            (
                &["prometheus.enable=true"],
                "ServiceMonitor/jobset-controller-manager-metrics-monitor",
                "/spec/endpoints/0/tlsConfig".into(),
                json!({"insecureSkipVerify": true}),
            ),
            (
                &["prometheus.enable=true", "certManager.enable=true"],
                "ServiceMonitor/jobset-controller-manager-metrics-monitor",
                "/spec/endpoints/0/tlsConfig/serverName".into(),
                json!("jobset-controller-manager-metrics-service.elsewhere.svc"),
            ),
            (
                &[
                    "prometheus.enable=true",
                    r#"prometheus.prometheusNamespace="m""#,
                    r#"prometheus.serviceAccount="p""#,
                ],
                "ClusterRoleBinding/jobset-metrics-reader-rolebinding",
                "/subjects/1".into(),
                json!({"kind": "ServiceAccount", "name": "p", "namespace": "m"}),
            ),
            (
                &["prometheus.enable=true"],
                "PrometheusRule/jobset-controller-manager-alerts",
                "/spec/groups/0/rules/1/annotations/description".into(),
                json!(
                    "Calls to webhook {{ $labels.name }} fail, so the API server rejects JobSets or their pods."
                ),
            ),
            (
                &["prometheus.enable=true"],
                "ServiceMonitor/jobset-operator-metrics-monitor",
                String::new(),
                Value::Null,
            ),
        ],
    )
}

/// The configuration file, and its hash in an annotation of the pods.
fn configuration_has_the_values(helm: &Helm) -> Result<()> {
    let render = |values: &[&str]| -> Result<(Value, Value)> {
        let rendered = by_name(helm.template(CONTROLLER, "elsewhere", values)?)?;
        let file = &rendered["ConfigMap/jobset-manager-config"]["data"]["controller_manager_config.yaml"];
        let hash = &rendered[DEPLOYMENT]["spec"]["template"]["metadata"]["annotations"]["operator.openshift.io/config-hash"];
        Ok((serde_yaml::from_str(file.as_str().context("no file")?)?, hash.clone()))
    };
    let (plain, plain_hash) = render(&[])?;
    let agent = json!({"agentImage": "localhost/a:v7"});
    for (values, field, expected) in [
        (&["controller.leaderElection.enable=false"][..], "leaderElection", json!({"leaderElect": false})),
        (&["controller.clientConnection={\"qps\":50}"], "clientConnection", json!({"qps": 50})),
        (&["controller.featureGates={\"RestartJob\":true}"], "featureGates", json!({"RestartJob": true})),
        (&["controller.featureGates={\"RestartJob\":true}"], "inPlaceRestart", Value::Null),
        (
            &[
                "controller.featureGates={\"InPlaceRestart\":true}",
                r#"image.repository="localhost/a""#,
                r#"image.tag="v7""#,
            ],
            "inPlaceRestart",
            agent.clone(),
        ),
        (
            &[
                "controller.featureGates={\"AllAlpha\":true}",
                r#"image.repository="localhost/a""#,
                r#"image.tag="v7""#,
            ],
            "inPlaceRestart",
            agent,
        ),
        (
            &["controller.featureGates={\"AllAlpha\":true,\"InPlaceRestart\":false}"],
            "inPlaceRestart",
            Value::Null,
        ),
        (
            &["controller.configuration={\"leaderElection\":{\"leaseDuration\":\"30s\"}}"],
            "leaderElection",
            json!({"leaderElect": true, "leaseDuration": "30s"}),
        ),
        (
            &["controller.configuration={\"tls\":{\"minVersion\":\"VersionTLS13\"}}"],
            "tls",
            json!({"minVersion": "VersionTLS13"}),
        ),
    ] {
        let (found, hash) = render(values)?;
        assert_eq!(found.get(field).cloned().unwrap_or_default(), expected, "{values:?}: {found}");
        assert_eq!(found["internalCertManagement"], plain["internalCertManagement"], "{values:?}");
        assert_ne!(hash, plain_hash, "{values:?}: a changed file starts a rollout");
    }
    Ok(())
}

pub(crate) async fn values_of_the_operator_reach_its_objects(api: Arc<Api>) -> Result<()> {
    const DEPLOYMENT: &str = "Deployment/jobset-operator";
    let container = |field: &str| format!("{CONTAINER}/{field}");
    let image = r#"image.repository="registry.example/a""#;
    check(
        &helm(&api)?,
        OPERATOR,
        vec![
            (&[], "ClusterRoleBinding/jobset-operator", "/subjects/0/namespace".into(), json!("elsewhere")),
            (&[image, r#"image.tag="v7""#], DEPLOYMENT, container("image"), json!("registry.example/a:v7")),
            (
                &[image, r#"image.tag="v7""#],
                DEPLOYMENT,
                container("env/1/value"),
                json!("registry.example/a:v7"),
            ),
            (
                &[image, r#"operandImage={"repository":"registry.example/b","tag":"v8"}"#],
                DEPLOYMENT,
                container("env/1/value"),
                json!("registry.example/b:v8"),
            ),
            (
                &[r#"operator.env=[{"name":"RUNBOOK_URL","value":"https://wiki.example"}]"#],
                DEPLOYMENT,
                container("env/2/name"),
                json!("RUNBOOK_URL"),
            ),
            (
                &[r#"operator.extraArgs=["--listen=:9000"]"#],
                DEPLOYMENT,
                container("args"),
                json!(["operator", "--listen=:9000"]),
            ),
            (&["operator.replicas=2"], DEPLOYMENT, "/spec/replicas".into(), json!(2)),
            (
                &[r#"operator.priorityClassName="""#],
                DEPLOYMENT,
                format!("{POD}/priorityClassName"),
                Value::Null,
            ),
            (
                &["crds.enable=false"],
                "CustomResourceDefinition/jobsetoperators.operator.openshift.io",
                String::new(),
                Value::Null,
            ),
        ],
    )
}

pub(crate) async fn invalid_values_are_rejected_by_name(api: Arc<Api>) -> Result<()> {
    let helm = helm(&api)?;
    for (chart, value, path, problem) in [
        (CONTROLLER, "controller.replica=2", "/controller", "'replica' not allowed"),
        (CONTROLLER, r#"nameOverride="mine""#, "", "'nameOverride' not allowed"),
        (CONTROLLER, "controller.replicas=0", "/controller/replicas", "got 0, want 1"),
        (CONTROLLER, r#"image.digest="sha256:ab""#, "/image/digest", "'sha256:ab' does not match"),
        (
            CONTROLLER,
            r#"image.pullPolicy="Sometimes""#,
            "/image/pullPolicy",
            "'Always', 'IfNotPresent', 'Never'",
        ),
        (
            CONTROLLER,
            "controller.featureGates.Elastic=true",
            "/controller/featureGates",
            "'Elastic' not allowed",
        ),
        (
            CONTROLLER,
            "controller.featureGates.TLSOptions=false",
            "/controller/featureGates/TLSOptions",
            "must be true",
        ),
        (
            CONTROLLER,
            "controller.configuration.webhook.prt=1",
            "/controller/configuration/webhook",
            "'prt' not allowed",
        ),
        (CONTROLLER, r#"controller.logLevel="loud""#, "/controller/logLevel", "'error', 'info', 'debug'"),
        (CONTROLLER, "controller.nodeSelector.disk=1", "/controller/nodeSelector/disk", "want string"),
        (
            CONTROLLER,
            r#"prometheus.prometheusNamespace="""#,
            "/prometheus/prometheusNamespace",
            "does not match",
        ),
        (OPERATOR, "controller.replicas=1", "", "'controller' not allowed"),
        (OPERATOR, r#"operator.replicas="two""#, "/operator/replicas", "got string, want integer"),
    ] {
        let error =
            helm.template(chart, "elsewhere", &[value]).err().with_context(|| format!("{value} is valid"))?;
        let error = error.to_string();
        assert!(error.contains(&format!("at '{path}': ")) && error.contains(problem), "{value}: {error}");
    }
    Ok(())
}

/// The API server accepts the objects with all values at once. It serves no API of cert-manager and Prometheus.
pub(crate) async fn rendered_objects_are_accepted(api: Arc<Api>) -> Result<()> {
    let helm = helm(&api)?;
    let namespace = api.cluster.namespace(&api.client).await?;
    let all = [
        "commonLabels={\"team\":\"red\"}",
        "certManager.enable=true",
        "prometheus.enable=true",
        "controller.replicas=3",
        "controller.hostNetwork=true",
        "controller.resources={\"limits\":{\"memory\":\"1Gi\"}}",
        "controller.env=[{\"name\":\"A\",\"value\":\"b\"}]",
        "controller.nodeSelector={\"disk\":\"ssd\"}",
        "controller.tolerations=[{\"key\":\"a\",\"operator\":\"Exists\"}]",
        "image.pullSecrets=[{\"name\":\"s\"}]",
    ];
    let dry_run = PatchParams { dry_run: true, ..PatchParams::apply("helm").force() };
    for (chart, values) in [(CONTROLLER, &[][..]), (CONTROLLER, &all), (OPERATOR, &[])] {
        for mut object in helm.template(chart, &namespace, values)? {
            let version = object.types.as_ref().map_or("", |types| &types.api_version);
            if ["cert-manager.io/v1", "monitoring.coreos.com/v1"].contains(&version) {
                continue;
            }
            // The suite's own webhooks have addresses instead of a Service.
            if objects::kind(&object).ends_with("WebhookConfiguration") {
                object.metadata.name = Some("of-the-chart".to_owned());
            }
            let accepted = objects::api_of(&api.client, &object)
                .await?
                .patch(&object.name_any(), &dry_run, &Patch::Apply(&object))
                .await;
            accepted.with_context(|| format!("{chart} {values:?}: {}", objects::title(&object)))?;
        }
    }
    Ok(())
}

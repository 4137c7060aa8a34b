//! APIs and configuration of the cluster that change while the operator runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jobset_tests::objects;
use jobset_tests::wait::{TIMEOUT, holds_for, wait_for};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::installation::configuration;
use crate::{DEPLOYMENT, PROMPT, Suite};

const SERVICE_MONITOR: (&str, &str, &str) =
    ("monitoring.coreos.com/v1", "ServiceMonitor", "jobset-controller-manager-metrics-monitor");
const PROMETHEUS: (&str, &str, &str) =
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "jobset-prometheus-k8s");
const POLICY: (&str, &str, &str) = ("networking.k8s.io/v1", "NetworkPolicy", "jobset-controller-manager");
const RULES: (&str, &str, &str) =
    ("monitoring.coreos.com/v1", "PrometheusRule", "jobset-controller-manager-alerts");

pub(crate) async fn monitors_follow_the_monitoring_api(suite: Arc<Suite>) -> Result<()> {
    let crds = include_str!("fixtures/monitoring.yaml");
    suite.install(json!({})).await?;
    remove(&suite, crds).await?;
    suite.install(json!({})).await?;
    suite.apply(crds).await?;
    suite.wait_for_object("the ServiceMonitor", SERVICE_MONITOR, PROMPT, |_| true).await?;
    suite
        .wait_for_object("the PrometheusRule with absolute addresses of runbooks", RULES, PROMPT, |data| {
            let rules = data["spec"]["groups"][0]["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
            let address =
                |rule: &Value| rule["annotations"]["runbook_url"].as_str().unwrap_or_default().to_owned();
            !rules.is_empty() && rules.iter().all(|rule| address(rule).starts_with("https://"))
        })
        .await?;
    let scraped_by = |namespace: &'static str, account: &'static str| {
        move |data: &Value| {
            let subjects = data["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_server = |subject: &Value| subject["namespace"] == namespace && subject["name"] == account;
            subjects.iter().any(is_server)
        }
    };
    let kube_prometheus = scraped_by("monitoring", "prometheus-k8s");
    suite.wait_for_object("the role of kube-prometheus", PROMETHEUS, PROMPT, kube_prometheus).await?;
    // The API server sets the default of serviceAccount.
    suite.specify(json!({"monitoring": {"prometheus": [{"namespace": "observability"}]}})).await?;
    let named = scraped_by("observability", "prometheus-k8s");
    suite.wait_for_object("the role of the named server", PROMETHEUS, PROMPT, named).await?;
    suite
        .wait_for_object("a policy that admits only the named server", POLICY, PROMPT, |data| {
            let text = data.to_string();
            text.contains("\"observability\"") && !text.contains("\"openshift-monitoring\"")
        })
        .await?;
    let invalid = suite.specify(json!({"monitoring": {"prometheus": [{"namespace": "Not a name"}]}})).await;
    assert!(invalid.unwrap_err().to_string().contains("spec.monitoring.prometheus[0].namespace"));
    suite.install(json!({})).await?;
    remove(&suite, crds).await?;
    suite.install(json!({})).await
}

/// Topology, TLS profile and proxy of an OpenShift cluster. When the TLS profile changes, the operator exits, and the
/// kubelet restarts it. The test takes the kubelet's place.
pub(crate) async fn operand_follows_openshift_configuration(suite: Arc<Suite>) -> Result<()> {
    let crds = include_str!("fixtures/openshift.yaml");
    suite.install(json!({})).await?;
    suite.apply(crds).await?;
    let facts = |tls: &str| {
        format!(
            "
apiVersion: config.openshift.io/v1
kind: Infrastructure
metadata: {{name: cluster}}
status: {{infrastructureTopology: HighlyAvailable}}
---
apiVersion: config.openshift.io/v1
kind: Proxy
metadata: {{name: cluster}}
status: {{httpsProxy: 'http://proxy.example:3128', noProxy: .svc}}
---
apiVersion: config.openshift.io/v1
kind: APIServer
metadata: {{name: cluster}}
spec: {{tlsSecurityProfile: {tls}}}
"
        )
    };
    apply_when_served(&suite, &facts("{type: Modern}")).await?;
    restart_after_exit(&suite).await?;
    suite.wait_for_object("two pods", DEPLOYMENT, TIMEOUT, |data| data["spec"]["replicas"] == 2).await?;
    suite.wait_for_conditions(&["Available=True", "Progressing=False", "Degraded=False"], TIMEOUT).await?;
    let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?.unwrap();
    let environment = &deployment.data["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(
        *environment,
        json!([{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}, {"name": "NO_PROXY", "value": ".svc"}])
    );
    assert_eq!(configuration(&suite).await?["tls"], json!({"minVersion": "VersionTLS13"}));

    set_established(&suite, crds, "False").await?;
    let state = || async {
        let deployment = suite.get(DEPLOYMENT.0, DEPLOYMENT.1, DEPLOYMENT.2).await?;
        Ok((suite.operator.runs(), deployment.map(|deployment| deployment.data["spec"]["replicas"].clone())))
    };
    let unchanged = |(runs, replicas): &(bool, Option<Value>)| *runs && *replicas == Some(json!(2));
    let seconds = Duration::from_secs(3);
    holds_for("two pods although the API is not established", seconds, state, unchanged).await?;
    set_established(&suite, crds, "True").await?;

    suite
        .apply(&facts(
            "{type: Custom, custom: {minTLSVersion: VersionTLS12, ciphers: [ECDHE-RSA-AES256-GCM-SHA384]}}",
        ))
        .await?;
    restart_after_exit(&suite).await?;
    let expected =
        json!({"minVersion": "VersionTLS12", "cipherSuites": ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]});
    wait_for(
        "the cipher suite to be in the configuration",
        TIMEOUT,
        || async { Ok(configuration(&suite).await?["tls"].clone()) },
        |tls| *tls == expected,
    )
    .await?;

    suite
        .apply(&facts("{type: Custom, custom: {minTLSVersion: VersionTLS12, ciphers: [AES128-SHA]}}"))
        .await?;
    restart_after_exit(&suite).await?;
    suite.wait_for_conditions(&["Degraded=True", "Available=True"], TIMEOUT).await?;
    assert_eq!(suite.condition("Degraded").await?["reason"], "UnsupportedTLSProfile");

    remove(&suite, crds).await?;
    restart_after_exit(&suite).await?;
    suite.wait_for_object("one pod", DEPLOYMENT, TIMEOUT, |data| data["spec"]["replicas"] == 1).await?;
    let tls = || async { Ok(configuration(&suite).await?.get("tls").cloned()) };
    wait_for("the TLS settings to be removed from the configuration", PROMPT, tls, Option::is_none).await?;
    suite.install(json!({})).await
}

/// Sets condition Established of these CRDs, as the API server does for a moment.
async fn set_established(suite: &Suite, crds: &str, status: &str) -> Result<()> {
    for crd in objects::parse(crds)? {
        let api = objects::api_of(&suite.client, &crd).await?;
        let conditions = json!([
            {"type": "NamesAccepted", "status": "True"},
            {"type": "Established", "status": status},
        ]);
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        api.patch_status(&crd.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Waits until the operator has exited, and restarts it.
async fn restart_after_exit(suite: &Suite) -> Result<()> {
    wait_for("the operator to exit", PROMPT, || async { Ok(suite.operator.runs()) }, |runs| !runs).await?;
    suite.operator.stop()?;
    suite.operator.start()
}

pub(crate) async fn apply_when_served(suite: &Suite, yaml: &str) -> Result<()> {
    wait_for(
        "the API server to serve the new APIs",
        TIMEOUT,
        || async { Ok(suite.apply(yaml).await.map_err(|error| format!("{error:#}"))) },
        Result::is_ok,
    )
    .await?
    .map_err(anyhow::Error::msg)
}

/// Deletes these objects and waits until they are deleted.
pub(crate) async fn remove(suite: &Suite, yaml: &str) -> Result<()> {
    for object in objects::parse(yaml)? {
        objects::delete(&suite.client, &object).await?;
        let api = objects::api_of(&suite.client, &object).await?;
        let name = object.metadata.name.clone().unwrap_or_default();
        wait_for(
            &format!("{name} to be deleted"),
            TIMEOUT,
            || async { Ok(api.get_opt(&name).await?.is_some()) },
            |exists| !exists,
        )
        .await?;
    }
    Ok(())
}

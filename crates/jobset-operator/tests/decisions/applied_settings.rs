//! The effect of the administrator's and the cluster's settings on the operand.

use super::*;
use jobset_operator::observe::facts::TlsSecurityProfile;

fn pods(observed: &Observed) -> Value {
    let plan = decide(observed);
    step(&plan, "Deployment", names::OPERAND).unwrap().data["spec"].clone()
}

fn configuration(observed: &Observed) -> Value {
    let plan = decide(observed);
    let text = step(&plan, "ConfigMap", names::CONFIG_MAP).unwrap().data["data"][names::CONFIG_KEY].clone();
    serde_yaml::from_str(text.as_str().unwrap()).unwrap()
}

#[test]
fn replicas_depend_on_the_topology_unless_the_administrator_sets_them() {
    for (highly_available, replicas, expected) in
        [(false, None, 1), (true, None, 2), (true, Some(1), 1), (false, Some(3), 3)]
    {
        let mut observed = installed(json!({"controller": {"replicas": replicas}}));
        observed.facts.highly_available = highly_available;
        let plan = decide(&observed);
        assert_eq!(step(&plan, "Deployment", names::OPERAND).unwrap().data["spec"]["replicas"], expected);
        assert_eq!(applies(&plan, "PodDisruptionBudget"), expected > 1, "{expected}");
    }
}

#[test]
fn the_disruption_budget_is_deleted_with_the_second_replica() {
    let mut observed = installed(json!({}));
    observed.facts.highly_available = true;
    execute(&mut observed);
    observed.facts.highly_available = false;
    assert_eq!(decide(&observed).delete, [ObjectKey::new("PodDisruptionBudget", names::OPERAND)]);
}

#[test]
fn the_tls_profile_is_in_the_configuration() {
    let mut observed = installed(json!({}));
    assert_eq!(configuration(&observed).get("tls"), None, "a cluster without TLS profile");
    observed.facts.tls_profile = Some(TlsSecurityProfile::Modern);
    assert_eq!(configuration(&observed)["tls"], json!({"minVersion": "VersionTLS13"}));
    let ciphers = vec!["AES128-SHA".to_owned()];
    observed.facts.tls_profile = Some(TlsSecurityProfile::Custom { min_version: String::new(), ciphers });
    assert_eq!(configuration(&observed)["tls"]["minVersion"], "VersionTLS12");
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["UnsupportedTLSProfile"]);
    assert!(applies(&plan, "Deployment"), "the operand uses the profile Intermediate");
}

#[test]
fn the_proxy_comes_from_the_cluster_or_else_from_the_operators_environment() {
    let observed = installed(json!({}));
    let mut settings = settings();
    settings.proxy.https_proxy = "http://of-the-operator:1".into();
    let environment = |observed: &Observed| {
        let plan = plan(&settings, observed, now()).unwrap();
        let deployment = step(&plan, "Deployment", names::OPERAND).unwrap().data.clone();
        deployment["spec"]["template"]["spec"]["containers"][0]["env"].clone()
    };
    assert_eq!(environment(&observed), json!([{"name": "HTTPS_PROXY", "value": "http://of-the-operator:1"}]));
    let mut observed = observed;
    observed.facts.proxy = Some(ProxySettings { no_proxy: ".svc".into(), ..ProxySettings::default() });
    assert_eq!(environment(&observed), json!([{"name": "NO_PROXY", "value": ".svc"}]));
    assert_eq!(pods(&installed(json!({})))["template"]["spec"]["containers"][0].get("env"), None);
}

#[test]
fn overrides_take_precedence_and_block_upgrades() {
    let overridden = installed(json!({
        "controller": {"featureGates": {"RestartJob": true}},
        "unsupportedConfigOverrides": {"featureGates": {"RestartJob": false}},
    }));
    assert_eq!(configuration(&overridden)["featureGates"], json!({"RestartJob": false}));
    assert!(decide(&overridden).unsupported_overrides);
    for nothing in [json!(null), json!({})] {
        let observed = installed(json!({ "unsupportedConfigOverrides": nothing }));
        assert!(!decide(&observed).unsupported_overrides);
    }
}

#[test]
fn invalid_overrides_are_not_used() {
    let observed = installed(json!({"unsupportedConfigOverrides": {"webhook": {"port": "high"}}}));
    assert_eq!(configuration(&observed).get("webhook"), None);
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["InvalidConfigOverrides"]);
    assert!(plan.problems[0].message.contains("\"high\""), "{}", plan.problems[0].message);
}

#[test]
fn monitoring_is_applied_if_its_apis_are_served() {
    let mut observed = installed(json!({}));
    assert!(!applies(&decide(&observed), "ServiceMonitor") && !applies(&decide(&observed), "PrometheusRule"));
    observed.apis.insert(kinds::PROMETHEUS_RULE_CRD.to_owned());
    assert!(!applies(&decide(&observed), "ServiceMonitor") && applies(&decide(&observed), "PrometheusRule"));
    observed.apis.insert(kinds::SERVICE_MONITOR_CRD.to_owned());
    let plan = decide(&observed);
    assert!(applies(&plan, "ServiceMonitor"));
    assert!(step(&plan, "Role", names::PROMETHEUS_ROLE).is_some());
}

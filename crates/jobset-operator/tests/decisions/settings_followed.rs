//! What the administrator and the cluster ask for, and what becomes of it.

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
fn replicas_follow_the_topology_and_the_administrator_has_the_last_word() {
    for (highly_available, asked, expected) in
        [(false, None, 1), (true, None, 2), (true, Some(1), 1), (false, Some(3), 3)]
    {
        let mut observed = installed(json!({"controller": {"replicas": asked}}));
        observed.facts.highly_available = highly_available;
        let plan = decide(&observed);
        assert_eq!(step(&plan, "Deployment", names::OPERAND).unwrap().data["spec"]["replicas"], expected);
        assert_eq!(applies(&plan, "PodDisruptionBudget"), expected > 1, "{expected}");
    }
}

#[test]
fn a_budget_goes_with_its_second_pod() {
    let mut observed = installed(json!({}));
    observed.facts.highly_available = true;
    carry_out(&mut observed);
    observed.facts.highly_available = false;
    assert_eq!(decide(&observed).delete, [ObjectKey::new("PodDisruptionBudget", names::OPERAND)]);
}

#[test]
fn the_tls_profile_reaches_the_configuration() {
    let mut observed = installed(json!({}));
    assert_eq!(configuration(&observed).get("tls"), None, "no OpenShift");
    observed.facts.tls_profile = Some(TlsSecurityProfile::Modern);
    assert_eq!(configuration(&observed)["tls"], json!({"minVersion": "VersionTLS13"}));
    let ciphers = vec!["AES128-SHA".to_owned()];
    observed.facts.tls_profile = Some(TlsSecurityProfile::Custom { min_version: String::new(), ciphers });
    assert_eq!(configuration(&observed)["tls"]["minVersion"], "VersionTLS12");
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["UnsupportedTLSProfile"]);
    assert!(applies(&plan, "Deployment"), "it serves all the same");
}

#[test]
fn the_cluster_says_which_proxy_and_else_the_operators_own_environment() {
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
fn overrides_come_last_and_hold_up_upgrades() {
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
fn overrides_that_no_operand_could_read_are_not_used() {
    let observed = installed(json!({"unsupportedConfigOverrides": {"webhook": {"port": "high"}}}));
    assert_eq!(configuration(&observed).get("webhook"), None);
    let plan = decide(&observed);
    assert_eq!(reasons(&plan), ["InvalidConfigOverrides"]);
    assert!(plan.problems[0].message.contains("\"high\""), "{}", plan.problems[0].message);
}

#[test]
fn optional_monitoring_is_applied_where_its_apis_are() {
    let mut observed = installed(json!({}));
    assert!(!applies(&decide(&observed), "ServiceMonitor") && !applies(&decide(&observed), "PrometheusRule"));
    observed.apis.insert(kinds::PROMETHEUS_RULE_CRD.to_owned());
    assert!(!applies(&decide(&observed), "ServiceMonitor") && applies(&decide(&observed), "PrometheusRule"));
    observed.apis.insert(kinds::SERVICE_MONITOR_CRD.to_owned());
    let plan = decide(&observed);
    assert!(applies(&plan, "ServiceMonitor"));
    assert!(step(&plan, "Role", names::PROMETHEUS_ROLE).is_some());
}

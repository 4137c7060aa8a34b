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

#[test]
fn the_prometheus_servers_of_the_spec_get_roles_and_access() {
    let subjects = |observed: &Observed| {
        let plan = decide(observed);
        let binding = step(&plan, "RoleBinding", names::PROMETHEUS_ROLE).unwrap();
        let subjects = binding.data["subjects"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        subjects
            .map(|subject| format!("{}/{}", text(&subject["namespace"]), text(&subject["name"])))
            .collect()
    };
    let served = |spec: Value| {
        let mut observed = installed(spec);
        observed.apis.insert(kinds::SERVICE_MONITOR_CRD.to_owned());
        observed
    };
    let mut observed = served(json!({}));
    let found: Vec<String> = subjects(&observed);
    assert!(found.contains(&"monitoring/prometheus-k8s".to_owned()), "{found:?}");
    assert!(found.contains(&"openshift-monitoring/prometheus-k8s".to_owned()), "{found:?}");
    // On OpenShift, a user could create a project named monitoring.
    observed.facts.tls_profile = Some(TlsSecurityProfile::Intermediate);
    let found = subjects(&observed);
    assert!(found.iter().all(|subject| subject.starts_with("openshift-")), "{found:?}");

    let named =
        served(json!({"monitoring": {"prometheus": [{"namespace": "mine", "serviceAccount": "me"}]}}));
    assert_eq!(subjects(&named), ["mine/me"]);
    let plan = decide(&named);
    for policy in [names::OPERAND, names::OPERATOR] {
        let policy = &step(&plan, "NetworkPolicy", policy).unwrap().data;
        assert!(policy.to_string().contains("[\"mine\"]"), "{policy}");
    }
    let none = served(json!({"monitoring": {"prometheus": []}}));
    assert!(step(&decide(&none), "RoleBinding", names::PROMETHEUS_ROLE).is_none());
}

#[test]
fn runbooks_have_absolute_addresses() {
    let mut observed = installed(json!({}));
    observed.apis.insert(kinds::PROMETHEUS_RULE_CRD.to_owned());
    let plan = decide(&observed);
    let rules =
        &step(&plan, "PrometheusRule", names::PROMETHEUS_RULE).unwrap().data["spec"]["groups"][0]["rules"];
    for rule in rules.as_array().unwrap() {
        let expected = format!("{}/{}.md", settings().runbooks, rule["alert"].as_str().unwrap());
        assert_eq!(rule["annotations"]["runbook_url"], expected);
    }
}

#[test]
fn pods_on_openshift_require_a_security_context_constraint() {
    let annotation = |observed: &Observed| {
        let pods = pods(observed);
        pods["template"]["metadata"]["annotations"].get("openshift.io/required-scc").cloned()
    };
    let mut observed = installed(json!({}));
    assert_eq!(annotation(&observed), None);
    observed.facts.proxy = Some(ProxySettings::default());
    assert_eq!(annotation(&observed), Some(json!("restricted-v2")));
}

#[test]
fn the_role_for_secrets_of_an_earlier_version_is_deleted() {
    let mut observed = installed(json!({}));
    let like = observed.get("Role", "jobset-leader-election-role").unwrap().clone();
    for (kind, name) in
        [("Role", "jobset-manager-secrets-role"), ("RoleBinding", "jobset-manager-secrets-rolebinding")]
    {
        let mut object = (*like.object).clone();
        object.metadata.name = Some(name.into());
        object.types.as_mut().unwrap().kind = kind.into();
        observed
            .objects
            .insert(ObjectKey::new(kind, name), Live { object: Arc::new(object), ..like.clone() });
    }
    assert_eq!(
        decide(&observed).delete,
        [
            ObjectKey::new("Role", "jobset-manager-secrets-role"),
            ObjectKey::new("RoleBinding", "jobset-manager-secrets-rolebinding"),
        ]
    );
}

/// The leader runs with the gate until the rollout that disables it ends.
#[test]
fn the_rules_of_a_gate_stay_until_the_last_pod_with_the_gate_has_ended() {
    let gates = |on: bool| json!({"controller": {"featureGates": {"JobSetWorkloadAwareSchedulingAPI": on}}});
    let grants = |observed: &Observed| {
        let plan = decide(observed);
        let role = step(&plan, "ClusterRole", "jobset-manager-role").unwrap();
        role.data["rules"].to_string().contains("podgroups")
    };
    let mut observed = with_deployment(installed(gates(true)), rolled_out());
    assert!(grants(&observed));
    observed.operator = Some(Arc::new(operator(gates(false))));
    assert!(grants(&observed), "the Deployment has the configuration with the gate");
    execute(&mut observed);
    let of_old_pod =
        json!({"observedGeneration": 6, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    assert!(grants(&with_deployment(observed.clone(), of_old_pod)), "the rollout has not begun");
    observed = with_deployment(observed, rolled_out());
    observed.ending_pods = 1;
    assert!(grants(&observed), "the pod with the gate is ending");
    observed.ending_pods = 0;
    assert!(!grants(&observed));
    execute(&mut observed);
    // A rollout for another reason adds nothing.
    observed.ending_pods = 1;
    assert!(!grants(&observed));
}

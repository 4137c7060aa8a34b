use super::*;

const IMAGE: &str = "registry.example/jobset:v1";

fn gates() -> Gates {
    Gates { in_place_restart: true, ..Gates::default() }
}

/// A pod with the annotation. `spec` is YAML.
fn pod(spec: &str) -> Pod {
    serde_yaml::from_str(&format!(
        "metadata: {{annotations: {{jobset.sigs.k8s.io/jobset-name: train, \
         jobset.sigs.k8s.io/inject-in-place-restart-agent: 'true'}}}}\nspec: {spec}"
    ))
    .unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// The pod after injection.
fn injected(pod: &Pod) -> Pod {
    let patch = inject(pod, Some(IMAGE), &gates()).unwrap();
    let mut value = serde_json::to_value(pod).unwrap();
    json_patch::patch(&mut value, &serde_json::from_value::<json_patch::Patch>(patch.into()).unwrap())
        .unwrap();
    serde_json::from_value(value).unwrap()
}

fn names(containers: Option<&Vec<Container>>) -> Vec<&str> {
    containers.into_iter().flatten().map(|container| container.name.as_str()).collect()
}

#[test]
fn the_agent_is_the_first_sidecar() {
    for (sidecars, expected) in
        [("", vec![AGENT]), ("initContainers: [{name: copy}, {name: log}], ", vec![AGENT, "copy", "log"])]
    {
        let spec = injected(&pod(&format!("{{{sidecars}containers: [{{name: worker}}]}}"))).spec.unwrap();
        assert_eq!(names(spec.init_containers.as_ref()), expected);
        let agent = &spec.init_containers.unwrap()[0];
        assert_eq!(agent.image.as_deref(), Some(IMAGE));
        assert_eq!(agent.restart_policy.as_deref(), Some("Always"));
        let probe = agent.startup_probe.as_ref().unwrap().http_get.as_ref().unwrap();
        let env = |name: &str| agent.env.as_ref().unwrap().iter().find(|it| it.name == name).unwrap();
        assert_eq!(env("STARTUP_PROBE_PATH").value, probe.path);
        assert_eq!(env("STARTUP_PROBE_PORT").value.as_deref(), Some("8081"));
        let from =
            |name| env(name).value_from.as_ref().unwrap().field_ref.as_ref().unwrap().field_path.as_str();
        assert_eq!(
            (from("JOBSET_NAME"), from("POD_NAME")),
            ("metadata.labels['jobset.sigs.k8s.io/jobset-name']", "metadata.name")
        );
    }
}

#[test]
fn every_failure_restarts_all_containers() {
    let spec = "{containers: [{name: worker}, {name: own, restartPolicy: OnFailure}, {name: other}]}";
    let spec = injected(&pod(spec)).spec.unwrap();
    let sidecars = spec.init_containers.unwrap();
    let rule = |container: &Container| {
        let rules = container.restart_policy_rules.as_ref()?;
        let codes = rules[0].exit_codes.as_ref()?;
        Some((rules[0].action.clone(), codes.operator.clone(), codes.values.clone()?))
    };
    let all = Some(("RestartAllContainers".to_owned(), "NotIn".to_owned(), vec![0]));
    assert_eq!(rule(&sidecars[0]), all);
    let policies: Vec<_> =
        spec.containers.iter().map(|it| (it.restart_policy.as_deref(), rule(it))).collect();
    assert_eq!(policies, [(Some("Never"), all.clone()), (Some("OnFailure"), None), (Some("Never"), all)]);
}

#[test]
fn the_probe_has_a_port_that_no_container_uses() {
    let ports =
        "containers: [{name: a, ports: [{containerPort: 8081}]}, {name: b, ports: [{containerPort: 8082}]}]";
    let spec = injected(&pod(&format!("{{{ports}}}"))).spec.unwrap();
    let agent = &spec.init_containers.unwrap()[0];
    let value = agent.env.iter().flatten().find(|it| it.name == "STARTUP_PROBE_PORT").unwrap();
    assert_eq!(value.value.as_deref(), Some("8083"));
}

#[test]
fn a_pod_of_the_root_user_keeps_its_user() {
    for (context, expected) in [("{}", true), ("{runAsUser: 0}", false), ("{runAsUser: 7}", true)] {
        let spec = format!("{{securityContext: {context}, containers: [{{name: w}}]}}");
        let agent = injected(&pod(&spec)).spec.unwrap().init_containers.unwrap().remove(0);
        assert_eq!(agent.security_context.unwrap().run_as_non_root, Some(expected), "{context}");
    }
}

#[test]
fn only_pods_that_ask_for_the_agent_get_one() {
    let asked = pod("{containers: [{name: w}]}");
    let without = |key: &str| {
        let mut pod = asked.clone();
        pod.metadata.annotations.as_mut().unwrap().remove(key);
        pod
    };
    let mut other_value = asked.clone();
    other_value
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert(labels::INJECT_AGENT.to_owned(), "yes".to_owned());
    for pod in [without(labels::INJECT_AGENT), without(labels::JOBSET_NAME), other_value] {
        assert_eq!(inject(&pod, None, &gates()), Ok(vec![]));
    }
    assert_eq!(inject(&asked, None, &Gates::default()), Ok(vec![]), "without the gate");
    let Err(Refusal::Forbidden(why)) = inject(&asked, None, &gates()) else { panic!() };
    assert!(why.contains("set inPlaceRestart.agentImage"), "{why}");
}

#[test]
fn a_pod_never_gets_a_second_agent() {
    let twice = injected(&injected(&pod("{containers: [{name: w}]}")));
    assert_eq!(names(twice.spec.unwrap().init_containers.as_ref()), [AGENT]);
    for (what, spec) in [
        ("name", "{containers: [{name: w}], initContainers: [{name: in-place-restart-agent}]}"),
        ("command", "{containers: [{name: w, command: [/bin/in-place-restart-agent]}]}"),
        ("arguments", "{containers: [{name: w, command: [exec], args: [in-place-restart-agent]}]}"),
        ("image", "{containers: [{name: w, image: 'example.com:5000/jobset/in-place-restart-agent:v2'}]}"),
        ("digest", "{containers: [{name: w, image: in-place-restart-agent@sha256:ab}]}"),
    ] {
        assert_eq!(inject(&pod(spec), None, &gates()), Ok(vec![]), "{what}");
    }
}

#[test]
fn an_api_server_without_the_feature_is_reported() {
    let complete = injected(&pod("{containers: [{name: w}]}"));
    let check = |pod: &Pod, gates: &Gates| validate(pod, Some(IMAGE), gates);
    assert_eq!(check(&complete, &gates()), Ok(()));
    let mut dropped = complete;
    dropped.spec.as_mut().unwrap().init_containers.as_mut().unwrap()[0].restart_policy_rules = None;
    let Err(Refusal::Forbidden(why)) = check(&dropped, &gates()) else { panic!("admitted") };
    assert!(why.contains("RestartAllContainersOnContainerExits") && why.contains("kubelet"), "{why}");
    assert_eq!(check(&dropped, &Gates::default()), Ok(()));
    let own = pod("{containers: [{name: w}], initContainers: [{name: in-place-restart-agent, image: own}]}");
    assert_eq!(check(&own, &gates()), Ok(()), "an agent of the user");
}

fn jobset(spec: &str) -> JobSet {
    let mut jobset: JobSet = serde_yaml::from_str(
        "metadata: {name: train, namespace: team, annotations: {jobset.sigs.k8s.io/inject-in-place-restart-agent: 'true'}}",
    )
    .unwrap();
    jobset.spec = serde_yaml::from_str(spec).unwrap();
    jobset
}

#[test]
fn the_request_is_copied_to_pods_of_the_strategy() {
    let copied = |jobset: &JobSet, gates: &Gates| {
        let mut annotations = BTreeMap::new();
        annotate(jobset, gates, &mut annotations);
        annotations.get(labels::INJECT_AGENT).cloned()
    };
    let in_place = jobset("failurePolicy: {restartStrategy: InPlaceRestart}");
    assert_eq!(copied(&in_place, &gates()).as_deref(), Some("true"));
    assert_eq!(copied(&in_place, &Gates::default()), None);
    assert_eq!(copied(&jobset("failurePolicy: {restartStrategy: Recreate}"), &gates()), None);
    assert_eq!(copied(&jobset("{}"), &gates()), None);
}

#[test]
fn a_missing_permission_is_reported_with_the_command_that_grants_it() {
    let job = |name: &str, account: &str| {
        format!("{{name: {name}, template: {{spec: {{template: {{spec: {{containers: [], {account}}}}}}}}}}}")
    };
    let jobset = jobset(&format!(
        "replicatedJobs: [{}, {}, {}]",
        job("a", "serviceAccountName: trainer"),
        job("b", ""),
        job("c", "serviceAccountName: trainer")
    ));
    assert_eq!(Vec::from_iter(service_accounts(&jobset)), ["default", "trainer"]);
    let problem = missing_permissions(&jobset, "trainer", &AGENT_PERMISSIONS);
    assert_eq!(problem.subject, Subject::ServiceAccount("trainer".into()));
    assert_eq!(
        problem.event.note,
        "service account team/trainer of the pods has no permission to list, watch jobsets, and to patch pods, so the \
         in-place-restart-agent cannot work: kubectl -n team create role in-place-restart-jobsets --verb=list,watch \
         --resource=jobsets.jobset.x-k8s.io; kubectl -n team create rolebinding in-place-restart-jobsets-trainer \
         --role=in-place-restart-jobsets --serviceaccount=team:trainer; kubectl -n team create role in-place-restart-pods \
         --verb=patch --resource=pods; kubectl -n team create rolebinding in-place-restart-pods-trainer \
         --role=in-place-restart-pods --serviceaccount=team:trainer"
    );
    let one = missing_permissions(&jobset, "trainer", &AGENT_PERMISSIONS[1..]).event.note;
    assert!(one.contains("no permission to patch pods, so") && !one.contains("jobsets"), "{one}");
}

//! The content of responses: minimal patches, and the denials that clients match.

use super::*;
use base64::{Engine, prelude::BASE64_STANDARD};

/// The operations of the patch in a response.
fn patch_of(response: &Value) -> Value {
    let encoded = response["patch"].as_str().unwrap();
    assert_eq!(response["patchType"], "JSONPatch");
    serde_json::from_slice(&BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
}

#[tokio::test]
async fn the_patch_adds_only_missing_fields() {
    let response = answered(Webhook::DefaultJobSet, review("CREATE", &jobset()).to_string()).await;
    let job = |index: usize| format!("/spec/replicatedJobs/{index}/template/spec");
    let add = |path: String, value: Value| json!({"op": "add", "path": path, "value": value});
    assert_eq!(
        patch_of(&response),
        json!([
            add("/spec/successPolicy".into(), json!({"operator": "All"})),
            add("/spec/startupPolicy".into(), json!({"startupPolicyOrder": "AnyOrder"})),
            add(format!("{}/completionMode", job(0)), json!("Indexed")),
            add(format!("{}/template/spec/restartPolicy", job(0)), json!("OnFailure")),
            add(format!("{}/completionMode", job(1)), json!("Indexed")),
            add(format!("{}/template/spec/restartPolicy", job(1)), json!("OnFailure")),
            add(
                "/spec/network".into(),
                json!({"enableDNSHostnames": true, "publishNotReadyAddresses": true})
            ),
        ])
    );
}

#[tokio::test]
async fn a_complete_object_gets_no_patch_and_keeps_unknown_fields() {
    let mut object = jobset();
    object["spec"]["fieldOfALaterVersion"] = json!({"kept": [1, null, ""]});
    object["metadata"]["labels"] = json!({});
    let response = answered(Webhook::DefaultJobSet, review("CREATE", &object).to_string()).await;
    let before = object.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch_of(&response)).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    assert_eq!(object["spec"]["fieldOfALaterVersion"], before["spec"]["fieldOfALaterVersion"]);
    assert_eq!(object["metadata"], before["metadata"]);

    let again = answered(Webhook::DefaultJobSet, review("CREATE", &object).to_string()).await;
    assert_eq!(again["allowed"], true);
    assert_eq!((again.get("patch"), again.get("patchType")), (None, None), "{again}");
}

/// `kubectl apply` and `kubectl replace` send the content of the file, without the defaults of the creation.
#[tokio::test]
async fn an_update_gets_the_stored_defaults() {
    let patch: json_patch::Patch = serde_json::from_value(patch_of(
        &answered(Webhook::DefaultJobSet, review("CREATE", &jobset()).to_string()).await,
    ))
    .unwrap();
    let mut stored = jobset();
    json_patch::patch(&mut stored, &patch).unwrap();
    let update = |old: &Value, new: &Value| {
        let mut request = review("UPDATE", new);
        request["request"]["oldObject"] = old.clone();
        request.to_string()
    };
    let response = answered(Webhook::DefaultJobSet, update(&stored, &jobset())).await;
    let patch: json_patch::Patch = serde_json::from_value(patch_of(&response)).unwrap();
    let mut sent = jobset();
    json_patch::patch(&mut sent, &patch).unwrap();
    assert_eq!(sent, stored);
    assert_eq!(answered(Webhook::ValidateJobSet, update(&stored, &sent)).await["allowed"], true);

    // A JobSet that was created while no webhook ran keeps its fields and accepts updates.
    let mut suspended = jobset();
    suspended["spec"]["suspend"] = json!(true);
    for new in [&jobset(), &suspended] {
        let response = answered(Webhook::DefaultJobSet, update(&jobset(), new)).await;
        assert_eq!((response["allowed"].as_bool(), response.get("patch")), (Some(true), None));
        assert_eq!(answered(Webhook::ValidateJobSet, update(&jobset(), new)).await["allowed"], true);
    }
    assert_eq!(answered(Webhook::ValidateJobSet, update(&jobset(), &stored)).await["allowed"], true);
}

#[tokio::test]
async fn the_feature_gate_decides_about_scheduling() {
    let mut object = jobset();
    object["spec"]["scheduling"] = json!({});
    let policy = "/spec/scheduling/schedulingPolicy";
    for on in [false, true] {
        let gates = Gates { workload_aware_scheduling: on, ..Gates::default() };
        let respond = async |webhook: Webhook| {
            let body = review("CREATE", &object).to_string();
            response_of(post(with_gates(&gates), webhook.path(), "application/json", body).await)
        };
        let patch = patch_of(&respond(Webhook::DefaultJobSet).await);
        let default = patch.as_array().unwrap().iter().find(|operation| operation["path"] == policy);
        assert_eq!(default.map(|operation| &operation["value"]), on.then_some(&json!({"gang": {}})), "{on}");
        assert_eq!(respond(Webhook::ValidateJobSet).await["allowed"], on);
    }
}

#[tokio::test]
async fn an_invalid_jobset_is_denied_with_a_complete_status() {
    let mut object = jobset();
    object["spec"]["replicatedJobs"][0]["dependsOn"] = json!([]);
    object["spec"]["managedBy"] = json!("other");
    let response = answered(Webhook::ValidateJobSet, review("CREATE", &object).to_string()).await;
    let managed_by = r#"Invalid value: "other": must be a domain-prefixed path (such as "acme.io/foo")"#;
    let first = "Internal error: DependsOn can't be set for the first ReplicatedJob";
    assert_eq!(
        response,
        json!({
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "allowed": false,
            "status": {
                "metadata": {},
                "status": "Failure",
                "code": 422,
                "reason": "Invalid",
                "message": format!(
                    "JobSet.jobset.x-k8s.io \"train\" is invalid: [<nil>: {first}, spec.managedBy: {managed_by}]"
                ),
                "details": {
                    "group": "jobset.x-k8s.io",
                    "kind": "JobSet",
                    "name": "train",
                    "causes": [
                        {"reason": "InternalError", "field": "<nil>", "message": first},
                        {"reason": "FieldValueInvalid", "field": "spec.managedBy", "message": managed_by},
                    ],
                },
            },
        })
    );
}

#[tokio::test]
async fn a_jobset_of_the_wrong_type_passes_defaulting_and_is_denied_by_validation() {
    let mut object = jobset();
    object["spec"]["replicatedJobs"] = json!("three");
    let body = review("CREATE", &object).to_string();
    let defaulted = answered(Webhook::DefaultJobSet, body.clone()).await;
    assert_eq!(defaulted["allowed"], true, "the API server's schema validation reports the error");
    let refused = answered(Webhook::ValidateJobSet, body).await;
    assert_eq!(refused["status"]["code"], 400);
    let message = refused["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("cannot decode the JobSet: invalid type: string \"three\""), "{message}");
}

#[tokio::test]
async fn an_allowed_response_contains_warnings() {
    let mut object = jobset();
    object["spec"]["replicatedJobs"][1]["dependsOn"] = json!([{"name": "worker", "status": "Ready"}]);
    let response = answered(Webhook::ValidateJobSet, review("CREATE", &object).to_string()).await;
    assert_eq!(response["allowed"], true);
    let warnings = response["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    let text = warnings[0].as_str().unwrap();
    assert!(
        text.starts_with("spec.replicatedJobs[1].dependsOn[0].name: \"worker\" waits for itself"),
        "{text}"
    );
}

#[tokio::test]
async fn claims_are_read_in_the_namespace_of_the_request() {
    let mut object = jobset();
    object["spec"]["volumeClaimPolicies"] = json!([{
        "templates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        "retentionPolicy": {"whenDeleted": "Delete"},
    }]);
    let container = "/spec/replicatedJobs/0/template/spec/template/spec/containers/0";
    object.pointer_mut(container).unwrap()["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let body = review("CREATE", &object).to_string();
    let path = Webhook::ValidateJobSet.path();
    assert_eq!(response_of(post(admission(), path, "application/json", body.clone()).await)["allowed"], true);

    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-train"},
        "spec": {"accessModes": ["ReadWriteMany"]},
    });
    let response = response_of(
        post(with_api_server(200, claim, &Gates::default()), path, "application/json", body.clone()).await,
    );
    let causes = response["status"]["details"]["causes"].as_array().unwrap();
    let found: Vec<_> =
        causes.iter().map(|cause| (&cause["field"], cause["message"].as_str().unwrap())).collect();
    assert_eq!(found[0].0, "spec.volumeClaimPolicies[0].template[0].spec");
    assert!(
        found[0].1.ends_with("spec does not match existing PVC data-train in namespace team"),
        "{found:?}"
    );
    assert_eq!(found[1].0, "spec.volumeClaimPolicies[0].retentionPolicy.whenDeleted");
    assert_eq!(found[1].1, r#"Invalid value: "Delete": retentionPolicy must be retain when PVC exists"#);

    let status = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "not yours", "status": "Failure"});
    let response = response_of(
        post(with_api_server(403, status, &Gates::default()), path, "application/json", body).await,
    );
    let cause = &response["status"]["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.volumeClaimPolicies[0].template[0]");
    let message = cause["message"].as_str().unwrap();
    assert!(
        message.starts_with("Internal error: failed to check for existing PVC data-train: "),
        "{message}"
    );
    assert!(message.contains("not yours"), "{message}");
}

#[tokio::test]
async fn a_leader_gets_affinity_and_is_allowed() {
    let response = answered(Webhook::PlacePod, review("CREATE", &pod("0")).to_string()).await;
    let patch = patch_of(&response);
    let paths: Vec<_> = patch.as_array().unwrap().iter().map(|op| op["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/metadata/labels/jobset.sigs.k8s.io~1priority",
            "/spec/affinity",
            "/spec/affinity/podAffinity",
            "/spec/affinity/podAntiAffinity"
        ]
    );
    let response = answered(Webhook::ValidatePod, review("CREATE", &pod("0")).to_string()).await;
    assert_eq!(response["allowed"], true);
}

#[tokio::test]
async fn a_follower_without_a_leader_is_denied_with_403() {
    let mut follower = pod("1");
    let response = answered(Webhook::PlacePod, review("CREATE", &follower).to_string()).await;
    assert_eq!(response["allowed"], true, "the validating webhook denies it, not the mutating one");
    let message = "expected 1 leader pod (train-worker-1-0), but got 0. this is an expected, transient error";
    for selector in [Value::Null, json!({"zone": "z"}), json!({"rack": "r1"})] {
        follower["spec"]["nodeSelector"] = selector;
        let response = answered(Webhook::ValidatePod, review("CREATE", &follower).to_string()).await;
        assert_eq!(response["allowed"], false);
        assert_eq!(
            response["status"],
            json!({
                "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden", "message": message,
            })
        );
    }
}

/// Pods and JobSets that ask for the agent of in-place restart, with and without an image of the agent.
#[tokio::test]
async fn the_agent_is_added_from_the_configured_image() {
    const INJECT: &str = "jobset.sigs.k8s.io/inject-in-place-restart-agent";
    let respond = async |webhook: Webhook, object: &Value, image: Option<&str>| {
        let client = Client::new(
            service_fn(async |_: Request<kube::client::Body>| {
                Ok::<_, Infallible>(Response::new(Body::from("{}")))
            }),
            "default",
        );
        let gates = Gates { in_place_restart: true, ..Gates::default() };
        let admission = Admission::new(client, Index::default(), Placement::default(), &gates)
            .with_agent_image(image.map(str::to_owned))
            .router();
        let body = review("CREATE", object).to_string();
        response_of(post(admission, webhook.path(), "application/json", body).await)
    };
    let mut leader = pod("0");
    leader["metadata"]["annotations"][INJECT] = "true".into();
    let patch = patch_of(&respond(Webhook::PlacePod, &leader, Some("agent:v1")).await);
    let paths: Vec<_> = patch.as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths[..4],
        [
            "/spec/initContainers",
            "/spec/containers/0/restartPolicy",
            "/spec/containers/0/restartPolicyRules",
            "/metadata/labels/jobset.sigs.k8s.io~1priority"
        ]
    );
    assert_eq!(patch[0]["value"][0]["image"], "agent:v1");
    let mut changed = leader.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
    json_patch::patch(&mut changed, &patch).unwrap();
    let allowed = respond(Webhook::ValidatePod, &changed, Some("agent:v1")).await;
    assert_eq!(allowed["allowed"], true, "{allowed}");
    changed["spec"]["initContainers"][0].as_object_mut().unwrap().remove("restartPolicyRules");
    let denied = respond(Webhook::ValidatePod, &changed, Some("agent:v1")).await;
    assert_eq!(denied["status"]["code"], 403, "{denied}");
    assert_eq!(respond(Webhook::PlacePod, &leader, None).await["status"]["code"], 403);

    let mut jobset = jobset();
    jobset["metadata"]["annotations"] = json!({INJECT: "true"});
    jobset["spec"]["failurePolicy"] = json!({"restartStrategy": "InPlaceRestart"});
    for job in jobset["spec"]["replicatedJobs"].as_array_mut().unwrap() {
        let size = json!({"parallelism": 1, "completions": 1, "backoffLimit": i32::MAX, "podReplacementPolicy": "Failed"});
        json_patch::merge(&mut job["template"]["spec"], &size);
    }
    let allowed = respond(Webhook::ValidateJobSet, &jobset, Some("agent:v1")).await;
    assert_eq!((&allowed["allowed"], allowed.get("warnings")), (&json!(true), None), "{allowed}");
    let denied = respond(Webhook::ValidateJobSet, &jobset, None).await;
    let message = denied["status"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("metadata.annotations[{INJECT}]: Forbidden: ")), "{message}");
    assert!(message.contains("set inPlaceRestart.agentImage"), "{message}");
}

//! Ten thousand mutated requests. The seed is fixed, so a failure is reproducible.

use super::*;
use crate::mutated_json::mutate_review;
use base64::{Engine, prelude::BASE64_STANDARD};
use fastrand::Rng;

const REQUESTS: usize = 10_000;

#[tokio::test]
async fn admission_responds_to_every_mutated_request() {
    let mut rng = Rng::with_seed(0x006a_6f62_7365_7473);
    let gates = Gates { elastic_jobset: true, workload_aware_scheduling: true, ..Gates::default() };
    let admission = with_gates(&gates);
    let seeds = seeds();
    for seed in seeds.iter().filter(|seed| seed["request"]["object"]["spec"].get("scheduling").is_some()) {
        let body = seed.to_string();
        let response = response_of(
            post(admission.clone(), Webhook::ValidateJobSet.path(), "application/json", body).await,
        );
        assert_eq!(response["allowed"], true, "{response}");
    }
    let (mut reviews, mut allowed, mut refused) = (0, 0, 0);
    for number in 0..REQUESTS {
        let webhook = Webhook::ALL[number % Webhook::ALL.len()];
        let body = match number % 10 {
            0 => {
                let length = rng.usize(..512);
                std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
            }
            1..=3 => mutated_bytes(rng.choice(&seeds).unwrap().to_string().into_bytes(), &mut rng),
            _ => {
                let mut review = rng.choice(&seeds).unwrap().clone();
                (0..rng.usize(1..6)).for_each(|_| mutate_review(&mut review, &mut rng));
                review.to_string().into_bytes()
            }
        };
        let (code, _, answer) =
            post(admission.clone(), webhook.path(), "application/json", body.clone()).await;
        assert_eq!(code, 200);
        let shown = || format!("request {number} to {webhook:?}: {}", String::from_utf8_lossy(&body));
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {}", shown()));
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        check(&sent, &answer["response"]).unwrap_or_else(|what| panic!("{what}: {answer}\n{}", shown()));
        reviews += usize::from(answer["response"]["uid"] != "");
        if answer["response"]["allowed"] == true { allowed += 1 } else { refused += 1 }
    }
    // If decoding rejected all requests, the test would not reach the decisions.
    assert!(
        reviews > REQUESTS / 3 && allowed > REQUESTS / 10 && refused > REQUESTS / 10,
        "{reviews} {allowed} {refused}"
    );
}

/// Checks the rules of every response, for any request.
fn check(sent: &Value, response: &Value) -> Result<(), String> {
    let status = &response["status"];
    match response["allowed"].as_bool() {
        Some(true) => {
            if !status.is_null() {
                return Err("allowed, but with a status".into());
            }
        }
        Some(false) => {
            let code = status["code"].as_u64().unwrap_or_default();
            if ![400, 403, 404, 422].contains(&code) || status["message"].as_str().is_none_or(str::is_empty) {
                return Err(format!("denied with code {code} and without a valid reason"));
            }
        }
        None => return Err("neither allowed nor denied".into()),
    }
    if let Some(patch) = response["patch"].as_str() {
        let patch = BASE64_STANDARD.decode(patch).map_err(|error| error.to_string())?;
        let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(|error| error.to_string())?;
        let mut object = sent["request"]["object"].clone();
        json_patch::patch(&mut object, &patch)
            .map_err(|error| format!("the patch does not apply: {error}"))?;
    }
    Ok(())
}

/// Valid requests of every kind, which the test mutates.
fn seeds() -> Vec<Value> {
    let mut full = jobset();
    full["metadata"]["annotations"] = json!({"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"});
    full["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "q"});
    let spec = full["spec"].as_object_mut().unwrap();
    for (field, value) in [
        (
            "network",
            json!({"subdomain": "net", "enableDNSHostnames": true, "publishNotReadyAddresses": false}),
        ),
        ("successPolicy", json!({"operator": "Any", "targetReplicatedJobs": ["driver"]})),
        ("coordinator", json!({"replicatedJob": "worker", "jobIndex": 1, "podIndex": 0})),
        ("managedBy", json!("example.com/other")),
        ("ttlSecondsAfterFinished", json!(60)),
        ("suspend", json!(true)),
        (
            "failurePolicy",
            json!({"maxRestarts": 3, "restartStrategy": "Recreate", "rules": [
                {"name": "first", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"],
                 "onJobFailureMessagePatterns": ["exit code (1|2)"], "targetReplicatedJobs": ["worker"]},
            ]}),
        ),
        (
            "volumeClaimPolicies",
            json!([{"templates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}],
                "retentionPolicy": {"whenDeleted": "Retain"}}]),
        ),
    ] {
        spec.insert(field.to_owned(), value);
    }
    full["spec"]["replicatedJobs"][1]["dependsOn"] = json!([{"name": "driver", "status": "Ready"}]);
    let mut update = review("UPDATE", &full);
    update["request"]["oldObject"] = full.clone();
    let mut gang = jobset();
    gang["spec"]["suspend"] = json!(true);
    gang["spec"]["replicatedJobs"][0]["replicas"] = json!(3);
    gang["spec"]["scheduling"] = json!({"replicatedJobs": [
        {"targetReplicatedJobs": ["driver"], "job": {"schedulingPolicy": {"gang": {"minCount": 1}},
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]}},
        {"targetReplicatedJobs": ["worker"], "schedulingPolicy": {"gang": {}}, "disruptionMode": {"all": {}},
            "schedulingConstraints": {"topology": [{"key": "rack"}]}},
    ]});
    gang["status"] = json!({"restarts": 0, "conditions": [{"type": "Suspended", "status": "True", "reason": "R",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let mut regrouped = review("UPDATE", &gang);
    regrouped["request"]["oldObject"] = gang.clone();
    regrouped["request"]["object"]["spec"]["scheduling"] =
        json!({"replicatedJobs": [{"targetReplicatedJobs": ["driver", "worker"]}]});
    vec![
        review("CREATE", &jobset()),
        review("CREATE", &full),
        review("CREATE", &gang),
        update,
        regrouped,
        review("CREATE", &pod("0")),
        review("CREATE", &pod("1")),
    ]
}

fn mutated_bytes(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    for _ in 0..rng.usize(1..8) {
        let at = rng.usize(..bytes.len().max(1));
        match rng.u8(..4) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.insert(at, rng.u8(..)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
            _ => drop(bytes.drain(at..(at + rng.usize(..8)).min(bytes.len()))),
        }
    }
    bytes
}

#![allow(clippy::unnecessary_wraps, reason = "fixtures are responses")]

use super::{
    super::{
        error::{FOREIGN_OBJECT_RETRY, PREDECESSOR_RETRY},
        request::SchedulingRequest,
    },
    *,
};
use jobset_api::jobset;
use jobset_plan::PodResources;
use std::time::Duration;

#[path = "scheduling_test.rs"]
mod scheduling_objects;

/// An error that is a refusal, or that is not about the object.
#[derive(Clone, Debug)]
struct Failed(Option<Refusal>);

impl RequestError for Failed {
    fn refusal(&self) -> Option<Refusal> {
        self.0
    }

    fn message(&self) -> String {
        format!("{:?}", self.0)
    }
}

type Response = Result<Answer, Failed>;

const NOT_FOUND: Response = Err(Failed(Some(Refusal::NotFound)));
const EXISTS: Response = Err(Failed(Some(Refusal::AlreadyExists)));
const CONFLICT: Response = Err(Failed(Some(Refusal::Conflict)));
const REJECTED: Response = Err(Failed(Some(Refusal::Rejected)));
const UNAVAILABLE: Response = Err(Failed(None));
const GONE: Response = Ok(Answer::Gone);

fn jobset() -> JobSet {
    let metadata = json!({"name": "train", "namespace": "team", "uid": "set-uid", "resourceVersion": "7"});
    serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap()
}

/// The metadata of an object that a JobSet of this name and UID controls.
fn controlled(uid: &str, owner_name: &str, owner_uid: &str) -> Value {
    let owner = json!({
        "apiVersion": jobset::API_VERSION, "kind": jobset::KIND, "controller": true,
        "name": owner_name, "uid": owner_uid,
    });
    json!({"name": "train-worker-0", "uid": uid, "ownerReferences": [owner]})
}

fn job(uid: &str, owner_name: &str, owner_uid: &str) -> Response {
    let metadata = controlled(uid, owner_name, owner_uid);
    Ok(Answer::Job(serde_json::from_value(json!({ "metadata": metadata })).unwrap()))
}

fn own() -> Response {
    job("job-uid", "train", "set-uid")
}

fn whole() -> Response {
    let spec = json!({"template": {"spec": {"containers": [], "tolerations": [{"key": "held"}]}}});
    let job = json!({"metadata": {"name": "train-worker-0", "resourceVersion": "9"}, "spec": spec});
    Ok(Answer::WholeJob(serde_json::from_value(job).unwrap()))
}

fn found_service() -> Response {
    Ok(Answer::Service(serde_json::from_value(json!({"metadata": {"name": "found"}})).unwrap()))
}

fn found_claim() -> Response {
    Ok(Answer::Claim(serde_json::from_value(json!({"name": "found"})).unwrap()))
}

fn request(request: &Request) -> String {
    match request {
        Request::CreateJob(_) => "create job".to_owned(),
        Request::GetJob { name } => format!("get {name}"),
        Request::GetWholeJob { name } => format!("get whole {name}"),
        Request::DeleteJob { name, uid } => format!("delete {name} {}", uid.as_deref().unwrap()),
        Request::PatchJob { name, patch } => format!("patch {name} {patch}"),
        Request::PatchJobStatus { name, patch } => format!("patch status {name} {patch}"),
        Request::CreateService(_) => "create service".to_owned(),
        Request::GetService { name } => format!("get service {name}"),
        Request::PatchService { name, patch } => format!("patch service {name} {patch}"),
        Request::CreateClaim(_) => "create claim".to_owned(),
        Request::GetClaim { name } => format!("get claim {name}"),
        Request::Scheduling(request) => match request {
            SchedulingRequest::CreateWorkload(_) => "create workload".to_owned(),
            SchedulingRequest::CreatePodGroup(_) => "create podgroup".to_owned(),
            SchedulingRequest::Get { kind, name } => format!("get {kind} {name}"),
            SchedulingRequest::PatchWorkload { name, patch } => {
                format!("patch workload {name} {}", json!(patch))
            }
            SchedulingRequest::PatchPodGroup { name, patch } => format!("patch podgroup {name} {patch}"),
            SchedulingRequest::Delete { kind, name, uid } => format!("delete {kind} {name} {uid}"),
        },
        Request::DeleteJobSet { name, uid, version } => {
            format!("delete jobset {name} {} {}", uid.as_deref().unwrap(), version.as_deref().unwrap())
        }
        Request::StoreStatus { name, uid, version, status } => format!(
            "status {name} {} {} {}",
            uid.as_deref().unwrap(),
            version.as_deref().unwrap(),
            status.restarts
        ),
    }
}

fn observation(observed: &Observation) -> String {
    match observed {
        Observation::JobSet(_) => "jobset".to_owned(),
        Observation::Job(job) => format!("job {}", job.metadata.uid.as_deref().unwrap()),
        Observation::Service(service) => format!("service {}", service.metadata.name.as_deref().unwrap()),
        Observation::Claim(metadata) => format!("claim {}", metadata.name.as_deref().unwrap()),
        Observation::JobSetGone(uid) => format!("jobset {uid} gone"),
        Observation::JobGone(uid) => format!("job {uid} gone"),
        Observation::Workload(workload) => format!("workload {}", workload.metadata.uid.as_deref().unwrap()),
        Observation::PodGroup(group) => format!("podgroup {}", group.metadata.uid.as_deref().unwrap()),
        Observation::SchedulingGone(kind, uid) => format!("{kind} {uid} gone"),
    }
}

/// The requests of an operation, what the index stores (`>`), and the result, for these responses.
fn run(operation: Operation<Failed>, responses: Vec<Response>) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut next, mut responses) = (Some(operation), responses.into_iter());
    while let Some(operation) = next {
        assert_eq!(operation.namespace, "team");
        lines.push(request(&operation.request));
        let outcome = operation.answered(responses.next().unwrap());
        lines.extend(outcome.observed.iter().map(|observed| format!("> {}", observation(observed))));
        next = outcome.next.unwrap_or_else(|error| {
            let expected = if error.is_expected() { "expected: " } else { "" };
            lines.push(format!("{expected}{error}"));
            None
        });
    }
    assert!(responses.next().is_none(), "{lines:?}: unread responses");
    lines
}

fn act(action: Action, responses: Vec<Response>) -> Vec<String> {
    run(Operation::new(&jobset(), action), responses)
}

#[test]
fn create_job_identifies_a_job_that_exists() {
    let get = "get train-worker-0";
    let failed = "job \"train-worker-0\" creation failed with error: None";
    let held =
        "expected: job \"train-worker-0\" cannot be created yet: its predecessor is still being deleted";
    let foreign = "job \"train-worker-0\" creation failed with error: a Job of this name exists that this JobSet does \
                   not control; delete it, or rename the JobSet";
    for (responses, expected) in [
        (vec![own()], vec!["> job job-uid"]),
        (vec![UNAVAILABLE], vec![failed]),
        // The response to an earlier create was lost.
        (vec![EXISTS, own()], vec![get, "> job job-uid"]),
        (vec![EXISTS, job("old", "train", "predecessor")], vec![get, held]),
        (vec![EXISTS, NOT_FOUND], vec![get, held]),
        (vec![EXISTS, job("old", "other", "other-uid")], vec![get, foreign]),
        (vec![EXISTS, UNAVAILABLE], vec![get, failed]),
    ] {
        let desired = json!({"metadata": {"name": "train-worker-0"}});
        let action = Action::CreateJob(serde_json::from_value(desired).unwrap());
        let all = [&["create job"], expected.as_slice()].concat();
        assert_eq!(act(action, responses), all);
    }
}

#[test]
fn delete_job_confirms_a_conflict() {
    let (get, gone) = ("get train-worker-0", "> job job-uid gone");
    for (responses, expected) in [
        (vec![own()], vec!["> job job-uid"]),
        (vec![GONE], vec![gone]),
        (vec![NOT_FOUND], vec![gone]),
        (vec![UNAVAILABLE], vec!["deleting job \"train-worker-0\": None"]),
        // A conflict: a successor has the name, no Job has it, or an admission webhook denied the request.
        (vec![CONFLICT, job("successor", "train", "set-uid")], vec![get, gone]),
        (vec![CONFLICT, NOT_FOUND], vec![get, gone]),
        (vec![CONFLICT, own()], vec![get, "deleting job \"train-worker-0\": Some(Conflict)"]),
        (vec![CONFLICT, UNAVAILABLE], vec![get, "deleting job \"train-worker-0\": None"]),
    ] {
        let action = Action::DeleteJob { name: "train-worker-0".into(), uid: "job-uid".into() };
        let all = [&["delete train-worker-0 job-uid"], expected.as_slice()].concat();
        assert_eq!(act(action, responses), all);
    }
}

#[test]
fn suspend_and_scale_job() {
    let (name, uid) = ("train-worker-0".to_owned(), "job-uid".to_owned());
    let suspend = Action::SuspendJob { name: name.clone(), uid: uid.clone() };
    let patch = r#"patch train-worker-0 {"metadata":{"uid":"job-uid"},"spec":{"suspend":true}}"#;
    assert_eq!(act(suspend.clone(), vec![own()]), [patch, "> job job-uid"]);
    let conflict = "expected: changing job \"train-worker-0\": Some(Conflict)";
    assert_eq!(act(suspend.clone(), vec![CONFLICT]), [patch, conflict]);
    assert_eq!(act(suspend, vec![NOT_FOUND]), [patch, "changing job \"train-worker-0\": Some(NotFound)"]);
    let size = JobSize { parallelism: 2, completions: 2 };
    let add = Action::AddFollowers { name: name.clone(), uid: uid.clone(), size };
    let scale = Action::ScaleJob { name, uid, size };
    let patch =
        r#"patch train-worker-0 {"metadata":{"uid":"job-uid"},"spec":{"completions":2,"parallelism":2}}"#;
    assert_eq!(act(scale, vec![own()]), [patch, "> job job-uid"]);
    let patch = r#"patch train-worker-0 {"metadata":{"annotations":{"jobset.sigs.k8s.io/leader-first":null},"uid":"job-uid"},"spec":{"completions":2,"parallelism":2}}"#;
    assert_eq!(act(add, vec![own()]), [patch, "> job job-uid"]);
}

#[test]
fn resume_job_clears_the_start_time_and_reads_lists_first() {
    let tolerations = || vec![serde_json::from_value(json!({"key": "desired"})).unwrap()];
    let clear = r#"patch status train-worker-0 {"metadata":{"uid":"job-uid"},"status":{"startTime":null}}"#
        .to_owned();
    let observed = "> job job-uid".to_owned();
    for (clear_start_time, merges_lists) in [(false, false), (true, false), (false, true), (true, true)] {
        let resume = JobResume {
            name: "train-worker-0".into(),
            uid: "job-uid".into(),
            clear_start_time,
            tolerations: if merges_lists { tolerations() } else { Vec::new() },
            ..JobResume::default()
        };
        let Ok(Answer::WholeJob(current)) = whole() else { unreachable!() };
        let patch = resume.patch(merges_lists.then_some(&current));
        let (mut responses, mut expected) = (Vec::new(), Vec::new());
        if clear_start_time {
            responses.push(own());
            expected.extend([clear.clone(), observed.clone()]);
        }
        if merges_lists {
            responses.push(whole());
            expected.push("get whole train-worker-0".to_owned());
        }
        responses.push(own());
        expected.extend([format!("patch train-worker-0 {patch}"), observed.clone()]);
        for failing in 0..responses.len() {
            let responses = responses[..failing].iter().cloned().chain([CONFLICT]).collect();
            let lines = act(Action::ResumeJob(Box::new(resume.clone())), responses);
            assert_eq!(lines.last().unwrap(), "expected: changing job \"train-worker-0\": Some(Conflict)");
        }
        assert_eq!(act(Action::ResumeJob(Box::new(resume)), responses), expected);
    }
}

/// A Job whose container `main` has this CPU limit.
fn whole_with_limit(cpu: &str) -> Job {
    let containers = json!([{"name": "main", "resources": {"limits": {"cpu": cpu}}}]);
    let job = json!({
        "metadata": {"name": "train-worker-0", "resourceVersion": "9"},
        "spec": {"template": {"spec": {"containers": containers}}},
    });
    serde_json::from_value(job).unwrap()
}

/// The resume of a Job whose template has the CPU limit 2.
fn resume_with_limit() -> JobResume {
    let template = whole_with_limit("2").spec.and_then(|spec| spec.template.spec).unwrap();
    JobResume {
        name: "train-worker-0".into(),
        uid: "job-uid".into(),
        resources: Some(PodResources::of(&template)),
        ..JobResume::default()
    }
}

/// An older API server, and one with the feature gate off, reject new limits. Other errors have another cause.
#[test]
fn rejected_resources_are_reported() {
    let rejected = "Failed to propagate mutated resources to child Job train-worker-0: Some(Rejected). Ensure \
                    MutablePodResourcesForSuspendedJobs is enabled on the API server.";
    for (now, response, expected) in [
        ("1", own(), "> job job-uid"),
        ("1", REJECTED, rejected),
        ("1", CONFLICT, "expected: changing job \"train-worker-0\": Some(Conflict)"),
        ("1", UNAVAILABLE, "changing job \"train-worker-0\": None"),
        ("2", REJECTED, "changing job \"train-worker-0\": Some(Rejected)"),
    ] {
        let (resume, current) = (resume_with_limit(), whole_with_limit(now));
        let patch = format!("patch train-worker-0 {}", resume.patch(Some(&current)));
        let responses = vec![Ok(Answer::WholeJob(Box::new(current))), response];
        let lines = act(Action::ResumeJob(Box::new(resume)), responses);
        assert_eq!(lines, ["get whole train-worker-0", patch.as_str(), expected]);
    }
}

#[test]
fn set_service_ports() {
    let port = |name: &str| json!({"name": name, "port": 80, "protocol": "TCP", "targetPort": 80});
    let service = |ports: &[Value]| {
        let owner = json!({"apiVersion": jobset::API_VERSION, "kind": jobset::KIND, "controller": true, "name": "train", "uid": "set-uid"});
        let service = json!({
            "metadata": {"name": "net", "ownerReferences": [owner]},
            "spec": {"clusterIP": "None", "ports": ports},
        });
        Ok(Answer::Service(serde_json::from_value(service).unwrap()))
    };
    let ported: ServicePort = serde_json::from_value(port("tcp-80")).unwrap();
    let action = Action::SetServicePorts {
        name: "net".into(),
        uid: "service-uid".into(),
        ports: vec![PortRecord::from(&ported)],
    };
    let patch = r#"patch service net {"metadata":{"uid":"service-uid"},"spec":{"ports":[{"name":"tcp-80","port":80,"protocol":"TCP","targetPort":80}]}}"#;
    let changed = "changing the ports of Service \"net\": the API server stored other ports than the containers declare, \
                   because an admission webhook changed them; exempt the Services of JobSets from that webhook";
    for (response, expected) in [
        (service(&[port("tcp-80")]), vec!["> service net"]),
        (service(&[port("tcp-80"), port("mesh")]), vec!["> service net", changed]),
        (CONFLICT, vec!["expected: changing the ports of Service \"net\": Some(Conflict)"]),
        (NOT_FOUND, vec!["expected: changing the ports of Service \"net\": Some(NotFound)"]),
        (REJECTED, vec!["changing the ports of Service \"net\": Some(Rejected)"]),
    ] {
        assert_eq!(act(action.clone(), vec![response]), [&[patch], expected.as_slice()].concat());
    }
}

#[test]
fn create_service_and_claim() {
    let metadata = json!({"metadata": {"name": "net"}});
    let service = || Action::CreateService(serde_json::from_value(metadata.clone()).unwrap());
    let claim = || Action::CreateClaim(serde_json::from_value(metadata.clone()).unwrap());
    assert_eq!(act(service(), vec![found_service()]), ["create service", "> service found"]);
    assert_eq!(act(claim(), vec![found_claim()]), ["create claim", "> claim found"]);
    let found = ["create service", "get service net", "> service found"];
    assert_eq!(act(service(), vec![EXISTS, found_service()]), found);
    assert_eq!(act(claim(), vec![EXISTS, found_claim()]), ["create claim", "get claim net", "> claim found"]);
    assert_eq!(act(service(), vec![UNAVAILABLE]), ["create service", "None"]);
    assert_eq!(act(claim(), vec![EXISTS, NOT_FOUND]), ["create claim", "get claim net", "Some(NotFound)"]);
}

#[test]
fn delete_jobset() {
    let delete = "delete jobset train set-uid 7";
    let remains = || Ok(Answer::JobSet(Box::new(jobset())));
    for (response, expected) in [
        (remains(), "> jobset"),
        (GONE, "> jobset set-uid gone"),
        (NOT_FOUND, "> jobset set-uid gone"),
        (CONFLICT, "expected: deleting the JobSet, whose ttlSecondsAfterFinished has passed: Some(Conflict)"),
    ] {
        assert_eq!(act(Action::DeleteJobSet, vec![response]), [delete, expected]);
    }
}

#[test]
fn store_status() {
    let stored = || Ok(Answer::JobSet(Box::new(jobset())));
    for (response, expected) in [
        (stored(), "> jobset"),
        (CONFLICT, "expected: storing the status: Some(Conflict)"),
        (NOT_FOUND, "expected: storing the status: Some(NotFound)"),
        (UNAVAILABLE, "storing the status: None"),
    ] {
        let status = JobSetStatus { restarts: 3, ..JobSetStatus::default() };
        let operation = Operation::store_status(&jobset(), Box::new(status));
        assert_eq!(run(operation, vec![response]), ["status train set-uid 7 3", expected]);
    }
}

#[test]
fn verify_job() {
    let get = "get train-worker-0";
    for (response, expected) in [
        (own(), vec![get]),
        (NOT_FOUND, vec![get, "> job job-uid gone"]),
        (job("successor", "train", "set-uid"), vec![get, "> job job-uid gone"]),
        (UNAVAILABLE, vec![get, "verifying that job \"train-worker-0\" exists: None"]),
    ] {
        let (name, uid) = ("train-worker-0".to_owned(), "job-uid".to_owned());
        let operation = Operation::verify_job(UnconfirmedJob { namespace: "team".to_owned(), name, uid });
        assert_eq!(run(operation, vec![response]), expected);
    }
}

#[test]
fn errors_without_a_watch_event_limit_the_delay() {
    let name = || "train-worker-0".to_owned();
    for (error, longest, reason) in [
        (ActError::NameHeld { name: name() }, PREDECESSOR_RETRY, None),
        (ActError::ForeignJob { name: name() }, FOREIGN_OBJECT_RETRY, Some("JobCreationFailed")),
        (ActError::Status(Failed(None)), Duration::MAX, None),
        (ActError::CreateService(Failed(None)), Duration::MAX, Some("HeadlessServiceCreationFailed")),
        (
            ActError::SetServicePorts { name: name(), error: Failed(None) },
            Duration::MAX,
            Some("HeadlessServiceUpdateFailed"),
        ),
        (ActError::OtherServicePorts { name: name() }, Duration::MAX, Some("HeadlessServiceUpdateFailed")),
        (
            ActError::PropagateResources { name: name(), error: Failed(None) },
            Duration::MAX,
            Some("FailedResourcePropagation"),
        ),
        (
            ActError::CreateClaim { name: "data".to_owned(), error: Failed(None) },
            Duration::MAX,
            Some("PVCCreationFailed"),
        ),
    ] {
        assert_eq!((error.longest_wait(), error.event_reason()), (longest, reason), "{error}");
    }
}

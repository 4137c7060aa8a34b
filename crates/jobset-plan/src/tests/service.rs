//! An existing Service of the pods' subdomain.

use super::*;

const JOBS: &str = "driver-0, worker-0, worker-1";

/// The scene of `train` with pod labels and this Service.
fn with_service(controller: Option<&str>, headless: bool, selector: &str) -> Scene {
    let template = |tier: &str| {
        format!("template: {{spec: {{template: {{metadata: {{labels: {{app: mpi, tier: {tier}}}}}}}}}}}")
    };
    let (driver, worker) = (template("front"), template("back"));
    let mut scene = jobset(&format!(
        "replicatedJobs: [{{name: driver, {driver}}}, {{name: worker, replicas: 2, {worker}}}]\nnetwork: {{subdomain: net}}"
    ))
    .jobs(JOBS);
    let selector: std::collections::BTreeMap<String, String> =
        serde_yaml::from_str(&format!("{{{selector}}}")).unwrap();
    let of = controller.map(|name| service_of(name).controller.unwrap());
    scene.service = Some(ServiceRecord { controller: of, headless, selector, ..service_of("train") });
    scene
}

fn conflicts(scene: &Scene) -> Vec<String> {
    let plan = scene.plan();
    assert_eq!(plan.actions, [], "the conflict blocks no action");
    let notes: Vec<String> = plan.problems.into_iter().map(|problem| problem.event.note).collect();
    let waiting: Vec<String> = plan.waiting;
    assert_eq!(notes, waiting, "the event and the reason to wait have the same text");
    notes
}

#[test]
fn a_service_that_selects_the_pods_is_no_conflict() {
    let own = "jobset.sigs.k8s.io/jobset-name: train";
    for (controller, selector) in [
        (Some("train"), own),
        // A Service that a user created.
        (None, own),
        (None, "app: mpi"),
        // The user manages its EndpointSlices.
        (None, ""),
        (None, "app: mpi, jobset.sigs.k8s.io/jobset-name: train"),
        (None, "jobset.sigs.k8s.io/global-replicas: '3'"),
        (Some("other"), "app: mpi"),
    ] {
        assert_eq!(
            conflicts(&with_service(controller, true, selector)),
            [""; 0],
            "{controller:?} {selector}"
        );
    }
}

#[test]
fn a_service_that_misses_pods_is_a_conflict() {
    let recreate = "create this JobSet with another network.subdomain, or ";
    for (controller, headless, selector, expected) in [
        (
            Some("other"),
            true,
            "jobset.sigs.k8s.io/jobset-name: other",
            format!(
                "Service net, which belongs to JobSet other, has selector jobset.sigs.k8s.io/jobset-name=other, which misses \
                 pods of replicatedJobs driver, worker, so the host names of this JobSet's pods do not resolve; {recreate}\
                 create a headless Service of this name that selects the pods of both"
            ),
        ),
        (
            None,
            true,
            "tier: front",
            format!(
                "Service net, which no controller owns, has selector tier=front, which misses pods of replicatedJob worker, \
                 so the host names of this JobSet's pods do not resolve; {recreate}make the Service a headless one that \
                 selects its pods"
            ),
        ),
        (
            None,
            false,
            "app: mpi",
            format!(
                "Service net, which no controller owns, is not headless, so the host names of this JobSet's pods do not \
                 resolve; {recreate}make the Service a headless one that selects its pods"
            ),
        ),
        (
            Some("train"),
            true,
            "app: web",
            "Service net, which belongs to this JobSet and was changed, has selector app=web, which misses pods of \
             replicatedJobs driver, worker, so the host names of this JobSet's pods do not resolve; delete the Service so \
             that the controller creates it again"
                .to_owned(),
        ),
    ] {
        assert_eq!(conflicts(&with_service(controller, headless, selector)), [expected], "{controller:?} {selector}");
    }
    // The Service must select the pods of all Jobs.
    for selector in ["jobset.sigs.k8s.io/job-global-index: '2'", "job-name: train-worker-1"] {
        let notes = conflicts(&with_service(None, true, selector));
        assert!(notes[0].contains("misses pods of replicatedJobs driver, worker,"), "{notes:?}");
    }
}

/// The garbage collector deletes the Service of a JobSet that is gone, and the controller then creates its own.
#[test]
fn the_service_of_a_deleted_jobset_is_no_conflict() {
    let mut scene = with_service(Some("other"), true, "jobset.sigs.k8s.io/jobset-name: other");
    scene.service.as_mut().unwrap().will_be_deleted = true;
    let plan = scene.plan();
    assert_eq!((plan.actions, plan.problems), (vec![], vec![]));
    assert_eq!(plan.waiting.len(), 1);
    assert!(plan.waiting[0].starts_with("Service net has selector"), "{:?}", plan.waiting);
    assert!(plan.waiting[0].contains("belongs to a deleted JobSet"), "{:?}", plan.waiting);
}

/// The problem persists in every state of an unfinished JobSet.
#[test]
fn a_conflict_is_reported_until_the_jobset_finishes() {
    let scene = with_service(Some("other"), true, "app: web");
    let reported = |scene: &Scene| {
        let problems = scene.plan().problems;
        let about: Vec<_> =
            problems.iter().map(|problem| (problem.subject.clone(), problem.event.reason.clone())).collect();
        let service = Subject::Service { name: "net".into(), uid: "uid-of-service".into() };
        assert!(about.is_empty() || about == [(service, "HeadlessServiceConflict".to_owned())], "{about:?}");
        !about.is_empty()
    };
    assert!(reported(&scene));
    assert!(reported(&scene.clone().suspend(true)));
    assert!(reported(&scene.clone().jobs("driver-0 failed@9")));
    assert!(!reported(&scene.clone().condition("Completed=True AllJobsCompleted: x")));
    let mut nameless = scene.clone();
    nameless.jobset.spec.network.as_mut().unwrap().enable_dns_hostnames = Some(false);
    assert!(!reported(&nameless));
}

/// A user's Service can publish pods later than the JobSet requests. The plan explains it, but this is not a problem.
#[test]
fn a_service_that_publishes_only_ready_pods_is_explained() {
    let note = "waiting: host names resolve only when their pods are ready: Service net has publishNotReadyAddresses: false";
    for (wanted, expected) in [(None, vec![note]), (Some(true), vec![note]), (Some(false), vec![])] {
        let mut scene = with_service(None, true, "app: mpi");
        scene.service.as_mut().unwrap().publish_not_ready_addresses = false;
        scene.jobset.spec.network.as_mut().unwrap().publish_not_ready_addresses = wanted;
        scene.expect(&expected);
    }
}

//! The Service of the pods' subdomain, where it exists already.

use super::*;

const JOBS: &str = "driver-0, worker-0, worker-1";

/// The scene of `train` with pod labels, in front of this Service.
fn behind(controller: Option<&str>, headless: bool, selector: &str) -> Scene {
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
    assert_eq!(plan.actions, [], "pods run all the same");
    let notes: Vec<String> = plan.problems.into_iter().map(|problem| problem.event.note).collect();
    let waiting: Vec<String> = plan.waiting;
    assert_eq!(notes, waiting, "the event and the explanation say the same");
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
        (None, "app: mpi, jobset.sigs.k8s.io/jobset-name: train"),
        (None, "jobset.sigs.k8s.io/global-replicas: '3'"),
        (Some("other"), "app: mpi"),
    ] {
        assert_eq!(conflicts(&behind(controller, true, selector)), [""; 0], "{controller:?} {selector}");
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
            None,
            true,
            "",
            format!(
                "Service net, which no controller owns, has no selector, so the host names of this JobSet's pods do not \
                 resolve; {recreate}make the Service a headless one that selects its pods"
            ),
        ),
        (
            Some("train"),
            true,
            "app: web",
            "Service net, which belongs to this JobSet and was changed, has selector app=web, which misses pods of \
             replicatedJobs driver, worker, so the host names of this JobSet's pods do not resolve; delete the Service, and \
             the controller creates it again"
                .to_owned(),
        ),
    ] {
        assert_eq!(conflicts(&behind(controller, headless, selector)), [expected], "{controller:?} {selector}");
    }
    // One Job of two is not enough.
    for selector in ["jobset.sigs.k8s.io/job-global-index: '2'", "job-name: train-worker-1"] {
        let notes = conflicts(&behind(None, true, selector));
        assert!(notes[0].contains("misses pods of replicatedJobs driver, worker,"), "{notes:?}");
    }
}

/// The problem lasts as long as the JobSet runs, whatever happens to it.
#[test]
fn a_conflict_is_reported_until_the_jobset_finishes() {
    let scene = behind(Some("other"), true, "app: web");
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

/// A user's Service may publish pods later than the JobSet asks for: that is explained, and no problem.
#[test]
fn addresses_of_pods_that_are_not_ready() {
    let note = "waiting: host names resolve only when their pods are ready, as Service net has publishNotReadyAddresses: false";
    for (wanted, expected) in [(None, vec![note]), (Some(true), vec![note]), (Some(false), vec![])] {
        let mut scene = behind(None, true, "app: mpi");
        scene.service.as_mut().unwrap().publish_not_ready_addresses = false;
        scene.jobset.spec.network.as_mut().unwrap().publish_not_ready_addresses = wanted;
        scene.expect(&expected);
    }
}

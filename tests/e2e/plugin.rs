//! `kubectl jobset explain`, with the words of a real kubelet and the log of a real container.

use std::sync::Arc;

use anyhow::Result;
use jobset_tests::plugin;
use jobset_tests::wait::{TIMEOUT, wait_for};

use crate::E2e;
use crate::workloads::{delete, example};

/// Explains a JobSet until the text contains these words.
async fn explained(e2e: &E2e, namespace: &str, jobset: &str, words: &[&str]) -> Result<()> {
    let kubeconfig = e2e.cluster.layout().kubeconfig();
    let explain = || async { plugin::output(&kubeconfig, &["explain", jobset, "--namespace", namespace]) };
    let has_words = |text: &String| words.iter().all(|word| text.contains(word));
    wait_for(&format!("{words:?}"), TIMEOUT, explain, has_words).await.map(drop)
}

/// What failed first is the container of the leader, with its exit code and the last line of its log. The operator's
/// configuration tells the feature gates, so that nothing is unknown.
pub(crate) async fn failed_container_is_explained_with_its_log(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    e2e.kubectl.run(&["apply", "-f", &example("failure-policy-leader.yaml"), "--namespace", &namespace])?;
    let words = [
        "leader-fails: Failed",
        "Container leader of pod leader-fails-leader-0-0-",
        "(Job leader-fails-leader-0) exited with code 1",
        "    | leader fails\n",
        "A rule of the failure policy failed it at once: FailJobSet.",
        "0 of 3 restarts used, 3 left.",
    ];
    explained(&e2e, &namespace, "leader-fails", &words).await?;
    let kubeconfig = e2e.cluster.layout().kubeconfig();
    let text = plugin::output(&kubeconfig, &["explain", "leader-fails", "--namespace", &namespace])?;
    assert!(!text.contains("What is unknown"), "{text}");
    for (options, expected) in
        [("--first-failure", "leader fails\n"), ("--role=leader", "[leader-0-0] leader fails\n")]
    {
        let args = ["logs", "leader-fails", options, "--namespace", &namespace];
        assert_eq!(plugin::output(&kubeconfig, &args)?, expected, "{options}");
    }
    delete(&e2e, &namespace, "leader-fails").await
}

/// `logs --follow` goes on after a restart of the JobSet, and ends with it.
pub(crate) async fn logs_are_followed_across_a_restart(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    e2e.kubectl.run(&["apply", "-f", &example("failure-policy-worker.yaml"), "--namespace", &namespace])?;
    let args = ["logs", "worker-fails", "--follow", "--namespace", &namespace];
    let text = plugin::output(&e2e.cluster.layout().kubeconfig(), &args)?;
    for line in [
        "[worker-0-0] attempt 0",
        "[worker-0-0] attempt 1",
        "[worker-1-0] attempt 1",
        "[leader-0-0] attempt 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
    }
    delete(&e2e, &namespace, "worker-fails").await
}

/// A pod without image has the words of the kubelet.
pub(crate) async fn missing_image_is_explained(e2e: Arc<E2e>) -> Result<()> {
    let namespace = e2e.cluster.namespace(&e2e.client).await?;
    let text = std::fs::read_to_string(example("failure-policy-leader.yaml"))?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text.replace("image: busybox", "image: localhost/missing:1"))?;
    e2e.kubectl.run(&["apply", "-f", &file.path().display().to_string(), "--namespace", &namespace])?;
    let words = ["leader-fails: Starting", "3 pods get no image localhost/missing:1: "];
    explained(&e2e, &namespace, "leader-fails", &words).await?;
    delete(&e2e, &namespace, "leader-fails").await
}

//! Labels and annotations that connect JobSets, their Jobs and their pods.
//!
//! Unless stated otherwise, the controller sets a key as a label *and* as an annotation, on the child Job *and* on its
//! pod template, when it creates the Job. It never changes the key later.

/// Name of the JobSet. Also the selector of the headless Service, and a label on the claims of the JobSet.
pub const JOBSET_NAME: &str = "jobset.sigs.k8s.io/jobset-name";
/// UID of the JobSet.
pub const JOBSET_UID: &str = "jobset.sigs.k8s.io/jobset-uid";
/// Name of the ReplicatedJob of the Job.
pub const REPLICATED_JOB_NAME: &str = "jobset.sigs.k8s.io/replicatedjob-name";
/// Number of global restarts (`status.restarts`) when the Job was created.
pub const RESTART_ATTEMPT: &str = "jobset.sigs.k8s.io/restart-attempt";
/// Number of restarts of this single Job when it was created. Only with the feature gate `RestartJob`.
pub const JOB_RESTART_ATTEMPT: &str = "jobset.sigs.k8s.io/job-restart-attempt";
/// Number of replicas of the ReplicatedJob.
pub const REPLICATED_JOB_REPLICAS: &str = "jobset.sigs.k8s.io/replicatedjob-replicas";
/// Number of Jobs of the whole JobSet.
pub const GLOBAL_REPLICAS: &str = "jobset.sigs.k8s.io/global-replicas";
/// Index of the Job within its ReplicatedJob, from 0.
pub const JOB_INDEX: &str = "jobset.sigs.k8s.io/job-index";
/// Index of the Job within the JobSet, from 0, in the order of the spec.
pub const JOB_GLOBAL_INDEX: &str = "jobset.sigs.k8s.io/job-global-index";
/// SHA-1 of `<namespace>/<job name>`, in hexadecimal: a short key for affinity terms.
pub const JOB_KEY: &str = "jobset.sigs.k8s.io/job-key";
/// Group of the ReplicatedJob.
pub const GROUP_NAME: &str = "jobset.sigs.k8s.io/group-name";
/// Number of Jobs of the group.
pub const GROUP_REPLICAS: &str = "jobset.sigs.k8s.io/group-replicas";
/// Index of the Job within its group, from 0, in the order of the spec.
pub const JOB_GROUP_INDEX: &str = "jobset.sigs.k8s.io/job-group-index";
/// Stable host name of the coordinator pod. Only with `spec.coordinator`.
pub const COORDINATOR: &str = "jobset.sigs.k8s.io/coordinator";

/// Annotation: node label key of the topology for exclusive placement.
pub const EXCLUSIVE_TOPOLOGY: &str = "alpha.jobset.sigs.k8s.io/exclusive-topology";
/// Annotation in addition to [`EXCLUSIVE_TOPOLOGY`]: place pods with node labels that an administrator prepared.
pub const NODE_SELECTOR_STRATEGY: &str = "alpha.jobset.sigs.k8s.io/node-selector";
/// Node label, and node selector key, of the node-selector strategy: `<namespace>_<job name>`.
pub const NAMESPACED_JOB: &str = "alpha.jobset.sigs.k8s.io/namespaced-job";
/// Key of the taint that keeps other pods away from nodes prepared for the node-selector strategy.
pub const NO_SCHEDULE_TAINT: &str = "alpha.jobset.sigs.k8s.io/no-schedule";

/// Annotation on a Job: it has its leader alone, and gets its followers when the leader has a node.
pub const LEADER_FIRST: &str = "jobset.sigs.k8s.io/leader-first";

/// Annotation on Jobs and pod templates: `status.executionAttempts` when the Job started. Only with the feature gate
/// `ExecutionAttemptsTracking`.
pub const EXECUTION_ATTEMPT: &str = "jobset.sigs.k8s.io/execution-attempt";
/// Annotation on a Job (Kubernetes: the template in the Workload of the PodGroup of its pods).
pub const GROUP_TEMPLATE_NAME: &str = "scheduling.k8s.io/group-template-name";

/// Label on pods only: the priority of the pod. Exclusive placement applies within one priority.
pub const PRIORITY: &str = "jobset.sigs.k8s.io/priority";
/// Annotation on pods, set by the agent: in-place restart attempt of the pod.
pub const IN_PLACE_RESTART_ATTEMPT: &str = "jobset.sigs.k8s.io/in-place-restart-attempt";
/// Annotation on a JobSet, set by the user: the agents open their barriers and become inactive.
pub const DISABLE_IN_PLACE_RESTART: &str = "jobset.sigs.k8s.io/disable-in-place-restart";

/// Annotation on a JobSet, set by the user, and on its pods: admission adds the agent to the pods.
pub const INJECT_AGENT: &str = "jobset.sigs.k8s.io/inject-in-place-restart-agent";

/// Value of `spec.managedBy` for this controller. The controller ignores JobSets with any other value.
pub const MANAGED_BY_JOBSET_CONTROLLER: &str = "jobset.sigs.k8s.io/jobset-controller";

/// Annotation that the Job controller sets on pods of Indexed Jobs (Kubernetes: batch/v1).
pub const JOB_COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Keys that this project sets on Jobs and pods. A template cannot set them.
pub const RESERVED: &[&str] = &[
    JOBSET_NAME,
    JOBSET_UID,
    REPLICATED_JOB_NAME,
    RESTART_ATTEMPT,
    JOB_RESTART_ATTEMPT,
    REPLICATED_JOB_REPLICAS,
    GLOBAL_REPLICAS,
    JOB_INDEX,
    JOB_GLOBAL_INDEX,
    JOB_KEY,
    GROUP_NAME,
    GROUP_REPLICAS,
    JOB_GROUP_INDEX,
    COORDINATOR,
];

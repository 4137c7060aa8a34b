//! Feature gates: optional features of JobSet, by their names in the configuration.

use std::collections::BTreeMap;
use thiserror::Error;

/// The enabled features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent switch")]
pub struct Gates {
    /// The controller can restart single Jobs.
    pub restart_job: bool,
    /// Containers can restart inside their pods.
    pub in_place_restart: bool,
    /// Users can change parallelism and completions of Indexed Jobs.
    pub elastic_jobset: bool,
    /// A Job under exclusive placement starts with its leader. Its other pods follow when the leader has a node.
    pub leader_first_placement: bool,
    /// A Job counts as failed as soon as the Job controller sets `FailureTarget`, while its pods are still stopping.
    pub restart_on_failure_target: bool,
    /// `status.executionAttempts` counts runs.
    pub execution_attempts_tracking: bool,
    /// `spec.activeDeadlineSeconds` limits the time of a run.
    pub active_deadline_seconds: bool,
    /// `spec.scheduling` places pods together.
    pub workload_aware_scheduling: bool,
    /// Users can change the resources of the pods of a suspended JobSet.
    pub mutable_pod_resources: bool,
    /// A resume replaces the node selector, tolerations and scheduling gates of a Job by those of its template.
    pub replace_on_resume: bool,
}

/// The maturity of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Can change or be removed. Disabled by default.
    Alpha,
    /// Will not be removed.
    Beta,
    /// Cannot be disabled.
    Ga,
}

/// A named feature.
#[derive(Clone, Copy, Debug)]
pub struct FeatureGate {
    /// Its name, as in `featureGates` of the configuration.
    pub name: &'static str,
    /// Its maturity.
    pub stage: Stage,
    /// Whether it is enabled by default.
    pub default: bool,
    switch: Switch,
}

/// The effect of setting a feature gate.
#[derive(Clone, Copy, Debug)]
enum Switch {
    /// It enables or disables the feature.
    Works(fn(&mut Gates) -> &mut bool),
    /// None: the value cannot change.
    Locked,
}

/// Every feature gate.
pub const FEATURE_GATES: [FeatureGate; 11] = {
    use Stage::{Alpha, Ga};
    use Switch::{Locked, Works};
    const fn gate(name: &'static str, stage: Stage, default: bool, switch: Switch) -> FeatureGate {
        FeatureGate { name, stage, default, switch }
    }
    [
        gate("ElasticJobSet", Alpha, false, Works(|gates| &mut gates.elastic_jobset)),
        gate(
            "ExecutionAttemptsTracking",
            Alpha,
            false,
            Works(|gates| &mut gates.execution_attempts_tracking),
        ),
        gate("InPlaceRestart", Alpha, false, Works(|gates| &mut gates.in_place_restart)),
        gate("JobSetActiveDeadlineSeconds", Alpha, false, Works(|gates| &mut gates.active_deadline_seconds)),
        gate(
            "JobSetWorkloadAwareSchedulingAPI",
            Alpha,
            false,
            Works(|gates| &mut gates.workload_aware_scheduling),
        ),
        gate("LeaderFirstPlacement", Alpha, false, Works(|gates| &mut gates.leader_first_placement)),
        gate(
            "MutablePodResourcesForSuspendedJobSets",
            Alpha,
            false,
            Works(|gates| &mut gates.mutable_pod_resources),
        ),
        gate(
            "ReplaceSchedulingDirectivesOnResume",
            Alpha,
            false,
            Works(|gates| &mut gates.replace_on_resume),
        ),
        gate("RestartJob", Alpha, false, Works(|gates| &mut gates.restart_job)),
        gate("RestartOnFailureTarget", Alpha, false, Works(|gates| &mut gates.restart_on_failure_target)),
        gate("TLSOptions", Ga, true, Locked),
    ]
};

/// Names that represent all gates of a stage (Kubernetes: k8s.io/component-base/featuregate).
const ALL_OF: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// Why the configured feature gates are invalid.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum FeatureGateError {
    /// The gate does not exist.
    #[error("unrecognized feature gate: {0}")]
    Unrecognized(String),
    /// The value of the gate cannot change.
    #[error("cannot set feature gate {name} to {wanted}, feature is locked to {locked}")]
    Locked {
        /// The gate.
        name: &'static str,
        /// The configured value.
        wanted: bool,
        /// The fixed value.
        locked: bool,
    },
}

impl Gates {
    /// The gates of a configuration. A named gate has its configured value, other gates the value of `AllAlpha` or
    /// `AllBeta` for their stage, and the remaining gates their default.
    pub fn configured(named: &BTreeMap<String, bool>) -> Result<Self, FeatureGateError> {
        let known = |name: &str| FEATURE_GATES.iter().any(|gate| gate.name == name);
        let is_stage_name = |name: &str| ALL_OF.iter().any(|(all, _)| *all == name);
        if let Some(name) = named.keys().find(|name| !known(name) && !is_stage_name(name)) {
            return Err(FeatureGateError::Unrecognized(name.clone()));
        }
        let mut gates = Self::default();
        for FeatureGate { name, stage, default, switch } in FEATURE_GATES {
            let all = || ALL_OF.iter().find(|(_, of)| *of == stage).and_then(|(all, _)| named.get(*all));
            let on = named.get(name).or_else(all).copied().unwrap_or(default);
            match switch {
                Switch::Works(switch) => *switch(&mut gates) = on,
                Switch::Locked if on != default => {
                    return Err(FeatureGateError::Locked { name, wanted: on, locked: default });
                }
                Switch::Locked => {}
            }
        }
        Ok(gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(gates: &str) -> Result<Gates, FeatureGateError> {
        Gates::configured(&serde_yaml::from_str(&format!("{{{gates}}}")).unwrap())
    }

    #[test]
    fn only_alpha_gates_are_off_by_default() {
        assert_eq!(configured(""), Ok(Gates::default()));
        assert!(FEATURE_GATES.iter().all(|gate| gate.default == (gate.stage != Stage::Alpha)));
        assert!(FEATURE_GATES.is_sorted_by_key(|gate| gate.name));
    }

    #[test]
    fn named_gates_have_their_configured_value() {
        let none = Gates::default;
        for (text, gates) in [
            ("RestartJob: true", Gates { restart_job: true, ..none() }),
            ("ElasticJobSet: true, RestartJob: false", Gates { elastic_jobset: true, ..none() }),
            ("LeaderFirstPlacement: true", Gates { leader_first_placement: true, ..none() }),
            ("RestartOnFailureTarget: true", Gates { restart_on_failure_target: true, ..none() }),
            ("InPlaceRestart: true", Gates { in_place_restart: true, ..none() }),
            ("ExecutionAttemptsTracking: true", Gates { execution_attempts_tracking: true, ..none() }),
            ("JobSetActiveDeadlineSeconds: true", Gates { active_deadline_seconds: true, ..none() }),
            ("JobSetWorkloadAwareSchedulingAPI: true", Gates { workload_aware_scheduling: true, ..none() }),
            ("MutablePodResourcesForSuspendedJobSets: true", Gates { mutable_pod_resources: true, ..none() }),
            ("ReplaceSchedulingDirectivesOnResume: true", Gates { replace_on_resume: true, ..none() }),
            ("TLSOptions: true, InPlaceRestart: false", none()),
        ] {
            assert_eq!(configured(text), Ok(gates), "{text}");
        }
    }

    #[test]
    fn all_alpha_and_all_beta_set_the_gates_of_a_stage() {
        let all = Gates {
            restart_job: true,
            elastic_jobset: true,
            restart_on_failure_target: true,
            in_place_restart: true,
            leader_first_placement: true,
            execution_attempts_tracking: true,
            active_deadline_seconds: true,
            workload_aware_scheduling: true,
            mutable_pod_resources: true,
            replace_on_resume: true,
        };
        for (text, gates) in [
            ("AllAlpha: true", all.clone()),
            ("AllAlpha: true, RestartJob: false", Gates { restart_job: false, ..all }),
            ("AllAlpha: false, RestartJob: true", Gates { restart_job: true, ..Gates::default() }),
            ("AllBeta: true", Gates::default()),
            ("AllBeta: false", Gates::default()),
        ] {
            assert_eq!(configured(text), Ok(gates), "{text}");
        }
    }

    #[test]
    fn invalid_gates_are_rejected() {
        for (text, error) in [
            ("Sideways: true", "unrecognized feature gate: Sideways"),
            ("restartJob: true", "unrecognized feature gate: restartJob"),
            ("TLSOptions: false", "cannot set feature gate TLSOptions to false, feature is locked to true"),
        ] {
            assert_eq!(configured(text).map_err(|error| error.to_string()), Err(error.to_owned()), "{text}");
        }
    }
}

//! Feature gates: what of JobSet can be switched on and off, by the names that the configuration uses.

use std::collections::BTreeMap;
use thiserror::Error;

/// Which features are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Gates {
    /// Single Jobs may be restarted.
    pub restart_job: bool,
    /// Containers may restart inside their pods.
    pub in_place_restart: bool,
    /// Parallelism and completions of Indexed Jobs may change.
    pub elastic_jobset: bool,
    /// A Job counts as failed when the Job controller has decided that it will be, while its pods still stop.
    pub restart_on_failure_target: bool,
}

/// How settled a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// May change or go; off unless asked for.
    Alpha,
    /// Will stay.
    Beta,
    /// Cannot be switched off.
    Ga,
}

/// A feature that has a name.
#[derive(Clone, Copy, Debug)]
pub struct FeatureGate {
    /// Its name, as in `featureGates` of the configuration.
    pub name: &'static str,
    /// How settled it is.
    pub stage: Stage,
    /// Whether it is on when nobody says.
    pub default: bool,
    switch: Switch,
}

/// What a feature gate does when it is set.
#[derive(Clone, Copy, Debug)]
enum Switch {
    /// It decides.
    Works(fn(&mut Gates) -> &mut bool),
    /// There is nothing to decide: it stays as it is.
    Locked,
    /// This version lacks the feature.
    Missing,
}

/// Every feature gate.
pub const FEATURE_GATES: [FeatureGate; 5] = {
    use Stage::{Alpha, Ga};
    use Switch::{Locked, Missing, Works};
    const fn gate(name: &'static str, stage: Stage, default: bool, switch: Switch) -> FeatureGate {
        FeatureGate { name, stage, default, switch }
    }
    [
        gate("ElasticJobSet", Alpha, false, Works(|gates| &mut gates.elastic_jobset)),
        gate("InPlaceRestart", Alpha, false, Missing),
        gate("RestartJob", Alpha, false, Works(|gates| &mut gates.restart_job)),
        gate("RestartOnFailureTarget", Alpha, false, Works(|gates| &mut gates.restart_on_failure_target)),
        gate("TLSOptions", Ga, true, Locked),
    ]
};

/// Names that stand for all gates of a stage (Kubernetes: k8s.io/component-base/featuregate).
const ALL_OF: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// Why feature gates cannot be set so.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum FeatureGateError {
    /// There is no such gate.
    #[error("unrecognized feature gate: {0}")]
    Unrecognized(String),
    /// The gate stays as it is.
    #[error("cannot set feature gate {name} to {wanted}, feature is locked to {locked}")]
    Locked {
        /// The gate.
        name: &'static str,
        /// What it was to be.
        wanted: bool,
        /// What it stays.
        locked: bool,
    },
    /// This version lacks the feature.
    #[error(
        "feature gate {0} cannot be set to true, as this version does not have the feature; remove it or set it to false"
    )]
    Missing(&'static str),
}

impl Gates {
    /// The gates as configured: those that are named as they are set, of the others those of a stage by `AllAlpha`
    /// and `AllBeta`, and what is left by default.
    pub fn configured(named: &BTreeMap<String, bool>) -> Result<Self, FeatureGateError> {
        let known = |name: &str| FEATURE_GATES.iter().any(|gate| gate.name == name);
        let stands_for_many = |name: &str| ALL_OF.iter().any(|(all, _)| *all == name);
        if let Some(name) = named.keys().find(|name| !known(name) && !stands_for_many(name)) {
            return Err(FeatureGateError::Unrecognized(name.clone()));
        }
        let mut gates = Self::default();
        for FeatureGate { name, stage, default, switch } in FEATURE_GATES {
            let all = || ALL_OF.iter().find(|(_, of)| *of == stage).and_then(|(all, _)| named.get(*all));
            let (explicit, on) = match (named.get(name), all()) {
                (Some(on), _) => (true, *on),
                (None, all) => (false, all.copied().unwrap_or(default)),
            };
            match switch {
                Switch::Works(switch) => *switch(&mut gates) = on,
                Switch::Locked if on != default => {
                    return Err(FeatureGateError::Locked { name, wanted: on, locked: default });
                }
                Switch::Missing if on && explicit => return Err(FeatureGateError::Missing(name)),
                Switch::Locked | Switch::Missing => {}
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
    fn defaults_are_those_of_the_table() {
        assert_eq!(configured(""), Ok(Gates::default()));
        assert!(FEATURE_GATES.iter().all(|gate| gate.default == (gate.stage != Stage::Alpha)));
        assert!(FEATURE_GATES.is_sorted_by_key(|gate| gate.name));
    }

    #[test]
    fn gates_by_name() {
        let none = Gates::default;
        for (text, gates) in [
            ("RestartJob: true", Gates { restart_job: true, ..none() }),
            ("ElasticJobSet: true, RestartJob: false", Gates { elastic_jobset: true, ..none() }),
            ("RestartOnFailureTarget: true", Gates { restart_on_failure_target: true, ..none() }),
            ("TLSOptions: true, InPlaceRestart: false", none()),
        ] {
            assert_eq!(configured(text), Ok(gates), "{text}");
        }
    }

    #[test]
    fn gates_of_a_stage() {
        let all = Gates {
            restart_job: true,
            elastic_jobset: true,
            restart_on_failure_target: true,
            in_place_restart: false,
        };
        for (text, gates) in [
            ("AllAlpha: true", all.clone()),
            ("AllAlpha: true, RestartJob: false", Gates { restart_job: false, ..all.clone() }),
            ("AllAlpha: false, RestartJob: true", Gates { restart_job: true, ..Gates::default() }),
            ("AllAlpha: true, InPlaceRestart: false", all),
            ("AllBeta: true", Gates::default()),
            ("AllBeta: false", Gates::default()),
        ] {
            assert_eq!(configured(text), Ok(gates), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_set() {
        for (text, error) in [
            ("Sideways: true", "unrecognized feature gate: Sideways"),
            ("restartJob: true", "unrecognized feature gate: restartJob"),
            ("TLSOptions: false", "cannot set feature gate TLSOptions to false, feature is locked to true"),
            (
                "InPlaceRestart: true",
                "feature gate InPlaceRestart cannot be set to true, as this version does not have the feature; remove it \
                 or set it to false",
            ),
        ] {
            assert_eq!(configured(text).map_err(|error| error.to_string()), Err(error.to_owned()), "{text}");
        }
    }
}

//! The operand's configuration file.

use super::{Certificates, DesiredError, Inputs};
use crate::names;
use jobset_api::configuration::{
    API_VERSION, ClientConnection, Configuration, InPlaceRestart, InternalCertManagement, KIND,
    LeaderElection,
};
use serde_json::Value;
use std::fmt::Display;

const FILE: &str = names::CONFIG_KEY;

/// The content of the file.
pub(super) fn merged(inputs: &Inputs) -> Result<Value, DesiredError> {
    let mut merged = serde_json::to_value(configuration(inputs)).map_err(broken)?;
    if let Some(overrides) = &inputs.config_overrides {
        json_patch::merge(&mut merged, overrides);
    }
    drop_empty(&mut merged);
    Ok(merged)
}

/// The text of the file.
pub(super) fn text(merged: &Value) -> Result<String, DesiredError> {
    serde_yaml::to_string(merged).map_err(broken)
}

fn broken(error: impl Display) -> DesiredError {
    DesiredError::Object { name: FILE, message: error.to_string() }
}

/// Whether a configuration enables a feature gate of stage Alpha.
pub(super) fn enables_alpha(configuration: &Value, gate: &str) -> bool {
    let gates = configuration.get("featureGates");
    let named = |name: &str| gates.and_then(|gates| gates.get(name)).and_then(Value::as_bool);
    named(gate).or_else(|| named("AllAlpha")).unwrap_or(false)
}

/// Checks whether the configuration with these overrides is valid, and compatible with the operator.
///
/// # Errors
/// When it is not, with the field and the fault.
pub fn check_overrides(overrides: &Value) -> Result<(), String> {
    if !overrides.is_object() {
        return Err("the value is not an object".to_owned());
    }
    let mut base = Configuration::default();
    base.internal_cert_management.enable = Some(false);
    let mut merged = serde_json::to_value(base).map_err(|error| error.to_string())?;
    json_patch::merge(&mut merged, overrides);
    let mut at = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(merged, &mut at);
    let mut unknown = Vec::new();
    // serde_ignored marks an optional section with `?`.
    let note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string().replace(".?", ""));
    let read: Result<Configuration, _> = serde_ignored::deserialize(reader, note);
    let read = read.map_err(|error| format!("{}: {error}", at.path()))?;
    if !unknown.is_empty() {
        return Err(format!("unknown field {}", unknown.join(", ")));
    }
    // The default is true.
    if read.internal_cert_management.enable != Some(false) {
        return Err("internalCertManagement.enable: must be false, because the operator manages the certificates, and \
                    the operand would overwrite them"
            .to_owned());
    }
    for (field, found, expected) in [("apiVersion", read.api_version, API_VERSION), ("kind", read.kind, KIND)]
    {
        if !found.is_empty() && found != expected {
            return Err(format!("{field}: {found:?} must be {expected:?} or absent"));
        }
    }
    Ok(())
}

fn configuration(inputs: &Inputs) -> Configuration {
    let internal = inputs.certificates == Certificates::Internal;
    let connection = inputs.controller.client_connection.as_ref();
    Configuration {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        internal_cert_management: InternalCertManagement {
            enable: Some(internal),
            webhook_service_name: internal.then(|| names::WEBHOOK_SERVICE.to_owned()),
            webhook_secret_name: internal.then(|| names::INTERNAL_WEBHOOK_SECRET.to_owned()),
        },
        leader_election: LeaderElection { leader_elect: Some(true), ..LeaderElection::default() },
        tls: inputs.tls.clone(),
        client_connection: ClientConnection {
            // f32 is exact up to 16777216, far more requests than an API server can serve.
            #[allow(clippy::cast_precision_loss)]
            qps: connection.and_then(|connection| connection.qps).map(|qps| qps as f32),
            burst: connection.and_then(|connection| connection.burst),
        },
        in_place_restart: in_place_restart(inputs),
        feature_gates: inputs.controller.feature_gates.clone(),
        ..Configuration::default()
    }
}

/// Removes empty sections.
fn drop_empty(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(drop_empty);
        fields.retain(|_, field| !field.as_object().is_some_and(serde_json::Map::is_empty));
    }
}

/// The image with the agent, if the feature is on. Without the field, the JobSet project's controller can read the
/// configuration, for example when one of its pods restarts during a migration.
fn in_place_restart(inputs: &Inputs) -> Option<InPlaceRestart> {
    let gates = &inputs.controller.feature_gates;
    let on = gates.get("InPlaceRestart").or_else(|| gates.get("AllAlpha"));
    (on == Some(&true)).then(|| InPlaceRestart { agent_image: inputs.operand_image.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inputs() -> Inputs {
        Inputs::plain("ns", "image")
    }

    fn read(inputs: &Inputs) -> Value {
        serde_yaml::from_str(&text(&merged(inputs).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn overrides_take_precedence_and_null_removes_a_field() {
        let mut inputs = inputs();
        inputs.controller.feature_gates.insert("Red".into(), true);
        inputs.config_overrides = Some(json!({
            "featureGates": {"Red": false, "Blue": true}, "leaderElection": {"leaderElect": null},
            "webhook": {"port": 9444},
        }));
        let read = read(&inputs);
        assert_eq!(read["featureGates"], json!({"Red": false, "Blue": true}));
        assert_eq!(read["webhook"], json!({"port": 9444}));
        assert_eq!(read.get("leaderElection"), None);
        assert_eq!(read["internalCertManagement"]["enable"], true);
    }

    #[test]
    fn with_in_place_restart_the_agent_is_in_the_image_of_the_operand() {
        for (gates, expected) in [
            (vec![], Value::Null),
            (vec![("InPlaceRestart", true)], json!({"agentImage": "image"})),
            (vec![("AllAlpha", true)], json!({"agentImage": "image"})),
            (vec![("AllAlpha", true), ("InPlaceRestart", false)], Value::Null),
        ] {
            let mut inputs = inputs();
            inputs.controller.feature_gates =
                gates.into_iter().map(|(name, on)| (name.to_owned(), on)).collect();
            assert_eq!(read(&inputs)["inPlaceRestart"], expected, "{:?}", inputs.controller.feature_gates);
        }
    }

    #[test]
    fn client_connection_limits_are_in_the_configuration() {
        let mut inputs = inputs();
        inputs.controller.client_connection =
            Some(jobset_api::jobset_operator::ControllerClientConnection { qps: Some(50), burst: None });
        assert_eq!(read(&inputs)["clientConnection"], json!({"qps": 50.0}));
    }

    #[test]
    fn invalid_overrides_are_errors_that_name_the_field() {
        let valid = json!({"webhook": {"port": 9444, "host": null}, "kind": "Configuration", "tls": {}});
        assert_eq!(check_overrides(&valid), Ok(()));
        for (overrides, expected) in [
            (json!({"webhook": {"port": "high"}}), "webhook.port: invalid type: string \"high\""),
            (json!({"webhook": 7}), "webhook: invalid type"),
            (json!({"tls": {"minVersion": 12}}), "tls.minVersion: invalid type"),
            (json!({"featureGates": {"Red": "on"}}), "featureGates.Red: invalid type"),
            (json!({"webhooks": {}, "tls": {"ciphers": []}}), "unknown field tls.ciphers, webhooks"),
            (json!({"apiVersion": "v9"}), "apiVersion: \"v9\" must be \"config.jobset.x-k8s.io/v1alpha1\""),
            (
                json!({"internalCertManagement": {"enable": true}}),
                "internalCertManagement.enable: must be false",
            ),
            (json!({"internalCertManagement": null}), "internalCertManagement.enable: must be false"),
            (json!(["webhook"]), "not an object"),
        ] {
            let error = check_overrides(&overrides).unwrap_err();
            assert!(error.contains(expected), "{overrides}: {error}");
        }
    }
}

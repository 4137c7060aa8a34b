//! Reports condition Upgradeable to OLM.
//!
//! OLM creates an `OperatorCondition` for each version of an operator that it installs, sets its name in the operator's
//! environment, and grants the operator `get`, `update` and `patch` of this object. While the condition is False, OLM
//! does not upgrade the operator.

use super::{ActError, Actor};
use crate::desired::condition_types::Finding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

impl Actor {
    /// Stores the condition in the `OperatorCondition` with this name, if it exists and differs.
    pub async fn report_upgradeable(
        &mut self,
        name: &str,
        finding: &Finding,
        now: &Time,
    ) -> Result<(), ActError> {
        if self.upgradeable.as_ref() == Some(finding) {
            return Ok(());
        }
        let kind = GroupVersionKind::gvk("operators.coreos.com", "v2", "OperatorCondition");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind));
        let found = match api.get(name).await.map_err(ActError::from) {
            Ok(found) => found,
            // The object or its API does not exist.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let conditions = found.data.pointer("/spec/conditions").and_then(Value::as_array);
        if let Some(conditions) = with_condition(conditions.map_or(&[], Vec::as_slice), finding, now) {
            // The resource version prevents that a condition of another client is lost.
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": found.resource_version()},
                "spec": {"conditions": conditions},
            }));
            let parameters = PatchParams::default();
            self.writer.send(|| api.patch(name, &parameters, &patch)).await?;
            info!(
                name,
                status = finding.status,
                reason = finding.reason,
                "condition Upgradeable reported to OLM"
            );
        }
        self.upgradeable = Some(finding.clone());
        Ok(())
    }
}

/// The conditions with `finding`, or None if they contain it already.
fn with_condition(conditions: &[Value], finding: &Finding, now: &Time) -> Option<Vec<Value>> {
    let status = finding.status_text();
    let is_same = |condition: &&Value| condition["type"] == finding.kind;
    let before = conditions.iter().find(is_same);
    let unchanged = |before: &Value| before["status"] == status;
    if before.is_some_and(|before| {
        unchanged(before) && before["reason"] == finding.reason && before["message"] == finding.message
    }) {
        return None;
    }
    let since = before.filter(|before| unchanged(before)).map(|before| before["lastTransitionTime"].clone());
    let others = conditions.iter().filter(|condition| !is_same(condition)).cloned();
    let condition = json!({
        "type": finding.kind,
        "status": status,
        "reason": finding.reason,
        "message": finding.message,
        "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
    });
    Some(others.chain([condition]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_different_condition_is_written_and_those_of_other_clients_stay() {
        let now = Time("2030-01-01T00:00:00Z".parse().unwrap());
        let finding = |status, reason: &str| Finding {
            kind: "Upgradeable",
            status,
            reason: reason.into(),
            message: "message".into(),
        };
        let stored = |status: &str, reason: &str, since: &str| {
            json!({"type": "Upgradeable", "status": status, "reason": reason, "message": "message",
                   "lastTransitionTime": since})
        };
        let (other, new, old) = (json!({"type": "Blue"}), "2030-01-01T00:00:00Z", "2029-01-01T00:00:00Z");
        for (before, status, reason, expected) in [
            (vec![], false, "Red", Some(vec![stored("False", "Red", new)])),
            (vec![stored("False", "Red", old)], false, "Red", None),
            (vec![stored("False", "Red", old)], false, "Green", Some(vec![stored("False", "Green", old)])),
            (
                vec![stored("False", "Red", old), other.clone()],
                true,
                "Green",
                Some(vec![other, stored("True", "Green", new)]),
            ),
        ] {
            assert_eq!(with_condition(&before, &finding(status, reason), &now), expected, "{before:?}");
        }
    }
}

//! Writes the status of the JobSetOperator.

use super::ActError;
use crate::names;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{GROUP, JobSetOperatorStatus, KIND, VERSION};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// Whether `new` differs from the stored status. Conditions of other clients are ignored.
pub fn differs(operator: &JobSetOperator, new: &JobSetOperatorStatus) -> bool {
    let Some(old) = &operator.status else { return true };
    let conditions = new.conditions.iter().any(|condition| !old.conditions.contains(condition));
    conditions || JobSetOperatorStatus { conditions: old.conditions.clone(), ..new.clone() } != *old
}

/// Stores the status, and returns the stored JobSetOperator. Returns None if the JobSetOperator changed since it was
/// read: the status may be out of date then, and the change requeues the JobSetOperator.
pub async fn write(
    client: &Client,
    operator: &JobSetOperator,
    new: &JobSetOperatorStatus,
) -> Result<Option<JobSetOperator>, ActError> {
    let api: Api<JobSetOperator> = Api::all(client.clone());
    let patch = Patch::Apply(json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": operator.name_any(), "resourceVersion": operator.resource_version()},
        "status": new,
    }));
    let parameters = PatchParams::apply(names::OPERATOR).force();
    match api.patch_status(&operator.name_any(), &parameters, &patch).await.map_err(ActError::from) {
        Ok(stored) => Ok(Some(stored)),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

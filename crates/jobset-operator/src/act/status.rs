//! The one writer of the JobSetOperator's status.

use super::ActError;
use crate::names;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{GROUP, JobSetOperatorStatus, KIND, VERSION};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// Whether `new` says anything that the stored status does not. Conditions of others are left alone.
pub fn differs(operator: &JobSetOperator, new: &JobSetOperatorStatus) -> bool {
    let Some(old) = &operator.status else { return true };
    let conditions = new.conditions.iter().any(|condition| !old.conditions.contains(condition));
    conditions || JobSetOperatorStatus { conditions: old.conditions.clone(), ..new.clone() } != *old
}

/// Stores the status, and returns the JobSetOperator as it is stored. Nothing is stored when the JobSetOperator
/// changed since it was read: what the status says may be out of date then, and another pass is on its way.
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

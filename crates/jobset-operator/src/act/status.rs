//! Writes the status of the JobSetOperator.

use super::{ActError, Actor};
use crate::names;
use jobset_api::JobSetOperator;
use jobset_api::jobset_operator::{GROUP, JobSetOperatorStatus, KIND, VERSION};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// Whether `new` differs from the stored status. Conditions of other clients are ignored.
pub fn differs(operator: &JobSetOperator, new: &JobSetOperatorStatus) -> bool {
    let Some(old) = &operator.status else { return true };
    let conditions = new.conditions.iter().any(|condition| !old.conditions.contains(condition));
    conditions || JobSetOperatorStatus { conditions: old.conditions.clone(), ..new.clone() } != *old
}

impl Actor {
    /// Stores the status if it differs from the stored one. Does not store it if the JobSetOperator changed since it was
    /// read: the status may be out of date then, and the change requeues the JobSetOperator.
    pub async fn store_status(
        &self,
        operator: &JobSetOperator,
        new: &JobSetOperatorStatus,
    ) -> Result<(), ActError> {
        if !differs(operator, new) {
            return Ok(());
        }
        let api: Api<JobSetOperator> = Api::all(self.client.clone());
        let name = operator.name_any();
        let patch = Patch::Apply(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": KIND,
            "metadata": {"name": name, "resourceVersion": operator.resource_version()},
            "status": new,
        }));
        let parameters = PatchParams::apply(names::OPERATOR).force();
        let request = || api.patch_status(&name, &parameters, &patch);
        match self.writer.send(request).await.map_err(ActError::from) {
            Ok(stored) => {
                self.recorder.status_changed(operator, new);
                self.index.status_written(stored);
                Ok(())
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

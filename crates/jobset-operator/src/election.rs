//! Timings of the operator's leader election. OpenShift prescribes them for each topology of the control plane.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use manager_runtime::leader::Timings;
use std::time::Duration;
use tracing::{info, warn};

/// The leader tolerates an API server outage of over a minute, and another replica takes over within three.
const HIGHLY_AVAILABLE: Timings = timings(137, 107, 26);
/// The leader tolerates a restart of the only node, with its API server.
const SINGLE_REPLICA: Timings = timings(270, 240, 60);

const fn timings(lease_duration: u64, renew_deadline: u64, retry_period: u64) -> Timings {
    Timings {
        lease_duration: Duration::from_secs(lease_duration),
        renew_deadline: Duration::from_secs(renew_deadline),
        retry_period: Duration::from_secs(retry_period),
    }
}

/// The timings for this cluster. A cluster without OpenShift's Infrastructure counts as highly available.
pub async fn timings_of(client: &Client) -> Timings {
    let kind = GroupVersionKind::gvk("config.openshift.io", "v1", "Infrastructure");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    match api.get_opt("cluster").await {
        Ok(infrastructure) => of_infrastructure(infrastructure.as_ref()),
        // The API does not exist.
        Err(kube::Error::Api(status)) if status.code == 404 => HIGHLY_AVAILABLE,
        Err(error) => {
            warn!(%error, "cannot read the topology of the control plane, using timings for high availability");
            HIGHLY_AVAILABLE
        }
    }
}

fn of_infrastructure(infrastructure: Option<&DynamicObject>) -> Timings {
    let topology = infrastructure.and_then(|it| it.data.pointer("/status/controlPlaneTopology")?.as_str());
    if topology == Some("SingleReplica") {
        info!("the control plane has a single replica, using longer timings for leader election");
        SINGLE_REPLICA
    } else {
        HIGHLY_AVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_single_replica_has_longer_timings() {
        let of = |status: serde_json::Value| {
            let object = json!({"metadata": {"name": "cluster"}, "status": status});
            of_infrastructure(Some(&serde_json::from_value(object).unwrap()))
        };
        assert_eq!(of(json!({"controlPlaneTopology": "SingleReplica"})), SINGLE_REPLICA);
        let highly_available =
            [of(json!({"controlPlaneTopology": "HighlyAvailable"})), of(json!({})), of_infrastructure(None)];
        assert_eq!(highly_available, [HIGHLY_AVAILABLE; 3]);
        for timings in [SINGLE_REPLICA, HIGHLY_AVAILABLE] {
            assert_eq!(timings.check(), Ok(()));
        }
    }
}

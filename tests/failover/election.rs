//! Leader election: which replica leads, for how long, and that only the leader writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jobset_tests::replicas::{LEASE, NAMESPACE, Replica};
use jobset_tests::wait::wait_for;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::Failover;
use crate::jobsets::{Outcome, create, holder, leader_of, start_two, wait_for_jobs};

/// The controller's default `leaseDuration`.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// SIGKILL of the leader: the other replica writes within two seconds after the Lease expires.
pub(crate) async fn killed_leader_is_replaced_when_its_lease_expires(suite: Arc<Failover>) -> Result<()> {
    let (leader, followers) = pair(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    leader.signal(Signal::SIGKILL)?;
    let killed = Instant::now();
    suite.installation.balance(&followers);
    create(&suite, &namespace, "after-kill", 1, Outcome::Stay).await?;
    wait_for_jobs(&suite, &namespace, 1, LEASE_DURATION * 2).await?;
    let took = killed.elapsed();
    println!("killed leader: first write of the other replica after {took:?}");
    ensure!(took < LEASE_DURATION + Duration::from_secs(2), "{took:?}");
    Ok(())
}

/// SIGTERM of the leader: it releases the Lease and exits with 0. The other replica writes within two seconds.
pub(crate) async fn terminated_leader_releases_its_lease(suite: Arc<Failover>) -> Result<()> {
    let (mut leader, followers) = pair(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let before = lease(&suite).await?;
    suite.installation.balance(&followers);
    leader.signal(Signal::SIGTERM)?;
    let terminated = Instant::now();
    create(&suite, &namespace, "after-term", 1, Outcome::Stay).await?;
    wait_for_jobs(&suite, &namespace, 1, LEASE_DURATION).await?;
    let took = terminated.elapsed();
    println!("terminated leader: first write of the other replica after {took:?}");
    ensure!(took < Duration::from_secs(2), "{took:?}");
    let status = leader.wait_for_exit(Duration::from_secs(10)).await?;
    ensure!(status.code() == Some(0), "{status}");
    leader.wait_for_log("released the lease").await?;

    let after = lease(&suite).await?;
    ensure!(after.lease_transitions == before.lease_transitions.map(|count| count + 1), "{after:?}");
    ensure!(
        after.lease_duration_seconds == Some(15) && after.acquire_time > before.acquire_time,
        "{after:?}"
    );
    let events: Api<Event> = Api::namespaced(suite.client.clone(), NAMESPACE);
    let note = format!("{} became leader", followers[0].identity()?);
    let notes = || async {
        Ok(events
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .filter_map(|event| event.note)
            .collect())
    };
    wait_for("the event", Duration::from_secs(10), notes, |notes: &Vec<String>| notes.contains(&note))
        .await
        .map(drop)
}

/// A leader that was paused for longer than its lease sends nothing when it continues, and exits with an error.
pub(crate) async fn paused_leader_writes_nothing_after_its_lease(suite: Arc<Failover>) -> Result<()> {
    let (mut leader, followers) = pair(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    suite.installation.balance(&followers);
    // The pause begins while the leader creates Jobs.
    create(&suite, &namespace, "many", 200, Outcome::Stay).await?;
    leader.signal(Signal::SIGSTOP)?;
    wait_for_jobs(&suite, &namespace, 200, LEASE_DURATION * 2).await?;
    let next = &followers[0];
    ensure!(holder(&suite).await? == next.identity()?);
    leader.signal(Signal::SIGCONT)?;
    let status = leader.wait_for_exit(Duration::from_secs(20)).await?;
    ensure!(status.code() == Some(1), "{status}");
    leader.wait_for_log("leader election lost").await?;
    only_the_leader_wrote(&suite, Timestamp::now() - LEASE_DURATION * 4)
}

/// If another client writes itself into the Lease, the leader exits. If a client deletes the Lease, the leader creates
/// it again.
pub(crate) async fn leader_exits_if_its_lease_is_taken_but_not_if_it_is_deleted(
    suite: Arc<Failover>,
) -> Result<()> {
    let (mut leader, followers) = pair(&suite).await?;
    drop(followers);
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    leases.delete(LEASE, &DeleteParams::default()).await?;
    let identity = leader.identity()?;
    wait_for("the Lease to be recreated", Duration::from_secs(10), || holder(&suite), |now| *now == identity)
        .await?;
    ensure!(leader.runs()?);
    let patch = Patch::Merge(json!({ "spec": { "holderIdentity": "thief" } }));
    leases.patch(LEASE, &PatchParams::default(), &patch).await?;
    let status = leader.wait_for_exit(Duration::from_secs(15)).await?;
    ensure!(status.code() == Some(1), "{status}");
    leader.wait_for_log("another replica acquired it").await
}

/// An API server that does not respond delays the shutdown by a few seconds. A second signal ends the process at once.
pub(crate) async fn second_signal_ends_the_process_at_once(suite: Arc<Failover>) -> Result<()> {
    for signals in [1, 2] {
        let (mut leader, _followers) = pair(&suite).await?;
        let frozen = suite.api_server()?.freeze()?;
        let signalled = Instant::now();
        leader.signal(Signal::SIGTERM)?;
        leader.wait_for_log("shutting down").await?;
        if signals == 2 {
            leader.signal(Signal::SIGINT)?;
        }
        let status = leader.wait_for_exit(Duration::from_secs(15)).await;
        let took = signalled.elapsed();
        drop(frozen);
        let status = status?;
        println!("{signals} signals with a frozen API server: ended after {took:?} with {status}");
        if signals == 2 {
            ensure!(status.code() == Some(1) && took < Duration::from_secs(1), "{status} after {took:?}");
        } else {
            ensure!(status.code() == Some(0) && took < Duration::from_secs(10), "{status} after {took:?}");
        }
    }
    Ok(())
}

/// The leader keeps its lease if renewals get no response for less than the renew deadline.
pub(crate) async fn leader_survives_a_short_freeze_of_the_api_server(suite: Arc<Failover>) -> Result<()> {
    let (mut leader, _followers) = pair(&suite).await?;
    let frozen = suite.api_server()?.freeze()?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    drop(frozen);
    let renewed = lease(&suite).await?.renew_time;
    wait_for(
        "a renewal",
        Duration::from_secs(10),
        || async { Ok(lease(&suite).await?.renew_time) },
        |now| *now > renewed,
    )
    .await?;
    ensure!(leader.runs()? && holder(&suite).await? == leader.identity()?);
    Ok(())
}

/// Starts two controllers. Returns the leader, and the follower in a list.
async fn pair(suite: &Failover) -> Result<(Replica, Vec<Replica>)> {
    leader_of(suite, start_two(suite).await?).await
}

async fn lease(suite: &Failover) -> Result<k8s_openapi::api::coordination::v1::LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    leases.get(LEASE).await?.spec.context("a Lease has a spec")
}

/// Checks in the audit log that each write to JobSets, Jobs, Services and claims came from the replica that was the
/// last to write the Lease.
pub(crate) fn only_the_leader_wrote(suite: &Failover, since: Timestamp) -> Result<()> {
    const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
    let audit = suite.cluster.cluster().audit();
    let mut writes = audit.query().user(suite.installation.user()).writes().since(since).entries()?;
    writes.sort_by_key(|entry| entry.request_received_timestamp);
    let (mut holder, mut changes, mut count) = (None, 0, 0);
    for write in &writes {
        let resource = write.object_ref.as_ref().map_or("", |object| object.resource.as_str());
        let credential = write.user.extra.get(CREDENTIAL).context("the audit log names no credential")?;
        match resource {
            // A rejected update does not change the holder.
            "leases" if write.code() < 300 && holder != Some(credential) => {
                (holder, changes) = (Some(credential), changes + 1);
            }
            // The sender aborted this request: it was paused while it sent the request, and aborted it when it
            // continued. No client can check its lease and send a request atomically.
            "jobsets" | "jobs" | "services" | "persistentvolumeclaims" if write.code() == 504 => {}
            "jobsets" | "jobs" | "services" | "persistentvolumeclaims" if holder.is_some() => {
                ensure!(
                    holder == Some(credential),
                    "{credential:?} wrote while {holder:?} was the leader: {write:#?}"
                );
                count += 1;
            }
            _ => {}
        }
    }
    println!("{count} writes by {changes} leaders, only one at a time");
    ensure!(count > 0);
    Ok(())
}

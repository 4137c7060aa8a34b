//! Who leads, for how long, and who writes meanwhile.

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
use crate::jobsets::{Fate, create, holder, jobs, leader_of, two};

/// As the controller has it by default.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// kill -9 of the leader: the other one writes as soon as the Lease may be taken, and not two seconds later.
pub(crate) async fn killed_leader_is_followed_within_the_lease(suite: Arc<Failover>) -> Result<()> {
    let (leader, followers) = pair(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    leader.signal(Signal::SIGKILL)?;
    let killed = Instant::now();
    suite.installation.balance(&followers);
    create(&suite, &namespace, "after-kill", 1, Fate::Stay).await?;
    jobs(&suite, &namespace, 1, LEASE_DURATION * 2).await?;
    let took = killed.elapsed();
    println!("killed leader: first write of the other after {took:?}");
    ensure!(took < LEASE_DURATION + Duration::from_secs(2), "{took:?}");
    Ok(())
}

/// SIGTERM of the leader: it gives the Lease back and exits 0, and the other one writes within two seconds.
pub(crate) async fn leader_that_is_asked_to_end_hands_over(suite: Arc<Failover>) -> Result<()> {
    let (mut leader, followers) = pair(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    let before = lease(&suite).await?;
    suite.installation.balance(&followers);
    leader.signal(Signal::SIGTERM)?;
    let asked = Instant::now();
    create(&suite, &namespace, "after-term", 1, Fate::Stay).await?;
    jobs(&suite, &namespace, 1, LEASE_DURATION).await?;
    let took = asked.elapsed();
    println!("leader asked to end: first write of the other after {took:?}");
    ensure!(took < Duration::from_secs(2), "{took:?}");
    let status = leader.end(Duration::from_secs(10)).await?;
    ensure!(status.code() == Some(0), "{status}");
    leader.logs("gave the lease back").await?;

    let after = lease(&suite).await?;
    ensure!(after.lease_transitions == before.lease_transitions.map(|count| count + 1), "{after:?}");
    ensure!(
        after.lease_duration_seconds == Some(15) && after.acquire_time > before.acquire_time,
        "{after:?}"
    );
    let events: Api<Event> = Api::namespaced(suite.client.clone(), NAMESPACE);
    let note = format!("{} became leader", followers[0].identity()?);
    let look = || async {
        Ok(events
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .filter_map(|event| event.note)
            .collect())
    };
    wait_for("the event", Duration::from_secs(10), look, |notes: &Vec<String>| notes.contains(&note))
        .await
        .map(drop)
}

/// A leader that stood still for longer than its lease sends nothing more when it goes on, and ends with an error.
pub(crate) async fn leader_that_stood_still_writes_no_more(suite: Arc<Failover>) -> Result<()> {
    let (mut leader, followers) = pair(&suite).await?;
    let namespace = suite.cluster.namespace(&suite.client).await?;
    suite.installation.balance(&followers);
    // It stops in the middle of work.
    create(&suite, &namespace, "many", 200, Fate::Stay).await?;
    leader.signal(Signal::SIGSTOP)?;
    jobs(&suite, &namespace, 200, LEASE_DURATION * 2).await?;
    let next = &followers[0];
    ensure!(holder(&suite).await? == next.identity()?);
    leader.signal(Signal::SIGCONT)?;
    let status = leader.end(Duration::from_secs(20)).await?;
    ensure!(status.code() == Some(1), "{status}");
    leader.logs("leader election lost").await?;
    one_writer_at_a_time(&suite, Timestamp::now() - LEASE_DURATION * 4)
}

/// Another holder is written into the Lease: the leader ends at once. A Lease that is deleted is created again.
pub(crate) async fn stolen_lease_ends_the_leader_and_a_deleted_one_does_not(
    suite: Arc<Failover>,
) -> Result<()> {
    let (mut leader, followers) = pair(&suite).await?;
    drop(followers);
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    leases.delete(LEASE, &DeleteParams::default()).await?;
    let identity = leader.identity()?;
    wait_for("the Lease to be made anew", Duration::from_secs(10), || holder(&suite), |now| *now == identity)
        .await?;
    ensure!(leader.runs()?);
    let patch = Patch::Merge(json!({ "spec": { "holderIdentity": "thief" } }));
    leases.patch(LEASE, &PatchParams::default(), &patch).await?;
    let status = leader.end(Duration::from_secs(15)).await?;
    ensure!(status.code() == Some(1), "{status}");
    leader.logs("another replica took the lease").await
}

/// An API server that does not answer holds the end up for seconds only, and a second signal not even that.
pub(crate) async fn second_signal_ends_at_once(suite: Arc<Failover>) -> Result<()> {
    for signals in [1, 2] {
        let (mut leader, _followers) = pair(&suite).await?;
        let frozen = suite.api_server()?.freeze()?;
        let begun = Instant::now();
        leader.signal(Signal::SIGTERM)?;
        leader.logs("shutting down").await?;
        if signals == 2 {
            leader.signal(Signal::SIGINT)?;
        }
        let status = leader.end(Duration::from_secs(15)).await;
        let took = begun.elapsed();
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

/// Renewals that get no answer for less than the deadline cost nothing.
pub(crate) async fn short_silence_of_the_api_server_is_survived(suite: Arc<Failover>) -> Result<()> {
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

async fn pair(suite: &Failover) -> Result<(Replica, Vec<Replica>)> {
    leader_of(suite, two(suite).await?).await
}

async fn lease(suite: &Failover) -> Result<k8s_openapi::api::coordination::v1::LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(suite.client.clone(), NAMESPACE);
    leases.get(LEASE).await?.spec.context("a Lease has a spec")
}

/// From the audit log: whoever wrote to JobSets, Jobs or Services had written himself into the Lease last.
pub(crate) fn one_writer_at_a_time(suite: &Failover, since: Timestamp) -> Result<()> {
    const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
    let audit = suite.cluster.cluster().audit();
    let mut writes = audit.query().user(suite.installation.user()).writes().since(since).entries()?;
    writes.sort_by_key(|entry| entry.request_received_timestamp);
    let (mut holder, mut changes, mut count) = (None, 0, 0);
    for write in &writes {
        let resource = write.object_ref.as_ref().map_or("", |object| object.resource.as_str());
        let credential = write.user.extra.get(CREDENTIAL).context("the audit log names no credential")?;
        match resource {
            // An update that was refused took nothing.
            "leases" if write.code() < 300 && holder != Some(credential) => {
                (holder, changes) = (Some(credential), changes + 1);
            }
            // Its sender broke it off: it was stopped in the moment of sending, and noticed when it went on. No
            // client can look at the lease and send at once.
            "jobsets" | "jobs" | "services" | "persistentvolumeclaims" if write.code() == 504 => {}
            "jobsets" | "jobs" | "services" | "persistentvolumeclaims" if holder.is_some() => {
                ensure!(
                    holder == Some(credential),
                    "written by {credential:?}, while {holder:?} led: {write:#?}"
                );
                count += 1;
            }
            _ => {}
        }
    }
    println!("{count} writes by {changes} leaders in turn, never two at a time");
    ensure!(count > 0);
    Ok(())
}

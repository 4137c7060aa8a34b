//! The process: starts its parts and stops them.

use crate::{
    act,
    admission::{Admission, Webhook},
    agent_permissions::AgentPermissions,
    certificates,
    memory::Memory,
    metrics::JobSetMetrics,
    observe, reconcile, repair,
    requeue::Requeue,
    settings::{Flags, Settings},
};
use anyhow::{Context, Result, bail};
use kube::Client;
use manager_runtime::{
    client::connect,
    events::EventSender,
    hostname,
    leader::{self, Fence, Leadership},
    logging::LogHandle,
    metrics::Metrics,
    probes,
    queue::WorkQueue,
    server::{Drain, Server},
    shutdown,
    tls::{Certificate, TlsOptions},
    version,
    writer::Writer,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The webhook server serves after shutdown begins, until API servers no longer call this replica. The pod's
/// `terminationGracePeriodSeconds` includes this time.
const DRAIN: Drain = Drain {
    shortest: Duration::from_secs(5),
    quiet: Duration::from_secs(3),
    longest: Duration::from_secs(15),
};

/// Runs the controller manager until a signal ends it, or one of its parts fails. `log` lets administrators change
/// the log level.
pub async fn run(flags: &Flags, log: LogHandle) -> Result<()> {
    let settings = Settings::read(flags)?;
    info!(version = version::VERSION, commit = version::COMMIT, platform = version::platform(), "starting");
    let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
    let metrics = Metrics::new().context("cannot create the metrics")?;
    let client = connect(flags.kubeconfig.as_deref(), &metrics, "jobset").await?;
    let second_client = connect(flags.kubeconfig.as_deref(), &metrics, "jobset").await?;

    let readiness = probes::Readiness::new([
        certificates::CONDITION,
        ("webhook", "webhook server has not been started yet"),
        ("caches", "the first lists are not complete"),
    ]);
    let (index, placement) = (observe::Index::default(), observe::Placement::default());
    let mut servers = JoinSet::new();
    if let Some(address) = settings.probes {
        let (live, ready) = (settings.live_path.clone(), settings.ready_path.clone());
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        servers.spawn(async move {
            let served = probes::serve(address, &live, &ready, readiness, shutdown).await;
            served.with_context(|| format!("cannot serve probes on {address}"))
        });
    }
    if let Some(server) = settings.metrics.clone() {
        let served = server.serve(metrics.clone(), client.clone(), log, shutdown.clone());
        servers.spawn(async move { served.await.context("metrics.bindAddress") });
    }
    let admission = Admission::new(client.clone(), index.clone(), placement.clone(), &settings.gates)
        .with_agent_image(settings.agent_image.clone())
        .router();
    let certificate = {
        let (source, client, metrics) =
            (settings.webhook_certificates.clone(), client.clone(), metrics.clone());
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move { certificates::obtain(source, client, &metrics, &readiness, &shutdown).await }
    };
    servers.spawn(serve_admission(
        settings.webhook,
        settings.tls.clone(),
        certificate,
        metrics.webhooks().instrument(admission, Webhook::ALL.map(Webhook::path)),
        readiness.clone(),
        shutdown.clone(),
    ));
    servers.spawn(control(
        [client, second_client],
        settings,
        metrics,
        (index, placement),
        readiness,
        shutdown.clone(),
    ));

    // When one part ends, with or without an error, the process ends. The other parts finish their work first.
    let first = servers.join_next().await;
    shutdown.cancel();
    let rest = servers.join_all().await;
    for result in first.into_iter().map(|joined| joined.map_err(Into::into).flatten()).chain(rest) {
        result?;
    }
    info!("stopped");
    Ok(())
}

async fn serve_admission(
    address: std::net::SocketAddr,
    options: TlsOptions,
    certificate: impl Future<Output = Option<Certificate>>,
    router: axum::Router,
    readiness: probes::Readiness,
    shutdown: CancellationToken,
) -> Result<()> {
    let Some(certificate) = certificate.await else { return Ok(()) };
    let server = Server::bind(address).await.context("webhook.port")?.with_drain(DRAIN);
    readiness.met_while_reachable("webhook", server.address());
    info!(address = %server.address(), "serving admission");
    server.serve_tls(&options, certificate, router, shutdown).await.context("webhook.port")
}

/// Watches, and reconciles while this replica leads. The second client renews the lease when a connection of the first
/// one hangs.
async fn control(
    clients: [Client; 2],
    settings: Settings,
    metrics: Metrics,
    (index, placement): (observe::Index, observe::Placement),
    readiness: probes::Readiness,
    shutdown: CancellationToken,
) -> Result<()> {
    let [client, _] = clients.clone();
    let queue = WorkQueue::measured(&metrics, "jobset");
    let repairs = WorkQueue::measured(&metrics, "pod");
    let measured = JobSetMetrics::new(&metrics, &index, &placement).context("cannot create the metrics")?;
    let requeue = Requeue::new(queue.clone(), repairs.clone());
    let verifier = act::Verifier::new(client.clone(), index.clone(), requeue.clone(), measured.clone());
    let verify = move |job| drop(tokio::spawn(verifier.clone().verify(job)));
    let watched = observe::start(&client, &index, &placement, &requeue, &settings.gates, verify);
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = watched.filled() => readiness.met("caches"),
    }
    let leadership = match &settings.lease {
        None => None,
        Some(lease) => {
            metrics.leads(&lease.name, false);
            let mut leadership = Leadership::run_for(clients, lease.clone())?;
            tokio::select! {
                () = shutdown.cancelled() => { leadership.release().await; return Ok(()); }
                () = leadership.elected() => metrics.leads(&lease.name, true),
            }
            Some(leadership)
        }
    };
    requeue.start();
    index.jobsets().into_iter().for_each(|uid| queue.add(uid));
    placement.pods.placed_groups().into_iter().for_each(|group| repairs.add(group));
    let fence = leadership.as_ref().map_or_else(Fence::none, Leadership::fence);
    let writer = Writer::new(settings.qps, settings.burst, fence.clone()).measured(&metrics);
    let events = EventSender::start(client.clone(), "jobset", format!("jobset-{}", hostname()), &metrics);
    if let Some(lease) = &settings.lease {
        let (event, regarding) = leader::became_leader(lease);
        events.send(event, regarding);
    }
    let repairer = Arc::new(repair::Repairer {
        client: client.clone(),
        writer: writer.clone(),
        placement: placement.clone(),
        queue: repairs,
        metrics: measured.repairs(&metrics).context("cannot create the metrics")?,
        failing: Mutex::default(),
    });
    let reconciler = Arc::new(reconcile::Reconciler {
        agent_permissions: AgentPermissions::new(client.clone()),
        actor: act::Actor::new(client, writer, index.clone()),
        events,
        gates: settings.gates,
        memory: Memory::default(),
        metrics: measured,
        index,
        placement,
        queue,
    });
    let work = async {
        tokio::join!(reconciler.run(shutdown.clone()), repairer.run(shutdown.clone()));
    };
    tokio::select! {
        () = shutdown::finish(&shutdown, work) => {}
        () = fence.closed() => bail!("leader election lost"),
    }
    if let Some(leadership) = leadership {
        leadership.release().await;
    }
    Ok(())
}

//! The effective configuration: flags override the file, which overrides defaults.

use super::Flags;
use jobset_api::{Configuration, configuration};

/// Applies the flags and the defaults, so that the log shows the effective configuration.
pub(super) fn effective(mut configuration: Configuration, flags: &Flags) -> Configuration {
    let Configuration {
        api_version,
        kind,
        webhook,
        leader_election,
        metrics,
        health,
        internal_cert_management,
        client_connection,
        ..
    } = &mut configuration;
    fill(api_version, configuration::API_VERSION);
    fill(kind, configuration::KIND);

    // Go programs write 0 for an unset port.
    webhook.port = webhook.port.filter(|port| *port != 0).or(Some(9443));
    fill(&mut webhook.cert_dir, "/tmp/k8s-webhook-server/serving-certs");

    over(&mut leader_election.leader_elect, flags.leader_elect);
    leader_election.leader_elect.get_or_insert(true);
    leader_election.lease_duration.get_or_insert_with(|| "15s".to_owned());
    leader_election.renew_deadline.get_or_insert_with(|| "10s".to_owned());
    leader_election.retry_period.get_or_insert_with(|| "2s".to_owned());
    fill(&mut leader_election.resource_lock, "leases");
    fill(&mut leader_election.resource_name, "6d4f6a47.jobset.x-k8s.io");

    if let Some(address) = &flags.metrics_bind_address {
        metrics.bind_address.clone_from(address);
    }
    fill(&mut metrics.bind_address, ":8443");
    fill(&mut metrics.cert_dir, "/tmp/k8s-metrics-server/serving-certs");

    if let Some(address) = &flags.health_probe_bind_address {
        health.health_probe_bind_address.clone_from(address);
    }
    fill(&mut health.health_probe_bind_address, ":8081");
    fill(&mut health.readiness_endpoint_name, "/readyz");
    fill(&mut health.liveness_endpoint_name, "/healthz");

    if *internal_cert_management.enable.get_or_insert(true) {
        let internal = internal_cert_management;
        internal.webhook_service_name.get_or_insert_with(|| "jobset-webhook-service".to_owned());
        internal.webhook_secret_name.get_or_insert_with(|| "jobset-webhook-server-cert".to_owned());
    }

    over(&mut client_connection.qps, flags.kube_api_qps);
    client_connection.qps.get_or_insert(500.0);
    over(&mut client_connection.burst, flags.kube_api_burst);
    client_connection.burst.get_or_insert(500);
    configuration
}

fn fill(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn over<T: Copy>(configured: &mut Option<T>, flag: Option<T>) {
    *configured = flag.or(*configured);
}

//! Program `jobset-operator`.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use jobset_operator::desired::settings::Settings;
use jobset_operator::desired::tls_profile;
use jobset_operator::observe::facts::{self, ProxySettings, TlsSecurityProfile};
use jobset_operator::run::Operator;
use jobset_operator::{election, gather, names};
use manager_runtime::client::connect;
use manager_runtime::events::EventSender;
use manager_runtime::hostname;
use manager_runtime::leader::{self, Leadership, LeaseSettings};
use manager_runtime::logging::{self, Format, Level};
use manager_runtime::metrics::{Metrics, server::MetricsServer};
use manager_runtime::probes::{self, Readiness};
use manager_runtime::shutdown;
use manager_runtime::tls::TlsOptions;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::{error, info};

/// File with the namespace of the pod.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Environment variable that OLM sets to the name of the operator's `OperatorCondition`.
const OPERATOR_CONDITION_NAME: &str = "OPERATOR_CONDITION_NAME";

/// Installs and manages the JobSet controller in a cluster, as the JobSetOperator named `cluster` specifies.
#[derive(Parser)]
#[command(name = "jobset-operator", version, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Run the operator.
    ///
    /// The operator waits for the JobSetOperator named `cluster` and follows its `spec.managementState`: Managed (the
    /// default) installs and repairs the JobSet controller, Unmanaged changes nothing, Removed deletes the JobSet
    /// controller. The JobSet CRD stays while any JobSet exists. The operator reports in the status and the events of
    /// the JobSetOperator:
    ///
    ///   kubectl describe jobsetoperator cluster
    ///
    /// The environment variable `OPERAND_IMAGE` sets the image of the JobSet controller.
    #[command(verbatim_doc_comment)]
    Operator(Options),
    /// Collect what support needs to explain a problem.
    ///
    /// The files contain JobSets and what belongs to them, the objects of operator and controller, their events, logs
    /// and metrics, and versions. They contain no data of Secrets, and no values that users put into their pods.
    ///
    /// What the user may not read is in the file `index.yaml`, and is no failure. In the image, the program also has the
    /// name `/usr/bin/gather`:
    ///
    ///   oc adm must-gather --image IMAGE
    #[command(verbatim_doc_comment)]
    MustGather(gather::GatherOptions),
}

#[derive(Args)]
struct Options {
    /// Kubeconfig of the cluster. Defaults to the pod's service account, $KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of operator and JobSet controller. Defaults to the pod's namespace, or openshift-jobset-operator.
    #[arg(long)]
    namespace: Option<String>,
    /// Address of /healthz and /readyz; 0 disables them.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = ":8081")]
    listen: String,
    /// Address of /metrics over HTTPS, for clients that the API server authorizes; 0 disables it.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = ":8443")]
    metrics_bind_address: String,
    /// Folder of tls.crt and tls.key for /metrics. While they do not exist, the certificate is self-signed.
    #[arg(long, value_name = "FOLDER", default_value = "/var/run/secrets/serving-cert")]
    metrics_cert_dir: PathBuf,
    /// Image of the JobSet controller.
    #[arg(long, value_name = "IMAGE", env = "OPERAND_IMAGE", hide_env_values = true)]
    operand_image: Option<String>,
    /// URL of the folder of the runbooks that the alerts refer to.
    #[arg(long, value_name = "URL", env = "RUNBOOK_URL", default_value = names::RUNBOOKS, value_parser = runbook_url)]
    runbook_url: String,
    /// Name of this replica in the Lease and in events. Defaults to the name of the host.
    #[arg(long, value_name = "NAME", env = "POD_NAME", hide_env_values = true)]
    pod_name: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    manager_runtime::install_crypto_provider();
    let result = match Command::parse_from(gather::arguments(std::env::args())).command {
        Subcommands::Operator(options) => Box::pin(run(options)).await,
        Subcommands::MustGather(options) => {
            logging::init(log_format(), Level::Info);
            Box::pin(gather::run(options)).await
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{}", logging::in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn log_format() -> Format {
    if std::io::stderr().is_terminal() { Format::Console } else { Format::Json }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let log = logging::init(log_format(), Level::Info);
    let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
    let listen =
        probes::bind_address(&options.listen).map_err(|error| anyhow::anyhow!("--listen {error}"))?;
    let metrics_address = probes::bind_address(&options.metrics_bind_address)
        .map_err(|error| anyhow::anyhow!("--metrics-bind-address {error}"))?;
    let namespace = namespace(&options)?;
    let metrics = Metrics::new().context("cannot register the metrics")?;
    let client = connect(options.kubeconfig.as_deref(), &metrics, names::OPERATOR).await?;
    info!(version = env!("CARGO_PKG_VERSION"), namespace, "starting");

    let readiness = Readiness::new([("api-server", "the API server has not responded yet")]);
    if let Some(address) = listen {
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) =
                probes::serve(address, "/healthz", "/readyz", readiness, shutdown.clone()).await
            {
                error!("--listen {address}: {error}");
                shutdown.cancel();
            }
        });
    }

    let version = client.apiserver_version().await.context("cannot reach the API server")?;
    info!(version = version.git_version, "connected to the API server");
    readiness.met("api-server");
    let tls_profile = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        profile = facts::read_tls_profile(&client) => {
            profile.context("cannot read the TLS profile in apiservers.config.openshift.io/cluster")?
        }
    };
    if let Some(address) = metrics_address {
        let server = MetricsServer {
            address,
            certificates: options.metrics_cert_dir,
            options: tls_options(tls_profile.as_ref()),
        };
        let ended = server.serve(metrics.clone(), client.clone(), log.clone(), shutdown.clone());
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            if let Err(error) = ended.await {
                error!("--metrics-bind-address: {error}");
                shutdown.cancel();
            }
        });
    }

    let instance = options
        .pod_name
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("{}-{}", hostname(), std::process::id()));
    let lease = LeaseSettings {
        name: names::OPERATOR_LEASE.to_owned(),
        namespace: namespace.clone(),
        identity: leader::identity(),
        timings: election::timings_of(&client).await,
    };
    metrics.leads(names::OPERATOR_LEASE, false);
    // For renewals of the lease while a connection of the first client hangs.
    let second_client = connect(options.kubeconfig.as_deref(), &metrics, names::OPERATOR).await?;
    let mut leadership = Leadership::run_for([client.clone(), second_client], lease.clone())?;
    tokio::select! {
        () = shutdown.cancelled() => {
            leadership.release().await;
            return Ok(());
        }
        () = leadership.elected() => metrics.leads(names::OPERATOR_LEASE, true),
    }
    let (event, about) = leader::became_leader(&lease);
    EventSender::start(client.clone(), names::OPERATOR, instance.clone(), &metrics).send(event, about);
    let settings = Settings {
        namespace,
        operand_image: options.operand_image.filter(|image| !image.is_empty()),
        version: env!("CARGO_PKG_VERSION"),
        runbooks: options.runbook_url,
        proxy: proxy(),
        tls_profile,
        operator_condition: std::env::var(OPERATOR_CONDITION_NAME).ok().filter(|name| !name.is_empty()),
    };
    let operator = Operator::start(client, settings, instance, log, &metrics, leadership.fence(), &shutdown)
        .context("cannot register the metrics")?;
    tokio::select! {
        () = shutdown::finish(&shutdown, operator.run(shutdown.clone())) => {}
        // Another replica leads now. This process exits, and its pod restarts as a follower.
        () = leadership.lost() => info!("leader election lost"),
    }
    leadership.release().await;
    Ok(())
}

/// TLS options of the operator's own server, from the cluster's TLS profile.
fn tls_options(profile: Option<&TlsSecurityProfile>) -> TlsOptions {
    // The status of the JobSetOperator reports an unsupported profile.
    let tls =
        profile.map(|profile| tls_profile::settings(profile).unwrap_or_else(|_| tls_profile::intermediate()));
    tls.and_then(|tls| TlsOptions::parse(&tls.min_version, &tls.cipher_suites).ok()).unwrap_or_default()
}

/// The proxy that OLM sets in the operator's environment.
fn proxy() -> ProxySettings {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    ProxySettings {
        http_proxy: variable("HTTP_PROXY"),
        https_proxy: variable("HTTPS_PROXY"),
        no_proxy: variable("NO_PROXY"),
    }
}

/// Parses the URL of a folder, and returns it without a slash at the end. The empty string means the default.
fn runbook_url(url: &str) -> Result<String, String> {
    if url.is_empty() {
        return Ok(names::RUNBOOKS.to_owned());
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || url.contains(char::is_whitespace) {
        return Err(format!("not an absolute URL: use one such as {}", names::RUNBOOKS));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn namespace(options: &Options) -> anyhow::Result<String> {
    let found = match &options.namespace {
        Some(namespace) => namespace.clone(),
        None => std::fs::read_to_string(NAMESPACE_FILE).unwrap_or_else(|_| names::NAMESPACE.to_owned()),
    };
    let found = found.trim();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if found.is_empty() || found.len() > 63 || !found.chars().all(allowed) {
        bail!(
            "--namespace {found:?} is not the name of a namespace: use at most 63 lower-case letters, digits and \
             hyphens, such as {}",
            names::NAMESPACE
        );
    }
    Ok(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_valid() {
        Command::command().debug_assert();
    }

    #[test]
    fn the_runbook_url_is_absolute() {
        assert_eq!(runbook_url("https://wiki.example/runbooks/").unwrap(), "https://wiki.example/runbooks");
        assert_eq!(runbook_url(names::RUNBOOKS).unwrap(), names::RUNBOOKS);
        assert_eq!(runbook_url("").unwrap(), names::RUNBOOKS);
        for relative in ["docs/runbooks", "/docs/runbooks", "https://", "https:///runbooks", "https://a b"] {
            assert!(runbook_url(relative).unwrap_err().contains("absolute URL"), "{relative:?}");
        }
    }
}

//! Configures and starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::process::Record;
use crate::state::{Network, write_atomically};
use crate::wait::{self, ProbeResult};

/// The daemons of every control plane.
pub(crate) const DAEMONS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Long, because tests start several control planes on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Feature gates of API server, kube-controller-manager and kube-scheduler for gang scheduling. They are off by default.
const GANG_GATES: &str = "--feature-gates=GenericWorkload=true,TopologyAwareWorkloadScheduling=true,DRAWorkloadResourceClaims=true";

/// One line for each request when its response is complete, without bodies. A watch also has a line when it starts.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// Writes certificates, kubeconfigs and configuration, and starts the daemons. Returns when the API server is ready and
/// namespace `default` has its service account, which pods need.
pub(crate) fn start(context: &Context) -> Result<()> {
    let etcd = context.binary("etcd")?;
    let api_server = context.binary("kube-apiserver")?;
    let controller_manager = context.binary("kube-controller-manager")?;
    let scheduler = context.binary("kube-scheduler")?;
    let kubectl = context.kubectl()?;
    let step = context.progress.step("Starting the control plane");
    write_files(context)?;

    let mut running = vec![context.daemon("etcd", etcd).args(etcd_args(context)).spawn(&context.layout)?];
    let api_server = context.daemon("kube-apiserver", api_server).args(api_server_args(context));
    running.push(api_server.spawn(&context.layout)?);
    wait::until("the API server to be ready", START_LIMIT, || {
        check(context, &running)?;
        Ok(match kubectl.run(&["get", "--raw", "/readyz"]) {
            Ok(_) => ProbeResult::Ready(()),
            Err(error) => ProbeResult::Pending(format!(
                "{error:#}; its log is {}",
                context.layout.log("kube-apiserver").display()
            )),
        })
    })?;

    let controller_manager = context.daemon("kube-controller-manager", controller_manager);
    running.push(controller_manager.args(controller_manager_args(context)).spawn(&context.layout)?);
    let scheduler = context.daemon("kube-scheduler", scheduler).args(scheduler_args(context));
    running.push(scheduler.spawn(&context.layout)?);
    wait::until("service account default in namespace default", START_LIMIT, || {
        check(context, &running)?;
        Ok(
            match kubectl.run(&[
                "get",
                "serviceaccount/default",
                "configmap/kube-root-ca.crt",
                "--namespace=default",
            ]) {
                Ok(_) => ProbeResult::Ready(()),
                Err(error) => ProbeResult::Pending(format!("{error:#}")),
            },
        )
    })?;
    step.done();
    Ok(())
}

fn check(context: &Context, running: &[Record]) -> Result<()> {
    running.iter().try_for_each(|daemon| daemon.check(&context.layout))
}

fn kubeconfig_of(context: &Context, daemon: &str) -> String {
    context.layout.config().join(format!("{daemon}.kubeconfig")).display().to_string()
}

fn write_files(context: &Context) -> Result<()> {
    let (layout, pki, network) = (&context.layout, &context.pki, &context.network);
    let url = network.api_server_url();
    let domain = Network::CLUSTER_DOMAIN;
    let in_cluster = format!("kubernetes.default.svc.{domain}");
    pki.serving_cert(
        "kube-apiserver",
        &["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", &in_cluster],
        &[Ipv4Addr::LOCALHOST, network.node_address, Network::KUBERNETES_SERVICE].map(IpAddr::V4),
    )?;
    pki.client_cert(
        "kube-apiserver-kubelet-client",
        "kube-apiserver-kubelet-client",
        Some("system:masters"),
    )?;
    pki.front_proxy_client()?;
    for (daemon, user) in [
        ("kube-controller-manager", "system:kube-controller-manager"),
        ("kube-scheduler", "system:kube-scheduler"),
    ] {
        let kubeconfig = pki.client_kubeconfig(daemon, user, None, &url, &context.name)?;
        write_atomically(Path::new(&kubeconfig_of(context, daemon)), kubeconfig.as_bytes())?;
    }
    let admin =
        pki.client_kubeconfig("admin", "kubernetes-admin", Some("system:masters"), &url, &context.name)?;
    write_atomically(&layout.kubeconfig(), admin.as_bytes())?;
    write_atomically(&layout.config().join("audit-policy.yaml"), AUDIT_POLICY.as_bytes())?;
    let scheduler = serde_json::json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": false},
        "clientConnection": {
            "kubeconfig": kubeconfig_of(context, "kube-scheduler"),
            "qps": context.settings.limits.kube_api_qps,
            "burst": context.settings.limits.kube_api_burst,
        },
    });
    let scheduler =
        serde_yaml::to_string(&scheduler).context("cannot render the scheduler's configuration")?;
    write_atomically(&layout.config().join("kube-scheduler.yaml"), scheduler.as_bytes())
}

fn etcd_args(context: &Context) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", context.network.etcd_port);
    let peer = format!("http://127.0.0.1:{}", context.network.etcd_peer_port);
    vec![
        format!("--name={}", context.name),
        format!("--data-dir={}", context.layout.etcd().display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={}={peer}", context.name),
        // The data need not survive a crash of the machine.
        "--unsafe-no-fsync".into(),
        "--quota-backend-bytes=8589934592".into(),
        "--log-level=warn".into(),
    ]
}

fn api_server_args(context: &Context) -> Vec<String> {
    let (layout, network, limits) = (&context.layout, &context.network, &context.settings.limits);
    let pki = |file: &str| layout.pki().join(file).display().to_string();
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", network.etcd_port),
        format!("--bind-address={}", network.node_address),
        format!("--advertise-address={}", network.node_address),
        format!("--secure-port={}", network.api_server_port),
        format!("--service-cluster-ip-range={}", Network::SERVICE_CIDR),
        "--allow-privileged=true".into(),
        // Authentication.
        format!("--tls-cert-file={}", pki("kube-apiserver.crt")),
        format!("--tls-private-key-file={}", pki("kube-apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--service-account-issuer=https://kubernetes.default.svc.{}", Network::CLUSTER_DOMAIN),
        format!("--service-account-key-file={}", pki("service-account.pub")),
        format!("--service-account-signing-key-file={}", pki("service-account.key")),
        // Authorization.
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        // Calls to the kubelet: logs, exec, port-forward.
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki("kube-apiserver-kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("kube-apiserver-kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        // Calls to aggregated API servers.
        format!("--proxy-client-cert-file={}", pki("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", pki("front-proxy-client.key")),
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        // The audit log, limited to 400 MB, which is several hundred thousand requests.
        format!("--audit-policy-file={}", layout.config().join("audit-policy.yaml").display()),
        format!("--audit-log-path={}", layout.audit_log().display()),
        "--audit-log-format=json".into(),
        "--audit-log-maxsize=100".into(),
        "--audit-log-maxbackup=3".into(),
        // Limits.
        format!("--max-requests-inflight={}", limits.max_requests_inflight),
        format!("--max-mutating-requests-inflight={}", limits.max_mutating_requests_inflight),
    ];
    if context.settings.gang {
        args.extend([GANG_GATES.into(), "--runtime-config=scheduling.k8s.io/v1beta1=true".into()]);
    }
    if network.netns.is_none() {
        // Endpoints must not contain a loopback address, and no pod needs the Service kubernetes.
        args.push("--endpoint-reconciler-type=none".into());
    }
    args
}

fn controller_manager_args(context: &Context) -> Vec<String> {
    let limits = &context.settings.limits;
    let pki = |file: &str| context.layout.pki().join(file).display().to_string();
    let mut args = vec![
        format!("--kubeconfig={}", kubeconfig_of(context, "kube-controller-manager")),
        "--leader-elect=false".into(),
        // It has no clients, and without a port there is no conflict over one.
        "--secure-port=0".into(),
        // Each controller has its own user in the audit log.
        "--use-service-account-credentials=true".into(),
        format!("--service-account-private-key-file={}", pki("service-account.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--kube-api-qps={}", limits.kube_api_qps),
        format!("--kube-api-burst={}", limits.kube_api_burst),
        format!("--concurrent-job-syncs={}", limits.concurrent_job_syncs),
    ];
    args.extend(context.settings.gang.then(|| GANG_GATES.into()));
    args
}

fn scheduler_args(context: &Context) -> Vec<String> {
    let mut args = vec![
        format!("--config={}", context.layout.config().join("kube-scheduler.yaml").display()),
        "--secure-port=0".into(),
    ];
    args.extend(context.settings.gang.then(|| GANG_GATES.into()));
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Limits, Settings};
    use crate::pki::Pki;
    use crate::progress::Progress;
    use crate::state::Layout;

    fn context(folder: &Path, netns: Option<&str>) -> Context {
        Context {
            name: "west".into(),
            layout: Layout::new(folder),
            settings: Settings {
                limits: Limits {
                    kube_api_qps: 77,
                    concurrent_job_syncs: 3,
                    max_requests_inflight: 11,
                    ..Limits::default()
                },
                ..Settings::default()
            },
            network: Network {
                netns: netns.map(str::to_owned),
                node_address: Ipv4Addr::new(10, 245, 9, 2),
                host_address: None,
                api_server_port: 7001,
                etcd_port: 7002,
                etcd_peer_port: 7003,
            },
            pki: Pki::load_or_create(&folder.join("pki")).unwrap(),
            progress: Progress::quiet(),
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        Layout::new(folder.path()).create().unwrap();
        folder
    }

    #[test]
    fn daemons_use_the_ports_and_addresses_of_the_state() {
        let folder = folder();
        let context = context(folder.path(), Some("devcluster-west"));
        let args = api_server_args(&context);
        for expected in [
            "--etcd-servers=http://127.0.0.1:7002",
            "--bind-address=10.245.9.2",
            "--secure-port=7001",
            "--max-requests-inflight=11",
        ] {
            assert!(args.iter().any(|arg| arg == expected), "{expected}");
        }
        assert!(!args.iter().any(|arg| arg.contains("endpoint-reconciler")));
        let etcd = etcd_args(&context);
        assert!(etcd.contains(&"--listen-peer-urls=http://127.0.0.1:7003".to_owned()));
        assert!(etcd.contains(&"--initial-cluster=west=http://127.0.0.1:7003".to_owned()));
    }

    #[test]
    fn controller_manager_and_scheduler_use_the_limits() {
        let folder = folder();
        let context = context(folder.path(), None);
        let args = controller_manager_args(&context);
        assert!(
            args.contains(&"--kube-api-qps=77".to_owned())
                && args.contains(&"--concurrent-job-syncs=3".to_owned())
        );
        write_files(&context).unwrap();
        let scheduler = std::fs::read_to_string(context.layout.config().join("kube-scheduler.yaml")).unwrap();
        assert!(scheduler.contains("qps: 77"), "{scheduler}");
    }

    #[test]
    fn gang_scheduling_needs_gates_in_three_daemons_and_an_api() {
        let folder = folder();
        let mut context = context(folder.path(), None);
        let gates = |context: &Context| {
            let all = [api_server_args(context), controller_manager_args(context), scheduler_args(context)];
            all.map(|args| args.iter().any(|arg| arg == GANG_GATES))
        };
        let serves = |context: &Context| {
            api_server_args(context).contains(&"--runtime-config=scheduling.k8s.io/v1beta1=true".to_owned())
        };
        assert_eq!((gates(&context), serves(&context)), ([false; 3], false));
        context.settings.gang = true;
        assert_eq!((gates(&context), serves(&context)), ([true; 3], true));
    }

    #[test]
    fn without_a_network_namespace_the_api_server_publishes_no_endpoints() {
        let folder = folder();
        assert!(
            api_server_args(&context(folder.path(), None))
                .contains(&"--endpoint-reconciler-type=none".to_owned())
        );
    }
}

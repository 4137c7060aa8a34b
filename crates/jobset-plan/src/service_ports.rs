//! The ports of the headless Service. Pods accept traffic on every port, but a service mesh routes only to the ports
//! that the Service declares.

use jobset_api::JobSet;
use k8s_openapi::{api::core::v1::ServicePort, apimachinery::pkg::util::intstr::IntOrString};
use std::collections::HashSet;

/// A port of a Service, without the fields that the controller does not set: `appProtocol` and `nodePort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRecord {
    /// Its name, or an empty string.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number.
    pub port: i32,
    /// Number or name of the container port.
    pub target_port: IntOrString,
}

/// With the defaults of Kubernetes for absent fields.
impl From<&ServicePort> for PortRecord {
    fn from(port: &ServicePort) -> Self {
        Self {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| TCP.to_owned()),
            port: port.port,
            target_port: port.target_port.clone().unwrap_or(IntOrString::Int(port.port)),
        }
    }
}

impl From<PortRecord> for ServicePort {
    fn from(PortRecord { name, protocol, port, target_port }: PortRecord) -> Self {
        Self {
            name: Some(name),
            protocol: Some(protocol),
            port,
            target_port: Some(target_port),
            ..Self::default()
        }
    }
}

const TCP: &str = "TCP";

/// The ports of all containers of a JobSet, each number and protocol once, in the order of the spec. Init containers
/// do not count. The list omits ports that the API server rejects in a Job, so that the error names the Job.
pub(crate) fn wanted(jobset: &JobSet) -> Vec<PortRecord> {
    let jobs = jobset.spec.replicated_jobs.iter().filter_map(|job| job.template.spec.as_ref());
    let pods = jobs.filter_map(|job| job.template.spec.as_ref());
    let (mut ports, mut known) = (Vec::new(), HashSet::new());
    for declared in pods.flat_map(|pod| &pod.containers).flat_map(|it| it.ports.iter().flatten()) {
        let protocol = declared.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or(TCP);
        let prefix = match protocol {
            TCP => "tcp",
            "UDP" => "udp",
            "SCTP" => "sctp",
            _ => continue,
        };
        let port = declared.container_port;
        if (1..=65535).contains(&port) && known.insert((port, protocol)) {
            ports.push(PortRecord {
                name: format!("{prefix}-{port}"),
                protocol: protocol.to_owned(),
                port,
                target_port: IntOrString::Int(port),
            });
        }
    }
    ports
}

//! Support for the suites `api`, `integration`, `failover`, `operator` and `e2e`, the programs `install-bundle` and
//! `start-controller`, which the demo uses, and the benchmark `scale`.
//!
//! | module | what it does |
//! |---|---|
//! | [`suite`] | runs the tests of a suite on one cluster, and always takes that cluster down |
//! | [`cluster`] | starts the cluster of a suite, connects to it and keeps its logs |
//! | [`agent`] | runs the in-place-restart-agent as a process, with the files of a service account |
//! | [`api_server`] | stops or freezes the API server |
//! | [`controller`] | runs the JobSet controller as a process, with the RBAC and webhooks of `manifests/` |
//! | [`replicas`] | runs several controllers with leader election, behind one address |
//! | [`balancer`] | distributes connections to the controllers |
//! | [`go_operator`] | what OpenShift's Go operator leaves in a cluster |
//! | [`upstream`] | the objects of the JobSet project's manifests |
//! | [`operator`] | runs the JobSet operator as a process, with the RBAC of `deploy/` |
//! | [`helm`] | runs Helm with the charts of `manifests/charts` |
//! | [`faulty_proxy`] | a proxy for an API server that injects faults |
//! | [`freeze`] | freezes a process of the cluster |
//! | [`bundle`] | installs the OLM bundle as OLM does |
//! | [`rbac`] | compares the permissions of a program with its requests |
//! | [`objects`] | reads, applies and deletes Kubernetes objects of any kind |
//! | [`wait`] | waits for a condition, with a timeout and the last observation |

pub mod agent;
pub mod api_server;
pub mod balancer;
pub mod bundle;
pub mod cluster;
pub mod controller;
pub mod faulty_proxy;
pub mod freeze;
pub mod go_operator;
pub mod helm;
pub mod objects;
pub mod operator;
pub mod plugin;
pub mod rbac;
pub mod replicas;
pub mod suite;
pub mod upstream;
pub mod wait;

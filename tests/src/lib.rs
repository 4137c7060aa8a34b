//! What the suites under `api/`, `integration/`, `failover/`, `operator/` and `e2e/` stand on, and `install-bundle`, which the demo uses too.
//!
//! | module | what it does |
//! |---|---|
//! | [`suite`] | runs a suite's tests against one cluster and takes that cluster down, whatever happens |
//! | [`cluster`] | the cluster of a suite: bringing it up, talking to it, keeping its logs |
//! | [`controller`] | the JobSet controller as a process of this machine, with the rights and webhooks of `manifests/` |
//! | [`replicas`] | several of them, with a leader, behind one address |
//! | [`balancer`] | that address |
//! | [`operator`] | the JobSet operator as a process of this machine, with the rights of `deploy/` |
//! | [`faulty_proxy`] | stands before an API server, and makes faults on purpose |
//! | [`bundle`] | installs the OLM bundle as OLM would |
//! | [`objects`] | reads, applies and deletes Kubernetes objects of any kind |
//! | [`wait`] | waits for a condition, with a deadline and the last thing seen |

pub mod balancer;
pub mod bundle;
pub mod cluster;
pub mod controller;
pub mod faulty_proxy;
pub mod objects;
pub mod operator;
pub mod replicas;
pub mod suite;
pub mod wait;

//! Issues and rotates the certificates of webhook servers, without cert-manager.
//!
//! ```text
//! Secret ca.crt ca.key tls.crt tls.key ──► every replica serves tls.crt from memory
//!    ▲    │                                        ▲
//!    │    └──► caBundle of every webhook ──────────┘ replicas serve a certificate of a new CA
//!    └─ the fastest replica issues and renews;       after the bundle had time to propagate
//!       the others read what it wrote
//! ```
//!
//! | module | contents | needs a server |
//! |---|---|---|
//! | [`issue`] | creates a CA, and the server certificates that it signs | no |
//! | [`decide`] | decides what a Secret needs, and returns the Secret after that change | no |
//! | [`inject`] | decides what a webhook configuration needs to trust the CA | no |
//! | [`rotator`] | the loop that watches, writes, and publishes the certificate to serve | yes |
//!
//! **Rotation fails no request.** The Secret stores a new CA together with the certificate that it signs, in front
//! of the previous CA: for [`decide::Lifetimes::overlap`] the bundle contains both. Replicas write that bundle to the
//! webhooks at once, and serve the old certificate until the API servers had time to read the bundle.
//!
//! **Replicas do not overwrite each other.** Every update of the Secret names the resource version that it is based
//! on. After a conflict, a replica reads the Secret again and finds it up to date. All replicas write the same bundle.
//!
//! **Clocks may differ.** A certificate is valid from an hour before its creation, and replicas keep a certificate
//! that is not valid *yet*.

pub mod decide;
pub mod inject;
pub mod issue;
pub mod rotator;

pub use decide::{Decision, DesiredSecret, Lifetimes, decide};
pub use issue::{IssueError, Pair};
pub use rotator::{Rotator, State, Target};

//! Certificates of the process's own making, for webhooks that the API server calls.
//!
//! ```text
//! Secret ca.crt ca.key tls.crt tls.key ──► served from memory by every replica
//!    ▲    │                                        ▲
//!    │    └──► caBundle of every webhook ──────────┘ a certificate of a new CA is served
//!    └─ made and renewed by whichever replica          when the bundle has been everywhere for a while
//!       is first; the others read what it wrote
//! ```
//!
//! | module | what it gives | needs a server |
//! |---|---|---|
//! | [`issue`] | a CA, and server certificates that it signs | no |
//! | [`decide`] | what a Secret needs now, and the Secret after that | no |
//! | [`inject`] | what a webhook configuration lacks to trust the CA | no |
//! | [`keeper`] | the loop that watches and writes; it tells what to serve | yes |
//!
//! **Rotation loses no request.** A new CA goes into the Secret together with the certificate it signed, in front
//! of the CA before it: for [`decide::Times::overlap`] the bundle holds both. Replicas write that bundle into the
//! webhooks at once, and go on serving the old certificate until the API servers had time to read it.
//!
//! **Replicas do not fight.** Every write of the Secret names the version that it was decided on (or is a
//! creation); who comes second reads again, and finds nothing left to do. All replicas write the same bundle.
//!
//! **Clocks may differ.** Certificates begin an hour before they are made, and one that is not valid *yet* is
//! left alone.

pub mod decide;
pub mod inject;
pub mod issue;
pub mod keeper;

pub use decide::{Decision, Times, Wanted, decide};
pub use issue::{IssueError, Pair};
pub use keeper::{Keeper, State, Target};

//! The permissions of the agent of in-place restart: reports a service account that lacks one.
//!
//! Only JobSets that ask for the injection of the agent are checked. The results are cached, so that a reconcile after
//! each report of a pod sends no request.

use futures::future::join_all;
use jobset_api::JobSet;
use jobset_plan::{
    Problem,
    agent_injection::{AGENT_PERMISSIONS, AgentPermission, missing_permissions, service_accounts},
};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use manager_runtime::logging::in_one_line;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tracing::warn;

/// How long a result is valid.
const VALID: Duration = Duration::from_mins(5);

/// Namespace and name of a service account.
type Account = (String, String);

/// The results of checks.
pub(crate) struct AgentPermissions {
    client: Client,
    checked: Mutex<HashMap<Account, (Instant, Vec<AgentPermission>)>>,
}

impl AgentPermissions {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, checked: Mutex::default() }
    }

    /// The problems of the service accounts of a JobSet whose pods get the agent.
    pub(crate) async fn problems(&self, jobset: &JobSet) -> Vec<Problem> {
        let namespace = jobset.metadata.namespace.as_deref().unwrap_or("");
        let mut problems = Vec::new();
        for name in service_accounts(jobset) {
            let account = (namespace.to_owned(), name.to_owned());
            let missing = match self.known(&account) {
                Some(missing) => missing,
                None => self.check(account).await,
            };
            if !missing.is_empty() {
                problems.push(missing_permissions(jobset, name, &missing));
            }
        }
        problems
    }

    fn known(&self, account: &Account) -> Option<Vec<AgentPermission>> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.retain(|_, (at, _)| at.elapsed() < VALID);
        checked.get(account).map(|(_, missing)| missing.clone())
    }

    /// Asks the API server for the permissions of an account. Without an answer, no permission counts as missing.
    async fn check(&self, account: Account) -> Vec<AgentPermission> {
        let mut missing = Vec::new();
        for rule in AGENT_PERMISSIONS {
            let denied = join_all(rule.verbs.iter().map(|verb| self.is_denied(&account, rule, verb))).await;
            if denied.contains(&true) {
                missing.push(rule);
            }
        }
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.insert(account, (Instant::now(), missing.clone()));
        missing
    }

    /// Whether the account may not use this verb.
    async fn is_denied(&self, account: &Account, rule: AgentPermission, verb: &str) -> bool {
        let (namespace, name) = account;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                groups: Some(vec![
                    "system:authenticated".to_owned(),
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ]),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.clone()),
                    group: Some(rule.group.to_owned()),
                    resource: Some(rule.resource.to_owned()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        match Api::all(self.client.clone()).create(&PostParams::default(), &review).await {
            Ok(SubjectAccessReview { status: Some(status), .. }) => !status.allowed,
            Ok(_) => false,
            Err(error) => {
                let error = in_one_line(&error);
                warn!(namespace, account = name, error, "cannot check the permissions of the agent");
                false
            }
        }
    }
}

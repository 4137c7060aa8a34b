//! Reasons of conditions of the JobSetOperator, and of events about it.
//!
//! `docs/troubleshooting.md` has a row for each. A test of `hack/generate` compares the page with this module.

/// No problem. The event about such a condition has another reason: the type and the status of the condition.
pub const AS_EXPECTED: &str = "AsExpected";
/// A part condition is True: a request of the operator failed, or the operand has a problem.
pub const SYNC_ERROR: &str = "SyncError";

/// Available is False: no pod of the operand is available.
pub const DEPLOYMENT_UNAVAILABLE: &str = "DeploymentUnavailable";
/// Available is False: the webhooks have no endpoint, no configuration or no CA.
pub const WEBHOOK_UNAVAILABLE: &str = "WebhookUnavailable";
/// Available is False: the certificate of the webhooks is not valid now.
pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

/// Progressing is True: the operand waits for its certificates.
pub const WAITING_FOR_CERTIFICATES: &str = "WaitingForCertificates";
/// Progressing is True: the operator is creating the operand's Deployment.
pub const DEPLOYING: &str = "Deploying";
/// Progressing is True: pods of the operand are being replaced, or are not ready.
pub const ROLLING_OUT: &str = "RollingOut";
/// Progressing is False: a problem blocks the operand.
pub const BLOCKED: &str = "Blocked";
/// The operator is deleting the operand.
pub const REMOVING: &str = "Removing";
/// The operand is deleted.
pub const REMOVED: &str = "Removed";
/// Progressing is False: the operand belongs to another client, so the operator does not delete it.
pub const NOT_REMOVED: &str = "NotRemoved";
/// The operator changes nothing.
pub const UNMANAGED: &str = "Unmanaged";

/// Upgradeable is False: `spec.unsupportedConfigOverrides` is set.
pub const UNSUPPORTED_CONFIG_OVERRIDES: &str = "UnsupportedConfigOverrides";

/// Degraded: the operator does not know the image of the operand.
pub const MISSING_OPERAND_IMAGE: &str = "MissingOperandImage";
/// Degraded: cert-manager is requested and not installed.
pub const MISSING_DEPENDENCY: &str = "MissingDependency";
/// Degraded: cert-manager does not issue a certificate.
pub const CERTIFICATES_NOT_ISSUED: &str = "CertificatesNotIssued";
/// Degraded: cert-manager does not renew a certificate.
pub const CERTIFICATE_RENEWAL_FAILED: &str = "CertificateRenewalFailed";
/// Degraded: another client created a Secret that the operator needs.
pub const FOREIGN_SECRET: &str = "ForeignSecret";
/// Degraded: another namespace has an installation of JobSet.
pub const CONFLICTING_INSTALLATION: &str = "ConflictingInstallation";
/// Degraded: the API server rejects the pods of the operand.
pub const OPERAND_POD_REFUSED: &str = "OperandPodRefused";
/// Degraded: a pod of the operand fails.
pub const OPERAND_POD_FAILING: &str = "OperandPodFailing";
/// Degraded: the Deployment of the operand exceeded its progress deadline.
pub const ROLLOUT_STUCK: &str = "RolloutStuck";
/// Degraded: no cipher suite of the cluster's TLS profile is supported.
pub const UNSUPPORTED_TLS_PROFILE: &str = "UnsupportedTLSProfile";
/// Degraded: `spec.unsupportedConfigOverrides` is invalid.
pub const INVALID_CONFIG_OVERRIDES: &str = "InvalidConfigOverrides";
/// Degraded: a watch that the operator needs fails.
pub const WATCH_FAILED: &str = "WatchFailed";

/// Event: suffix after the kind of an object that the operator created.
pub const CREATED: &str = "Created";
/// Event: suffix after the kind of an object that the operator updated.
pub const UPDATED: &str = "Updated";
/// Event: suffix after the kind of an object that the operator deleted.
pub const DELETED: &str = "Deleted";
/// Event: the operator removed the owner reference to the JobSetOperator from the JobSet CRD.
pub const JOB_SET_API_RELEASED: &str = "JobSetAPIReleased";
/// Event: the operator does not delete the JobSet CRD.
pub const JOB_SET_API_KEPT: &str = "JobSetAPIKept";
/// Event: the log level of the operator changed.
pub const OPERATOR_LOG_LEVEL_CHANGE: &str = "OperatorLogLevelChange";

//! Watches whose objects the operator does not know yet.

/// A watch without its initial list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced {
    /// The watched resource.
    pub title: String,
    /// The error of its last attempt, if it failed.
    pub error: Option<WatchError>,
    /// Whether the operator can work without it.
    pub optional: bool,
}

/// Why a watch failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchError {
    /// The error, in one sentence.
    pub message: String,
    /// Whether the API server refuses the watch until an administrator grants the permission.
    pub forbidden: bool,
}

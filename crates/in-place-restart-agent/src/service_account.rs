//! The files that kubelet mounts for a service account, and the address of the API server.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Folder of the files.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Tests set this variable to another folder.
const FOLDER_OF_TESTS: &str = "IN_PLACE_RESTART_AGENT_TEST_SERVICE_ACCOUNT";

/// Access to the API server from a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    /// Host name or IP address of the API server.
    pub(crate) host: String,
    /// Port of the API server.
    pub(crate) port: u16,
    /// Namespace of the pod.
    pub(crate) namespace: String,
    folder: PathBuf,
}

/// The pod has no access to the API server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoServiceAccount {
    /// A file is missing.
    #[error(
        "cannot read {path}: {source}; the pod needs the token of a service account: do not set \
         automountServiceAccountToken to false in the pod or its service account"
    )]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file has no text.
    #[error("{0} is empty: recreate the pod, so that kubelet mounts the token of its service account again")]
    Empty(PathBuf),
    /// kubelet did not set this variable, or it is invalid.
    #[error(
        "environment variable {name} is {value}: run the agent in a pod, where kubelet sets the variable"
    )]
    Variable {
        /// Name of the variable.
        name: &'static str,
        /// Its value, for the message.
        value: String,
    },
}

impl ServiceAccount {
    /// Reads namespace and address. The other files can change, and each connection reads them again.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoServiceAccount> {
        let folder = variable(FOLDER_OF_TESTS).unwrap_or_else(|| FOLDER.into()).into();
        let text = |name: &'static str| {
            let value = variable(name).unwrap_or_default();
            match value.to_str() {
                None => Err(NoServiceAccount::Variable { name, value: format!("\"{}\"", value.display()) }),
                Some("") => Err(NoServiceAccount::Variable { name, value: "not set".into() }),
                Some(text) => Ok(text.to_owned()),
            }
        };
        let mut this = Self { host: String::new(), port: 0, namespace: String::new(), folder };
        this.namespace = this.trimmed("namespace")?;
        this.token()?;
        this.ca()?;
        text("KUBERNETES_SERVICE_HOST")?.trim_matches(['[', ']']).clone_into(&mut this.host);
        let port = text("KUBERNETES_SERVICE_PORT")?;
        this.port = port.parse().map_err(|_| NoServiceAccount::Variable {
            name: "KUBERNETES_SERVICE_PORT",
            value: format!("\"{port}\""),
        })?;
        Ok(this)
    }

    /// The current token. kubelet replaces it before it expires.
    pub(crate) fn token(&self) -> Result<String, NoServiceAccount> {
        self.trimmed("token")
    }

    /// Certificates of the API server's CA, in PEM format.
    pub(crate) fn ca(&self) -> Result<Vec<u8>, NoServiceAccount> {
        self.bytes("ca.crt")
    }

    /// Path of the CA's certificates.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Host and port as in a URL.
    pub(crate) fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn trimmed(&self, name: &str) -> Result<String, NoServiceAccount> {
        let bytes = self.bytes(name)?;
        match String::from_utf8_lossy(&bytes).trim() {
            "" => Err(NoServiceAccount::Empty(self.folder.join(name))),
            text => Ok(text.to_owned()),
        }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, NoServiceAccount> {
        let path = self.folder.join(name);
        std::fs::read(&path).map_err(|source| NoServiceAccount::File { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(host: &str, port: &str, files: &[(&str, &str)]) -> Result<ServiceAccount, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let variable = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some(host.into()),
            "KUBERNETES_SERVICE_PORT" => Some(port.into()),
            FOLDER_OF_TESTS => Some(folder.path().into()),
            _ => None,
        };
        ServiceAccount::read(variable).map_err(|error| error.to_string())
    }

    const FILES: [(&str, &str); 3] = [("namespace", "team\n"), ("token", "abc\n"), ("ca.crt", "PEM")];

    #[test]
    fn an_address_can_be_a_name_or_of_ip_version_4_or_6() {
        for (host, authority) in [
            ("10.0.0.1", "10.0.0.1:443"),
            ("api.example.org", "api.example.org:443"),
            ("fd00::1", "[fd00::1]:443"),
            ("[fd00::1]", "[fd00::1]:443"),
        ] {
            let account = account(host, "443", &FILES).unwrap();
            assert_eq!((account.authority().as_str(), account.namespace.as_str()), (authority, "team"));
        }
    }

    #[test]
    fn each_error_names_the_file_or_variable_and_the_remedy() {
        let message = account("h", "1", &FILES[1..]).unwrap_err();
        assert!(message.contains("/namespace: No such file"), "{message}");
        assert!(message.contains("automountServiceAccountToken"), "{message}");
        let message = account("h", "1", &FILES[..2]).unwrap_err();
        assert!(message.contains("/ca.crt: No such file"), "{message}");
        let message = account("h", "1", &[FILES[0], ("token", "\n"), FILES[2]]).unwrap_err();
        assert!(message.contains("/token is empty: recreate"), "{message}");
        let message = account("", "1", &FILES).unwrap_err();
        assert!(message.contains("KUBERNETES_SERVICE_HOST is not set: run the agent in a pod"), "{message}");
        let message = account("h", "https", &FILES).unwrap_err();
        assert!(message.contains("KUBERNETES_SERVICE_PORT is \"https\""), "{message}");
    }
}

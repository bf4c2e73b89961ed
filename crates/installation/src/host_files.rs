//! Responsible for the table of environment variables that name files of the host which programs
//! need in the container, such as certificates.

/// Environment variable that names a file or a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFileVariable {
    /// Name of the variable.
    pub name: &'static str,
    /// Form of the value.
    pub form: HostFileForm,
    /// Program that reads the file, and the effect of a missing file.
    pub reason: &'static str,
}

/// Form of the value of such a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFileForm {
    /// A single path, which may have any character.
    Path,
    /// Paths with colons between them.
    List,
}

const fn path(name: &'static str, reason: &'static str) -> HostFileVariable {
    HostFileVariable {
        name,
        form: HostFileForm::Path,
        reason,
    }
}

const fn list(name: &'static str, reason: &'static str) -> HostFileVariable {
    HostFileVariable {
        name,
        form: HostFileForm::List,
        reason,
    }
}

/// All such variables. Wrappers and build containers show the paths, unless they are visible
/// anyway. Files that programs must write, such as caches of tickets, are not shown.
pub const HOST_FILE_VARIABLES: &[HostFileVariable] = &[
    path("SSL_CERT_FILE", "OpenSSL, Go: each TLS connection fails"),
    list("SSL_CERT_DIR", "OpenSSL, Go: each TLS connection fails"),
    path("PIP_CERT", "pip: ends with `invalid path`"),
    path("PIP_CLIENT_CERT", "pip: ends with `invalid path`"),
    path("PIP_CONFIG_FILE", "pip: ignores the index of the site"),
    path("PIP_CONSTRAINT", "pip: cannot open the file"),
    path("UV_CONFIG_FILE", "uv: cannot read the file"),
    path("REQUESTS_CA_BUNDLE", "requests: ends with `invalid path`"),
    path("CURL_CA_BUNDLE", "curl, requests: each download fails"),
    path("AWS_CA_BUNDLE", "boto3: each request fails"),
    path("GIT_SSL_CAINFO", "git: clones over HTTPS fail"),
    path("GIT_SSL_CAPATH", "git: clones over HTTPS fail"),
    path("NODE_EXTRA_CA_CERTS", "Node.js: warns, requests fail"),
    path("CARGO_HTTP_CAINFO", "cargo: each download fails"),
    path("DENO_CERT", "Deno: requests fail"),
    path("npm_config_cafile", "npm: each download fails"),
    path("NIX_SSL_CERT_FILE", "curl of Nix: each download fails"),
    path(
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
        "Google's tools: each request fails",
    ),
    path("HTTPLIB2_CA_CERTS", "httplib2: each request fails"),
    path(
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "gRPC: each connection fails",
    ),
    path("X509_CERT_DIR", "grid tools: no server is trusted"),
    path("X509_USER_PROXY", "grid tools: there is no certificate"),
    path("CONDARC", "conda: ignores the channels of the site"),
    path("MAMBARC", "mamba: ignores the channels of the site"),
    path("NETRC", "curl, requests: passwords are missing"),
    list("KRB5_CONFIG", "Kerberos: there is no realm"),
    path("KRB5_KTNAME", "Kerberos: there is no key"),
    list("KUBECONFIG", "kubectl: there is no cluster"),
    path("AWS_CONFIG_FILE", "AWS tools: profiles are missing"),
    path(
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS tools: credentials are missing",
    ),
    path(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "Google's libraries: the file was not found",
    ),
    path("XAUTHORITY", "X11: no window opens"),
    path(
        "FONTCONFIG_FILE",
        "fontconfig: fonts of the site are missing",
    ),
    list(
        "FONTCONFIG_PATH",
        "fontconfig: fonts of the site are missing",
    ),
    path("SSH_AUTH_SOCK", "ssh, git: no key is offered"),
    path("SLURM_CONF", "Slurm's commands: no configuration"),
    path("MATPLOTLIBRC", "matplotlib: ignores the settings"),
    path("DASK_CONFIG", "dask: ignores the settings"),
    path("PYTHONSTARTUP", "Python: prints an error at each prompt"),
];

/// Returns the words with which the wrappers read the table: names, with `:` behind those of lists.
pub(crate) fn words() -> String {
    let words = HOST_FILE_VARIABLES.iter().map(|variable| {
        let end = match variable.form {
            HostFileForm::Path => "",
            HostFileForm::List => ":",
        };
        format!("{}{end}", variable.name)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_variable_is_listed_once_with_a_reason() {
        let names: BTreeSet<&str> = HOST_FILE_VARIABLES.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), HOST_FILE_VARIABLES.len());
        for variable in HOST_FILE_VARIABLES {
            assert!(variable.reason.contains(": "), "{variable:?}");
        }
        assert!(words().starts_with("SSL_CERT_FILE SSL_CERT_DIR: PIP_CERT "));
    }
}

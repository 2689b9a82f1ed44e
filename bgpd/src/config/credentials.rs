//! `[api.tls]` and the tokens of `[api]`: who the API's server is, and who may do what over TCP.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use subtle::ConstantTimeEq;

use super::diagnosis::Problems;
use super::reader::{At, Section};

/// Shortest token: 128 bits in hexadecimal are 32.
const TOKEN_MIN: usize = 16;
/// Longest token.
const TOKEN_MAX: usize = 512;
/// Most tokens of one role.
const TOKENS_MAX: usize = 1024;
/// Any certificate of the client CA.
const ANY: &str = "*";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask.
    ReadOnly,
    /// Ask and change.
    ReadWrite,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        })
    }
}

/// SHA-256 of a token: the token itself is not kept.
type Digest = [u8; 32];

/// Keys, certificates, names and tokens of the API over TCP.
#[derive(Clone, Default)]
pub struct Credentials {
    /// What a TLS server needs; `None` without `[api.tls]`.
    pub tls: Option<Arc<ServerConfig>>,
    names: Vec<(Role, String)>,
    tokens: Vec<(Role, Digest)>,
}

impl Credentials {
    /// Nobody has to say who he is.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tls.is_none() && self.tokens.is_empty()
    }

    /// The role of whoever shows a token. Takes the same time whichever token it is, and for one that is wrong.
    #[must_use]
    pub fn role_of_token(&self, token: &[u8]) -> Option<Role> {
        let shown = sha256(token);
        let mut found = None;
        for (role, digest) in &self.tokens {
            let is_it: bool = digest.as_slice().ct_eq(&shown).into();
            found = if is_it { found.max(Some(*role)) } else { found };
        }
        found
    }

    /// The role of whoever shows a certificate with these names, which the client CA has signed.
    #[must_use]
    pub fn role_of_names<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<Role> {
        let any = self.names.iter().filter(|(_, name)| name == ANY).map(|(role, _)| *role).max();
        let named = names.flat_map(|name| self.names.iter().filter(move |(_, known)| known.eq_ignore_ascii_case(name)));
        named.map(|(role, _)| *role).max().or(any)
    }
}

/// What was read of the file system is compared by nobody: settings are the same when they say the same.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        (self.tls.is_some(), &self.names, &self.tokens) == (other.tls.is_some(), &other.names, &other.tokens)
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, tokens) = (self.tls.is_some(), self.tokens.len());
        f.debug_struct("Credentials").field("tls", &tls).field("names", &self.names).field("tokens", &tokens).finish()
    }
}

fn sha256(token: &[u8]) -> Digest {
    let mut out = Digest::default();
    out.copy_from_slice(digest(&SHA256, token).as_ref());
    out
}

/// Reads the tokens of `[api]` and `[api.tls]`.
pub(super) fn read(api: &mut Section<'_>, problems: &mut Problems<'_>) -> Credentials {
    let mut credentials = Credentials::default();
    for (key, role) in [("read-only-token-file", Role::ReadOnly), ("read-write-token-file", Role::ReadWrite)] {
        if let Some(file) = api.get::<String>(key, problems) {
            credentials.tokens.extend(tokens(key, &file, problems).into_iter().map(|token| (role, token)));
        }
    }
    if let Some(section) = api.table("tls", problems) {
        read_tls(section, &mut credentials, problems);
    }
    credentials
}

fn read_tls(mut section: Section<'_>, credentials: &mut Credentials, problems: &mut Problems<'_>) {
    let cert = section.need::<String>("cert-file", "\"api.crt\"", problems);
    let key = section.need::<String>("key-file", "\"api.key\"", problems);
    let ca = section.get::<String>("client-ca-file", problems);
    for (key, role) in [("read-only", Role::ReadOnly), ("read-write", Role::ReadWrite)] {
        let names = section.list::<String>(key, problems).unwrap_or_default();
        credentials.names.extend(names.into_iter().map(|name| (role, name.value)));
    }
    let place = section.span.clone();
    let names = section.place(&["read-only", "read-write"]);
    section.finish(problems);
    match (&ca, credentials.names.is_empty()) {
        (None, true) if credentials.tokens.is_empty() => {
            let help = "add client-ca-file and read-write = [\"NAME\"] for certificates, or a token file to [api]";
            problems.error(place.clone(), "[api.tls] lets nobody in: there is no client CA and no token", help);
        }
        (None, false) => {
            let help = "add client-ca-file: names count in certificates of that CA only";
            problems.error(names, "names of clients without a client CA", help);
        }
        (Some(ca), true) if credentials.tokens.is_empty() => {
            let help = "add read-write = [\"NAME\"]; \"*\" is whoever has a certificate of this CA";
            problems.error(ca.span.clone(), "client-ca-file without names: no client has a role", help);
        }
        _ => {}
    }
    let (Some(cert), Some(key)) = (cert, key) else { return };
    credentials.tls = server_config(&cert, &key, ca.as_ref(), problems).map(Arc::new);
}

fn server_config(
    cert: &At<String>,
    key: &At<String>,
    ca: Option<&At<String>>,
    problems: &mut Problems<'_>,
) -> Option<ServerConfig> {
    let chain = certificates("cert-file", cert, problems);
    let private = private_key(key, problems);
    let verifier = match ca {
        None => None,
        Some(ca) => Some(client_verifier(ca, problems)?),
    };
    let (chain, private) = (chain?, private?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    match builder.with_single_cert(chain, private) {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"h2".to_vec()];
            Some(config)
        }
        Err(error) => {
            let message = format!("cert-file and key-file: {error}");
            problems.error(key.span.clone(), message, "name the key that belongs to the certificate");
            None
        }
    }
}

fn client_verifier(
    ca: &At<String>,
    problems: &mut Problems<'_>,
) -> Option<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client-ca-file", ca, problems)? {
        if let Err(error) = roots.add(certificate) {
            let message = format!("client-ca-file: \"{}\": {error}", ca.value);
            problems.error(ca.span.clone(), message, "name a file with the certificates of CAs");
            return None;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build() {
        Ok(verifier) => Some(verifier),
        Err(error) => {
            problems.error(ca.span.clone(), format!("client-ca-file: {error}"), "");
            None
        }
    }
}

fn certificates(key: &str, file: &At<String>, problems: &mut Problems<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let pem = contents(key, file, problems)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Some(found),
        _ => {
            let message = format!("{key}: \"{}\" has no certificate in PEM form", file.value);
            problems.error(file.span.clone(), message, "expected lines from BEGIN CERTIFICATE to END CERTIFICATE");
            None
        }
    }
}

fn private_key(file: &At<String>, problems: &mut Problems<'_>) -> Option<PrivateKeyDer<'static>> {
    let pem = secret("key-file", file, problems)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).ok();
    if key.is_none() {
        let message = format!("key-file: \"{}\" has no private key in PEM form", file.value);
        problems.error(file.span.clone(), message, "expected lines from BEGIN PRIVATE KEY to END PRIVATE KEY");
    }
    key
}

/// The digests of the tokens in a file: one a line, `#` begins a comment.
fn tokens(key: &str, file: &At<String>, problems: &mut Problems<'_>) -> Vec<Digest> {
    let Some(octets) = secret(key, file, problems) else { return Vec::new() };
    let text = String::from_utf8_lossy(&octets);
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut found = Vec::new();
    for (line, token) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let is_right = (TOKEN_MIN..=TOKEN_MAX).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        if !is_right {
            let message = format!("{key}: line {line} of \"{}\" is not a token", file.value);
            let help = format!(
                "expected {TOKEN_MIN} to {TOKEN_MAX} printable characters, such as those of: openssl rand -hex 32"
            );
            problems.error(file.span.clone(), message, help);
            return Vec::new();
        }
        found.push(sha256(token.as_bytes()));
    }
    if found.is_empty() || found.len() > TOKENS_MAX {
        let message = format!("{key}: \"{}\" has {} tokens", file.value, found.len());
        problems.error(file.span.clone(), message, format!("expected 1 to {TOKENS_MAX}, one a line"));
    }
    found
}

/// What is in a file that nobody else should read.
pub(super) fn secret(key: &str, file: &At<String>, problems: &mut Problems<'_>) -> Option<Vec<u8>> {
    let octets = contents(key, file, problems)?;
    let mode = fs::metadata(problems.base.join(&file.value)).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        let message = format!("{key}: everybody on this host can read \"{}\"", file.value);
        problems.warning(file.span.clone(), message, format!("chmod o-rwx {}", file.value));
    }
    Some(octets)
}

fn contents(key: &str, file: &At<String>, problems: &mut Problems<'_>) -> Option<Vec<u8>> {
    match fs::read(problems.base.join(Path::new(&file.value))) {
        Ok(octets) => Some(octets),
        Err(error) => {
            let message = format!("{key}: \"{}\": {error}", file.value);
            problems.error(file.span.clone(), message, "the name is relative to the directory of this file");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greater_of_two_roles_holds_and_a_wrong_token_has_none() {
        let token = |role, text: &str| (role, sha256(text.as_bytes()));
        let tokens = vec![token(Role::ReadWrite, "one"), token(Role::ReadOnly, "one"), token(Role::ReadOnly, "two")];
        let credentials = Credentials { tokens, ..Credentials::default() };
        assert_eq!(credentials.role_of_token(b"one"), Some(Role::ReadWrite));
        assert_eq!(credentials.role_of_token(b"two"), Some(Role::ReadOnly));
        assert_eq!(credentials.role_of_token(b"three"), None);
    }

    #[test]
    fn a_name_that_is_listed_comes_before_any() {
        let names = vec![(Role::ReadOnly, ANY.to_owned()), (Role::ReadWrite, "admin.example".to_owned())];
        let credentials = Credentials { names, ..Credentials::default() };
        assert_eq!(credentials.role_of_names(["Admin.Example"].into_iter()), Some(Role::ReadWrite));
        assert_eq!(credentials.role_of_names(["other.example"].into_iter()), Some(Role::ReadOnly));
        assert_eq!(credentials.role_of_names(std::iter::empty()), Some(Role::ReadOnly));
    }
}

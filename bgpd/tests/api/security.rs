//! The API over TCP: TLS, roles by certificate and by token, and secrets that stay secret.

use std::fs;
use std::path::Path;

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;
use bgpd_proto::v1::log_service_client::LogServiceClient;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use bgpd_proto::v1::status_service_client::StatusServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::daemon::{Daemon, wait_until};

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n";
const ANY_PORT: &str = "\"tcp://127.0.0.1:0\"";
const READ_TOKEN: &str = "monitor-token-to-be-hidden-0001";
const WRITE_TOKEN: &str = "operator-token-to-be-hidden-0002";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate and its key, in PEM form.
fn issue(ca: &Ca, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, ca).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn write(dir: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(name);
    fs::write(&path, text).expect("the directory is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

fn install(dir: &Path, (cert, key): &(String, String)) {
    write(dir, "api.crt", cert);
    write(dir, "api.key", key);
}

/// Where the API listens besides its socket.
fn address(daemon: &Daemon) -> String {
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("API listening") && line.contains("tcp://")).expect("it is said");
    let address = line.split("tcp://").nth(1).and_then(|rest| rest.split([' ', '"']).next());
    address.expect("an address").to_owned()
}

struct Client<'a> {
    ca: &'a Ca,
    identity: Option<&'a (String, String)>,
}

impl Client<'_> {
    async fn connect(&self, daemon: &Daemon) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.ca.pem()));
        tls = tls.domain_name("bgpd.example");
        if let Some((cert, key)) = self.identity {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", address(daemon))).expect("an address");
        endpoint.tls_config(tls).expect("a configuration").connect().await
    }
}

fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

async fn read(channel: Channel, token: Option<&str>) -> Result<(), Status> {
    StatusServiceClient::new(channel).get(with_token(v1::GetStatusRequest {}, token)).await.map(|_| ())
}

async fn write_route(channel: Channel, token: Option<&str>) -> Result<(), Status> {
    let announce = v1::AnnounceRequest { prefix: "10.1.0.0/24".to_owned(), ..v1::AnnounceRequest::default() };
    RouteServiceClient::new(channel).announce(with_token(announce, token)).await.map(|_| ())
}

fn code(result: Result<(), Status>) -> Option<Code> {
    result.err().map(|status| status.code())
}

const MUTUAL: &str = "[api.tls]\ncert-file = \"api.crt\"\nkey-file = \"api.key\"\nclient-ca-file = \"clients.crt\"\n\
                      read-only = [\"monitor.example\"]\nread-write = [\"admin.example\"]\n";

#[tokio::test]
async fn certificates_decide_who_may_read_and_who_may_write() {
    let (servers, clients) = (ca(), ca());
    let dir = tempfile::tempdir().expect("a directory");
    install(dir.path(), &issue(&servers, "bgpd.example"));
    write(dir.path(), "clients.crt", &clients.pem());
    let daemon = Daemon::start_in(dir, CONFIG, ANY_PORT, MUTUAL).await;
    let [monitor, admin, other] =
        ["monitor.example", "admin.example", "other.example"].map(|name| issue(&clients, name));
    let stranger = issue(&servers, "admin.example");
    let as_client = |identity| Client { ca: &servers, identity };

    let channel = as_client(Some(&monitor)).connect(&daemon).await.expect("its certificate is good");
    assert_eq!(code(read(channel.clone(), None).await), None);
    assert_eq!(code(write_route(channel, None).await), Some(Code::PermissionDenied));
    let channel = as_client(Some(&admin)).connect(&daemon).await.expect("its certificate is good");
    assert_eq!(code(read(channel.clone(), None).await), None);
    assert_eq!(code(write_route(channel, None).await), None);
    let channel = as_client(Some(&other)).connect(&daemon).await.expect("its certificate is good");
    assert_eq!(code(read(channel, None).await), Some(Code::Unauthenticated));
    // With TLS 1.3 a client learns of a refused certificate with its first call.
    for identity in [None, Some(&stranger)] {
        let refused = match as_client(identity).connect(&daemon).await {
            Ok(channel) => code(read(channel, None).await).is_some(),
            Err(_) => true,
        };
        assert!(refused, "no certificate, or one of another CA");
    }
    // A server whose certificate another CA has signed is not bgpd.
    assert!(Client { ca: &clients, identity: Some(&admin) }.connect(&daemon).await.is_err());
}

#[tokio::test]
async fn certificates_and_names_are_replaced_by_a_reload_without_a_restart() {
    let (servers, later, clients) = (ca(), ca(), ca());
    let dir = tempfile::tempdir().expect("a directory");
    install(dir.path(), &issue(&servers, "bgpd.example"));
    write(dir.path(), "clients.crt", &clients.pem());
    let daemon = Daemon::start_in(dir, CONFIG, ANY_PORT, MUTUAL).await;
    let monitor = issue(&clients, "monitor.example");
    let before = Client { ca: &servers, identity: Some(&monitor) };
    let channel = before.connect(&daemon).await.expect("it is let in");
    assert_eq!(code(write_route(channel.clone(), None).await), Some(Code::PermissionDenied));

    install(daemon.dir(), &issue(&later, "bgpd.example"));
    daemon.reload(CONFIG, ANY_PORT, &MUTUAL.replace("\"admin.example\"", "\"admin.example\", \"monitor.example\""));
    let after = Client { ca: &later, identity: Some(&monitor) };
    wait_until("the new certificate is shown", || async { after.connect(&daemon).await.is_ok() }).await;
    assert!(before.connect(&daemon).await.is_err(), "the old one is not");
    // A connection from before has the new role with its next call.
    assert_eq!(code(write_route(channel, None).await), None);
    // What cannot be used leaves what runs.
    write(daemon.dir(), "api.key", "no key");
    daemon.reload(CONFIG, ANY_PORT, MUTUAL);
    let said = || async { daemon.log().contains("has no private key") };
    wait_until("the broken key is said", said).await;
    assert!(after.connect(&daemon).await.is_ok());
}

#[tokio::test]
async fn tokens_decide_where_there_are_no_client_certificates() {
    let servers = ca();
    let dir = tempfile::tempdir().expect("a directory");
    install(dir.path(), &issue(&servers, "bgpd.example"));
    write(dir.path(), "readers", &format!("# monitoring\n{READ_TOKEN}\n"));
    write(dir.path(), "writers", &format!("{WRITE_TOKEN}\n"));
    let rest = "read-only-token-file = \"readers\"\nread-write-token-file = \"writers\"\n\
                [api.tls]\ncert-file = \"api.crt\"\nkey-file = \"api.key\"\n";
    let daemon = Daemon::start_in(dir, CONFIG, ANY_PORT, rest).await;
    let channel = Client { ca: &servers, identity: None }.connect(&daemon).await.expect("it is bgpd");
    assert_eq!(code(read(channel.clone(), Some(READ_TOKEN)).await), None);
    assert_eq!(code(write_route(channel.clone(), Some(READ_TOKEN)).await), Some(Code::PermissionDenied));
    assert_eq!(code(write_route(channel.clone(), Some(WRITE_TOKEN)).await), None);
    assert_eq!(code(read(channel.clone(), Some("a-token-to-be-hidden-of-nobody")).await), Some(Code::Unauthenticated));
    assert_eq!(code(read(channel, None).await), Some(Code::Unauthenticated));
    assert!(!daemon.log().contains("to-be-hidden"), "{}", daemon.log());
}

#[tokio::test]
async fn plaintext_is_for_loopback_and_asks_for_tokens_where_there_are_any() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "writers", WRITE_TOKEN);
    let daemon = Daemon::start_in(dir, CONFIG, ANY_PORT, "read-write-token-file = \"writers\"\n").await;
    let endpoint = Endpoint::from_shared(format!("http://{}", address(&daemon))).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    assert_eq!(code(read(channel.clone(), None).await), Some(Code::Unauthenticated));
    assert_eq!(code(write_route(channel, Some(WRITE_TOKEN)).await), None);
    // Whoever may open the socket needs no token.
    assert_eq!(code(write_route(daemon.connect().await, None).await), None);
}

#[tokio::test]
async fn no_secret_is_in_an_answer_or_in_the_log() {
    let dir: TempDir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "key", "md5-file-to-be-hidden");
    write(dir.path(), "writers", WRITE_TOKEN);
    let config = format!(
        "{CONFIG}[log]\nlevel = \"trace\"\n[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\n\
         md5-password = \"md5-group-to-be-hidden\"\n\
         [[neighbor]]\naddress = \"127.0.0.9\"\nremote-asn = 65000\nmd5-password = \"md5-to-be-hidden\"\n\
         [[neighbor]]\naddress = \"127.0.0.10\"\nremote-asn = 65000\nmd5-password-file = \"key\"\n\
         [[dynamic-neighbors]]\nprefix = \"127.1.0.0/16\"\npeer-group = \"nodes\"\n"
    );
    let daemon = Daemon::start_in(dir, &config, ANY_PORT, "read-write-token-file = \"writers\"\n").await;
    let mut said = String::new();
    let mut neighbors = NeighborServiceClient::new(daemon.connect().await);
    let list = neighbors.list(v1::ListNeighborsRequest::default()).await.expect("an answer").into_inner();
    assert_eq!(list.neighbors.len(), 2);
    said += &format!("{list:?}");
    let mut status = StatusServiceClient::new(daemon.connect().await);
    said += &format!("{:?}", status.get(v1::GetStatusRequest {}).await.expect("an answer"));
    let mut configs = ConfigServiceClient::new(daemon.connect().await);
    for text in [
        CONFIG.to_owned(),
        config.replace("md5-to-be-hidden", "other-to-be-hidden").replace("md5-password-file = \"key\"", ""),
        config.replace("md5-group-to-be-hidden\"", "md5-group-to-be-hidden"),
        config.replace("\"md5-to-be-hidden\"", "17"),
    ] {
        let document = Some(v1::Document { text, name: "new.toml".to_owned() });
        let check = v1::CheckConfigRequest { document: document.clone() };
        said += &format!("{:?}", configs.check(check).await);
        said += &format!("{:?}", configs.diff(v1::DiffConfigRequest { document: document.clone() }).await);
        said += &format!("{:?}", configs.apply(v1::ApplyConfigRequest { document, ..Default::default() }).await);
    }
    // TCP-AO: in force, or refused by a kernel that does not have it.
    write(daemon.dir(), "ao.key", "ao-to-be-hidden");
    let signed = format!(
        "{config}[[neighbor]]\naddress = \"127.0.0.11\"\nremote-asn = 65000\nao-key = [{{ id = 1, key-file = \"ao.key\" }}, {{ id = 2, key = \"ao-itself-to-be-hidden\" }}]\n"
    );
    write(daemon.dir(), "api.key", "-----BEGIN PRIVATE KEY-----\nkey-to-be-hidden\n-----END PRIVATE KEY-----\n");
    let too_long = config.replace("md5-to-be-hidden", &"to-be-hidden".repeat(10));
    for (config, rest) in [
        (signed.as_str(), ""),
        // Keys that are too long, and a certificate's key that is none.
        (too_long.as_str(), ""),
        (signed.replace("id = 2", "id = 1000").as_str(), ""),
        (config.as_str(), "[api.tls]\ncert-file = \"key\"\nkey-file = \"api.key\"\n"),
    ] {
        let lines = daemon.log().lines().count();
        daemon.reload(config, ANY_PORT, &format!("read-write-token-file = \"writers\"\n{rest}"));
        wait_until("it is said", || async { daemon.log().lines().count() > lines }).await;
    }
    said += &format!("{:?}", neighbors.list(v1::ListNeighborsRequest::default()).await.expect("an answer"));
    said += &format!("{:?}", configs.show(v1::ShowConfigRequest {}).await.expect("an answer"));
    let mut log = LogServiceClient::new(daemon.connect().await);
    said += &format!("{:?}", log.get(v1::GetLogRequest {}).await.expect("an answer"));
    let seen = || async { daemon.log().contains("127.0.0.9") };
    wait_until("something is logged of the neighbors", seen).await;
    said += &daemon.log();
    let found: Vec<&str> = said.lines().filter(|line| line.contains("to-be-hidden")).collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Whoever adds a key that holds a secret adds it to the test above.
#[test]
fn every_key_with_a_secret_is_in_the_test_of_secrets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/configuration.md")).expect("the page");
    let here = fs::read_to_string(root.join("bgpd/tests/api/security.rs")).expect("this file");
    let keys = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let secret = ["password", "token", "secret", "key-file", "ao-key", "passphrase"];
    let is_one = |key: &&str| *key == "key" || secret.iter().any(|word| key.contains(word));
    let keys: Vec<&str> = keys.filter(is_one).collect();
    assert!(keys.len() >= 6, "{keys:?}");
    for key in keys {
        assert!(here.contains(&format!("{key} = ")), "{key}: no_secret_is_in_an_answer_or_in_the_log does not set it");
    }
}

//! TLS before an API server, with its own certificate or somebody else's.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use interop::lab::Node;
use nix::sched::{CloneFlags, setns};
use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Which certificate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    Own,
    OfSomebodyElse,
}

/// Takes connections over TLS to those of a server beside it.
pub(crate) struct Terminator {
    authority: String,
    shown: watch::Sender<Certificate>,
    refused: Arc<Mutex<Vec<Instant>>>,
}

impl Terminator {
    /// Starts on a node; ends with the process.
    pub(crate) fn start(node: &Node, address: &str, port: u16, upstream: u16) -> Self {
        let (own, authority) = certificate("own", address);
        let (other, _) = certificate("somebody else", address);
        let (shown, showing) = watch::channel(Certificate::Own);
        let refused = Arc::new(Mutex::new(Vec::new()));
        let attempts = Arc::clone(&refused);
        let file = std::fs::File::open(format!("/run/netns/{}", node.namespace.name())).expect("a namespace");
        let (listen, upstream) = (format!("{address}:{port}"), format!("{address}:{upstream}"));
        thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(&listen, &upstream, [own, other], showing, &attempts));
        });
        Self { authority, shown, refused }
    }

    /// Who has signed its own certificate.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Breaks all connections; the next ones see this certificate.
    pub(crate) fn show(&self, certificate: Certificate) {
        self.shown.send_replace(certificate);
    }

    /// When somebody came and saw the wrong one.
    pub(crate) fn refused(&self) -> Vec<Instant> {
        self.refused.lock().expect("nobody panics with it").clone()
    }
}

fn certificate(name: &str, address: &str) -> (Arc<ServerConfig>, String) {
    let mut parameters = CertificateParams::new([address.to_owned()]).expect("an address");
    parameters.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    (Arc::new(config), certificate.pem())
}

async fn serve(
    listen: &str,
    upstream: &str,
    configs: [Arc<ServerConfig>; 2],
    showing: watch::Receiver<Certificate>,
    refused: &Mutex<Vec<Instant>>,
) {
    let listener = TcpListener::bind(listen).await.expect("a port");
    while let Ok((stream, _)) = listener.accept().await {
        let mut showing = showing.clone();
        let shown = *showing.borrow_and_update();
        let config = match shown {
            Certificate::Own => &configs[0],
            Certificate::OfSomebodyElse => {
                refused.lock().expect("nobody panics with it").push(Instant::now());
                &configs[1]
            }
        };
        let (acceptor, upstream) = (TlsAcceptor::from(Arc::clone(config)), upstream.to_owned());
        tokio::spawn(async move {
            let Ok(mut inside) = acceptor.accept(stream).await else { return };
            let Ok(mut outside) = TcpStream::connect(upstream).await else { return };
            tokio::select! {
                // Whoever breaks it, the other end sees it.
                _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                _ = showing.changed() => {}
            }
        });
    }
}

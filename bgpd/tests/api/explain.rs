//! What is explained, and what others say of it.

use bgpd_proto::v1;
use bgpd_proto::v1::kernel_service_client::KernelServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::daemon::{Daemon, wait_until};

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n\
                      [[originate]]\nprefix = \"10.1.0.0/16\"\n[[originate]]\nprefix = \"10.1.2.0/24\"\n\
                      [[originate]]\nprefix = \"2001:db8::/32\"\n";

async fn explained(daemon: &Daemon, prefix: &str) -> Result<String, String> {
    let wanted = v1::ExplainRequest { prefix: prefix.into(), to: String::new() };
    match daemon.routes().await.explain(wanted).await {
        Ok(answer) => Ok(answer.into_inner().prefix),
        Err(status) => Err(status.message().to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_explained_by_the_longest_prefix_that_covers_it() {
    let daemon = Daemon::start(CONFIG).await;
    for prefix in ["10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32"] {
        let is_there = || async { explained(&daemon, prefix).await.as_deref() == Ok(prefix) };
        wait_until(&format!("{prefix} is there"), is_there).await;
    }
    for (address, prefix) in
        [("10.1.2.9", "10.1.2.0/24"), ("10.1.3.0", "10.1.0.0/16"), ("2001:db8::9", "2001:db8::/32")]
    {
        assert_eq!(explained(&daemon, address).await.as_deref(), Ok(prefix));
    }
    for (prefix, said) in [
        ("10.1.3.0/24", "a route to 10.1.3.0/24 does not exist; the longest prefix that covers it is 10.1.0.0/16"),
        ("10.0.0.0/8", "a route to 10.0.0.0/8 does not exist"),
        ("192.0.2.7", "a route to 192.0.2.7 does not exist"),
    ] {
        assert_eq!(explained(&daemon, prefix).await, Err(said.to_owned()));
    }
}

/// Whoever installs routes: what it says, and what it is asked.
type Installer = (mpsc::Sender<v1::KernelAnswer>, Streaming<v1::KernelQuestion>);

async fn installer(daemon: &Daemon, name: &str) -> Result<Installer, Status> {
    let (answers, receiver) = mpsc::channel(4);
    let introduction = v1::KernelAnswer { name: name.to_owned(), ..v1::KernelAnswer::default() };
    answers.send(introduction).await.expect("there is room");
    let mut client = KernelServiceClient::new(daemon.connect().await);
    Ok((answers, client.answer(ReceiverStream::new(receiver)).await?.into_inner()))
}

async fn kernels(daemon: &Daemon) -> Vec<(String, String)> {
    let wanted = v1::ExplainRequest { prefix: "10.1.2.0/24".into(), to: String::new() };
    let answer = daemon.routes().await.explain(wanted).await.expect("it is in the table").into_inner();
    answer.kernels.into_iter().map(|one| (one.by, one.why)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_installs_routes_says_what_has_become_of_them() {
    let daemon = Daemon::start(CONFIG).await;
    wait_until("it is there", || async { explained(&daemon, "10.1.2.0/24").await.is_ok() }).await;
    assert_eq!(kernels(&daemon).await, []);
    let (answers, mut questions) = installer(&daemon, "node-1").await.expect("a stream");
    let answering = tokio::spawn(async move {
        while let Ok(Some(question)) = questions.message().await {
            let why = format!("installed\u{1b}[2J {}", question.prefix);
            let answer = v1::KernelAnswer { question: question.number, installed: true, why, name: String::new() };
            if answers.send(answer).await.is_err() {
                return;
            }
        }
    });
    let first = ("node-1".to_owned(), "installed [2J 10.1.2.0/24".to_owned());
    wait_until("it answers", || async { kernels(&daemon).await == std::slice::from_ref(&first) }).await;
    let silent = installer(&daemon, "node-2").await.expect("a stream");
    let second = ("node-2".to_owned(), "not known: it does not answer".to_owned());
    wait_until("the other is asked as well", || async { kernels(&daemon).await == [first.clone(), second.clone()] })
        .await;
    drop(silent);
    wait_until("it has gone", || async { kernels(&daemon).await == std::slice::from_ref(&first) }).await;
    answering.abort();
    wait_until("both have gone", || async { kernels(&daemon).await.is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_without_a_name_or_without_room_is_told() {
    let daemon = Daemon::start(CONFIG).await;
    let said = async |name: &str| match installer(&daemon, name).await.expect("a stream").1.message().await {
        Err(status) => (status.code(), status.message().to_owned()),
        Ok(question) => panic!("{question:?}"),
    };
    let (code, message) = said("no name").await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("name: \"no name\" is not a name"), "{message}");
    let mut others = Vec::new();
    for number in 0..16 {
        others.push(installer(&daemon, &format!("node-{number}")).await.expect("a stream"));
    }
    let full = || async { kernels(&daemon).await.len() == 16 };
    wait_until("all are there", full).await;
    assert_eq!(said("one-more").await, (Code::ResourceExhausted, "16 others install routes already".to_owned()));
}

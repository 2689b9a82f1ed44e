//! Answers to bgpd, which asks for `bgpctl explain` what has become of a route here.

use bgpd_proto::v1 as api;
use bgpd_proto::v1::kernel_service_client::KernelServiceClient;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::{Backoff, BgpdError, Server};
use crate::forwarding::Fate;
use crate::kernel::Input;

/// Answers that may wait for bgpd.
const ANSWERS: usize = 4;

/// Answers in the name of `owner` as long as somebody installs routes. That bgpd cannot be reached is said by those who
/// need it more.
pub async fn answer(server: Server, owner: String, installer: mpsc::Sender<Input>) {
    let mut backoff = Backoff::new();
    while !installer.is_closed() {
        match once(&server, &owner, &installer, &mut backoff).await {
            Ok(()) => return,
            Err(error) => debug!(%error, "bgpd cannot ask what has become of routes"),
        }
        backoff.pause().await;
    }
}

/// One stream, to its end. `Ok` when nobody installs routes any more.
async fn once(
    server: &Server,
    owner: &str,
    installer: &mpsc::Sender<Input>,
    backoff: &mut Backoff,
) -> Result<(), BgpdError> {
    let mut client = KernelServiceClient::new(server.connect().await?);
    let (answers, receiver) = mpsc::channel(ANSWERS);
    let closed = |_| BgpdError::Closed;
    let introduction = api::KernelAnswer { name: owner.to_owned(), ..api::KernelAnswer::default() };
    answers.send(introduction).await.map_err(closed)?;
    let mut questions = client.answer(ReceiverStream::new(receiver)).await?.into_inner();
    while let Some(api::KernelQuestion { number, prefix }) = questions.message().await? {
        backoff.succeeded();
        // One that cannot be read has no answer.
        let Ok(prefix) = prefix.parse() else { continue };
        let (reply, fate) = oneshot::channel();
        if installer.send(Input::Explain { prefix, reply }).await.is_err() {
            return Ok(());
        }
        let Ok(Fate { installed, why }) = fate.await else { continue };
        let answer = api::KernelAnswer { question: number, installed, why, ..api::KernelAnswer::default() };
        answers.send(answer).await.map_err(closed)?;
    }
    Err(BgpdError::Closed)
}

//! Whoever installs routes into a kernel, and what it says of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bgp_engine::config::owners::OwnerName;
use bgp_wire::text::printable;
use bgpd_proto::v1;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::streams::Streams;
use super::{Streamed, convert};

/// Most installers at a time.
const INSTALLERS_MAX: usize = 16;
/// Questions to one installer that wait for an answer. With more, the oldest are done without.
const QUESTIONS_MAX: usize = 16;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest answer, in octets.
const WHY_MAX: usize = 512;

/// The installers that can be asked. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Installers(Arc<Mutex<BTreeMap<u64, Installer>>>);

struct Installer {
    name: OwnerName,
    questions: mpsc::Sender<Question>,
}

struct Question {
    prefix: IpNet,
    reply: oneshot::Sender<v1::KernelAnswer>,
}

impl Installers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Installer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each of them says of a prefix.
    pub(super) async fn explain(&self, prefix: IpNet) -> Vec<v1::Kernel> {
        let ask = |installer: &Installer| {
            let (reply, answer) = oneshot::channel();
            // One that has too much to answer says nothing, which is told.
            let _ = installer.questions.try_send(Question { prefix, reply });
            (installer.name.to_string(), answer)
        };
        let asked: Vec<_> = self.lock().values().map(ask).collect();
        let deadline = Instant::now() + PATIENCE;
        let mut kernels = Vec::with_capacity(asked.len());
        for (by, answer) in asked {
            kernels.push(match timeout_at(deadline, answer).await {
                Ok(Ok(v1::KernelAnswer { installed, why, .. })) => {
                    let why = why.as_bytes();
                    v1::Kernel { by, installed, why: printable(why.get(..WHY_MAX).unwrap_or(why)) }
                }
                _ => v1::Kernel { by, installed: false, why: "not known: it does not answer".to_owned() },
            });
        }
        kernels
    }

    fn enter(&self, name: OwnerName) -> Result<Entered, Status> {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let mut installers = self.lock();
        if installers.len() >= INSTALLERS_MAX {
            return Err(Status::resource_exhausted(format!("{INSTALLERS_MAX} others install routes already")));
        }
        let number = installers.last_key_value().map_or(0, |(last, _)| last + 1);
        installers.insert(number, Installer { name, questions });
        Ok(Entered { installers: self.clone(), number, asked })
    }
}

/// The place of an installer, as long as its stream is there.
struct Entered {
    installers: Installers,
    number: u64,
    asked: mpsc::Receiver<Question>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.installers.lock().remove(&self.number);
    }
}

impl Entered {
    /// Passes questions and answers on until the client has gone.
    async fn serve(
        mut self,
        mut answers: Streaming<v1::KernelAnswer>,
        questions: mpsc::Sender<Result<v1::KernelQuestion, Status>>,
    ) {
        let mut waiting = VecDeque::new();
        let mut number = 0;
        loop {
            tokio::select! {
                Some(Question { prefix, reply }) = self.asked.recv() => {
                    number += 1;
                    let question = v1::KernelQuestion { number, prefix: prefix.to_string() };
                    // A client that does not read is not asked.
                    if questions.try_send(Ok(question)).is_ok() {
                        waiting.push_back((number, reply));
                        if waiting.len() > QUESTIONS_MAX {
                            waiting.pop_front();
                        }
                    }
                }
                answer = answers.message() => {
                    let Ok(Some(answer)) = answer else { return };
                    if let Some(at) = waiting.iter().position(|(number, _)| *number == answer.question)
                        && let Some((_, reply)) = waiting.remove(at)
                    {
                        // Whoever asked may have lost patience.
                        let _ = reply.send(answer);
                    }
                }
                () = questions.closed() => return,
            }
        }
    }
}

/// The service.
pub(super) struct Service(pub(super) Installers, pub(super) Streams);

#[tonic::async_trait]
impl v1::kernel_service_server::KernelService for Service {
    type AnswerStream = Streamed<v1::KernelQuestion>;

    async fn answer(
        &self,
        request: Request<Streaming<v1::KernelAnswer>>,
    ) -> Result<Response<Self::AnswerStream>, Status> {
        let permit = self.1.open()?;
        let installers = self.0.clone();
        let mut answers = request.into_inner();
        let (questions, receiver) = mpsc::channel(QUESTIONS_MAX);
        tokio::spawn(async move {
            let _permit = permit;
            let Ok(Some(first)) = answers.message().await else { return };
            let name = first.name.parse().map_err(|error| convert::invalid("name", error));
            match name.and_then(|name| installers.enter(name)) {
                Ok(entered) => entered.serve(answers, questions).await,
                // The queue is empty, and a client that has gone needs no answer.
                Err(status) => drop(questions.try_send(Err(status))),
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

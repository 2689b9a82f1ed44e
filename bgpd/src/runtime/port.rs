//! The way into a stage of the data flow: a partition, or the groups of one worker.
//!
//! A stage has a thread, which takes what is sent to it in order. While nothing waits and the thread sleeps, whoever has
//! a little for the stage may take the stage itself and do the work where he is: waking a thread costs more than one
//! route does. As soon as something waits, everything goes through the channels again, so that nothing overtakes.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, MutexGuard, mpsc};

/// Routes in one message that are still little.
pub(crate) const LITTLE: usize = 32;

/// The way into a stage `S` that takes data `D`, in bounded number, and control messages `C`, which never wait for room.
pub(crate) struct Port<S, D, C> {
    data: mpsc::Sender<D>,
    control: mpsc::UnboundedSender<C>,
    /// Messages that were sent and are not yet dealt with. One is counted before it can be received, and until the
    /// stage is free again.
    waiting: AtomicUsize,
    stage: Mutex<S>,
}

/// The receiving ends of a port, for the stage's thread.
pub(crate) struct Input<D, C> {
    pub(super) data: mpsc::Receiver<D>,
    pub(super) control: mpsc::UnboundedReceiver<C>,
}

impl<S, D, C> Port<S, D, C> {
    /// A port to `stage` in which at most `room` data messages wait.
    pub(super) fn new(stage: S, room: usize) -> (Self, Input<D, C>) {
        let (data, data_receiver) = mpsc::channel(room);
        let (control, control_receiver) = mpsc::unbounded_channel();
        let port = Self { data, control, waiting: AtomicUsize::new(0), stage: Mutex::new(stage) };
        (port, Input { data: data_receiver, control: control_receiver })
    }

    /// Sends a control message. A stage ends only with the daemon, and then nobody needs to be told.
    pub(crate) fn tell(&self, message: C) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _ = self.control.send(message);
    }

    /// Sends data if there is room, else gives it back.
    pub(crate) fn try_send(&self, message: D) -> Result<(), D> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        match self.data.try_send(message) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(message)) => {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                Err(message)
            }
        }
    }

    /// Sends data, and waits until there is room.
    pub(crate) async fn send(&self, message: D) {
        // A stage ends only with the daemon.
        if let Ok(permit) = self.data.reserve().await {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            permit.send(message);
        }
    }

    /// The stage, if nothing waits for it and nobody works in it.
    pub(super) fn idle(&self) -> Option<MutexGuard<'_, S>> {
        let stage = self.stage.try_lock().ok()?;
        (self.waiting() == 0).then_some(stage)
    }

    /// The stage, for its thread.
    pub(super) async fn stage(&self) -> MutexGuard<'_, S> {
        self.stage.lock().await
    }

    /// Messages that are not dealt with, those included that the stage's thread has in its hands.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Part of the room for data that is taken, from 0 to 1.
    pub(super) fn taken(&self) -> f64 {
        let room = self.data.max_capacity();
        (room - self.data.capacity()) as f64 / room as f64
    }

    /// So many messages have been dealt with. To be said before the stage is given back.
    pub(super) fn dealt_with(&self, messages: usize) {
        self.waiting.fetch_sub(messages, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    type Numbers = Port<Vec<(usize, u32)>, (usize, u32), ()>;

    /// Does what was sent, as the stage's thread, until all senders have sent `most` each.
    async fn work(port: &Numbers, mut input: Input<(usize, u32), ()>, all: usize) {
        loop {
            if port.stage().await.len() == all {
                return;
            }
            tokio::select! {
                biased;
                message = input.control.recv() => assert_eq!(message, Some(())),
                message = input.data.recv() => port.stage().await.extend(message),
            }
            port.dealt_with(1);
        }
    }

    #[test]
    fn what_one_sender_says_comes_in_its_order_whoever_does_the_work() {
        const SENDERS: usize = 3;
        const MOST: u32 = 5_000;
        let (port, input) = Numbers::new(Vec::new(), 4);
        let port = Arc::new(port);
        let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let send = |sender: usize, port: Arc<Numbers>| {
            runtime().block_on(async {
                for number in 0..MOST {
                    match port.idle() {
                        Some(mut stage) => stage.push((sender, number)),
                        None => port.send((sender, number)).await,
                    }
                }
                // Wakes the thread, which may wait for what was done without it.
                port.tell(());
            });
        };
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let port = Arc::clone(&port);
                scope.spawn(move || send(sender, port));
            }
            runtime().block_on(work(&port, input, SENDERS * MOST as usize));
        });
        let done = port.stage.try_lock().expect("nobody works any more");
        for sender in 0..SENDERS {
            let numbers: Vec<u32> = done.iter().filter(|(of, _)| *of == sender).map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..MOST).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stage_is_idle_only_while_nothing_waits_and_nobody_works_in_it() {
        let (port, mut input) = Numbers::new(Vec::new(), 1);
        let stage = port.idle().expect("nothing has come yet");
        assert!(port.idle().is_none(), "somebody works in it");
        drop(stage);
        port.tell(());
        assert!(port.idle().is_none(), "a control message waits");
        assert!(input.control.try_recv().is_ok());
        assert!(port.idle().is_none(), "the message is not yet dealt with");
        port.dealt_with(1);
        assert_eq!(port.try_send((0, 0)), Ok(()));
        assert_eq!(port.try_send((0, 1)), Err((0, 1)), "there is room for one");
        assert_eq!((port.waiting(), port.taken()), (1, 1.0));
        assert!(port.idle().is_none(), "data wait");
        assert!(input.data.try_recv().is_ok());
        port.dealt_with(1);
        assert!(port.idle().is_some());
    }
}

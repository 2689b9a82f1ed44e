//! `top`: a live screen of sessions, rates, queues and the noisiest prefixes.
//!
//! What is asked for comes from the calls that every other command uses: neighbors and status once in an interval, and a
//! watch of changes for the prefixes. [`state`] is what the screen knows and what keys do to it, [`screen`] how it looks;
//! only this file talks to the terminal and to bgpd.

mod churn;
mod screen;
mod state;
mod table;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use bgpd_proto::v1;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use bgpd_proto::v1::status_service_client::StatusServiceClient;
use bgpd_proto::v1::watch_routes_response::Event as Watched;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;

use self::churn::Change;
use self::state::{State, Wanted};
use crate::Error;
use crate::client::{Connection, Server};

/// Events of keys, and changes of routes, that may wait.
const QUEUE: usize = 64;
/// Pause before a watch that has ended is begun again.
const RETRY: Duration = Duration::from_secs(2);

/// Shows the screen until somebody leaves it.
pub(crate) async fn run(server: &Server, interval: Duration) -> Result<(), Error> {
    if !std::io::stdout().is_terminal() {
        return Err(Error::Input("top needs a terminal; for programs there is `show neighbors -o json`".to_owned()));
    }
    // What cannot be reached is better said before the screen changes.
    let connection = server.connect().await?;
    let mut state = State::default();
    ask(&connection, &mut state).await;
    let mut terminal = ratatui::try_init()?;
    let result = follow(connection, &mut terminal, state, interval).await;
    ratatui::restore();
    result
}

async fn follow(
    connection: Connection,
    terminal: &mut ratatui::DefaultTerminal,
    mut state: State,
    interval: Duration,
) -> Result<(), Error> {
    let (key_sender, mut keys) = mpsc::channel(QUEUE);
    // Reading a terminal blocks; the thread ends with the process.
    std::thread::spawn(move || read_keys(&key_sender));
    let (change_sender, mut changes) = mpsc::channel(QUEUE);
    tokio::spawn(watch(connection.clone(), change_sender));
    let mut ticks = tokio::time::interval(interval);
    loop {
        terminal.draw(|frame| screen::draw(frame, &state))?;
        tokio::select! {
            _ = ticks.tick() => ask(&connection, &mut state).await,
            Some(some) = changes.recv() => {
                state.changed(some);
                // A storm of changes is drawn once.
                while let Ok(some) = changes.try_recv() {
                    state.changed(some);
                }
            }
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if state.key(key) == Wanted::Leave {
                        return Ok(());
                    }
                }
                // Another size is drawn anew.
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

fn read_keys(keys: &mpsc::Sender<Event>) {
    while let Ok(event) = event::read() {
        if keys.blocking_send(event).is_err() {
            return;
        }
    }
}

/// Asks how everything is; what fails is said on the screen, and asked again.
async fn ask(connection: &Connection, state: &mut State) {
    let mut neighbors = NeighborServiceClient::new(connection.clone()).max_decoding_message_size(usize::MAX);
    let mut status = StatusServiceClient::new(connection.clone());
    let answers =
        tokio::join!(neighbors.list(v1::ListNeighborsRequest::default()), status.get(v1::GetStatusRequest {}));
    match answers {
        (Ok(neighbors), Ok(status)) => {
            state.update(neighbors.into_inner().neighbors, status.into_inner(), Instant::now());
        }
        (Err(error), _) | (_, Err(error)) => state.failed(error.message()),
    }
}

/// Sends every change, as long as somebody listens.
async fn watch(connection: Connection, changes: mpsc::Sender<Vec<Change>>) {
    while !changes.is_closed() {
        let mut client = RouteServiceClient::new(connection.clone()).max_decoding_message_size(usize::MAX);
        let request = v1::WatchRoutesRequest { changes_only: true, ..v1::WatchRoutesRequest::default() };
        if let Ok(stream) = client.watch(request).await {
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                let some = match message.event {
                    Some(Watched::Changed(routes)) => routes.routes.into_iter().map(changed).collect(),
                    Some(Watched::Withdrawn(gone)) => gone.prefixes.into_iter().map(withdrawn).collect(),
                    _ => continue,
                };
                if changes.send(some).await.is_err() {
                    return;
                }
            }
        }
        // A bgpd that is away is told by the other calls.
        tokio::time::sleep(RETRY).await;
    }
}

fn changed(route: v1::Route) -> Change {
    Change { prefix: route.prefix, from: Some(route.from) }
}

fn withdrawn(prefix: String) -> Change {
    Change { prefix, from: None }
}

#[cfg(test)]
mod tests;

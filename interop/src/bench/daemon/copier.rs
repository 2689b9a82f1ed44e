//! "Bytes alone": a process in the daemon's place that answers OPEN and copies every UPDATE of a client, as it came, to
//! all other clients. It keeps no table and understands nothing; what remains is the cost of the sockets and of the
//! receivers' check, which no daemon can be faster than.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::super::decode;
use super::super::fleet::DAEMON;
use super::super::message::{self, Families};

const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: Option<TcpStream>,
    partial: Vec<u8>,
    /// What goes to this client alone: OPEN and KEEPALIVE.
    greeting: Vec<u8>,
    /// Next piece of the log, and how much of it is written.
    piece: usize,
    offset: usize,
}

/// Everything any client announced, in order, with who did.
type Log = Vec<(usize, Vec<u8>)>;

/// Serves until killed.
pub(crate) fn serve() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4096);
    let mut listener = TcpListener::bind(SocketAddr::V4(DAEMON))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Vec<Client> = Vec::new();
    let mut log: Log = Vec::new();
    let mut scratch = vec![0; 512 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let number = event.token().0;
            if event.is_readable() && read(&mut clients[number], number, &mut scratch, &mut log).is_err() {
                clients[number].stream = None;
            }
        }
        for (number, client) in clients.iter_mut().enumerate() {
            if write(client, number, &log).is_err() {
                client.stream = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Client>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(clients.len()), interest)?;
        let mut greeting =
            message::open(Ipv4Addr::new(10, 255, 255, 1), Families { v4: true, v6: true }, message::HOLD_TIME);
        message::keepalive(&mut greeting);
        clients.push(Client { stream: Some(stream), partial: Vec::new(), greeting, piece: 0, offset: 0 });
    }
}

fn read(client: &mut Client, number: usize, scratch: &mut [u8], log: &mut Log) -> io::Result<()> {
    while let Some(stream) = &mut client.stream {
        let count = match stream.read(scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        client.partial.extend_from_slice(&scratch[..count]);
        let mut used = 0;
        let mut piece = Vec::with_capacity(client.partial.len());
        while let Some(found) = decode::message(&client.partial[used..]).map_err(io::Error::other)? {
            if found.kind == message::UPDATE {
                piece.extend_from_slice(&client.partial[used..used + found.length]);
            }
            used += found.length;
        }
        client.partial.drain(..used);
        if !piece.is_empty() {
            log.push((number, piece));
        }
    }
    Ok(())
}

fn write(client: &mut Client, number: usize, log: &Log) -> io::Result<()> {
    let Some(stream) = &mut client.stream else { return Ok(()) };
    if !client.greeting.is_empty() {
        let written = stream.write(&client.greeting)?;
        client.greeting.drain(..written);
    }
    while let Some((source, bytes)) = log.get(client.piece) {
        if *source != number && client.offset < bytes.len() {
            match stream.write(&bytes[client.offset..]) {
                Ok(written) => client.offset += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if client.offset < bytes.len() {
                continue;
            }
        }
        client.piece += 1;
        client.offset = 0;
    }
    Ok(())
}

//! What waits to be written to one connection: a lane for control messages, and a bounded one for data.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::group::{Chunk, Push};
use crate::id::PeerIndex;

/// Least send hold time (RFC 9687 §4.2).
const SEND_HOLD_MIN: Duration = Duration::from_secs(480);

/// The queue between whoever sends to a peer and its connection.
pub(super) struct OutQueue {
    limit: u64,
    control: VecDeque<Bytes>,
    data: VecDeque<Bytes>,
    /// What the writer has taken: whole messages, but for the first.
    hands: VecDeque<Bytes>,
    /// Octets of data that are not written.
    queued: u64,
    /// Of them in the writer's hands.
    in_hands: u64,
    /// A push was refused since the lane last drained.
    refused: bool,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    send_hold: Duration,
}

impl OutQueue {
    pub(super) fn new(limit: u64, hold_seconds: u16) -> Self {
        Self {
            limit,
            control: VecDeque::new(),
            data: VecDeque::new(),
            hands: VecDeque::new(),
            queued: 0,
            in_hands: 0,
            refused: false,
            stalled: None,
            send_hold: SEND_HOLD_MIN.max(Duration::from_secs(2 * u64::from(hold_seconds))),
        }
    }

    /// Queues a control message, which goes before data.
    pub(super) fn send(&mut self, message: Bytes) {
        self.control.push_back(message);
    }

    /// Queues data, unless the lane is full.
    pub(super) fn push(&mut self, chunk: &Chunk, member: PeerIndex) -> Push {
        if self.queued >= self.limit {
            self.refused = true;
            return Push::Full;
        }
        self.queued += chunk.len_for(member) as u64;
        self.data.extend(chunk.parts(member));
        Push::Taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hands.is_empty() && self.control.is_empty() && self.data.is_empty()
    }

    /// Writes at most `room` octets. Says also whether the lane has drained after it had been full.
    pub(super) fn write(&mut self, mut room: usize, now: Instant) -> (Vec<Bytes>, bool) {
        let mut written = Vec::new();
        let mut drained = false;
        while room > 0 {
            if self.hands.is_empty() {
                drained |= self.finish_round();
                self.take_round();
            }
            let Some(first) = self.hands.front_mut() else { break };
            let part = first.split_to(first.len().min(room));
            room -= part.len();
            written.push(part);
            if first.is_empty() {
                self.hands.pop_front();
            }
        }
        if self.hands.is_empty() {
            drained |= self.finish_round();
        }
        self.stalled = match self.stalled {
            _ if self.is_empty() => None,
            Some(since) if written.is_empty() => Some(since),
            _ => Some(now),
        };
        (written, drained)
    }

    /// What can still go out when the connection is closed: data that waits is dropped.
    pub(super) fn finish(mut self) -> Bytes {
        self.hands.extend(self.control);
        self.hands.iter().flatten().copied().collect()
    }

    /// When the peer has taken nothing for too long (RFC 9687).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.stalled.map(|since| since + self.send_hold)
    }

    /// Control first, then data up to a round.
    fn take_round(&mut self) {
        /// Octets taken for one round of writing, as a share of the limit.
        const ROUNDS: u64 = 16;
        self.hands.append(&mut self.control);
        while self.in_hands < (self.limit / ROUNDS).max(1)
            && let Some(part) = self.data.pop_front()
        {
            self.in_hands += part.len() as u64;
            self.hands.push_back(part);
        }
    }

    fn finish_round(&mut self) -> bool {
        self.queued -= std::mem::take(&mut self.in_hands);
        self.queued < self.limit / 4 && std::mem::take(&mut self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(octets: usize) -> Chunk {
        Chunk { bytes: vec![7; octets].into(), skip: [].into() }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn control_goes_before_data_but_never_into_a_message() {
        let now = Instant::now();
        let mut queue = OutQueue::new(64, 90);
        assert_eq!(queue.push(&chunk(10), PeerIndex(1)), Push::Taken);
        assert_eq!(queue.write(4, now).0.concat(), [7; 4]);
        queue.send(Bytes::from_static(&[1, 1]));
        assert_eq!(queue.push(&chunk(3), PeerIndex(1)), Push::Taken);
        assert_eq!(queue.write(100, now).0.concat(), [7, 7, 7, 7, 7, 7, 1, 1, 7, 7, 7]);
        assert!(queue.is_empty() && queue.deadline().is_none());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_full_lane_says_once_that_it_has_drained() {
        let now = Instant::now();
        let mut queue = OutQueue::new(64, 90);
        assert_eq!(queue.push(&chunk(100), PeerIndex(1)), Push::Taken, "an empty lane takes any chunk");
        assert_eq!(queue.push(&chunk(1), PeerIndex(1)), Push::Full);
        assert!(!queue.write(60, now).1);
        assert!(queue.write(60, now).1);
        assert!(!queue.write(60, now).1);
    }
}

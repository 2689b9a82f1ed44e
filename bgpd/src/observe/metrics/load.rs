//! What waits inside, and who was not let in.

use std::fmt::Error;

use super::{NONE, Out};
use crate::runtime::handle::Handle;
use crate::runtime::status::{ConnectionCounts, StageQueue, Status};

/// What one scrape says of it. Labels are words that stand here.
#[derive(Debug)]
pub(super) struct Load {
    queues: [(&'static str, StageQueue); 2],
    connections: ConnectionCounts,
}

impl Load {
    pub(super) fn read(handle: &Handle, status: &Status) -> Self {
        let [partitions, groups] = handle.queues();
        Self { queues: [("partitions", partitions), ("groups", groups)], connections: status.connections }
    }

    pub(super) fn encode(&self, out: &mut Out<'_>) -> Result<(), Error> {
        out.gauges("bgpd_queue_messages", "Messages that wait for a stage, all its threads together", |out| {
            self.queues.iter().try_for_each(|(stage, queue)| out.put([("stage", *stage)], queue.waiting as f64))
        })?;
        out.gauges("bgpd_queue_fullest_ratio", "Part of the room for data taken at the fullest thread", |out| {
            self.queues.iter().try_for_each(|(stage, queue)| out.put([("stage", *stage)], queue.fullest))
        })?;
        let ConnectionCounts { pending, refused_pending, refused_pending_of_source, refused_rate, refused_range } =
            self.connections;
        let refused = [
            ("pending", refused_pending),
            ("pending-of-source", refused_pending_of_source),
            ("rate", refused_rate),
            ("range", refused_range),
        ];
        out.gauges("bgpd_connections_pending", "Connections of peers that wait for their OPEN", |out| {
            out.put(NONE, pending as f64)
        })?;
        out.counters("bgpd_connections_refused", "Connections of peers refused, by the limit that they met", |out| {
            refused.into_iter().try_for_each(|(limit, count)| out.put([("limit", limit)], count as f64))
        })
    }
}
